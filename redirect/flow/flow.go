// Package flow is the table of live flows: a key for each leg, one entry,
// bounded in all and for each client.
//
// An entry brings the table's own room with it, so that a look-up touches what
// its caller touches anyway: a Member for its client leg, a Node for each serving
// leg. The table adds a cache line for seven keys, and a slot for each client.
package flow

import (
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"sleight/stack/tcb"
)

// Key names a leg as its peer's segments do: the socket pair, the side and the
// door that they come through.
type Key struct {
	Leg  tcb.Tuple
	Side tcb.Side
	Door uint8
}

// Node leads from a key to an entry. Key and Of are set before Bind or Insert and
// stay as they are from then on: look-ups read them without a lock, even a little
// after the key was taken away.
type Node[E comparable] struct {
	Key    Key
	member bool
	Of     E
}

// Member is the node of a flow's client leg, and its place among its client's
// flows and in the schedule.
type Member[E comparable] struct {
	Node[E]
	next, prev *Member[E] // of the same client, in a ring; guarded by Table.mu
	flows      int32      // in the ring, where this is its first; guarded by Table.mu
	timer      int32      // place in the schedule, from 1; guarded by Timers.mu
}

// counted reports whether the flow is one of its client's. The caller holds Table.mu.
func (m *Member[E]) counted() bool { return m.next != nil }

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

// shards is a power of two, many times the goroutines that change the table at
// once; and one shard's growth stops only those that change that shard.
const shards = 128

// Table maps the keys of both legs to one entry. It is safe for concurrent use;
// an attacker chooses the keys, so the hash is seeded.
type Table[E comparable] struct {
	cfg    Config
	seed   maphash.Seed
	shards [shards]index[E]
	turn   atomic.Uint32 // the shard that the next victim is looked for in

	mu      sync.Mutex // guards what follows; never held with a shard's lock
	flows   int
	clients [shards]clients[E]
}

// New makes an empty table. It is not pre-sized to its bound.
func New[E comparable](cfg Config) *Table[E] {
	return &Table[E]{cfg: cfg, seed: maphash.MakeSeed()}
}

func (t *Table[E]) hash(k *Key) uint64 { return maphash.Comparable(t.seed, *k) }

func (t *Table[E]) shard(h uint64) *index[E] { return &t.shards[h%shards] }

// Lookup finds the entry of a leg. It takes no lock and does not allocate.
func (t *Table[E]) Lookup(k Key) (e E, ok bool) {
	h := t.hash(&k)
	n := t.shard(h).lookup(&k, h)
	if n == nil {
		return e, false
	}
	return n.Of, true
}

// Insert adds a flow by its client leg's key and counts it to its client.
func (t *Table[E]) Insert(m *Member[E]) error {
	if err := t.admit(m); err != nil {
		return err
	}
	m.member = true
	if t.put(&m.Node) != nil {
		t.dismiss(m)
		return ErrTaken
	}
	return nil
}

// Bind adds one more key for a live flow. It reports false if the key belongs
// to another.
func (t *Table[E]) Bind(n *Node[E]) bool {
	old := t.put(n)
	return old == nil || old.Of == n.Of
}

// put sets a free key; else it returns whose it is.
func (t *Table[E]) put(n *Node[E]) (owner *Node[E]) {
	h := t.hash(&n.Key)
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(n, h, t.hash)
}

// Unbind takes a key away that Bind has added.
func (t *Table[E]) Unbind(n *Node[E]) {
	if !n.member {
		t.take(n)
	}
}

// Remove takes a flow away that Insert has added.
func (t *Table[E]) Remove(m *Member[E]) {
	if t.take(&m.Node) {
		t.dismiss(m)
	}
}

func (t *Table[E]) take(n *Node[E]) bool {
	h := t.hash(&n.Key)
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take(n, h, t.hash)
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
		s.mu.Lock()
		n += s.keys
		s.mu.Unlock()
	}
	return n
}

// Each calls f with every flow, by its client leg's key. f may change the table.
func (t *Table[E]) Each(f func(E)) {
	for i := range t.shards {
		for _, e := range t.Part(i) {
			f(e)
		}
	}
}

// Parts is how many parts the table can be walked in.
func (t *Table[E]) Parts() int { return len(t.shards) }

// Part is the flows of one part. Only what changes that part waits for it.
func (t *Table[E]) Part(i int) []E { return t.shards[i].all() }

func (s *index[E]) all() (es []E) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.each(func(n *Node[E]) bool {
		if n.member {
			es = append(es, n.Of)
		}
		return true
	})
	return es
}
