package flow

import (
	"hash/maphash"
	"net/netip"
)

// client is one prefix's flows. They stand in a list, so that one of them can be
// found among a million others' without a walk.
type client[E comparable] struct {
	flows []E     // zero values are free places
	free  []int32 // their indices
	next  int     // where the next search begins
}

func (c *client[E]) len() int { return len(c.flows) - len(c.free) }

func (c *client[E]) add(e E) int32 {
	if n := len(c.free); n > 0 {
		at := c.free[n-1]
		c.free = c.free[:n-1]
		c.flows[at] = e
		return at
	}
	c.flows = append(c.flows, e)
	return int32(len(c.flows) - 1)
}

func (c *client[E]) remove(at int32) {
	var none E
	c.flows[at] = none
	c.free = append(c.free, at)
}

// prefix is what counts as one client.
func (t *Table[E]) prefix(k Key) netip.Prefix {
	a := k.Leg.Source().Addr()
	bits := t.cfg.PrefixV6
	if a.Is4() {
		bits = t.cfg.PrefixV4
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return p
}

// admit counts a flow to its client, within the bounds.
func (t *Table[E]) admit(k Key, e E) (at int32, err error) {
	p := t.prefix(k)
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.clients[p]
	switch {
	case t.cfg.Max > 0 && t.flows >= t.cfg.Max:
		return 0, ErrFull
	case t.cfg.PerClient > 0 && c != nil && c.len() >= t.cfg.PerClient:
		return 0, ErrClientFull
	case c == nil:
		c = &client[E]{}
		t.clients[p] = c
	}
	t.flows++
	return c.add(e), nil
}

func (t *Table[E]) dismiss(k Key, at int32) {
	p := t.prefix(k)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flows--
	c := t.clients[p]
	c.remove(at)
	if c.len() == 0 {
		delete(t.clients, p)
	}
}

// evictScan bounds how many keys or flows Evict looks at: under pressure it is
// asked again and again, and must never walk the whole table.
const evictScan = 256

// Evict finds a flow that ok agrees to, of the same client as k if sameClient
// says so. It looks at a few; where it finds none, the next call looks at
// others. ok is called with no lock held.
func (t *Table[E]) Evict(k Key, sameClient bool, ok func(E) bool) (victim E, found bool) {
	var room [evictScan]E
	some := room[:0]
	if sameClient {
		some = t.someOf(t.prefix(k), some)
	} else {
		some = t.some(k, some)
	}
	for _, e := range some {
		if ok(e) {
			return e, true
		}
	}
	return victim, false
}

// someOf appends flows of one client, as many as dst has room for.
func (t *Table[E]) someOf(p netip.Prefix, dst []E) []E {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.clients[p]
	if c == nil {
		return dst
	}
	var none E
	for range min(len(c.flows), cap(dst)) {
		c.next = (c.next + 1) % len(c.flows)
		if e := c.flows[c.next]; e != none {
			dst = append(dst, e)
		}
	}
	return dst
}

// some appends flows from anywhere. Go begins to walk a map at a place drawn by
// lot, and k says with which shard.
func (t *Table[E]) some(k Key, dst []E) []E {
	start := int(maphash.Comparable(t.seed, k) % shards)
	left := cap(dst)
	for i := range shards {
		if left = t.shards[(start+i)%shards].some(left, &dst); left == 0 {
			break
		}
	}
	return dst
}

// some appends flows of at most left keys and returns how many keys are left.
func (s *shard[E]) some(left int, dst *[]E) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, v := range s.m {
		if left == 0 {
			break
		}
		left--
		if v.at != bound {
			*dst = append(*dst, v.e)
		}
	}
	return left
}
