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

// shards is a power of two, many times the goroutines that look up at once.
const shards = 64

// Table maps the keys of both legs to one entry, which must not be E's zero
// value. It is safe for concurrent use; an attacker chooses the keys, so the
// hash is seeded.
type Table[E comparable] struct {
	cfg    Config
	seed   maphash.Seed
	shards [shards]shard[E]

	mu      sync.Mutex // guards what follows; never held with a shard's lock
	flows   int
	clients map[netip.Prefix]*client[E]
}

type shard[E comparable] struct {
	mu sync.RWMutex
	m  map[Key]slot[E]
	_  [32]byte // a cache line for each: a neighbour's lock costs nothing
}

// slot is what a key leads to.
type slot[E comparable] struct {
	e  E
	at int32 // the flow's place in its client's list; bound: the key of another leg
}

const bound = -1

// New makes an empty table. It is not pre-sized to its bound.
func New[E comparable](cfg Config) *Table[E] {
	t := &Table[E]{cfg: cfg, seed: maphash.MakeSeed(), clients: map[netip.Prefix]*client[E]{}}
	for i := range t.shards {
		t.shards[i].m = map[Key]slot[E]{}
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
	v, ok := s.m[k]
	s.mu.RUnlock()
	return v.e, ok
}

// Insert adds a flow by its client leg's key and counts it to its client.
func (t *Table[E]) Insert(k Key, e E) error {
	at, err := t.admit(k, e)
	if err != nil {
		return err
	}
	if _, ok := t.put(k, slot[E]{e, at}); !ok {
		t.dismiss(k, at)
		return ErrTaken
	}
	return nil
}

// Bind adds one more key for a live flow. It reports false if the key belongs
// to another.
func (t *Table[E]) Bind(k Key, e E) bool {
	old, ok := t.put(k, slot[E]{e, bound})
	return ok || old == e
}

// put sets a free key; else it returns whose it is.
func (t *Table[E]) put(k Key, v slot[E]) (owner E, ok bool) {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, taken := s.m[k]; taken {
		return old.e, false
	}
	s.m[k] = v
	return v.e, true
}

// Unbind takes a key away that Bind has added.
func (t *Table[E]) Unbind(k Key) {
	t.take(k, func(at int32) bool { return at == bound })
}

// Remove takes a flow away by the key that Insert added it with.
func (t *Table[E]) Remove(k Key) {
	if at, ok := t.take(k, func(at int32) bool { return at != bound }); ok {
		t.dismiss(k, at)
	}
}

// take deletes a key of the right kind.
func (t *Table[E]) take(k Key, kind func(at int32) bool) (at int32, ok bool) {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.m[k]
	if !ok || !kind(v.at) {
		return 0, false
	}
	delete(s.m, k)
	return v.at, true
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
	for _, v := range s.m {
		if v.at != bound {
			es = append(es, v.e)
		}
	}
	return es
}
