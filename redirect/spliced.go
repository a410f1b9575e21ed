package redirect

import (
	"time"

	"sleight/redirect/splice"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// keepMax bounds the client's bytes beyond a serving leg's edge that the gateway
// keeps: the widest gap at a join, a window without scale, and one unit of the
// largest scale. In bytes.
const keepMax = 64<<10 + 1<<14

// relay carries a client's segment to the leg that serves it, in place.
func (w *worker) relay(now time.Time, e *entry, l *leg, seg *wire.Segment) {
	if l == nil || l.open != nil {
		w.g.add(noFlow)
		return
	}
	if !seg.Flags.Has(wire.SYN) && !w.current(now, e, seg) {
		return
	}
	w.heardClient(now, e, l, seg)
	if e.phase == Spliced && e.dec != nil && !w.drainClient(now, e, seg) {
		return
	}
	if !w.mind(now, e, l, seg) {
		return
	}
	l.Srv.SndNxt = tcb.Max(l.Srv.SndNxt, seg.End())
	l.Serving(&e.cli, seg)
	w.passServing(l, seg)
}

// current refuses what the translation would make younger than it is: a time or an
// acknowledgement of long ago. The rest is for who serves to judge.
func (w *worker) current(now time.Time, e *entry, seg *wire.Segment) bool {
	e.hurry(seg)
	switch {
	case e.duplicate(now, seg):
		w.repeatAck(now, e, seg)
	case e.ancient(seg):
		w.challenge(now, e)
	default:
		return true
	}
	w.g.add(unacceptable)
	return false
}

// heardClient notes a client's segment on the client leg.
func (w *worker) heardClient(now time.Time, e *entry, l *leg, seg *wire.Segment) {
	cli := &e.cli
	cli.HeardAck(seg.Ack, seg.Wnd)
	if cli.InWindow(seg.Seq, seg.End()) {
		if seg.Opts.HasTS {
			cli.HeardTS(seg.Opts.TSVal)
			e.noteTS(seg)
		}
		if l == e.dec {
			e.hears(w.g.at(now), seg)
		}
		cli.HeardData(seg.End())
		if seg.Flags.Has(wire.FIN) {
			e.noteClientFIN(seg.End())
		}
	}
	l.HeardClient(w.g.since(now), seg)
	w.finished(now, e)
}

// mind takes out of a segment what the gateway sends itself: bytes that it has
// recorded or kept, and what lies beyond the edge that the serving leg has
// announced. It reports whether something is left to pass on.
func (w *worker) mind(now time.Time, e *entry, l *leg, seg *wire.Segment) bool {
	own := &l.own
	switch below := tcb.Diff(own.Start(), seg.Seq); {
	case own.Empty() || seg.Len() == 0 || !seg.Seq.LessThan(own.End()):
	case below > 0:
		// What lies below was passed on before, and S has found it lost.
		if below < len(seg.Payload) {
			seg.TrimBack(below)
		}
	default:
		w.repeatKept(now, e, l, seg)
		over := min(tcb.Diff(own.End(), seg.Seq), len(seg.Payload))
		seg.TrimFront(over)
		if seg.Seq != own.End() {
			seg.Seq = own.End()
		}
		if !seg.Seq.LessThan(own.End()) && seg.Flags.Has(wire.FIN) && own.HasFIN() {
			seg.Flags &^= wire.FIN
		}
	}
	edge := l.Srv.SndEdge
	if edge.LessThan(seg.End()) && seg.Len() > 0 && !w.keep(now, e, l, seg, max(0, tcb.Diff(edge, seg.Seq))) {
		return false
	}
	// An acknowledgement that stands beyond the edge is not taken (RFC 9293, section
	// 3.10.7.4): it stands where the leg's peer awaits S's next byte, if S may be there.
	if seg.Len() == 0 && edge.LessThan(seg.Seq) && !e.cli.RcvEdge.LessThan(seg.Seq) {
		seg.Seq = tcb.Min(l.Srv.SndNxt, edge)
	}
	return true
}

// keep holds back what lies beyond the serving leg's edge, n bytes into the
// segment, and sends it as the edge moves.
func (w *worker) keep(now time.Time, e *entry, l *leg, seg *wire.Segment, n int) bool {
	own := &l.own
	n = min(n, len(seg.Payload))
	rest, fin := seg.Payload[n:], seg.Flags.Has(wire.FIN)
	at := seg.Seq.Add(tcb.Size(n))
	own.Skip(at)
	if own.End() != at && e.passedOn(l, seg) {
		own.Init(at)
	}
	if own.End() != at || own.HasFIN() || own.Len()+len(rest) > keepMax {
		w.g.add(keptFull)
	} else {
		own.Append(rest)
		if fin {
			own.AppendFIN()
		}
		own.Arm(now)
	}
	seg.TrimBack(n)
	// Without its bytes it would be a duplicate acknowledgement, which it was not (RFC
	// 5681, section 2): three of them have the serving leg send again what S has.
	return n > 0 || seg.Opts.NumSACK > 0 || l.News(&e.cli, seg)
}

// passedOn reports whether all that a leg's own sender has is on its way, as what came
// since up to seg, and S's to send again: S was told of none of it.
func (e *entry) passedOn(l *leg, seg *wire.Segment) bool {
	own := &l.own
	return own.Sent() == own.End() && !own.HasFIN() && !own.Start().LessThan(e.cli.RcvNxt) && !l.Srv.SndNxt.LessThan(seg.Seq)
}

// repeatKept answers S's retransmission of bytes that the gateway sends itself.
// If they lie beyond an edge that has not moved, S is shown the true window
// (RFC 9293, MUST-34).
func (w *worker) repeatKept(now time.Time, e *entry, l *leg, seg *wire.Segment) {
	if !l.own.Start().LessThan(l.Srv.SndEdge) && seg.Seq.LessThan(e.cli.RcvMax) {
		l.TrueWindow = true
		w.g.add(trueWindow)
		w.ackClient(now, e, wire.Block{})
		return
	}
	l.own.Again(seg.Seq)
	w.pump(now, e, l, false)
}

// fromServing carries a serving leg's segment: to the machine that opens the
// leg, or to S.
func (w *worker) fromServing(now time.Time, e *entry, l *leg, seg *wire.Segment) {
	switch {
	case l.open != nil:
		w.opening(now, e, l, seg)
	case seg.Flags.Has(wire.RST):
		w.servingRST(now, e, l, seg)
	case seg.Flags.Has(wire.SYN):
		w.ackServing(e, l) // acknowledged, never passed on
	case l == e.dec && e.phase == Spliced && !w.belowCut(e, l, seg):
	default:
		w.relayServing(now, e, l, seg)
	}
}

// firstRoom is the widest window that the netstack has before it grows, in bytes.
const firstRoom = 64 << 10

// narrow makes of a decoy's window, until it grows, that of its profile's host. The
// edge never moves left for it (splice).
func (w *worker) narrow(e *entry, l *leg, seg *wire.Segment) {
	shift := l.Srv.SndShift
	if int(seg.Wnd)<<shift > firstRoom {
		return
	}
	settled := e.decoy.Profile.Settled(e.dialled().Addr().Is4(), w.g.cfg.MTU)
	unit := 1 << shift
	seg.Wnd = min(seg.Wnd, uint16((settled+unit-1)>>shift))
}

// relayServing translates a serving leg's segment toward S, in place.
func (w *worker) relayServing(now time.Time, e *entry, l *leg, seg *wire.Segment) {
	if l == e.dec {
		w.narrow(e, l, seg)
		if w.delays(now, e, seg) {
			w.translated(now, e, l, seg, l.Withhold(&e.cli, seg), w.passClient)
			return
		}
	}
	w.translated(now, e, l, seg, l.Client(w.g.since(now), &e.cli, seg), w.passClient)
}

// builtServing does the same for a segment that is not in the worker's buffer.
func (w *worker) builtServing(now time.Time, e *entry, l *leg, seg *wire.Segment) {
	w.translated(now, e, l, seg, l.Client(w.g.since(now), &e.cli, seg), w.toClient)
}

// translated acts on what the splice made of a serving leg's segment.
func (w *worker) translated(now time.Time, e *entry, l *leg, seg *wire.Segment, out splice.Outcome, send func(*entry, *wire.Segment)) {
	e.heard = w.g.at(now)
	switch out {
	case splice.Pass:
		if seg.Flags.Has(wire.FIN) {
			e.noteServerFIN(seg.End())
		}
		send(e, seg)
		e.told()
	case splice.Withheld:
		e.delayed.begin(w.g.at(now))
	case splice.Answer:
		w.g.add(swallowed)
		w.ackServing(e, l)
	case splice.Swallow:
		w.g.add(suppressed)
	case splice.Invalid:
		w.g.add(invalidServing)
		return
	}
	w.servingAcked(now, e, l, seg)
	w.finished(now, e)
}

// servingAcked moves on what the gateway sends itself on this leg.
func (w *worker) servingAcked(now time.Time, e *entry, l *leg, seg *wire.Segment) {
	if e.gone {
		return
	}
	if e.hasCliFIN && !l.Srv.SndUna.LessThan(e.cliFIN) {
		e.cliFINAcked = true
	}
	if l.own.Empty() {
		return
	}
	l.own.Ack(now, l.Srv.SndUna, seg.Len() == 0)
	if l.own.Empty() {
		l.TrueWindow = false
	}
	w.pump(now, e, l, false)
	if l == e.dec && e.rec != nil {
		w.release(e)
	}
}

// ackServing acknowledges to a serving leg what S has acknowledged.
func (w *worker) ackServing(e *entry, l *leg) {
	w.own = wire.Segment{Seq: l.Srv.SndNxt}
	w.fillServing(e, l)
	w.toServing(l, &w.own)
}
