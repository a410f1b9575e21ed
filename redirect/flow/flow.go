// Package flow is the table of live flows: a key for each leg, one entry,
// bounded in all and for each client.
package flow

import (
	"errors"
	"hash/maphash"
	"net/netip"
	"sync"

	"sleight/stack/tcb"
)

// Key names a leg as its peer's segments do: the socket pair, the side and the
// door that they come through.
type Key struct {
	Leg  tcb.Tuple
	Side tcb.Side
	Door uint8
}

// Config bounds a table.
type Config struct {
	Max       int // flows in all
	PerClient int // live flows of one client prefix
	PrefixV4  int // bits of an address that make a client
	PrefixV6  int
}

// Why a flow was not taken.
var (
	ErrFull       = errors.New("the table is full")
	ErrClientFull = errors.New("the client has too many flows")
	ErrTaken      = errors.New("the key belongs to a live flow")
)

const shards = 64

// Table maps the keys of both legs to one entry. It is safe for concurrent use;
// an attacker chooses the keys, so the hash is seeded.
type Table[E comparable] struct {
	cfg    Config
	seed   maphash.Seed
	shards [shards]shard[E]

	mu      sync.Mutex // guards what follows; never held with a shard's lock
	flows   int
	clients map[netip.Prefix]int
}

type shard[E comparable] struct {
	mu sync.RWMutex
	m  map[Key]E
}

// New makes an empty table. It is not pre-sized to its bound.
func New[E comparable](cfg Config) *Table[E] {
	t := &Table[E]{cfg: cfg, seed: maphash.MakeSeed(), clients: map[netip.Prefix]int{}}
	for i := range t.shards {
		t.shards[i].m = map[Key]E{}
	}
	return t
}

func (t *Table[E]) shard(k Key) *shard[E] {
	return &t.shards[maphash.Comparable(t.seed, k)%shards]
}

// Lookup finds the entry of a leg. It does not allocate.
func (t *Table[E]) Lookup(k Key) (E, bool) {
	s := t.shard(k)
	s.mu.RLock()
	e, ok := s.m[k]
	s.mu.RUnlock()
	return e, ok
}

// Insert adds a flow by its client leg's key and counts it to its client.
func (t *Table[E]) Insert(k Key, e E) error {
	if err := t.admit(k); err != nil {
		return err
	}
	if !t.Bind(k, e) {
		t.dismiss(k)
		return ErrTaken
	}
	return nil
}

// Bind adds one more key for a live flow. It reports false if the key belongs
// to another.
func (t *Table[E]) Bind(k Key, e E) bool {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.m[k]; ok {
		return old == e
	}
	s.m[k] = e
	return true
}

// Unbind takes a key away that Bind has added.
func (t *Table[E]) Unbind(k Key) {
	s := t.shard(k)
	s.mu.Lock()
	delete(s.m, k)
	s.mu.Unlock()
}

// Remove takes a flow away by the key that Insert added it with.
func (t *Table[E]) Remove(k Key) {
	t.Unbind(k)
	t.dismiss(k)
}

// Len is the number of flows.
func (t *Table[E]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.flows
}

// Keys is the number of keys of all flows.
func (t *Table[E]) Keys() (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		n += len(s.m)
		s.mu.RUnlock()
	}
	return n
}

// Each calls f with every flow, by its client leg's key. f may change the table.
func (t *Table[E]) Each(f func(E)) {
	for i := range t.shards {
		for _, e := range t.shards[i].all() {
			f(e)
		}
	}
}

func (s *shard[E]) all() (es []E) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for k, e := range s.m {
		if k.Side == tcb.Client {
			es = append(es, e)
		}
	}
	return es
}

// evictScan bounds how many flows Evict looks at: under pressure it is asked
// again and again, and must never walk the whole table.
const evictScan = 256

// Evict finds a flow that ok agrees to, of the same client as k if sameClient
// says so. It looks at no more than evictScan flows.
func (t *Table[E]) Evict(k Key, sameClient bool, ok func(E) bool) (victim E, found bool) {
	client := t.client(k)
	left := evictScan
	start := int(maphash.Comparable(t.seed, k) % shards)
	for i := range shards {
		s := &t.shards[(start+i)%shards]
		s.mu.RLock()
		for key, e := range s.m {
			if left--; left < 0 {
				break
			}
			if key.Side == tcb.Client && (!sameClient || t.client(key) == client) && ok(e) {
				victim, found = e, true
				break
			}
		}
		s.mu.RUnlock()
		if found || left < 0 {
			return victim, found
		}
	}
	return victim, false
}

// client is the prefix that counts as one client.
func (t *Table[E]) client(k Key) netip.Prefix {
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

func (t *Table[E]) admit(k Key) error {
	c := t.client(k)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.cfg.Max > 0 && t.flows >= t.cfg.Max:
		return ErrFull
	case t.cfg.PerClient > 0 && t.clients[c] >= t.cfg.PerClient:
		return ErrClientFull
	}
	t.flows++
	t.clients[c]++
	return nil
}

func (t *Table[E]) dismiss(k Key) {
	c := t.client(k)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flows--
	if t.clients[c]--; t.clients[c] <= 0 {
		delete(t.clients, c)
	}
}
