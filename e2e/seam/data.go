package seam

import (
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// MSS where a SYN has none (RFC 9293, section 3.7.1).
const (
	defaultMSS4 = 536
	defaultMSS6 = 1220
)

// checkData checks where a segment's payload lies and what it says.
func (c *checker) checkData(f *flow, s *wire.Segment) {
	v, k := &f.server, &f.client
	at := v.position(s.Seq)
	probe := k.acked && s.Seq+1 == k.ack && len(s.Payload) <= 1
	if len(s.Payload) == 0 {
		c.checkPlace(f, s, at, probe)
		return
	}
	end := at + int64(len(s.Payload))
	c.checkSize(f, s)
	if !f.Partial && k.acked && k.edge.LessThan(s.Seq.Add(tcb.Size(len(s.Payload)))) {
		c.found(BeyondWindow, "it ends %d bytes beyond S's window", tcb.Diff(s.Seq.Add(tcb.Size(len(s.Payload))), k.edge))
	}
	if v.finSeen && end > v.finAt {
		c.found(DataAfterFIN, "%d bytes", end-max(at, v.finAt))
	}
	if probe {
		return // its byte is no data (RFC 9293, section 3.8.4)
	}
	c.checkHole(f, at)
	fresh := v.seen.missing(at, end)
	if old := end - at - fresh; old > 0 {
		f.Retransmitted += uint64(old)
		c.checkAgain(f, s, at, old)
	}
	f.BytesIn += uint64(fresh)
	v.take(at, s.Payload)
	v.advance(s.Seq.Add(tcb.Size(len(s.Payload))), end, c.now)
}

// take keeps what is new of a payload.
func (v *server) take(at int64, b []byte) {
	end := at + int64(len(b))
	for from, to := range v.seen.gaps(at, end) {
		v.bytes.put(from, b[from-at:to-at])
	}
	v.seen.add(at, end)
}

// advance notes that S has seen something up to a position.
func (v *server) advance(end tcb.Seq, at int64, now time.Time) {
	if at > v.high {
		v.high, v.last, v.at = at, end, at
		v.came.add(at, now)
	}
}

// fresh is how many positions of a segment S has not seen yet.
func (v *server) fresh(s *wire.Segment) int64 {
	at := v.position(s.Seq)
	n := v.seen.missing(at, at+int64(len(s.Payload)))
	if s.Flags.Has(wire.FIN) && !v.finSeen {
		n++
	}
	return n
}

// checkPlace checks a segment without payload: it stands at the server's SND.NXT,
// unless it is a probe (RFC 9293, sections 3.8.4 and 3.8.6.1).
func (c *checker) checkPlace(f *flow, s *wire.Segment, at int64, probe bool) {
	v := &f.server
	switch {
	case !c.o.Lossless || probe || f.Partial && v.high == 0:
	case at > v.high:
		c.checkHole(f, at)
		v.advance(s.Seq, at, c.now)
	case at < v.high && !s.Flags.Has(wire.FIN):
		c.found(AckPlace, "SEQ %d, and S has seen %d bytes more", s.Seq, v.high-at)
	}
}

// checkHole finds bytes that a lossless wire has not carried.
func (c *checker) checkHole(f *flow, at int64) {
	v := &f.server
	if c.o.Lossless && at > v.high && !(f.Partial && v.high == 0) {
		c.found(Hole, "%d bytes are missing before it", at-v.high)
	}
}

// checkAgain checks bytes that S has seen before.
func (c *checker) checkAgain(f *flow, s *wire.Segment, at, old int64) {
	if i, ok := f.server.bytes.differs(at, s.Payload, &f.server.seen); ok {
		c.found(DifferentBytes, "byte %d of the stream is %#02x, and was %#02x before",
			at+int64(i)-1, s.Payload[i], f.server.bytes.at(at+int64(i)))
	}
	c.duplicate(f, at+int64(len(s.Payload)), "%d of %d bytes from %d on", old, len(s.Payload), at-1)
}

// duplicate finds what S has seen before, up to a position, on a lossless wire. It
// is S's own doing if its acknowledgement was not there in time: any host sends a
// tail-loss probe about two round trips after the last segment (RFC 8985, section
// 7.2), and S may be slow. So a duplicate is excused if it comes after that, and
// left the server before S's acknowledgement was there.
func (c *checker) duplicate(f *flow, end int64, format string, args ...any) {
	if !c.o.Lossless {
		return
	}
	first, known := f.server.came.first(end)
	late := known && f.rtt > 0 && c.now.Sub(first)+c.o.Jitter >= 3*f.rtt/2
	heard, acked := f.client.covered.first(end)
	if late && (!acked || heard.Add(f.rtt+c.o.Jitter).After(c.now)) {
		c.report.Stats.Probes++
		return
	}
	c.found(Duplicate, format, args...)
}

// checkSize checks a segment against S's MSS, in which options count (RFC 9293,
// section 3.7.1).
func (c *checker) checkSize(f *flow, s *wire.Segment) {
	if c.o.Offload || f.Partial {
		return
	}
	mss := defaultMSS6
	switch {
	case f.client.offer.HasMSS:
		mss = int(f.client.offer.MSS)
	case s.Is4():
		mss = defaultMSS4
	}
	if n := len(s.Payload) + len(c.options); n > mss {
		c.found(Oversize, "%d bytes of payload and %d of options, and S's MSS is %d", len(s.Payload), len(c.options), mss)
	}
}

// checkFIN checks that the stream has one end.
func (c *checker) checkFIN(f *flow, s *wire.Segment) {
	v := &f.server
	at := v.position(s.Seq) + int64(len(s.Payload))
	switch {
	case !v.finSeen:
		if at < v.high {
			c.found(DataAfterFIN, "the FIN stands %d bytes before the end of what S has seen", v.high-at)
		}
		v.finSeen, v.finAt = true, at
		v.advance(s.End(), at+1, c.now)
	case at != v.finAt:
		c.found(FINMoved, "by %d bytes", at-v.finAt)
	case len(s.Payload) == 0:
		c.duplicate(f, at+1, "the FIN again")
	}
}
