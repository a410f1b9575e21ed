package seam

import (
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// window is S's view of the server's receive window (RFC 9293, section 3.3.1:
// SND.UNA, SND.WL1, SND.WND).
type window struct {
	met  bool
	una  tcb.Seq
	wl1  tcb.Seq
	size tcb.Size
}

// checkAck checks an acknowledgement.
func (c *checker) checkAck(f *flow, s *wire.Segment) {
	v, k := &f.server, &f.client
	if k.begun && k.nxt.LessThan(s.Ack) {
		c.found(AckUnsent, "%d, %d bytes beyond what S has sent", s.Ack, tcb.Diff(s.Ack, k.nxt))
		return
	}
	if v.ackSeen && s.Ack.LessThan(v.ackHigh) {
		if c.o.Lossless {
			c.found(AckFell, "from %d to %d", v.ackHigh, s.Ack)
		}
		return
	}
	v.ackSeen, v.ackHigh = true, s.Ack
	f.measure(s.Ack, c.now)
}

// checkEdge follows the right edge of the server's window as S's kernel does, and
// finds where it moves left. With a shift, the edge may move by less than a unit,
// since every announcement is rounded (RFC 7323, section 2.4).
//
// Linux takes a window from a segment only if it acknowledges more than before, or
// is newer than the one that brought the last window, or is as new and opens the
// window or closes it (tcp_may_update_window). Another smaller window is ignored,
// and counted.
func (c *checker) checkEdge(f *flow, s *wire.Segment) {
	w, k := &f.server.window, &f.client
	if f.Partial || !s.Flags.Has(wire.ACK) || k.nxt.LessThan(s.Ack) {
		return
	}
	shift := uint8(0)
	if f.scaled() && !s.Flags.Has(wire.SYN) {
		shift = f.server.synack.Opts.WndShift
	}
	size := tcb.Size(s.Wnd) << shift
	if !w.met {
		*w = window{met: true, una: s.Ack, wl1: s.Seq, size: size}
		return
	}
	if s.Ack.LessThan(w.una) || k.acked && s.End().LessThan(k.ack) {
		return // old: S's kernel answers it, and takes nothing from it
	}
	moved := tcb.Diff(s.Ack.Add(size), w.una.Add(w.size))
	retracts := moved <= -(1 << shift)
	if !w.takes(s, size) {
		c.count(&c.report.Stats.Unacted, retracts)
		w.una = s.Ack
		return
	}
	if retracts {
		c.found(EdgeMoved, "by %d bytes to %d; S has sent up to %d", -moved, s.Ack.Add(size), k.nxt)
	}
	*w = window{met: true, una: s.Ack, wl1: s.Seq, size: size}
}

// takes reports whether S's kernel takes a segment's window.
func (w *window) takes(s *wire.Segment, size tcb.Size) bool {
	return w.una.LessThan(s.Ack) || w.wl1.LessThan(s.Seq) ||
		w.wl1 == s.Seq && (size > w.size || size == 0)
}
