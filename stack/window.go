package stack

import "sync/atomic"

const (
	// receiveBuffer makes the first window 65,535 bytes, of which a Linux host
	// shows 65,160; half of the buffer is the netstack's overhead.
	receiveBuffer = 128 << 10
	// receiveMax is to what a flow's buffer grows: Linux's tcp_rmem.
	receiveMax = 6 << 20
)

// growth is the room that receive buffers take beyond their first size, all flows
// together.
type growth struct {
	max     int64
	used    atomic.Int64
	refused atomic.Uint64
}

func (r *growth) take(n int64) bool {
	if r.used.Add(n) <= r.max {
		return true
	}
	r.used.Add(-n)
	r.refused.Add(1)
	return false
}

// grow lets the endpoint's buffer follow what its service reads, n bytes just now
// and total in all, as a Linux host's does (tcp_moderate_rcvbuf). Where the room
// for that is used up, the flow keeps the window that it has.
func (p *Peer) grow(n int, total uint64) {
	g := p.gate
	if total <= g.decoy.cfg.GrowAfter {
		return
	}
	room, opts := &g.decoy.growth, p.ep.SocketOptions()
	before := opts.GetReceiveBufferSize()
	if before >= receiveMax || !room.take(receiveMax-before) {
		return
	}
	p.ep.ModerateRecvBuf(n)
	after := opts.GetReceiveBufferSize()
	room.used.Add(after - receiveMax)
	if !g.keepGrowth(after - before) {
		room.used.Add(before - after)
	}
}

// keepGrowth notes what Forget has to give back; false: it was called already.
func (g *Gate) keepGrowth(n int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.grown += n
	return g.phase != forgotten
}
