package flow

// prefix is what counts as one client: an address with the rest cut off, IPv4
// mapped into IPv6.
type prefix [16]byte

// client is one prefix's flows: a ring, so that one of them can be found among a
// million others' without a walk.
type client[E comparable] struct {
	next *Member[E] // where the next search begins
	n    int
}

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

// admit counts a flow to its client, within the bounds.
func (t *Table[E]) admit(m *Member[E]) error {
	p := t.prefix(&m.Key)
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.clients[p]
	switch {
	case m.counted:
		return ErrTaken
	case t.cfg.Max > 0 && t.flows >= t.cfg.Max:
		return ErrFull
	case t.cfg.PerClient > 0 && c.n >= t.cfg.PerClient:
		return ErrClientFull
	}
	t.flows++
	m.counted = true
	c.add(m)
	t.clients[p] = c
	return nil
}

func (t *Table[E]) dismiss(m *Member[E]) {
	p := t.prefix(&m.Key)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flows--
	m.counted = false
	c := t.clients[p]
	if c.remove(m); c.n == 0 {
		delete(t.clients, p)
		return
	}
	t.clients[p] = c
}

// add puts a flow where the search comes last.
func (c *client[E]) add(m *Member[E]) {
	c.n++
	if c.next == nil {
		c.next, m.next, m.prev = m, m, m
		return
	}
	m.next, m.prev = c.next, c.next.prev
	m.prev.next, m.next.prev = m, m
}

func (c *client[E]) remove(m *Member[E]) {
	c.n--
	m.prev.next, m.next.prev = m.next, m.prev
	if c.next == m {
		c.next = m.next
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

// someOf appends flows of one client, as many as dst has room for.
func (t *Table[E]) someOf(p prefix, dst []E) []E {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.clients[p]
	if !ok {
		return dst
	}
	for range min(c.n, cap(dst)) {
		dst = append(dst, c.next.Of)
		c.next = c.next.next
	}
	t.clients[p] = c
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
