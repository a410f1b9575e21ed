package redirect

import (
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

const (
	// delayedFor is how long a host waits for something that its acknowledgement can
	// ride on, Linux's TCP_DELACK_MIN; and the least time after which held bytes are
	// acknowledged in the decoy's name.
	delayedFor = 40 * time.Millisecond
	// leastSegment is what a host takes for a whole segment before it has seen a larger
	// one, in bytes: Linux's TCP_MSS_DEFAULT.
	leastSegment = 536
)

// delayed is when a decoy acknowledges what S says (RFC 1122, section 4.2.3.2), as a
// Linux host does (tcp_input.c): at once at first; with its answer, once both have
// spoken. The netstack always does at once, so its acknowledgement is withheld.
type delayed struct {
	due     instant // when S must be told of what was withheld; 0: nothing was
	heard   instant // S's newest bytes
	segment uint16  // the largest of S's, in bytes
	pushed  uint8   // ends of what S wrote that S was not told of, up to 2; then: a hole
	turns   bool    // both speak by turns: Linux's pingpong mode
	first   bool    // S hears the time of the first that was withheld (RFC 7323, section 4.3)
}

// begin notes that something was withheld.
func (d *delayed) begin(at instant) {
	if d.due == 0 {
		d.due, d.first = at+instant(delayedFor), true
	}
}

// whole is what the host takes for a whole segment, in bytes.
func (d *delayed) whole() int { return max(leastSegment, int(d.segment)) }

// waits reports whether the acknowledgement of n bytes waits for an answer: Linux has
// none wait where a short segment ends what was written, and one before it did, and
// acknowledges both; the decoy may have read the first alone, and the rest be under way.
func (d *delayed) waits(n int, rest bool) bool {
	return d.turns && n > 0 && n <= d.whole() && (d.pushed < 2 || d.pushed == 2 && rest)
}

// hears notes a segment of S's while the decoy serves, before it is noted on the client
// leg. A FIN is acknowledged with the decoy's own, unless S has that.
func (e *entry) hears(at instant, seg *wire.Segment) {
	if !e.cli.RcvMax.LessThan(seg.End()) {
		return
	}
	d, n := &e.delayed, len(seg.Payload)
	if d.due == 0 {
		d.first = false
	}
	if seg.Offload.GSOSize > 0 {
		n = min(n, int(seg.Offload.GSOSize))
	}
	switch short := n < d.whole(); {
	case e.cli.RcvMax.LessThan(seg.Seq):
		d.pushed = 3
	case short && n > 0:
		d.pushed = max(d.pushed, min(d.pushed+1, 2))
	case !short && seg.Flags.Has(wire.PSH):
		d.pushed = max(d.pushed, 1)
	}
	d.heard, d.segment = at, max(d.segment, uint16(n))
	if seg.Flags.Has(wire.FIN) {
		d.turns = !e.hasSrvFIN
	}
}

// delays reports whether a decoy's segment is an acknowledgement that waits.
func (w *worker) delays(now time.Time, e *entry, seg *wire.Segment) bool {
	d := &e.delayed
	if e.phase == Spliced {
		return false
	}
	if d.first && seg.Opts.HasTS {
		seg.Opts.TSEcr = e.paws
	}
	if len(seg.Payload) > 0 {
		if d.heard != 0 && w.g.at(now)-d.heard < instant(delayedFor) {
			d.turns = true
		}
		return false
	}
	bare := !seg.Flags.Any(wire.SYN|wire.RST|wire.FIN) && seg.Opts.NumSACK == 0
	return bare && d.waits(tcb.Diff(seg.Ack, e.cli.RcvNxt), seg.Ack.LessThan(e.cli.RcvMax))
}

// told notes that S was shown all that was acknowledged.
func (e *entry) told() {
	d := &e.delayed
	if d.due == 0 && d.pushed == 0 {
		return // a joined flow's is shared
	}
	d.due, d.pushed = 0, 0
	if e.dec == nil {
		e.join()
	}
}

// hurry has S's repetition of what was acknowledged, and withheld, be one. A host answers
// it at once, and waits for no answer of its own.
func (e *entry) hurry(seg *wire.Segment) {
	l := e.dec
	if l == nil || e.phase == Spliced || seg.Len() == 0 || !seg.Seq.LessThan(l.Srv.SndUna) {
		return
	}
	e.cli.RcvNxt = tcb.Max(e.cli.RcvNxt, l.Srv.SndUna)
	e.delayed.turns = false
}

// ackDelayed tells S of what was withheld: nothing came that it could ride on.
func (w *worker) ackDelayed(now time.Time, e *entry) {
	e.delayed.turns = false
	w.ackClient(now, e, wire.Block{})
}
