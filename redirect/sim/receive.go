package sim

import (
	"bytes"
	"slices"
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Segment takes a segment from the peer.
func (h *Host) Segment(now time.Time, s *wire.Segment) {
	switch {
	case h.Reset:
	case !h.open && h.dialled:
		h.answered(now, s)
	case !h.open && h.irs == 0:
		h.asked(now, s)
	case !h.open && s.Flags.Has(wire.SYN) && s.Seq == h.irs:
		h.sendSYN(now, wire.SYN|wire.ACK)
	default:
		h.synchronised(now, s)
	}
}

// asked takes a SYN (RFC 9293, section 3.10.7.2).
func (h *Host) asked(now time.Time, s *wire.Segment) {
	if s.Flags&(wire.SYN|wire.ACK|wire.RST) != wire.SYN {
		return
	}
	h.agree(s)
	h.nxt, h.top = h.cfg.ISS+1, h.cfg.ISS+1
	h.sendSYN(now, wire.SYN|wire.ACK)
	h.due = now.Add(h.rto)
}

// answered takes a SYN-ACK (RFC 9293, section 3.10.7.3).
func (h *Host) answered(now time.Time, s *wire.Segment) {
	if s.Flags.Has(wire.RST) {
		if s.Flags.Has(wire.ACK) && s.Ack == h.cfg.ISS+1 {
			h.Reset = true
		}
		return
	}
	if !s.Flags.Has(wire.SYN|wire.ACK) || s.Ack != h.cfg.ISS+1 {
		return
	}
	h.agree(s)
	h.established(now, s.Ack.Add(tcb.Size(s.Wnd)))
	h.ack(now)
	h.push(now)
}

func (h *Host) agree(s *wire.Segment) {
	o := &s.Opts
	h.irs, h.rcv, h.announced = s.Seq, s.Seq+1, s.Seq+1
	if h.cfg.WndShift >= 0 && o.HasWndShift {
		h.sndShift, h.rcvShift = o.WndShift, uint8(h.cfg.WndShift)
	} else {
		h.cfg.WndShift = -1
	}
	h.sack = h.cfg.SACK && o.SACKPermitted
	h.hasTS = h.cfg.TS && o.HasTS
	h.recent, h.lastTS = o.TSVal, o.TSVal
	if o.HasMSS {
		h.peerMSS = int(o.MSS)
	}
	h.lastEdge = h.rcv
}

func (h *Host) established(now time.Time, edge tcb.Seq) {
	h.open = true
	h.una = h.cfg.ISS + 1
	h.edge = edge
	h.rto, h.due = firstRTO, time.Time{}
}

// synchronised takes a segment once both numbers are known.
func (h *Host) synchronised(now time.Time, s *wire.Segment) {
	if !h.check(now, s) {
		return
	}
	if s.Flags.Has(wire.RST) {
		if s.Seq == h.rcv {
			h.Reset = true
		}
		return
	}
	if s.Flags.Has(wire.SYN) {
		h.ack(now)
		return
	}
	if !h.open {
		if s.Ack != h.cfg.ISS+1 && !(h.cfg.ISS + 1).LessThan(s.Ack) {
			return
		}
		h.established(now, s.Ack.Add(tcb.Size(s.Wnd)<<h.sndShift))
	}
	h.acknowledged(now, s)
	h.data(now, s)
	h.push(now)
}

// check drops what Linux drops, and notes what a peer must not send.
func (h *Host) check(now time.Time, s *wire.Segment) bool {
	if h.hasTS && !s.Flags.Has(wire.RST) {
		if !s.Opts.HasTS {
			h.fault("a segment without timestamps after they were negotiated (RFC 7323, 3.2)")
			return false
		}
		if h.cfg.Strict && tcb.TSLess(s.Opts.TSVal, h.lastTS) {
			h.fault("TSval fell from %d to %d", h.lastTS, s.Opts.TSVal)
		}
		h.lastTS = s.Opts.TSVal
		if tcb.TSLess(s.Opts.TSVal, h.recent) { // RFC 7323, section 5.3
			h.ack(now)
			return false
		}
		// Linux drops an acknowledgement of its SYN-ACK with any other echo.
		if now := h.stamp(now); tcb.TSLess(now, s.Opts.TSEcr) || tcb.TSLess(s.Opts.TSEcr, h.firstTS) {
			h.fault("TSecr %d was never sent (first %d, now %d)", s.Opts.TSEcr, h.firstTS, now)
			return false
		}
	}
	if !h.hasTS && s.Opts.HasTS {
		h.fault("timestamps that were not negotiated")
	}
	if !h.sack && s.Opts.NumSACK > 0 {
		h.fault("SACK blocks that were not negotiated")
	}
	for _, b := range s.Opts.Blocks() {
		if h.top.LessThan(b.End) || !b.Start.LessThan(b.End) || b.Start.LessThan(h.cfg.ISS+1) {
			h.fault("SACK block [%d, %d) of what was never sent (SND.NXT %d)", b.Start, b.End, h.top)
		}
	}
	room := int(h.cfg.MSS) - s.Opts.Size(false)
	if len(s.Payload) > room && !h.cfg.AnyLength {
		h.fault("%d bytes of payload where the MSS leaves %d", len(s.Payload), room)
	}
	if s.Len() == 0 && h.announced.LessThan(s.Seq) {
		h.fault("an acknowledgement at %d, beyond the window's edge %d", s.Seq, h.announced)
		h.ack(now)
		return false
	}
	if h.announced.LessThan(s.End()) && s.Seq != h.announced && s.Len() > 0 {
		h.fault("data [%d, %d) beyond the window's edge %d", s.Seq, s.End(), h.announced)
		h.ack(now)
		return false
	}
	if s.End().LessThan(h.rcv) || s.Len() > 0 && !h.rcv.LessThan(s.End()) {
		if len(s.Payload) > 0 {
			h.Repeats++
		}
		if !s.Flags.Has(wire.SYN) { // whose window is not scaled (RFC 7323, section 2.2)
			h.acknowledged(now, s)
			h.push(now)
		}
		h.ack(now)
		return false
	}
	if s.Flags.Has(wire.ACK) && h.top.LessThan(s.Ack) && h.open {
		h.fault("ACK %d of what was never sent (SND.NXT %d)", s.Ack, h.top)
		return false
	}
	if h.hasTS && !h.rcv.LessThan(s.Seq) {
		h.recent = s.Opts.TSVal
	}
	return true
}

// acknowledged takes acknowledgement and window.
func (h *Host) acknowledged(now time.Time, s *wire.Segment) {
	if !s.Flags.Has(wire.ACK) || h.top.LessThan(s.Ack) {
		return
	}
	edge := s.Ack.Add(tcb.Size(s.Wnd) << h.sndShift)
	if h.cfg.Strict && edge.LessThan(h.edge) && tcb.Diff(h.edge, edge) >= 1<<h.sndShift && !s.Ack.LessThan(h.una) {
		h.fault("edge retracted by %d, from %d to %d", tcb.Diff(h.edge, edge), h.edge, edge)
	}
	h.edge = tcb.Max(h.edge, edge)
	n := tcb.Diff(s.Ack, h.una)
	if n <= 0 {
		if n == 0 && s.Len() == 0 && h.una != h.top && edge == h.lastEdge {
			if h.dups++; h.dups == 3 {
				h.nxt, h.cwnd = h.una, 4
			}
		}
		h.lastEdge = edge
		return
	}
	h.lastEdge = edge
	if n > len(h.buf) {
		h.finAcked = h.finSent
		h.buf = nil
	} else {
		h.buf = h.buf[n:]
	}
	h.una = s.Ack
	h.nxt = tcb.Max(h.nxt, h.una)
	h.dups, h.rto, h.due = 0, firstRTO, time.Time{}
	h.cwnd = min(h.cwnd+2, 1000)
}

// data takes the payload, in order or ahead of a hole.
func (h *Host) data(now time.Time, s *wire.Segment) {
	if s.Len() == 0 {
		return
	}
	if h.PeerFIN && s.Len() > 0 {
		h.ack(now)
		return
	}
	h.pieces = append(h.pieces, piece{s.Seq, append([]byte(nil), s.Payload...), s.Flags.Has(wire.FIN)})
	for h.take() {
	}
	if len(h.pieces) > 64 {
		h.pieces = h.pieces[1:]
	}
	if h.cfg.Slow == 0 {
		h.Read(now)
	} else if h.readAt.IsZero() {
		h.readAt = now.Add(time.Millisecond)
	}
	h.ack(now)
}

func (p *piece) block() wire.Block {
	return wire.Block{Start: p.seq, End: p.seq.Add(tcb.Size(len(p.data)))}
}

// report writes the SACK blocks, the one with the newest segment first; pieces
// that touch are one block (RFC 2018, section 4).
func (h *Host) report(o *wire.Options) {
	for i := len(h.pieces) - 1; i >= 0; i-- {
		b := h.pieces[i].block()
		for range h.pieces {
			for j := range h.pieces {
				if p := h.pieces[j].block(); !b.End.LessThan(p.Start) && !p.End.LessThan(b.Start) {
					b.Start, b.End = tcb.Min(b.Start, p.Start), tcb.Max(b.End, p.End)
				}
			}
		}
		if b.Start != b.End && !slices.Contains(o.Blocks(), b) {
			o.AddBlock(b)
		}
	}
}

func (h *Host) take() bool {
	for i, p := range h.pieces {
		skip := tcb.Diff(h.rcv, p.seq)
		if skip < 0 || h.PeerFIN {
			continue
		}
		h.pieces = append(h.pieces[:i], h.pieces[i+1:]...)
		if skip <= len(p.data) {
			h.pending = append(h.pending, p.data[skip:]...)
			h.unread = len(h.pending)
			h.rcv = h.rcv.Add(tcb.Size(len(p.data) - skip))
			if p.fin {
				h.PeerFIN = true
				h.rcv++
			}
		}
		return true
	}
	return false
}

// Read lets the application read; it reports whether it got something.
func (h *Host) Read(time.Time) bool {
	return h.read(len(h.pending))
}

// readSlowly reads as much as a slow application does in a millisecond.
func (h *Host) readSlowly(now time.Time) {
	h.read(min(len(h.pending), h.cfg.Slow))
	if len(h.pending) > 0 {
		h.readAt = now.Add(time.Millisecond)
	}
}

func (h *Host) read(n int) bool {
	h.Got = append(h.Got, h.pending[:n]...)
	h.pending = h.pending[n:]
	h.unread = len(h.pending)
	return n > 0
}

// Equal reports whether the application has read exactly want.
func (h *Host) Equal(want []byte) bool { return bytes.Equal(h.Got, want) }
