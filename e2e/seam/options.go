package seam

import (
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Kinds of TCP options.
const (
	optEnd           = 0
	optNop           = 1
	optMSS           = 2
	optWndShift      = 3
	optSACKPermitted = 4
	optSACK          = 5
	optTS            = 8

	maxWndShift = 14
)

// checkOptions checks that a segment carries what was agreed on, all of it and
// nothing else.
func (c *checker) checkOptions(f *flow, s *wire.Segment) {
	if s.Quirks.BadOptions {
		c.found(BadOptions, "an option whose length is impossible")
	}
	if f.Partial {
		return
	}
	for kind, value := range each(c.options) {
		c.checkOption(f, s, kind, value)
	}
	// Once agreed on, every segment but an RST carries them (RFC 7323, section 3.2).
	if !s.Flags.Has(wire.SYN) && f.timestamps() && !s.Opts.HasTS {
		c.found(OptionMissing, "no timestamps")
	}
}

// checkOption checks one option's place.
func (c *checker) checkOption(f *flow, s *wire.Segment, kind byte, value []byte) {
	syn, offer := s.Flags.Has(wire.SYN), &f.client.offer
	fits := false
	switch kind {
	case optMSS:
		fits = syn
	case optWndShift:
		fits = syn && offer.HasWndShift
		// RFC 7323, section 2.3.
		if len(value) == 1 && value[0] > maxWndShift {
			c.found(BadOptions, "a window scale of %d", value[0])
		}
	case optSACKPermitted:
		fits = syn && offer.SACKPermitted
	case optTS:
		fits = syn && offer.HasTS || !syn && f.timestamps()
	case optSACK:
		fits = !syn && offer.SACKPermitted
	}
	if !fits {
		c.found(OptionUnagreed, "option %d in %v", kind, s.Flags)
	}
}

// each iterates over options as they stand on the wire.
func each(b []byte) func(yield func(byte, []byte) bool) {
	return func(yield func(byte, []byte) bool) {
		for len(b) > 0 && b[0] != optEnd {
			if b[0] == optNop {
				b = b[1:]
				continue
			}
			if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) || !yield(b[0], b[2:b[1]]) {
				return
			}
			b = b[b[1]:]
		}
	}
}

// stamps is what S knows of the server's timestamps.
type stamps struct {
	met    bool
	newest uint32 // the highest TSval shown
	recent uint32 // TS.Recent of S's kernel
	echoed bool
	echo   uint32 // the last TSecr shown

	// How far the server's clock is ahead of ours, in ticks, at most so far.
	clock int64
	ahead int64
	start time.Time
}

// Clocks of TCP timestamps run at 1,000 ticks in a second at most (RFC 7323,
// section 5.4); a segment may be late by this much.
const (
	ticks     = 1000
	tickSlack = 1000
)

// checkTimestamps checks TSval and TSecr.
func (c *checker) checkTimestamps(f *flow, s *wire.Segment) {
	if !s.Opts.HasTS {
		return
	}
	t, k := &f.server.stamps, &f.client
	if !t.met {
		t.met, t.newest, t.recent, t.start = true, s.Opts.TSVal, s.Opts.TSVal, c.now
	}
	c.checkTSVal(f, s)
	c.checkClock(t, s.Opts.TSVal)
	if int32(s.Opts.TSVal-t.newest) > 0 {
		t.newest = s.Opts.TSVal
	}
	if !k.hasTS || !s.Flags.Has(wire.ACK) {
		return
	}
	echo := s.Opts.TSEcr
	if int32(echo-k.firstTS) < 0 || int32(echo-k.newstTS) > 0 {
		c.found(TSEcrBogus, "%d, and S has sent %d to %d", echo, k.firstTS, k.newstTS)
		return
	}
	// TS.Recent never falls (RFC 7323, section 4.3), so neither does its echo.
	if c.o.Lossless && t.echoed && int32(echo-t.echo) < 0 {
		c.found(TSEcrFell, "from %d to %d", t.echo, echo)
	}
	t.echoed, t.echo = true, echo
}

// checkTSVal finds a TSval that falls. Where segments are reordered that is
// nothing unless PAWS makes S's kernel drop bytes that it has not seen (RFC 7323,
// section 5.3): TS.Recent moves only with a segment at or before the last ACK sent.
// A retransmission that overtakes what was sent before it has that effect between
// any two hosts; such a fall is no greater than the wire's own reordering.
func (c *checker) checkTSVal(f *flow, s *wire.Segment) {
	t, val := &f.server.stamps, s.Opts.TSVal
	if c.o.Lossless {
		if d := int32(val - t.newest); d < 0 {
			c.found(TSValFell, "by %d to %d", -int64(d), val)
		}
		return
	}
	fell := int64(int32(t.recent - val))
	switch {
	case fell <= 0:
		if k := &f.client; !k.acked || s.Seq.LessThanEq(k.ack) && k.ack.LessThanEq(s.End()) {
			t.recent = val
		}
	case s.Flags.Has(wire.SYN), f.server.fresh(s) == 0:
	case fell > c.o.Reorder.Milliseconds()*ticks/1000:
		c.found(TSValFell, "by %d to %d: S's kernel drops the segment (PAWS)", fell, val)
	default:
		c.report.Stats.PAWS++
	}
}

// checkClock finds a TSval that rises faster than time goes by.
func (c *checker) checkClock(t *stamps, val uint32) {
	at := t.clock + int64(int32(val-t.newest))
	if int32(val-t.newest) > 0 {
		t.clock = at
	}
	ahead := at - c.now.Sub(t.start).Milliseconds()*ticks/1000
	if ahead > t.ahead+tickSlack {
		c.found(TSValJump, "to %d, %d ticks more than the time that went by", val, ahead-t.ahead)
	}
	t.ahead = max(t.ahead, ahead)
}

// checkSACK checks that SACK blocks report what S has sent (RFC 2018, section 4;
// RFC 2883, section 4: the first may be a D-SACK, below the ACK or within the
// second).
func (c *checker) checkSACK(f *flow, s *wire.Segment) {
	k := &f.client
	for i, b := range s.Opts.Blocks() {
		duplicate := i == 0 && (b.End.LessThanEq(s.Ack) || s.Opts.NumSACK > 1 && within(b, s.Opts.SACK[1]))
		switch {
		case !b.Start.LessThan(b.End):
			c.found(SACKRange, "an empty block [%d, %d)", b.Start, b.End)
		case k.nxt.LessThan(b.End), k.opened && b.Start.LessThan(k.iss):
			c.found(SACKRange, "[%d, %d), and S has sent up to %d", b.Start, b.End, k.nxt)
		case !duplicate && b.Start.LessThanEq(s.Ack):
			c.found(SACKRange, "[%d, %d) is not above the ACK, %d", b.Start, b.End, s.Ack)
		}
	}
}

func within(b, outer wire.Block) bool {
	return tcb.Diff(b.Start, outer.Start) >= 0 && tcb.Diff(b.End, outer.End) <= 0
}
