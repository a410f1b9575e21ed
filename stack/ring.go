package stack

import (
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"sleight/stack/wire"
)

// packetCost is what a packet in the ring is taken to cost beside its bytes.
const packetCost = 256

// ring is a bounded queue of emitted packets. Its lock is the last of all: the
// netstack appends while it holds an endpoint's lock.
type ring struct {
	limit int // in bytes, packetCost included

	mu     sync.Mutex
	filled sync.Cond
	pkts   []*stack.PacketBuffer
	head   int // first that was not fetched
	bytes  int
	drops  uint64
	closed bool
}

func newRing(limit int) *ring {
	r := &ring{limit: limit}
	r.filled.L = &r.mu
	return r
}

// add appends a packet, or drops it at the bound.
func (r *ring) add(pkt *stack.PacketBuffer) {
	cost := pkt.Size() + packetCost
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.bytes+cost > r.limit {
		r.drops++
		return
	}
	r.compact()
	r.pkts = append(r.pkts, pkt.Clone())
	r.bytes += cost
	r.filled.Signal()
}

// compact moves the queue to the front once half of it has been fetched.
func (r *ring) compact() {
	if r.head < 64 || r.head < len(r.pkts)/2 {
		return
	}
	n := copy(r.pkts, r.pkts[r.head:])
	clear(r.pkts[n:])
	r.pkts, r.head = r.pkts[:n], 0
}

// next waits for a packet and copies it to buf; false: the ring is closed.
func (r *ring) next(buf []byte) (n int, off wire.Offload, ok bool) {
	pkt := r.take()
	if pkt == nil {
		return 0, off, false
	}
	for _, b := range pkt.AsSlices() {
		n += copy(buf[n:], b)
	}
	if gso := pkt.GSOOptions; gso.Type != stack.GSONone {
		off = wire.Offload{NeedsCsum: gso.NeedsCsum, GSOSize: gso.MSS}
	}
	pkt.DecRef()
	return n, off, true
}

func (r *ring) take() *stack.PacketBuffer {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.head == len(r.pkts) && !r.closed {
		r.filled.Wait()
	}
	if r.closed {
		return nil
	}
	pkt := r.pkts[r.head]
	r.pkts[r.head] = nil
	r.head++
	r.bytes -= pkt.Size() + packetCost
	if r.head == len(r.pkts) {
		r.pkts, r.head = r.pkts[:0], 0
	}
	return pkt
}

// close wakes who waits and throws away what is queued.
func (r *ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, pkt := range r.pkts[r.head:] {
		pkt.DecRef()
	}
	r.pkts, r.head, r.bytes = nil, 0, 0
	r.filled.Broadcast()
}

func (r *ring) stats() (bytes int, drops uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes, r.drops
}
