// Package memory is what rules remember between flows: of each client and of what was
// said, bounded, kept over a restart. It knows no clock; its look-ups are made while a
// flow is locked, so they lock briefly and allocate nothing.
package memory

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Config is how much is remembered.
type Config struct {
	Clients  int           // at most; beyond, the one that was away for the longest goes. 0: 65536
	Payloads int           // beginnings of payloads, at most; the oldest half goes. 0: 1048576
	Keep     time.Duration // what is older is forgotten. 0: 30 days
	PrefixV4 int           // bits of an address that are one client; 0: 32
	PrefixV6 int           // 0: 64
	Secret   uint64        // of what is remembered of payloads, until a file brings its own
}

// Memory remembers. Any goroutine may use it.
type Memory struct {
	cfg    Config
	seed   maphash.Seed
	secret atomic.Uint64
	shards []shard
	said   [saidShards]said
	writes atomic.Uint64 // changes so far
	saved  uint64        // of writes, that are in the file; Save's

	forgotten [reasons]atomic.Uint64
}

// Why something was forgotten before its time.
const (
	clientsFull = iota
	payloadsFull
	tagsFull
	countsFull
	reasons
)

var reasonNames = [reasons]string{"memory_clients_full", "memory_payloads_full", "memory_tags_full", "memory_counts_full"}

// key is a client: its prefix, of IPv4 as it is mapped into IPv6.
type key [16]byte

// manyShards is among how many locks the clients of a memory of some size are spread.
const manyShards = 64

// shard is some of the clients.
type shard struct {
	mu      sync.Mutex
	clients map[key]*client
	ring    client // its head: before it, as older, is the latest, behind it the one to go
	max     int
}

// New makes a memory without anything in it.
func New(cfg Config) *Memory {
	def := func(v *int, n int) {
		if *v == 0 {
			*v = n
		}
	}
	def(&cfg.Clients, 1<<16)
	def(&cfg.Payloads, 1<<20)
	def(&cfg.PrefixV4, 32)
	def(&cfg.PrefixV6, 64)
	if cfg.Keep == 0 {
		cfg.Keep = 30 * 24 * time.Hour
	}
	n := manyShards
	if cfg.Clients < 64*manyShards {
		n = 1 // a small bound is to be exact
	}
	m := &Memory{cfg: cfg, seed: maphash.MakeSeed(), shards: make([]shard, n)}
	m.secret.Store(cfg.Secret)
	for i := range m.shards {
		s := &m.shards[i]
		s.clients, s.max = map[key]*client{}, (cfg.Clients+n-1)/n
		s.ring.older, s.ring.newer = &s.ring, &s.ring
	}
	for i := range m.said {
		m.said[i].max = max(2, cfg.Payloads/saidShards)
	}
	return m
}

// Secret is what the hashes of payloads begin with, over restarts.
func (m *Memory) Secret() uint64 { return m.secret.Load() }

// Each calls f for what was forgotten before its time, and how often.
func (m *Memory) Each(f func(reason string, n uint64)) {
	for i := range m.forgotten {
		if n := m.forgotten[i].Load(); n > 0 {
			f(reasonNames[i], n)
		}
	}
}

// keyOf is the client that an address belongs to.
func (m *Memory) keyOf(a netip.Addr) key {
	a = a.Unmap()
	bits := m.cfg.PrefixV6
	if a.Is4() {
		bits = m.cfg.PrefixV4
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return a.As16()
	}
	return p.Addr().As16()
}

// prefix is a client as an operator writes it.
func (m *Memory) prefix(k key) netip.Prefix {
	a := netip.AddrFrom16(k).Unmap()
	if a.Is4() {
		return netip.PrefixFrom(a, m.cfg.PrefixV4)
	}
	return netip.PrefixFrom(a, m.cfg.PrefixV6)
}

func (m *Memory) shard(k key) *shard {
	if len(m.shards) == 1 {
		return &m.shards[0]
	}
	return &m.shards[maphash.Comparable(m.seed, k)%manyShards]
}

// look calls f with a client that is remembered, under its lock.
func (m *Memory) look(src netip.Addr, f func(*client)) {
	k := m.keyOf(src)
	s := m.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients[k]; c != nil {
		f(c)
	}
}

// note calls f with a client, that is remembered from now on, under its lock.
func (m *Memory) note(now stamp, src netip.Addr, f func(*client)) {
	k := m.keyOf(src)
	s := m.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[k]
	if c == nil || c.last < now-stamp(m.cfg.Keep/time.Millisecond) && !c.tagged(now) {
		if c == nil && len(s.clients) >= s.max {
			s.remove(s.ring.newer)
			m.forgotten[clientsFull].Add(1)
		}
		if c != nil {
			s.remove(c)
		}
		c = &client{key: k, last: now}
		s.clients[k] = c
	} else {
		c.unlink()
	}
	c.link(&s.ring)
	f(c)
	m.writes.Add(1)
}

func (s *shard) remove(c *client) {
	c.unlink()
	delete(s.clients, c.key)
}
