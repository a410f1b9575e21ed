package memory

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// client is what is remembered of one. Its shard's lock guards it.
type client struct {
	key      key
	first    stamp   // when its first connection began; 0: it had none
	last     stamp   // when it was last here
	switched stamp   // when one of its connections was last switched; 0: never
	conns    history // when they began
	packets  history
	tags     []tag
	counts   []count

	older, newer *client
}

// tag is a word that a client bears for a time.
type tag struct {
	name  string
	until stamp
}

// count is how often something happened to a client in one window.
type count struct {
	what  uint64
	until stamp
	n     uint32
}

const (
	maxTags    = 16  // of a client; the one that ends first goes
	maxTagName = 64  // bytes
	maxCounts  = 64  // of a client; the one that ends first goes
	maxPackets = 512 // of one connection that are counted
)

func (c *client) link(head *client) {
	c.older, c.newer = head.older, head
	c.older.newer, head.older = c, c
}

func (c *client) unlink() { c.older.newer, c.newer.older = c.newer, c.older }

func stampOf(t time.Time) stamp { return stamp(t.UnixMilli()) }

func (s stamp) time() time.Time { return time.UnixMilli(int64(s)).UTC() }

func within(d time.Duration) stamp { return stamp(d / time.Millisecond) }

// Begin remembers that a connection of a client has begun.
func (m *Memory) Begin(now time.Time, src netip.Addr) {
	at := stampOf(now)
	m.note(at, src, func(c *client) {
		if c.first == 0 {
			c.first, c.conns.whole = at, at
		}
		c.last = at
		c.conns.expire(at - within(m.cfg.Keep))
		c.packets.expire(at - within(m.cfg.Keep))
		c.conns.add(at)
	})
}

// End remembers how many packets a connection's client had sent when it was judged,
// and the hashes of what it said.
func (m *Memory) End(now time.Time, src netip.Addr, packets int, payloads []uint64) {
	at := stampOf(now)
	if packets > 0 {
		m.note(at, src, func(c *client) {
			for range min(packets, maxPackets) {
				c.packets.add(at)
			}
		})
	}
	for _, h := range payloads {
		m.learn(at, h)
	}
}

// Switch remembers that a connection of a client was switched.
func (m *Memory) Switch(now time.Time, src netip.Addr) {
	at := stampOf(now)
	m.note(at, src, func(c *client) { c.switched = at })
}

// Conns is how many connections of a client, other than the one that began then, have
// begun within a time.
func (m *Memory) Conns(now, began time.Time, src netip.Addr, window time.Duration) (n int) {
	m.look(src, func(c *client) { n = c.conns.since(stampOf(now)-within(window), stampOf(began)) })
	return n
}

// Packets is how many packets were noted by End within a time.
func (m *Memory) Packets(now time.Time, src netip.Addr, window time.Duration) (n int) {
	m.look(src, func(c *client) { n = c.packets.since(stampOf(now)-within(window), -1) })
	return n
}

// FirstSeen is how long ago a client's first connection began; 0: it is the one that
// began then.
func (m *Memory) FirstSeen(now, began time.Time, src netip.Addr) (ago time.Duration) {
	m.look(src, func(c *client) {
		if c.first != 0 && c.first < stampOf(began) {
			ago = now.Sub(c.first.time())
		}
	})
	return ago
}

// Switched reports whether a connection of a client was switched within a time.
func (m *Memory) Switched(now time.Time, src netip.Addr, window time.Duration) (yes bool) {
	m.look(src, func(c *client) { yes = c.switched != 0 && c.switched >= stampOf(now)-within(window) })
	return yes
}

// Tagged reports whether a client bears a tag.
func (m *Memory) Tagged(now time.Time, src netip.Addr, name string) (yes bool) {
	at := stampOf(now)
	m.look(src, func(c *client) {
		for i := range c.tags {
			yes = yes || c.tags[i].name == name && at < c.tags[i].until
		}
	})
	return yes
}

// Tag gives a client a tag until some time, which may be earlier than before.
func (m *Memory) Tag(now time.Time, src netip.Addr, name string, until time.Time) error {
	switch {
	case !src.IsValid():
		return fmt.Errorf("a tag needs an address")
	case name == "" || len(name) > maxTagName:
		return fmt.Errorf("a tag's name has 1 to %d bytes", maxTagName)
	}
	at := stampOf(now)
	m.note(at, src, func(c *client) {
		c.last = max(c.last, at)
		c.tags = slices.DeleteFunc(c.tags, func(t tag) bool { return t.name == name || t.until <= at })
		if stampOf(until) <= at {
			return
		}
		if len(c.tags) == maxTags {
			c.tags = dropFirst(c.tags, func(t tag) stamp { return t.until })
			m.forgotten[tagsFull].Add(1)
		}
		c.tags = append(c.tags, tag{name, stampOf(until)})
	})
	return nil
}

func (c *client) tagged(now stamp) bool {
	return slices.ContainsFunc(c.tags, func(t tag) bool { return now < t.until })
}

// Count counts that something happened to a client, and says how often it has in the
// window that began when it first did; before is how often it had in the last one,
// where a new one begins.
func (m *Memory) Count(now time.Time, src netip.Addr, what uint64, window time.Duration) (n, before int) {
	at := stampOf(now)
	m.note(at, src, func(c *client) {
		c.last = max(c.last, at)
		i := slices.IndexFunc(c.counts, func(w count) bool { return w.what == what })
		switch {
		case i < 0 && len(c.counts) == maxCounts:
			c.counts = dropFirst(c.counts, func(w count) stamp { return w.until })
			m.forgotten[countsFull].Add(1)
			fallthrough
		case i < 0:
			i = len(c.counts)
			c.counts = append(c.counts, count{what: what, until: at + within(window)})
		case c.counts[i].until <= at:
			before = int(c.counts[i].n)
			c.counts[i] = count{what: what, until: at + within(window)}
		}
		c.counts[i].n++
		n = int(c.counts[i].n)
	})
	return n, before
}

// dropFirst drops what ends first.
func dropFirst[T any](all []T, until func(T) stamp) []T {
	first := 0
	for i := range all {
		if until(all[i]) < until(all[first]) {
			first = i
		}
	}
	return slices.Delete(all, first, first+1)
}
