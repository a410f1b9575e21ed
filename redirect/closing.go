package redirect

import (
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// closedFor is how long a flow is translated once both FINs are acknowledged.
const closedFor = 60 * time.Second

func (e *entry) noteClientFIN(end tcb.Seq) {
	if !e.hasCliFIN {
		e.part()
		e.cliFIN, e.hasCliFIN = end, true
	}
}

func (e *entry) noteServerFIN(end tcb.Seq) {
	if !e.hasSrvFIN {
		e.part()
		e.srvFIN, e.hasSrvFIN = end, true
		e.srvFirst = !e.hasCliFIN
	}
}

// finished moves a flow to Closing once both ends have closed and each other's
// FIN is acknowledged.
func (w *worker) finished(now time.Time, e *entry) {
	if e.gone || e.phase == Closing || !e.hasCliFIN || !e.hasSrvFIN {
		return
	}
	if e.cliFINAcked && !e.cli.SndUna.LessThan(e.srvFIN) {
		w.close(now, e, "fin", closedFor)
	}
}

// close moves a flow to Closing: still translated, for a while (RFC 7857,
// section 2), and the first to be evicted.
func (w *worker) close(now time.Time, e *entry, why string, wait time.Duration) {
	if e.phase == Closing {
		return
	}
	if e.sw != nil {
		w.cancel(now, e)
	}
	w.spoken(now, e) // nothing more is judged, and others may learn from it
	e.part()
	e.ended = e.phase
	e.phase, e.why, e.delayed.due = Closing, why, 0
	e.closing = w.g.at(now.Add(wait))
}

// cancel ends a switch because the connection itself ended.
func (w *worker) cancel(now time.Time, e *entry) {
	m := e.back.open
	if m != nil {
		m.Abort()
	}
	w.reportSwitch(now, e, "cancelled", m)
	w.freeLeg(now, e, e.back)
	w.switched(e)
	e.back, e.held = nil, false
	if e.gate != nil {
		e.gate.Release()
	}
}

// clientRST passes S's RST on. An exact one ends the flow (RFC 5961, section
// 3.2); an inexact one changes no state.
func (w *worker) clientRST(now time.Time, e *entry, seg *wire.Segment) {
	exact := seg.Seq == e.cli.RcvNxt || seg.Seq == e.cli.RcvMax
	if e.rec != nil && seg.Seq == e.rec.Next() {
		exact = true
	}
	if !exact && (seg.Seq.LessThan(e.cli.RcvNxt) || e.cli.RcvEdge.LessThan(seg.Seq)) {
		w.g.add(unacceptable)
		return
	}
	if !exact && (e.phase == Answering || e.phase == Replaying) {
		w.challenge(now, e)
		return
	}
	if e.phase == Replaying && e.sw != nil {
		w.cancel(now, e)
	}
	w.passRST(e, seg)
	if !exact {
		return
	}
	if e.phase == Spliced && e.dec != nil {
		w.detach(now, e)
	}
	w.close(now, e, "reset", w.g.cfg.Timeouts.Closing)
}

// passRST sends a client's RST to the serving leg. There it has to be exact as
// well: where S's bytes were held, the leg stands before them.
func (w *worker) passRST(e *entry, seg *wire.Segment) {
	l := e.serving()
	if l == nil || l.open != nil {
		return
	}
	w.own = wire.Segment{Seq: seg.Seq, Ack: seg.Ack, Flags: seg.Flags & (wire.RST | wire.ACK), TTL: seg.TTL, DF: true}
	if l == e.dec {
		w.own.Seq = l.own.Sent()
	}
	l.Serving(&e.cli, &w.own)
	w.toServing(l, &w.own)
}

// servingRST passes a serving leg's RST on to S. A decoy's cancels a switch; one
// that is not exact changes no state.
func (w *worker) servingRST(now time.Time, e *entry, l *leg, seg *wire.Segment) {
	if l == e.dec && e.phase == Spliced {
		return
	}
	exact := seg.Seq == l.Srv.RcvNxt || seg.Seq == l.Srv.RcvMax
	if !exact && !l.Srv.InWindow(seg.Seq, seg.Seq) {
		w.g.add(invalidServing)
		return
	}
	if seg.Seq.LessThan(l.Cut - tcb.Seq(l.SeqDelta)) {
		seg.Seq = l.Cut - tcb.Seq(l.SeqDelta)
	}
	if e.sw != nil {
		w.cancel(now, e)
	}
	seg.Payload, seg.DF = seg.Payload[:0], true
	w.relayServing(now, e, l, seg)
	if exact {
		w.close(now, e, "reset", w.g.cfg.Timeouts.Closing)
	}
}

// sendReset resets S at seq.
func (w *worker) sendReset(e *entry, seq tcb.Seq) {
	w.own = wire.Segment{
		TTL: e.cli.TTL, DF: true, Seq: seq, Flags: wire.RST, FlowLabel: e.cli.FlowLabel,
	}
	w.toClient(e, &w.own)
}

// clientSYN takes a SYN on a live flow. It begins a new connection only in
// Closing: after a RST any does, after both FINs one that a host in TIME-WAIT
// would accept (RFC 9293, section 3.6.1; RFC 6191).
func (w *worker) clientSYN(now time.Time, e *entry, seg *wire.Segment) (again bool) {
	switch {
	case e.phase == Closing && !seg.Flags.Any(wire.ACK|wire.RST|wire.FIN) && e.reusable(seg):
		w.end(now, e, e.why)
		return true
	case e.phase == Spliced && e.back != nil:
		w.relay(now, e, e.back, seg)
	case e.phase == Closing && e.back == nil && !e.timeWait():
		w.afterEnd(now, e, seg)
	default:
		w.challenge(now, e) // RFC 5961, section 4
	}
	return false
}

// timeWait reports whether the host remembers the connection: it has closed first
// (RFC 9293, section 3.6). Else a flow in Closing is nothing to it any more.
func (e *entry) timeWait() bool { return e.why == "fin" && e.srvFirst }

// afterEnd answers, once both ends of a decoy's connection have closed or one has
// reset it, what the host would say to a segment that is no SYN of a new one. Its
// netstack would keep silent.
func (w *worker) afterEnd(now time.Time, e *entry, seg *wire.Segment) {
	w.g.add(unacceptable)
	switch {
	case !e.timeWait():
		// RFC 9293, section 3.10.7.2: only an ACK draws a RST in LISTEN.
		if seg.Flags.Has(wire.ACK) {
			w.refuse(seg, e.decoy.Profile)
		}
	case seg.Flags.Has(wire.RST):
		// RFC 1337 would keep TIME-WAIT; Linux does not (tcp_rfc1337).
		e.srvFirst = seg.Seq != e.cli.RcvNxt
	case seg.Seq == e.cli.RcvNxt && seg.Len() == 0 && !e.duplicate(now, seg):
		// Nothing is wrong with it (RFC 9293, section 3.10.7.4, first).
	default:
		w.repeatAck(now, e, seg)
	}
}

// reusable reports whether a host in TIME-WAIT would take this SYN.
func (e *entry) reusable(seg *wire.Segment) bool {
	if !e.timeWait() {
		return true
	}
	if seg.Opts.HasTS && e.cli.TS && tcb.TSLess(e.cli.TSRecent, seg.Opts.TSVal) {
		return true
	}
	return e.cli.RcvMax.LessThan(seg.Seq)
}

// end takes a flow out of the books.
func (w *worker) end(now time.Time, e *entry, why string) {
	if e.gone {
		return
	}
	if e.sw != nil {
		w.cancel(now, e)
	}
	w.spoken(now, e)
	w.detach(now, e)
	w.forgetHand(e) // while its keys are nobody else's
	if e.back != nil {
		w.freeLeg(now, e, e.back)
	}
	if e.taken > 0 {
		w.g.record.Give(e.taken)
		e.taken = 0
	}
	w.g.flows.Remove(&e.node)
	w.g.timers.Cancel(&e.node)
	w.g.live.Add(-1)
	e.gone = true
	phase := e.phase
	if phase == Closing {
		phase = e.ended
	}
	w.g.seen.FlowEnd(now, e.info(), Ended{
		Reason: why, Phase: phase.String(),
		BytesToServer: e.bytes[tcb.Client], BytesToClient: e.bytes[tcb.Serving],
		PacketsToServer: e.pkts[tcb.Client], PacketsToClient: e.pkts[tcb.Serving],
		Age: now.Sub(w.g.time(e.started)),
	})
}
