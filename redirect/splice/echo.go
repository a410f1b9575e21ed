package splice

import (
	"math"
	"sync"
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

const (
	marks = 16
	// trainFlights is how many flights S must have acknowledged before the
	// serving leg's own timers are trusted.
	trainFlights = 10
	never        = 0xff // in place of a number of flights
	// twoTicks of Debian's kernel, 250 a second.
	twoTicks  = 8 * time.Millisecond
	dupThresh = 3 // RFC 5681, section 3.2
	// markGap merges what was passed on in one burst.
	markGap = time.Millisecond
	// keepAliveAfter is less than the idle time of any host's keep-alives.
	keepAliveAfter = time.Second
)

// mark says when bytes up to end, in the serving leg's numbers, went to S.
type mark struct {
	end tcb.Seq
	at  moment
}

// moment is a time in units since the gateway's clock began. It comes round after 19
// hours, far beyond the life of bytes that nobody has acknowledged.
type moment uint32

const unit = 16 * time.Microsecond

func momentOf(now time.Duration) moment { return moment(now / unit) }

// since is how long ago a moment was.
func since(at moment, now time.Duration) time.Duration {
	return time.Duration(momentOf(now)-at) * unit
}

// micros is a round trip in microseconds, 71 minutes at most.
type micros uint32

func microsOf(d time.Duration) micros {
	return micros(max(0, min(d/time.Microsecond, math.MaxUint32)))
}

func (m micros) duration() time.Duration { return time.Duration(m) * time.Microsecond }

// Echo knows S's round trip and what went to S when, so that a serving leg
// whose timers were trained on the gateway, a tenth of a millisecond away, does
// not repeat itself before S can have answered.
type Echo struct {
	flight *flight // nil while S has acknowledged everything

	srtt, rttvar micros // of S (RFC 6298, section 2); zero: not measured yet

	last      uint32  // newest TSecr of S
	top       tcb.Seq // after the highest byte that went to S
	flightEnd tcb.Seq
	una       tcb.Seq // S's acknowledgement
	unaAt     moment  // when it came
	sacked    tcb.Seq // right edge of the highest block that S has SACKed

	back       wire.Block // suppressed, in the serving leg's numbers
	Suppressed uint32     // segments that were not sent to S again

	flights uint8 // acknowledged, up to trainFlights; or never
	dups    uint8 // duplicate acknowledgements, up to dupThresh
	begun   bool
	hasSack bool
}

// flight is what is remembered of bytes on their way to S. Of a million flows few
// have any, so it is borrowed from a pool meanwhile.
type flight struct {
	ring    [marks]mark
	n, head int32

	again   wire.Block // what went to S a second time, and when
	againAt moment

	repeated bool
	untimed  tcb.Seq // if repeated: what ends here or below tells nothing of a round trip
}

var flights = sync.Pool{New: func() any { return new(flight) }}

// Init begins with one round trip, measured in the handshake (RFC 6298, 2.2),
// and S's newest echo.
func (e *Echo) Init(srtt, rttvar time.Duration, tsecr uint32) {
	*e = Echo{srtt: microsOf(srtt), rttvar: microsOf(rttvar), last: tsecr}
}

// Learn takes over what another leg of the flow has measured.
func (e *Echo) Learn(from *Echo) { e.srtt, e.rttvar = from.srtt, from.rttvar }

// SRTT is S's smoothed round trip, RTTVar its variation.
func (e *Echo) SRTT() time.Duration { return e.srtt.duration() }

// RTTVar is RFC 6298's.
func (e *Echo) RTTVar() time.Duration { return e.rttvar.duration() }

// Sample takes in a measured round trip (RFC 6298, section 2.3).
func (e *Echo) Sample(r time.Duration) {
	srtt, rttvar := e.SRTT(), e.RTTVar()
	if srtt == 0 {
		srtt, rttvar = r, r/2
	} else {
		rttvar += ((srtt - r).Abs() - rttvar) / 4
		srtt += (r - srtt) / 8
	}
	e.srtt, e.rttvar = microsOf(srtt), microsOf(rttvar)
}

// Timeout is when a host that knows S's round trip would first send something again
// unasked: not before its retransmission timer (RFC 6298, section 2.3) and not before
// its tail loss probe (RFC 8985, section 7.2), which waits for two round trips and, with
// Linux, two ticks of its clock.
func (e *Echo) Timeout() time.Duration { return max(e.SRTT()+4*e.RTTVar(), 2*e.SRTT()+twoTicks) }

// Distrust has the serving leg's own timers never be trusted: they are no host's.
func (e *Echo) Distrust() { e.flights = never }

// trained reports whether the serving leg's timers know S by now.
func (e *Echo) trained() bool { return e.flights == trainFlights }

// once decides whether a serving leg's segment repeats what S has, or will
// have, without having asked for it.
func (sp *Splice) once(now time.Duration, cli *ClientLeg, seg *wire.Segment) Outcome {
	e := &sp.Echo
	n := seg.Len()
	if n == 0 || seg.Flags.Has(wire.RST) {
		return Pass
	}
	end := seg.End()
	if !e.begun {
		e.una, e.flightEnd = seg.Seq, end
	}
	if !e.begun || e.top.LessThan(end) {
		e.note(now, end)
		return Pass
	}
	if una := cli.SndUna - tcb.Seq(sp.SeqDelta); !una.LessThan(end) && !e.keepAlive(now, seg, una) {
		return Answer // S has acknowledged it all: the serving leg missed that
	}
	if e.trained() {
		return Pass
	}
	if e.asked(seg.Seq) {
		e.untime()
		return Pass
	}
	if age, ok := e.age(now, seg.Seq); !ok || age >= e.Timeout() {
		e.noteAgain(now, seg.Seq, end)
		return Pass
	}
	e.suppress(seg.Seq, end)
	return Swallow
}

// keepAlive recognises a keep-alive with a byte (RFC 9293, section 3.8.4): only a
// long silence tells it from the last byte, sent again.
func (e *Echo) keepAlive(now time.Duration, seg *wire.Segment, una tcb.Seq) bool {
	return seg.Len() == 1 && seg.Flags&wire.FIN == 0 && seg.Seq == una-1 && since(e.unaAt, now) >= keepAliveAfter
}

// note remembers that everything up to end went to S now.
func (e *Echo) note(now time.Duration, end tcb.Seq) {
	e.top, e.begun = end, true
	if e.flight == nil {
		e.flight = flights.Get().(*flight)
	}
	f := e.flight
	if f.n > 0 {
		last := &f.ring[(f.head+f.n-1)%marks]
		if since(last.at, now) < markGap || last.end == end {
			last.end = end
			return
		}
	}
	if f.n == marks {
		f.drop()
	}
	f.ring[(f.head+f.n)%marks] = mark{end, momentOf(now)}
	f.n++
}

// drop forgets the oldest mark.
func (f *flight) drop() { f.head, f.n = (f.head+1)%marks, f.n-1 }

// noteAgain remembers what went to S once more. It is apart from the marks: of a
// retransmission no round trip may be measured (RFC 6298, section 3).
func (e *Echo) noteAgain(now time.Duration, start, end tcb.Seq) {
	f := e.flight
	if f == nil {
		return // a keep-alive
	}
	if f.again.Start != f.again.End && since(f.againAt, now) < markGap {
		start, end = tcb.Min(start, f.again.Start), tcb.Max(end, f.again.End)
	}
	f.again, f.againAt = wire.Block{Start: start, End: end}, momentOf(now)
	e.untime()
}

// untime has no round trip measured of what is on its way: the acknowledgement of all of
// it waits for what goes to S a second time now (RFC 6298, section 3).
func (e *Echo) untime() {
	if f := e.flight; f != nil {
		f.repeated, f.untimed = true, e.top
	}
}

// age tells how long ago the byte at seq went to S, if that is still remembered.
func (e *Echo) age(now time.Duration, seq tcb.Seq) (time.Duration, bool) {
	f := e.flight
	if f == nil {
		return 0, false
	}
	if !seq.LessThan(f.again.Start) && seq.LessThan(f.again.End) {
		return since(f.againAt, now), true
	}
	for i := range f.n {
		if m := f.ring[(f.head+i)%marks]; seq.LessThan(m.end) {
			return since(m.at, now), true
		}
	}
	return 0, false
}

// asked reports whether S misses the byte at seq: by SACK or by three duplicate
// acknowledgements.
func (e *Echo) asked(seq tcb.Seq) bool {
	if e.hasSack && seq.LessThan(e.sacked) {
		return true
	}
	return e.dups >= dupThresh && !e.una.LessThan(seq)
}

func (e *Echo) suppress(start, end tcb.Seq) {
	e.Suppressed++
	if e.back.Start == e.back.End {
		e.back = wire.Block{Start: start, End: end}
		return
	}
	e.back.Start, e.back.End = tcb.Min(e.back.Start, start), tcb.Max(e.back.End, end)
}

// dsack returns what was suppressed once S has acknowledged it, so that the
// serving leg undoes its back-off (RFC 2883, section 4).
func (e *Echo) dsack(ack tcb.Seq) (wire.Block, bool) {
	blk := e.back
	if blk.Start == blk.End || ack.LessThan(blk.End) {
		return wire.Block{}, false
	}
	e.back = wire.Block{}
	return blk, true
}

// HeardClient takes in what S acknowledges: round trips, flights, and whether S
// asks for something again. The caller has noted seg on the client leg.
func (sp *Splice) HeardClient(now time.Duration, seg *wire.Segment) {
	if !seg.Flags.Has(wire.ACK) {
		return
	}
	e := &sp.Echo
	ack := seg.Ack - tcb.Seq(sp.SeqDelta)
	e.hasSack = false
	for i, b := range seg.Opts.Blocks() {
		if end := b.End - tcb.Seq(sp.SeqDelta); (i > 0 || ack.LessThan(end)) && (!e.hasSack || e.sacked.LessThan(end)) {
			e.sacked, e.hasSack = end, true
		}
	}
	switch {
	case !e.begun:
	case e.una.LessThan(ack):
		e.una, e.unaAt, e.dups = ack, momentOf(now), 0
		e.acked(now, ack)
	case ack == e.una && seg.Len() == 0 && ack.LessThan(e.top):
		e.dups = min(e.dups+1, dupThresh)
	}
}

// acked measures a round trip and counts flights.
func (e *Echo) acked(now time.Duration, ack tcb.Seq) {
	if f := e.flight; f != nil {
		for f.n > 0 && !ack.LessThan(f.ring[f.head].end) {
			if m := f.ring[f.head]; !f.repeated || f.untimed.LessThan(m.end) {
				e.Sample(since(m.at, now))
			}
			f.drop()
		}
		if f.n == 0 {
			e.Forget()
		}
	}
	if e.begun && !ack.LessThan(e.flightEnd) {
		if e.flights < trainFlights {
			e.flights++
		}
		e.flightEnd = e.top
	}
}

// Forget gives back what was borrowed for bytes on their way.
func (e *Echo) Forget() {
	if e.flight != nil {
		*e.flight = flight{}
		flights.Put(e.flight)
		e.flight = nil
	}
}
