package scripted

import (
	"net/netip"
	"testing"
	"time"

	"sleight/stack/wire"
)

// Server waits for a SYN to a port that no End of the host has, and is the end that has received it
// and not answered yet.
func (h *Host) Server(t testing.TB, port uint16) (*End, wire.Segment) {
	t.Helper()
	at := netip.AddrPortFrom(h.Addr, port)
	deadline := time.Now().Add(patience)
	for {
		for from, segs := range h.queue[at] {
			for len(segs) > 0 && !h.isNew(&segs[0]) {
				segs = segs[1:]
			}
			h.queue[at][from] = segs
			if len(segs) > 0 {
				e := &End{TB: t, h: h, Local: at, Remote: from, ISS: 0x7fffff00, Wnd: 501, SYNWnd: 65160, Opts: DefaultOpts, TTL: 64}
				syn := segs[0]
				h.queue[at][from] = segs[1:]
				h.taken[syn.Tuple()] = syn.Seq
				e.meet(&syn)
				return e, syn
			}
		}
		left := time.Until(deadline)
		if left <= 0 {
			t.Fatalf("%v waits for a SYN", at)
		}
		h.pump(left)
	}
}

// isNew knows a SYN that is no copy of the last one of its connection.
func (h *Host) isNew(s *wire.Segment) bool {
	if s.Flags&(wire.SYN|wire.ACK|wire.RST) != wire.SYN {
		return false
	}
	isn, again := h.taken[s.Tuple()]
	return !again || isn != s.Seq
}

// SYNACK answers the SYN.
func (e *End) SYNACK() {
	e.Helper()
	s := e.Segment(wire.SYN|wire.ACK, 0, "")
	ts := s.Opts
	s.Opts, s.Wnd = e.Opts, e.SYNWnd
	s.Opts.HasTS, s.Opts.TSVal, s.Opts.TSEcr = e.useTS, ts.TSVal, ts.TSEcr
	e.Put(s)
	e.Sent = 1
}

// Accept completes a handshake as the server; the peer's ACK may come with data.
func (h *Host) Accept(t testing.TB, port uint16) *End {
	t.Helper()
	e, _ := h.Server(t, port)
	e.SYNACK()
	return e
}
