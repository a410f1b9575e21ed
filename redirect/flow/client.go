package flow

import "hash/maphash"

// prefix is what counts as one client: an address with the rest cut off, IPv4
// mapped into IPv6.
type prefix [16]byte

func (t *Table[E]) prefix(k *Key) prefix {
	a := k.Leg.Source().Addr()
	bits := t.cfg.PrefixV6
	if a.Is4() {
		bits = t.cfg.PrefixV4
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return a.As16()
	}
	return p.Addr().As16()
}

// clients finds the flows of each client by their prefix: open addressing, one slot
// for a client, and the next ones where that is taken. It is one shard of many, so that
// its growth is short. Table.mu guards it.
type clients[E comparable] struct {
	rings []*Member[E] // a flow of the client's, the first in its ring; nil: a free slot
	used  int
}

// of is the shard of a prefix.
func (t *Table[E]) of(p prefix) *clients[E] {
	return &t.clients[maphash.Comparable(t.seed, p)%shards]
}

// slot is where a client's ring is, or the free slot where it would be.
func (c *clients[E]) slot(t *Table[E], p prefix) (i int, known bool) {
	n := len(c.rings)
	if n == 0 {
		return 0, false
	}
	for i = home(maphash.Comparable(t.seed, p), n); c.rings[i] != nil; i = (i + 1) % n {
		if t.prefix(&c.rings[i].Key) == p {
			return i, true
		}
	}
	return i, false
}

// add gives a new client a slot. A quarter of them stays free, or a search would be long.
func (c *clients[E]) add(t *Table[E], p prefix, first *Member[E]) {
	if c.used >= len(c.rings)*3/4 {
		c.resize(t, c.used*2+4)
	}
	i, _ := c.slot(t, p)
	c.rings[i] = first
	c.used++
}

// take frees a slot. What stands further on because this one was taken moves up.
func (c *clients[E]) take(t *Table[E], i int) {
	c.rings[i] = nil
	c.used--
	n := len(c.rings)
	for j := (i + 1) % n; c.rings[j] != nil; j = (j + 1) % n {
		m := c.rings[j]
		c.rings[j] = nil
		k, _ := c.slot(t, t.prefix(&m.Key))
		c.rings[k] = m
	}
	if n > smallest && c.used*8 < n {
		c.resize(t, c.used*2)
	}
}

// resize moves all clients to n slots.
func (c *clients[E]) resize(t *Table[E], n int) {
	old := c.rings
	c.rings = make([]*Member[E], n)
	for _, m := range old {
		if m != nil {
			i, _ := c.slot(t, t.prefix(&m.Key))
			c.rings[i] = m
		}
	}
}

// admit counts a flow to its client, within the bounds.
func (t *Table[E]) admit(m *Member[E]) error {
	p := t.prefix(&m.Key)
	c := t.of(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	i, known := c.slot(t, p)
	switch {
	case m.counted():
		return ErrTaken
	case t.cfg.Max > 0 && t.flows >= t.cfg.Max:
		return ErrFull
	case known && t.cfg.PerClient > 0 && int(c.rings[i].flows) >= t.cfg.PerClient:
		return ErrClientFull
	}
	t.flows++
	if !known {
		m.next, m.prev, m.flows = m, m, 1
		c.add(t, p, m)
		return nil
	}
	// Where the search comes last.
	first := c.rings[i]
	first.flows++
	m.next, m.prev = first, first.prev
	m.prev.next, m.next.prev = m, m
	return nil
}

func (t *Table[E]) dismiss(m *Member[E]) {
	p := t.prefix(&m.Key)
	c := t.of(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flows--
	i, _ := c.slot(t, p)
	if n := c.rings[i].flows; n == 1 {
		c.take(t, i)
	} else {
		m.prev.next, m.next.prev = m.next, m.prev
		if c.rings[i] == m {
			c.rings[i] = m.next
		}
		c.rings[i].flows = n - 1
	}
	m.next, m.prev = nil, nil
}

// evictScan bounds how many keys or flows Evict looks at: under pressure it is
// asked again and again, and must never walk the whole table.
const evictScan = 256

// Never is the rank of what must not be evicted.
const Never = -1

// Evict finds the flow that can be spared most: the one of the lowest rank, of the
// same client as k if sameClient says so. It looks at a few; where it finds none,
// the next call looks at others. rank is called with no lock held.
func (t *Table[E]) Evict(k Key, sameClient bool, rank func(E) int) (victim E, found bool) {
	var room [evictScan]E
	some := room[:0]
	if sameClient {
		some = t.someOf(t.prefix(&k), some)
	} else {
		some = t.some(some)
	}
	best := 0
	for _, e := range some {
		r := rank(e)
		if r == Never || found && r >= best {
			continue
		}
		victim, best, found = e, r, true
		if best == 0 {
			break
		}
	}
	return victim, found
}

// someOf appends flows of one client, as many as dst has room for. The next search
// begins where this one has ended.
func (t *Table[E]) someOf(p prefix, dst []E) []E {
	c := t.of(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	i, known := c.slot(t, p)
	if !known {
		return dst
	}
	m, n := c.rings[i], c.rings[i].flows
	for range min(int(n), cap(dst)) {
		dst = append(dst, m.Of)
		m = m.next
	}
	c.rings[i], m.flows = m, n
	return dst
}

// some appends flows from anywhere, of as many keys as dst has room for.
func (t *Table[E]) some(dst []E) []E {
	start, left := int(t.turn.Add(1)), cap(dst)
	for i := 0; i < shards && left > 0; i++ {
		left = t.shards[(start+i)%shards].some(left, &dst)
	}
	return dst
}

// some appends flows of at most left keys and returns how many keys are left.
func (s *index[E]) some(left int, dst *[]E) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.each(func(n *Node[E]) bool {
		if left == 0 {
			return false
		}
		left--
		if n.member {
			*dst = append(*dst, n.Of)
		}
		return true
	})
	return left
}
