package redirect

import (
	"time"

	"sleight/rules"
	"sleight/stack/wire"
)

// tick drives every machine whose time has come.
func (w *worker) tick(now time.Time) {
	g := w.g
	for w.repeatSYNACKs(now) {
	}
	w.due = g.timers.Due(now, w.due[:0])
	for _, e := range w.due {
		w.wake(now, e)
	}
	clear(w.due) // or flows that are gone would stay in memory
}

// wake lets the time of a flow that is due pass. One that the carrier has stays with it,
// unless it has been idle there, too.
func (w *worker) wake(now time.Time, e *entry) {
	w.lock(e)
	e.scheduled = 0
	if !e.gone && w.carried(now, e) {
		w.schedule(e)
		w.letGo(e)
		return
	}
	if !e.gone {
		w.recall(e)
		w.advance(now, e)
	}
	w.unlock(now, e)
}

// repeatAtOnce is how many SYN-ACKs are sent again before others may have the
// lock of the half-open records.
const repeatAtOnce = 64

// repeatSYNACKs sends SYN-ACKs again, a few at a time. A write to a door can be
// slow: none is made with the lock held, or every new handshake would wait.
func (w *worker) repeatSYNACKs(now time.Time) (more bool) {
	g := w.g
	w.late = w.late[:0]
	g.frontMu.Lock()
	more = g.front.AdvanceSome(now, repeatAtOnce, func(seg *wire.Segment) { w.late = append(w.late, *seg) })
	g.frontMu.Unlock()
	for i := range w.late {
		pkt := wire.Build(w.out[headroom:], &w.late[i])
		w.write(0, w.queue, w.out, headroom, len(pkt))
	}
	return more
}

// deadline is when the flow wants to be looked at next.
func (w *worker) deadline(e *entry) time.Time {
	t := w.g.cfg.Timeouts
	d := w.g.time(e.heard).Add(t.Established)
	sooner := func(at time.Time) {
		if !at.IsZero() && at.Before(d) {
			d = at
		}
	}
	if e.phase == Closing {
		sooner(w.g.time(e.closing))
	} else if e.hasCliFIN || e.hasSrvFIN {
		sooner(w.g.time(e.heard).Add(t.Closing))
	}
	if !e.final {
		sooner(w.g.time(e.started).Add(t.Answering))
	}
	sooner(w.g.time(e.nextJudge))
	sooner(w.g.time(e.draining))
	sooner(w.g.time(e.delayed.due))
	if e.hand != nil {
		sooner(w.g.time(e.heard).Add(handIdle))
	}
	if e.sw != nil {
		sooner(e.sw.deadline)
	}
	for _, l := range [...]*leg{e.dec, e.back} {
		switch {
		case l == nil:
		case l.open != nil:
			sooner(l.open.Deadline())
		default:
			sooner(l.own.Deadline())
		}
	}
	return d
}

// schedule asks to be woken at the flow's deadline, unless an earlier waking is
// on its way already.
func (w *worker) schedule(e *entry) {
	d := w.deadline(e)
	if e.scheduled != 0 && w.g.at(d) >= e.scheduled {
		return
	}
	e.scheduled = w.g.at(d)
	w.g.timers.Schedule(&e.node, d)
}

// advance lets the flow's time pass.
func (w *worker) advance(now time.Time, e *entry) {
	t := w.g.cfg.Timeouts
	past := func(at time.Time) bool { return !at.IsZero() && !now.Before(at) }
	switch {
	case e.phase == Closing && past(w.g.time(e.closing)):
		w.end(now, e, e.why)
		return
	case past(w.g.time(e.heard).Add(t.Established)), e.phase != Closing && (e.hasCliFIN || e.hasSrvFIN) && past(w.g.time(e.heard).Add(t.Closing)):
		w.end(now, e, "idle")
		return
	case past(w.g.time(e.draining)):
		w.drained(now, e)
		return
	}
	if e.sw != nil && past(e.sw.deadline) {
		w.rollBack(now, e, "timeout")
	}
	if !e.final && past(w.g.time(e.started).Add(t.Answering)) {
		w.stay(now, e, rules.Verdict{}, "answering")
		w.feed(now, e)
	}
	if past(w.g.time(e.nextJudge)) {
		w.later(now, e)
	}
	if past(w.g.time(e.delayed.due)) {
		w.ackDelayed(now, e)
	}
	if e.hand != nil && past(w.g.time(e.heard).Add(handIdle)) {
		w.giveUpHand(e)
	}
	for _, l := range [...]*leg{e.dec, e.back} {
		if l != nil && !e.gone {
			w.advanceLeg(now, e, l)
		}
	}
}

// later judges again by time, or acknowledges what has been held for long.
func (w *worker) later(now time.Time, e *entry) {
	if e.held {
		w.ackHeld(now, e)
		return
	}
	w.judge(now, e)
	w.feed(now, e)
}

func (w *worker) advanceLeg(now time.Time, e *entry, l *leg) {
	if l.open != nil {
		l.open.Advance(now)
		w.opened(now, e, l)
		return
	}
	if fire, probe := l.own.Timeout(now, l.Srv.SndEdge); fire {
		w.pump(now, e, l, probe)
	}
}

// drained ends a flow whose client has not acknowledged the decoy's last bytes
// in time.
func (w *worker) drained(now time.Time, e *entry) {
	w.resetServing(e, e.back)
	w.sendReset(e, e.cli.SndNxt)
	w.end(now, e, "drain")
}
