package replay

import (
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// fresh starts a segment to the peer.
func (m *Machine) fresh(flags wire.Flags, seq tcb.Seq) *wire.Segment {
	m.out = wire.Segment{
		Src: m.cfg.Src, Dst: m.cfg.Dst, TTL: m.cfg.TTL, DF: true,
		Seq: seq, Flags: flags, FlowLabel: m.cfg.FlowLabel,
	}
	return &m.out
}

// sendSYN sends the client's SYN, and sets the time to send it again (RFC 6298,
// section 2.1, but the peer is near).
func (m *Machine) sendSYN(now time.Time) {
	seg := m.fresh(wire.SYN, m.cfg.ISS)
	seg.Opts = m.cfg.Offer
	if seg.Opts.HasTS {
		seg.Opts.TSVal, seg.Opts.TSEcr = m.cfg.TSVal, 0
	}
	// A SYN's window is not scaled (RFC 7323, section 2.2).
	seg.Wnd = uint16(min(m.window(), 0xffff))
	m.Leg.SndNxt = m.cfg.ISS + 1
	m.synDue = now.Add(m.synRTO)
	m.emit(seg)
}

// dialled takes a segment in SYN-SENT (RFC 9293, section 3.10.7.3).
func (m *Machine) dialled(now time.Time, seg *wire.Segment) {
	ackOK := seg.Flags.Has(wire.ACK) && seg.Ack == m.cfg.ISS+1
	switch {
	case seg.Flags.Has(wire.ACK) && !ackOK:
		if !seg.Flags.Has(wire.RST) {
			// A challenge ACK, or another life's: reset it, and ask again.
			m.reset(seg.Ack)
			m.sendSYN(now)
		}
	case seg.Flags.Has(wire.RST):
		if ackOK {
			m.fail(Refused)
		}
	case ackOK && seg.Flags.Has(wire.SYN):
		m.opened(now, seg)
	}
}

// opened takes the SYN-ACK.
func (m *Machine) opened(now time.Time, seg *wire.Segment) {
	m.synDue = time.Time{}
	l, o := &m.Leg, &seg.Opts
	l.IRS, l.RcvNxt, l.RcvMax, l.RcvEdge = seg.Seq, seg.Seq+1, seg.Seq+1, seg.Seq+1
	l.SndUna, l.SndEdge = seg.Ack, seg.Ack.Add(tcb.Size(seg.Wnd))
	l.MSS = 536 // RFC 9293, MUST-15
	if !seg.Is4() {
		l.MSS = 1220 // RFC 9293, section 3.7.1
	}
	if o.HasMSS {
		l.MSS = max(o.MSS, minMSS)
	}
	if m.cfg.MaxMSS > 0 {
		l.MSS = min(l.MSS, m.cfg.MaxMSS)
	}
	if m.cfg.Offer.HasWndShift && o.HasWndShift {
		l.SndShift, l.RcvShift = o.WndShift, m.cfg.Offer.WndShift
	}
	l.SACK = m.cfg.Offer.SACKPermitted && o.SACKPermitted
	l.TS = m.cfg.Offer.HasTS && o.HasTS
	l.TSFirst, l.TSRecent = o.TSVal, o.TSVal
	m.swallow = l.RcvNxt
	m.in.init(l.RcvNxt)
	m.state = Turns
	// Nothing of this turn needs to be said where the server speaks first.
	m.begin(now)
	rides := m.cfg.Rides && m.state == Done && l.SndUna.LessThan(l.SndEdge)
	if !rides && !m.sentSince(l.SndUna) {
		m.ack()
	}
}

// minMSS is the least MSS that is believed: less would cost a segment a byte.
const minMSS = 88

// sentSince reports whether anything beyond seq went out.
func (m *Machine) sentSince(seq tcb.Seq) bool { return seq.LessThan(m.Leg.SndNxt) }

// reset sends RST at seq.
func (m *Machine) reset(seq tcb.Seq) { m.emit(m.fresh(wire.RST, seq)) }
