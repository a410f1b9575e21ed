package redirect

import (
	"time"

	"sleight/redirect/record"
	"sleight/rules"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

const (
	// repeatEvery limits bare acknowledgements that are repeated, per flow:
	// Linux's tcp_invalid_ratelimit. Globally they must not be limited
	// (CVE-2016-5696).
	repeatEvery = 500 * time.Millisecond
	// judgeEvery is how often a rule that looks at time is asked, and how long
	// bytes wait for a judgement once a flow has used up its work.
	judgeEvery = 100 * time.Millisecond
	// lateEvery is how long bytes of a flow that has spent its work wait.
	lateEvery = 20 * time.Millisecond
	// workPerFlow bounds the rules' work on one flow, in bytes read, before
	// evaluations are put together.
	workPerFlow = 8 << 20
)

// client takes one segment of S's. It reports true where the segment begins a
// new connection in place of this flow, which is gone then.
func (w *worker) client(now time.Time, e *entry, seg *wire.Segment) (again bool) {
	e.heard = w.g.at(now)
	e.count(tcb.Client, len(seg.Payload))
	switch {
	case e.silent:
		w.g.add(ruleDrop)
	case seg.Flags&(wire.SYN|wire.RST) == wire.SYN:
		return w.clientSYN(now, e, seg)
	case e.phase == Closing && e.back == nil:
		w.afterEnd(now, e, seg)
	case seg.Flags.Has(wire.RST):
		w.clientRST(now, e, seg)
	case !seg.Flags.Has(wire.ACK):
		w.g.add(unacceptable)
	case e.phase == Answering && e.passes():
		w.relay(now, e, e.dec, seg)
	case e.phase == Answering || e.phase == Replaying:
		w.converse(now, e, seg)
	default:
		w.relay(now, e, e.serving(), seg)
	}
	return false
}

// passes reports whether nothing of the client's needs the gateway any more:
// the verdict is to stay, and the decoy was given all that was recorded.
func (e *entry) passes() bool {
	return e.final && !e.held && e.rec == nil && e.dec != nil && e.dec.open == nil
}

// converse takes a segment while the rules read along.
func (w *worker) converse(now time.Time, e *entry, seg *wire.Segment) {
	cli := &e.cli
	if !w.acceptable(now, e, seg) {
		return
	}
	cli.HeardAck(seg.Ack, seg.Wnd)
	if seg.Opts.HasTS {
		cli.HeardTS(seg.Opts.TSVal)
		e.noteTS(seg)
	}
	if e.dec != nil {
		e.dec.HeardClient(w.g.since(now), seg)
	}
	sent := false
	if seg.Len() > 0 {
		e.hears(w.g.at(now), seg)
		cli.HeardData(seg.End())
		sent = w.assemble(now, e, seg)
	}
	if !sent && e.dec != nil && e.phase != Closing && !e.gone {
		w.bareToDecoy(e, seg)
	}
	w.finished(now, e) // this may have been the ACK of the decoy's FIN
}

// acceptable refuses what the profile's host would (RFC 9293, section
// 3.10.7.4; RFC 7323, section 5.3; RFC 5961, section 5), with the
// acknowledgement that it would send.
func (w *worker) acceptable(now time.Time, e *entry, seg *wire.Segment) bool {
	cli := &e.cli
	e.hurry(seg)
	beyond := cli.RcvEdge.LessThan(seg.End())
	before := seg.End().LessThan(cli.RcvNxt) || seg.Len() == 0 && seg.Seq.LessThan(cli.RcvNxt)
	switch {
	case beyond || before || e.duplicate(now, seg):
		w.repeatAck(now, e, seg)
	case cli.SndNxt.LessThan(seg.Ack) || e.ancient(seg):
		w.challenge(now, e)
	default:
		return true
	}
	w.g.add(unacceptable)
	return false
}

// duplicate reports whether a segment is an old one by its time (RFC 7323, section
// 5.3). A bare acknowledgement that says nothing new may have been overtaken by
// others: Linux lets it pass for about a retransmission timeout (tcp_disordered_ack).
func (e *entry) duplicate(now time.Time, seg *wire.Segment) bool {
	cli := &e.cli
	if !cli.TS || !seg.Opts.HasTS || !tcb.TSLess(seg.Opts.TSVal, e.paws) {
		return false
	}
	edge := seg.Ack.Add(tcb.Size(seg.Wnd) << cli.SndShift)
	overtaken := seg.Len() == 0 && seg.Seq == cli.RcvNxt && seg.Ack == cli.SndUna && seg.Wnd > 0 && !cli.SndEdge.LessThan(edge)
	return !overtaken || int64(e.paws-seg.Opts.TSVal) > overtakenFor.Milliseconds()
}

// overtakenFor is 1.2 times Linux's least retransmission timeout, in a client's clock of 1 ms.
const overtakenFor = 240 * time.Millisecond

// ancient reports whether a segment acknowledges what lies further back than any
// window (RFC 5961, section 5.2).
func (e *entry) ancient(seg *wire.Segment) bool {
	return tcb.Diff(e.cli.SndUna, seg.Ack) > int(tcb.MaxWnd(e.cli.SndShift))
}

// noteTS keeps the time of what stands at the left edge (RFC 7323, section 4.3).
func (e *entry) noteTS(seg *wire.Segment) {
	if !e.cli.RcvNxt.LessThan(seg.Seq) && !tcb.TSLess(seg.Opts.TSVal, e.paws) {
		e.paws = seg.Opts.TSVal
	}
}

// repeatAck answers a segment that is not acceptable with the last acknowledgement
// and, for what came before, a D-SACK block (RFC 2883). Linux limits the answers to
// bare ones only.
func (w *worker) repeatAck(now time.Time, e *entry, seg *wire.Segment) {
	if seg.Len() == 0 {
		w.challenge(now, e)
		return
	}
	w.ackClient(now, e, e.had(seg))
}

// had is the part of a segment that was acknowledged before, FIN and all.
func (e *entry) had(seg *wire.Segment) (dup wire.Block) {
	if seg.Seq.LessThan(e.cli.RcvNxt) && !e.timeWait() {
		dup = wire.Block{Start: seg.Seq, End: tcb.Min(seg.End(), e.cli.RcvNxt)}
	}
	return dup
}

// challenge sends the last acknowledgement again (RFC 5961), so often as a host does.
func (w *worker) challenge(now time.Time, e *entry) {
	if now.Sub(w.g.time(e.repeated)) < repeatEvery {
		return
	}
	e.repeated = w.g.at(now)
	w.ackClient(now, e, wire.Block{})
}

// ackClient sends S an acknowledgement in the serving leg's name.
func (w *worker) ackClient(now time.Time, e *entry, dup wire.Block) {
	l := e.serving()
	if l == nil {
		l = new(leg)
		w.prepare(l, e, decoyDoor, e.client(), e.dialled())
	}
	w.own = wire.Segment{}
	if e.cli.SACK {
		if dup.Start != dup.End {
			w.own.Opts.AddBlock(dup)
		}
		if e.rec != nil && !e.held {
			var room [wire.MaxBlocks]wire.Block
			for _, b := range e.rec.Blocks(room[:0]) {
				w.own.Opts.AddBlock(b)
			}
		}
	}
	l.FillClient(w.g.since(now), &e.cli, &w.own)
	if e.back != l {
		w.asHost(now, e, &w.own)
	}
	w.toClient(e, &w.own)
	e.told()
}

// asHost gives an acknowledgement of the gateway's own what a host's has: the time of
// now, an echo of what stands at the left edge (RFC 7323, section 4.3), and in
// TIME-WAIT no IP ID.
func (w *worker) asHost(now time.Time, e *entry, seg *wire.Segment) {
	if e.phase == Closing && e.timeWait() {
		seg.ID = 0
	}
	if !seg.Opts.HasTS {
		return
	}
	if val := w.g.clock(e, now); tcb.TSLess(e.cli.TSSent, val) {
		seg.Opts.TSVal, e.cli.TSSent = val, val
	}
	seg.Opts.TSEcr = e.paws
}

// assemble records a segment's bytes and judges what has come in order. It
// reports whether the decoy was sent something.
func (w *worker) assemble(now time.Time, e *entry, seg *wire.Segment) (sent bool) {
	fin := seg.Flags.Has(wire.FIN)
	if e.rec == nil {
		return w.repeatOwn(now, e, seg)
	}
	if !w.roomFor(e, seg) {
		return false
	}
	out := e.rec.Segment(seg.Seq, seg.Payload, fin)
	if e.rec.FIN() {
		e.noteClientFIN(e.rec.Next())
	}
	fits := w.reserve(now, e)
	switch out.Class {
	case record.Ahead:
		w.ahead(now, e, out.Dup)
		return false
	case record.Full:
		w.g.add(aheadFull)
		return false
	case record.Old:
		return w.oldBytes(now, e, seg, out)
	}
	if out.Grew == 0 && !out.FIN {
		return false
	}
	e.packets++
	e.spoke = w.g.at(now)
	if !fits {
		return w.feed(now, e)
	}
	if e.held {
		return false
	}
	w.judge(now, e)
	return w.feed(now, e)
}

// ahead answers a segment ahead of a hole: the gateway's own duplicate
// acknowledgement, with SACK, and first what of it had come before (RFC 2883, section
// 4). Behind held bytes there is silence.
func (w *worker) ahead(now time.Time, e *entry, dup wire.Block) {
	if e.held {
		return
	}
	e.delayed.turns = false
	w.ackClient(now, e, dup)
}

// oldBytes takes a segment whose bytes were all seen before.
func (w *worker) oldBytes(now time.Time, e *entry, seg *wire.Segment, out record.Outcome) (sent bool) {
	if !e.cli.RcvNxt.LessThan(seg.End()) {
		w.repeatAck(now, e, seg) // acknowledged already
		return false
	}
	if e.held && !seg.End().LessThan(e.judged+1) {
		return false // held: silence
	}
	return w.repeatOwn(now, e, seg)
}

// repeatOwn sends the decoy the recorded bytes again that S has sent again.
func (w *worker) repeatOwn(now time.Time, e *entry, seg *wire.Segment) (sent bool) {
	if e.dec == nil || e.dec.open != nil {
		return false
	}
	e.dec.own.Again(seg.Seq)
	return w.pump(now, e, e.dec, false)
}

// roomFor reports whether a segment may be filed. What is not S sends again: of
// what was filed ahead of a hole S is told by SACK, so it must never be dropped.
func (w *worker) roomFor(e *entry, seg *wire.Segment) bool {
	if e.held && tcb.Diff(seg.End(), e.judged) > w.g.cfg.Limits.Held {
		w.g.add(heldFull)
		return false
	}
	if !e.rec.Next().LessThan(seg.Seq) {
		return true
	}
	n := record.PieceCost + len(seg.Payload)
	if !w.g.record.Take(n) {
		w.g.add(aheadFull)
		return false
	}
	e.taken += n
	return true
}

// reserve makes what the flow has taken from the budget that all flows share what
// its record needs. Without room the flow stays on the decoy, or the switch is off.
func (w *worker) reserve(now time.Time, e *entry) bool {
	n := e.rec.Footprint() - e.taken
	if n > 0 && !w.g.record.Take(n) {
		if e.sw != nil {
			w.rollBack(now, e, "overflow")
		} else {
			w.stay(now, e, rules.Verdict{}, "record_total")
		}
		return false
	}
	if n < 0 {
		w.g.record.Give(-n)
	}
	e.taken += n
	return true
}

// feed gives the decoy what was judged and not held.
func (w *worker) feed(now time.Time, e *entry) (sent bool) {
	if e.dec == nil || e.gone {
		return false
	}
	if e.rec != nil {
		own := &e.dec.own
		to := tcb.Min(e.judged, e.rec.Next())
		fin := e.rec.FIN() && to == e.rec.Next()
		if fin {
			to--
		}
		if n := tcb.Diff(to, own.End()); n > 0 {
			own.Append(e.rec.Bytes(own.End(), n))
		}
		if fin && own.End() == to {
			own.AppendFIN()
		}
		w.release(e)
	}
	if e.dec.open != nil {
		return false
	}
	return w.pump(now, e, e.dec, false)
}

// release drops the record of a flow whose verdict is to stay, once nothing of
// it lies ahead of a hole: what was SACKed is never dropped.
func (w *worker) release(e *entry) {
	if !e.final || e.held || e.sw != nil {
		return
	}
	var room [wire.MaxBlocks]wire.Block
	if len(e.rec.Blocks(room[:0])) > 0 || e.dec.own.End() != e.rec.Next() {
		return
	}
	w.g.record.Give(e.taken)
	e.taken, e.rec = 0, nil
}

// pump sends what a leg's own sender may send now; it reports whether anything
// went out.
func (w *worker) pump(now time.Time, e *entry, l *leg, probe bool) (sent bool) {
	edge := l.Srv.SndEdge
	if probe {
		edge++
	}
	room := l.room()
	if l.Srv.TS {
		room -= 12
	}
	for {
		seq, payload, fin, ok := l.own.Next(now, edge, room)
		if !ok {
			return sent
		}
		w.own = wire.Segment{Seq: seq, Payload: payload}
		if fin {
			w.own.Flags |= wire.FIN
		}
		if seq.Add(tcb.Size(len(payload))) == l.own.End() || fin {
			w.own.Flags |= wire.PSH
		}
		w.fillServing(e, l)
		w.toServing(l, &w.own)
		sent = true
	}
}

// fillServing completes the segment in w.own toward a leg and notes it there.
func (w *worker) fillServing(e *entry, l *leg) {
	l.FillServing(&e.cli, &w.own)
	if l == e.dec && e.phase == Spliced {
		// Only bytes below the cut are the decoy's.
		w.own.Ack = tcb.Min(w.own.Ack, e.cut-tcb.Seq(l.SeqDelta))
	}
	l.Srv.SndNxt = tcb.Max(l.Srv.SndNxt, w.own.End())
}

// bareToDecoy tells the decoy what S acknowledges, SACKs and offers, at once and
// without S's bytes. Without anything new it would be a duplicate acknowledgement, which
// S's bytes were not (RFC 5681, section 2).
func (w *worker) bareToDecoy(e *entry, seg *wire.Segment) {
	l := e.dec
	if l.open != nil || seg.Len() > 0 && seg.Opts.NumSACK == 0 && !l.News(&e.cli, seg) {
		return
	}
	w.own = wire.Segment{Seq: l.own.Sent()}
	w.own.Opts.SACK, w.own.Opts.NumSACK = seg.Opts.SACK, seg.Opts.NumSACK
	w.fillServing(e, l)
	w.toServing(l, &w.own)
}

// openVerdict asks the rules before the decoy has spoken, and opens its leg.
func (w *worker) openVerdict(now time.Time, e *entry) {
	f := w.facts(now, e)
	e.rules.policy.Rules.Start(&e.rules.Flow, &f)
	w.judge(now, e)
	if !e.gone && e.phase == Answering && e.dec == nil {
		w.openDecoy(now, e)
	}
}

// facts is what the rules may know of a flow.
func (w *worker) facts(now time.Time, e *entry) rules.Facts {
	f := rules.Facts{
		Src: e.client(), Dst: e.dialled(), Decoy: e.decoy.Name,
		Packets: e.packets, Now: now, Age: now.Sub(w.g.time(e.started)), Idle: now.Sub(w.g.time(e.spoke)), SYN: e.rules.syn,
	}
	if e.rec != nil {
		f.Stream = e.rec.Stream()
	}
	f.Bytes, f.Turns, f.Last = len(f.Stream), 0, f.Stream
	if e.gate == nil {
		return f
	}
	var marks []record.Mark
	f.Answered, marks, _ = e.gate.Answered()
	f.Turns = len(marks)
	if n := len(marks); n > 0 {
		at := min(marks[n-1].Read, uint64(len(f.Stream)))
		f.Last = f.Stream[at:]
	}
	if len(f.Last) > 0 {
		f.Turns++
	}
	return f
}

// judge asks the rules about what the client has said so far.
func (w *worker) judge(now time.Time, e *entry) {
	if e.final || e.rec == nil {
		e.judgeAll()
		return
	}
	if (e.rules.Exhausted(workPerFlow) || e.rules.Unfinished()) && now.Before(w.g.time(e.nextJudge)) {
		return // the bytes wait
	}
	f := w.facts(now, e)
	v := e.rules.policy.Rules.Decide(&e.rules.Flow, &f)
	w.reportLogs(now, e, &v)
	if v.Action != rules.Wait {
		w.rule(now, e, v)
		return
	}
	if e.rules.Unfinished() {
		e.nextJudge = w.g.at(now.Add(lateEvery))
		return
	}
	if len(f.Stream) >= w.g.cfg.Limits.Record {
		w.stay(now, e, v, "record")
		return
	}
	e.judgeAll()
	e.nextJudge = 0
	switch {
	case e.rules.policy.Rules.Timed(&e.rules.Flow):
		e.nextJudge = w.g.at(now.Add(judgeEvery))
	case e.rules.Exhausted(workPerFlow):
		e.nextJudge = w.g.at(now.Add(lateEvery))
	}
}

func (e *entry) judgeAll() {
	if e.rec != nil {
		e.judged = e.rec.Next()
	}
}

func (w *worker) reportLogs(now time.Time, e *entry, v *rules.Verdict) {
	for _, l := range v.Logged {
		w.g.seen.Decision(now, e.info(), Decided{Rule: l.Rule, Verdict: "log", Offset: v.Offset, Alert: l.Alert, Suppressed: l.Suppressed})
	}
}

// rule carries out a verdict.
func (w *worker) rule(now time.Time, e *entry, v rules.Verdict) {
	p := e.rules.policy
	if v.Action == rules.Stay || p.Observe {
		w.stay(now, e, v, v.Reason)
		return
	}
	w.spoken(now, e)
	w.g.seen.Decision(now, e.info(), Decided{v.Rule, v.Action.String(), v.Reason, v.Offset, v.Alert, v.Suppressed})
	switch v.Action {
	case rules.Switch:
		w.hold(now, e)
		w.startSwitch(now, e, p.backend(v.Backend), v.Rule)
	case rules.Drop:
		w.detach(now, e)
		e.silent = true
		w.close(now, e, "rule", w.g.cfg.Timeouts.Closing)
	case rules.Reset:
		w.sendReset(e, e.cli.SndNxt)
		w.detach(now, e)
		e.silent = true
		w.close(now, e, "rule", w.g.cfg.Timeouts.Closing)
	}
}

// spoken notes that the verdict is final: what the rules kept of the flow is left to
// their memory, and not needed any more, nor is its policy.
func (w *worker) spoken(now time.Time, e *entry) {
	if e.rules != nil {
		f := rules.Facts{Src: e.client(), Dst: e.dialled(), Packets: e.packets, Now: now}
		if e.rec != nil {
			f.Stream = e.rec.Stream()
		}
		e.rules.End(&f)
		*e.rules = reading{} // its memory is the flow's, what it leads to is not
		e.rules = nil
	}
	e.final = true
}

// stay leaves the flow on the decoy for good.
func (w *worker) stay(now time.Time, e *entry, v rules.Verdict, reason string) {
	verdict := "stay"
	if v.Action != rules.Wait {
		verdict = v.Action.String()
	}
	if !e.final {
		w.g.seen.Decision(now, e.info(), Decided{v.Rule, verdict, reason, v.Offset, v.Alert, v.Suppressed})
	}
	w.spoken(now, e)
	e.nextJudge = 0
	e.judgeAll()
}
