package redirect

import (
	"net/netip"
	"sync"
	"time"
)

const (
	natTries = 16
	// natRest is how long a port of the pool rests after its flow (RFC 9293,
	// section 3.4.2: twice the maximum segment lifetime of 2 min).
	natRest      = 4 * time.Minute
	natFirstPort = 1024
)

// natPool hands out addresses and ports in turn.
type natPool struct {
	mu      sync.Mutex
	v4, v6  natRange
	resting map[netip.AddrPort]time.Time
	order   []rested // oldest first
}

type rested struct {
	at    netip.AddrPort
	until time.Time
}

type natRange struct {
	addrs []netip.Addr
	next  int // address and port as one number
}

// maxPoolAddrs bounds the addresses of one family that are used, however large
// the prefix.
const maxPoolAddrs = 1024

func newNATPool(pool []netip.Prefix) *natPool {
	p := &natPool{resting: map[netip.AddrPort]time.Time{}}
	for _, pre := range pool {
		r := &p.v6
		if pre.Addr().Is4() {
			r = &p.v4
		}
		for a := pre.Masked().Addr(); pre.Contains(a) && len(r.addrs) < maxPoolAddrs; a = a.Next() {
			r.addrs = append(r.addrs, a)
		}
	}
	return p
}

// take returns the next address and port that does not rest.
func (p *natPool) take(is4 bool, now time.Time) (netip.AddrPort, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake(now)
	r := &p.v6
	if is4 {
		r = &p.v4
	}
	if len(r.addrs) == 0 {
		return netip.AddrPort{}, false
	}
	const ports = 65536 - natFirstPort
	for range natTries {
		n := r.next
		r.next = (r.next + 1) % (len(r.addrs) * ports)
		at := netip.AddrPortFrom(r.addrs[n%len(r.addrs)], uint16(natFirstPort+n/len(r.addrs)))
		if _, rests := p.resting[at]; !rests {
			return at, true
		}
	}
	return netip.AddrPort{}, false
}

// give lets an address and port rest. It is bounded by the pool.
func (p *natPool) give(at netip.AddrPort, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake(now)
	p.resting[at] = now
	p.order = append(p.order, rested{at, now.Add(natRest)})
}

// wake takes back what has rested long enough.
func (p *natPool) wake(now time.Time) {
	n := 0
	for n < len(p.order) && !now.Before(p.order[n].until) {
		delete(p.resting, p.order[n].at)
		n++
	}
	if p.order = p.order[n:]; len(p.order) == 0 {
		p.order = nil
	}
}
