package replay

import (
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Segment takes one segment of the peer's.
func (m *Machine) Segment(now time.Time, seg *wire.Segment) {
	switch {
	case m.state >= Done:
	case m.state == Dial:
		m.dialled(now, seg)
	case seg.Flags.Has(wire.SYN):
		m.ack() // it comes again: acknowledged, never passed on
	case seg.Flags.Has(wire.RST):
		// RFC 5961, section 3.2: exactly RCV.NXT, or a challenge.
		if seg.Seq == m.Leg.RcvNxt || seg.Seq == m.in.next() {
			m.fail(Reset)
		} else if m.Leg.InWindow(seg.Seq, seg.Seq) {
			m.ack()
		}
	case !m.Leg.InWindow(seg.Seq, seg.End()):
		m.ack()
	default:
		m.hear(now, seg)
	}
}

// hear takes an acceptable segment in the synchronised states.
func (m *Machine) hear(now time.Time, seg *wire.Segment) {
	l := &m.Leg
	if seg.Opts.HasTS {
		l.HeardTS(seg.Opts.TSVal)
	}
	if seg.Flags.Has(wire.ACK) {
		l.HeardAck(seg.Ack, seg.Wnd)
		m.send.Ack(now, l.SndUna, seg.Len() == 0)
	}
	l.HeardData(seg.End())
	if seg.Len() > 0 {
		m.in.add(seg.Seq, seg.Payload, seg.Flags.Has(wire.FIN))
	}
	before := l.SndNxt
	m.judge(now)
	if m.state == Failed {
		return
	}
	m.pump(now, false)
	if seg.Len() > 0 && l.SndNxt == before && m.owes(seg) {
		m.ack()
	}
	m.settle()
}

// owes reports whether a segment draws an acknowledgement. One that only goes on with what
// is S's to acknowledge does not: three of the same ask for what came (RFC 5681, section 3.2).
func (m *Machine) owes(seg *wire.Segment) bool {
	have, next := m.Leg.RcvNxt, m.in.next()
	return seg.Seq.LessThan(have) || next.LessThan(seg.Seq) || len(m.in.ahead) > 0 || have.LessThan(tcb.Min(next, m.limit()))
}

// begin sends the client's part of the turn that stands next.
func (m *Machine) begin(now time.Time) {
	if m.turn < len(m.cfg.Turns) {
		m.send.Append(m.cfg.Turns[m.turn].Client)
	} else {
		m.state = Drain
		m.send.Append(m.cfg.Open)
		if m.cfg.FIN {
			m.send.AppendFIN()
		}
	}
	m.pump(now, false)
	m.judge(now)
	m.settle()
}

// judge compares what the peer has answered to the turn that is under way.
func (m *Machine) judge(now time.Time) {
	if m.state != Turns || m.turn >= len(m.cfg.Turns) {
		return
	}
	t, got := m.cfg.Turns[m.turn], m.in.bytes[m.compared:]
	size, ok := m.compare(t.Answer, got)
	switch {
	case m.state == Failed:
	case ok:
		m.answered(now, m.compared+size)
	case m.in.fin:
		m.fail(Reset) // its answer will never be whole
	case m.listens() && len(got) > 0 && !m.silent:
		// The decoy has answered this turn, so the peer's silence counts from
		// its first byte on: a host that is slow to begin is not quiet.
		m.quietAt = now.Add(m.cfg.Quiet)
	}
}

// listens reports whether the peer's silence says something.
func (m *Machine) listens() bool { return m.cfg.Mode == Off || len(m.cfg.Except) > 0 }

// quieted judges what the peer has said before it fell silent.
func (m *Machine) quieted(now time.Time) {
	if m.cfg.Mode == Off {
		m.answered(now, len(m.in.bytes))
		return
	}
	m.silent = true
	m.judge(now)
	m.silent = false
}

// answered closes a turn: the inbox up to end was its answer.
func (m *Machine) answered(now time.Time, end int) {
	m.compared = end
	m.swallow = m.in.at(end)
	m.turn++
	m.quietAt = time.Time{}
	m.begin(now)
}

// settle ends the replay once the peer has acknowledged the whole record.
func (m *Machine) settle() {
	if m.state != Drain || !m.send.Empty() {
		return
	}
	m.state = Done
}

// pump sends what the window allows; probe sends one byte beyond it.
func (m *Machine) pump(now time.Time, probe bool) {
	edge := m.Leg.SndEdge
	if probe {
		edge++
	}
	room := int(m.Leg.MSS)
	if m.Leg.TS {
		room -= 12
	}
	for {
		seq, payload, fin, ok := m.send.Next(now, edge, room)
		if !ok {
			return
		}
		seg := m.fresh(wire.ACK, seq)
		if fin {
			seg.Flags |= wire.FIN
		}
		seg.Payload = payload
		if len(payload) > 0 && seg.End() == m.send.End() {
			seg.Flags |= wire.PSH
		}
		m.stamp(seg)
	}
}

// ack sends a bare acknowledgement.
func (m *Machine) ack() { m.stamp(m.fresh(wire.ACK, m.Leg.SndNxt)) }

// stamp completes a segment with acknowledgement, window, timestamps and SACK
// blocks, notes it on the leg and sends it.
func (m *Machine) stamp(seg *wire.Segment) {
	l := &m.Leg
	seg.Ack = tcb.Min(m.in.next(), m.limit())
	l.RcvNxt = tcb.Max(l.RcvNxt, seg.Ack)
	w := min(m.window()>>l.RcvShift, 0xffff)
	seg.Wnd = uint16(w)
	l.RcvEdge = tcb.Max(l.RcvEdge, seg.Ack.Add(tcb.Size(w<<l.RcvShift)))
	if l.TS {
		seg.Opts.HasTS = true
		seg.Opts.TSVal, seg.Opts.TSEcr = m.cfg.TSVal, l.TSRecent
		l.TSSent = m.cfg.TSVal
	}
	if l.SACK && len(seg.Payload) == 0 {
		m.in.blocks(&seg.Opts)
	}
	l.SndNxt = tcb.Max(l.SndNxt, seg.End())
	m.emit(seg)
}

// limit is up to where the peer may be acknowledged: what was swallowed, and
// of a turn that is under way what has been read, since all of it will be.
func (m *Machine) limit() tcb.Seq {
	if m.state == Turns && m.turn < len(m.cfg.Turns) {
		return m.in.at(m.compared + m.certain())
	}
	return m.swallow
}

// window is how much the peer may send: what is still to be swallowed, and as
// much as S has room for beyond the cut. Where nobody knows how long the peer's
// answers are, the decoy's do not count: of a shorter one the edge would move left.
func (m *Machine) window() int {
	room := max(0, m.cfg.Room)
	if m.cfg.Mode == Framed || m.cfg.Mode == Off || len(m.cfg.Except) > 0 {
		return max(room, m.cfg.Guess)
	}
	left := 0
	for i := m.turn; i < len(m.cfg.Turns); i++ {
		left += len(m.cfg.Turns[i].Answer)
	}
	got := len(m.in.bytes) - m.compared
	return max(0, left-got) + room
}
