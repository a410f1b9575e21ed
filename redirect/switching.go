package redirect

import (
	"net/netip"
	"time"

	"sleight/redirect/record"
	"sleight/redirect/replay"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// hold keeps the client's bytes from judged on from every serving leg, and
// unacknowledged: S stays responsible for them, so a roll-back is free. Beyond the
// bound they are dropped (roomFor), and S sends them again.
func (w *worker) hold(now time.Time, e *entry) {
	e.held = true
	e.nextJudge = w.g.at(now.Add(max(delayedFor, 2*e.srtt)))
}

// ackHeld acknowledges, in the decoy's name, bytes that have been held so long
// that S would soon probe. They are the flow's own then: a commit replays them,
// a roll-back delivers them to the decoy.
func (w *worker) ackHeld(now time.Time, e *entry) {
	e.nextJudge = 0
	if !e.held || e.rec == nil {
		return
	}
	to := e.rec.Next()
	if e.rec.FIN() {
		to--
	}
	if to = tcb.Min(to, e.cli.RcvEdge); e.cli.RcvNxt.LessThan(to) {
		e.cli.RcvNxt = to
		w.ackClient(now, e, wire.Block{})
	}
}

// startSwitch begins to move the flow to a backend. The backend's key is taken
// before the first SYN, or a challenge ACK would go into another flow.
func (w *worker) startSwitch(now time.Time, e *entry, b *backend, rule string) {
	g := w.g
	dc := e.decoy
	e.sw = &attempt{backend: b, rule: rule, began: now, deadline: now.Add(dc.Timeout)}
	if e.hasSrvFIN || e.gate != nil && e.gate.Closed() {
		w.rollBack(now, e, "cancelled")
		return
	}
	if !g.begins(e.sw) {
		w.rollBack(now, e, "overflow")
		return
	}
	l, result := w.backendLeg(e, b)
	if l == nil {
		w.rollBack(now, e, result)
		return
	}
	e.back, e.phase = l, Replaying
	if e.gate == nil {
		w.replay(now, e, 0) // the decoy has not been opened: it has said nothing
		return
	}
	written, frozen := e.gate.Freeze(dc.Quiet, func(n uint64) { g.frozen(e, n) })
	if frozen {
		w.replay(now, e, written)
	}
}

// begins counts a switch to those that are under way, if there is room for it: however
// many clients pull the trigger at once, a backend gets no more half-open connections.
func (g *Gateway) begins(sw *attempt) bool {
	if n := g.switching.Add(1); g.cfg.Limits.Switching > 0 && n > int64(g.cfg.Limits.Switching) {
		g.switching.Add(-1)
		g.add(switchingFull)
		return false
	}
	sw.counted = true
	return true
}

// switched takes the flow's switch out of the books; it has been reported.
func (w *worker) switched(e *entry) {
	if e.sw.counted {
		w.g.switching.Add(-1)
	}
	e.sw = nil
}

// frozen is told by the service's goroutine that the answer under way is whole.
func (g *Gateway) frozen(e *entry, written uint64) {
	w := g.workers.Get().(*worker)
	defer g.workers.Put(w)
	now := g.now()
	w.with(now, e, func() {
		if e.phase == Replaying && e.sw != nil && !e.sw.frozen {
			w.replay(now, e, written)
		}
	})
}

// backendLeg prepares the leg to a backend and takes its key.
func (w *worker) backendLeg(e *entry, b *backend) (l *leg, result string) {
	addr := b.V6
	if e.dialled().Addr().Is4() {
		addr = b.V4
	}
	if !addr.IsValid() && b.Mode != Keep {
		return nil, "refused"
	}
	if n := b.flows.Add(1); b.MaxFlows > 0 && n > int64(b.MaxFlows) {
		b.flows.Add(-1)
		return nil, "refused"
	}
	src, dst := e.client(), e.dialled()
	if b.Mode != Keep {
		dst = netip.AddrPortFrom(addr, b.port(dst.Port()))
	}
	l = new(leg)
	w.prepare(l, e, uint8(b.Door), src, dst)
	l.b = b
	e.steer[tcb.Serving] = e.steer[tcb.Client]
	if !w.takeKey(l) {
		b.flows.Add(-1)
		return nil, "collision"
	}
	return l, ""
}

// port maps the port that S dialled to the backend's.
func (b *Backend) port(dialled uint16) uint16 {
	if p, ok := b.Ports[dialled]; ok {
		return p
	}
	return dialled
}

// takeKey binds the leg's key, with an address of the pool in NAT mode.
func (w *worker) takeKey(l *leg) bool {
	if l.b.Mode != NAT {
		return w.g.flows.Bind(&l.node)
	}
	dst := l.dst()
	for range natTries {
		src, ok := w.g.nat.take(dst.Addr().Is4(), w.g.now())
		if !ok {
			return false
		}
		l.node.Key.Leg = tcb.TupleOf(dst, src)
		if w.g.flows.Bind(&l.node) {
			return true
		}
	}
	return false
}

// replay starts the replay, once the decoy has stopped at written bytes.
func (w *worker) replay(now time.Time, e *entry, written uint64) {
	dc := e.decoy
	e.sw.written, e.sw.frozen = written, true
	var answered []byte
	var marks []record.Mark
	overflow := false
	if e.gate != nil {
		answered, marks, overflow = e.gate.Answered()
	}
	if overflow || e.rec == nil {
		w.rollBack(now, e, "overflow")
		return
	}
	said := e.rec.Stream()[:e.rec.Offset(e.judgedBytes())]
	closed, open := record.Turns(said, answered[:written], marks)
	turns := make([]replay.Turn, len(closed))
	for i, t := range closed {
		turns[i] = replay.Turn(t)
	}
	e.sw.clientBytes = len(said)
	cut := e.cli.ISS + 1 + tcb.Seq(written)
	l := e.back
	l.open = replay.New(replay.Config{
		Src: l.src(), Dst: l.dst(), ISS: e.cli.IRS,
		Offer: e.offer(w.mss(e, l)), MaxMSS: w.linkMSS(e, l), TSVal: e.cli.TSRecent, TTL: 64, FlowLabel: l.FlowLabel,
		Turns: turns, Open: open, FIN: e.rec.FIN() && e.judged == e.rec.Next(), Rides: e.judged.LessThan(e.rec.Next()),
		Mode: dc.Compare, Except: dc.Except, Framer: dc.Framer, Quiet: dc.Quiet,
		Room: tcb.Diff(e.cli.SndEdge, cut), Guess: guess,
	}, func(seg *wire.Segment) { e.w.toServing(l, seg) })
	l.open.Start(now)
}

// guess is how much a backend may send where nobody knows how long its answer
// is, in bytes: one window that no scale is needed for.
const guess = 64 << 10

// judgedBytes is where the client's bytes end that are not held.
func (e *entry) judgedBytes() tcb.Seq {
	if e.rec.FIN() && e.judged == e.rec.Next() {
		return e.judged - 1
	}
	return e.judged
}

// mss is what the SYN to a backend offers: the client's own, within the way to
// the backend, so that no router there ever has to say who it is.
func (w *worker) mss(e *entry, l *leg) uint16 { return min(e.cli.MSS, w.linkMSS(e, l)) }

// linkMSS is the most payload and options that the gateway's own link to a backend
// takes, in bytes: its kernel would tell S itself of what is larger.
func (w *worker) linkMSS(e *entry, l *leg) uint16 {
	mtu := w.g.cfg.MTU
	if l.b.MTU > 0 {
		mtu = min(mtu, l.b.MTU)
	}
	if mtu == 0 {
		return 0xffff
	}
	if e.dialled().Addr().Is4() {
		return uint16(mtu - 40)
	}
	return uint16(mtu - 60)
}

// opening gives a serving leg's segment to the machine that opens it.
func (w *worker) opening(now time.Time, e *entry, l *leg, seg *wire.Segment) {
	l.open.Segment(now, seg)
	w.opened(now, e, l)
}

// opened acts on where a leg's machine stands.
func (w *worker) opened(now time.Time, e *entry, l *leg) {
	switch l.open.State() {
	case replay.Done:
		if l == e.dec {
			w.decoyReady(now, e)
			return
		}
		w.commit(now, e)
	case replay.Failed:
		if l == e.dec {
			w.decoyLost(now, e)
			return
		}
		w.rollBack(now, e, resultNames[l.open.Result()])
	}
}

var resultNames = map[replay.Result]string{
	replay.Refused: "refused", replay.Reset: "reset",
	replay.Timeout: "timeout", replay.Mismatch: "mismatch",
}

// commit makes the backend the serving leg: the held bytes go to it, what it has
// said beyond the record goes to S, and the decoy is drained.
func (w *worker) commit(now time.Time, e *entry) {
	l, m := e.back, e.back.open
	e.cut = e.cli.ISS + 1 + tcb.Seq(e.sw.written)
	l.open = nil
	l.Srv = m.Leg
	l.SeqDelta = uint32(e.cut - m.Swallowed())
	l.TSDelta = w.g.clock(e, now) - l.Srv.TSRecent
	l.Cut = e.cut
	if e.dec != nil {
		l.Echo.Learn(&e.dec.Echo)
	}
	l.own.Init(l.Srv.SndNxt)
	w.giveHeld(e, l)
	e.phase, e.held = Spliced, false
	rec := e.rec
	w.pump(now, e, l, false)
	w.passAhead(e, l, rec)
	// The books can wait, the backend's answer cannot.
	w.reportSwitch(now, e, "ok", m)
	w.g.policy.Load().Rules.Switched(now, e.client().Addr())
	if e.gate != nil {
		e.gate.Discard()
	}
	w.switched(e)
	e.nextJudge = 0
	w.g.record.Give(e.taken)
	e.taken, e.rec = 0, nil
	w.passTail(now, e, m)
	if e.gone {
		return
	}
	if e.cli.SndUna.LessThan(e.cut) {
		e.draining, e.drainEdge = w.g.at(now.Add(w.g.cfg.Timeouts.Drain)), e.cli.SndEdge
		return
	}
	w.detach(now, e)
	e.join()
}

// giveHeld hands the recorded bytes that no serving leg has seen to a leg's own
// sender: they are sent as recorded, never as the segments that brought them.
func (w *worker) giveHeld(e *entry, l *leg) {
	end := e.rec.Next()
	fin := e.rec.FIN()
	if fin {
		end--
	}
	if n := tcb.Diff(end, l.own.End()); n > 0 {
		l.own.Append(e.rec.Bytes(l.own.End(), n))
	}
	if fin && l.own.End() == end {
		l.own.AppendFIN()
	}
}

// passAhead sends the backend what lies ahead of a hole: S may have been told by
// SACK that it came, and what was SACKed is never dropped.
func (w *worker) passAhead(e *entry, l *leg, rec *record.Record) {
	rec.Pieces(func(seq tcb.Seq, data []byte) {
		for len(data) > 0 && seq.LessThan(l.Srv.SndEdge) {
			n := min(len(data), l.room()-12, tcb.Diff(l.Srv.SndEdge, seq))
			w.own = wire.Segment{Seq: seq, Payload: data[:n]}
			w.fillServing(e, l)
			w.toServing(l, &w.own)
			seq, data = seq.Add(tcb.Size(n)), data[n:]
		}
	})
}

// passTail sends S what the backend has said beyond the record. What S has no
// room for now the backend sends again: it was not acknowledged.
func (w *worker) passTail(now time.Time, e *entry, m *replay.Machine) {
	l := e.back
	seq, data, fin := m.Swallowed(), m.Tail(), m.TailFIN()
	for len(data) > 0 || fin {
		n := min(len(data), int(e.cli.MSS)-12, max(0, tcb.Diff(e.cli.SndEdge, seq+tcb.Seq(l.SeqDelta))))
		if n == 0 && len(data) > 0 {
			return
		}
		w.seg = wire.Segment{
			Seq: seq, Flags: wire.ACK | wire.PSH, Ack: l.Srv.SndUna, DF: true,
			Wnd: uint16(tcb.Diff(l.Srv.SndEdge, l.Srv.SndUna) >> l.Srv.SndShift), Payload: data[:n],
		}
		if fin && n == len(data) {
			w.seg.Flags |= wire.FIN
			fin = false
		}
		w.seg.Opts.HasTS, w.seg.Opts.TSVal, w.seg.Opts.TSEcr = l.Srv.TS, l.Srv.TSRecent, e.cli.TSRecent
		w.builtServing(now, e, l, &w.seg)
		seq, data = seq.Add(tcb.Size(n)), data[n:]
		if e.gone {
			return
		}
	}
}

// rollBack ends a switch that did not come off: the flow is the decoy's, as it
// always was for S. The verdict is to stay, or a stream rule that stays true
// would replay for ever.
func (w *worker) rollBack(now time.Time, e *entry, result string) {
	var m *replay.Machine
	if e.back != nil {
		if m = e.back.open; m != nil && m.Result() != replay.Refused && m.Result() != replay.Reset {
			m.Abort()
		}
		w.freeLeg(now, e, e.back)
	}
	w.reportSwitch(now, e, result, m)
	w.switched(e)
	e.back = nil
	e.phase, e.held, e.final = Answering, false, true
	e.nextJudge = 0
	e.judgeAll()
	if e.gate != nil {
		e.gate.Release()
	}
	if e.dec == nil {
		w.openDecoy(now, e)
	}
	w.feed(now, e)
}

// freeLeg gives up a backend leg's key and its share of the backend.
func (w *worker) freeLeg(now time.Time, e *entry, l *leg) {
	w.g.flows.Unbind(&l.node)
	l.b.flows.Add(-1)
	if l.b.Mode == NAT {
		w.g.nat.give(l.src(), now)
	}
}

func (w *worker) reportSwitch(now time.Time, e *entry, result string, m *replay.Machine) {
	s := Switched{
		Backend: e.sw.backend.Name, Result: result,
		ClientBytes: e.sw.clientBytes, DecoyBytes: int(e.sw.written),
		Duration: now.Sub(e.sw.began), Turn: -1, Offset: -1,
	}
	if e.back != nil {
		s.Addr = e.back.dst()
		s.Leg = [2]netip.AddrPort{e.back.src(), e.back.dst()}
	}
	if m != nil {
		s.Executed = m.Executed()
		if m.Result() == replay.Mismatch {
			s.Turn, s.Offset = m.Mismatch().Turn, m.Mismatch().Offset
			s.Decoy, s.Peer = m.Mismatch().Decoy, m.Mismatch().Peer
		}
	}
	w.g.seen.Switch(now, e.info(), s)
}
