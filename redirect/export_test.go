package redirect

import "time"

// FrontLocked reports whether somebody holds the lock of the half-open records.
func (g *Gateway) FrontLocked() bool {
	if !g.frontMu.TryLock() {
		return true
	}
	g.frontMu.Unlock()
	return false
}

// Reasons are the names of all that is counted.
func Reasons() []string { return reasonNames[:] }

// Recorded is what all flows have taken of the record budget, in bytes.
func (g *Gateway) Recorded() int64 { return g.record.Used() }

// BackendFlows is how many flows are counted to a backend of the policy in force.
func (g *Gateway) BackendFlows(b int) int64 { return g.policy.Load().backends[b].flows.Load() }

// Switching is how many switches are under way.
func (g *Gateway) Switching() int64 { return g.switching.Load() }

// HalfOpen is how many handshakes are half open.
func (g *Gateway) HalfOpen() int { return g.front.Len() }

// Limits that are no setting.
const (
	KeepMax    = keepMax
	ErrorSlots = errorSlots
)

// Reader is what carries the packets of a door, with its own room.
func (g *Gateway) Reader(door int) func(now time.Time, b []byte) {
	w := newWorker(g, 0)
	return func(now time.Time, b []byte) { w.fromDoor(now, door, copy(w.buf[headroom-VnetHeader:], b)) }
}

// BackendsCounted is of how many backends flows are counted.
func (g *Gateway) BackendsCounted() int {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	return len(g.onBackend)
}

// JoinedIsEmpty reports whether what all joined flows share is as it was.
func JoinedIsEmpty() bool { return joined == (aside{}) }
