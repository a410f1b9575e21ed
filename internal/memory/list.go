package memory

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Client is what is remembered of one, for whoever lists it.
type Client struct {
	Client   netip.Prefix         `json:"client"`
	First    time.Time            `json:"first_seen,omitzero"`
	Last     time.Time            `json:"last_seen"`
	Switched time.Time            `json:"switched,omitzero"`
	Conns    int                  `json:"connections"` // that are remembered
	Tags     map[string]time.Time `json:"tags,omitempty"`
}

// List is the clients within a prefix, or all for the zero one, those who were here
// last first, and at most so many; 0: all.
func (m *Memory) List(now time.Time, in netip.Prefix, most int) (all []Client) {
	at := stampOf(now)
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for _, c := range s.clients {
			old := c.last < at-within(m.cfg.Keep) && !c.tagged(at)
			if p := m.prefix(c.key); !old && (!in.IsValid() || in.Overlaps(p)) {
				all = append(all, c.public(p, at))
			}
		}
		s.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Client) int {
		return cmp.Or(b.Last.Compare(a.Last), a.Client.Addr().Compare(b.Client.Addr()))
	})
	if most > 0 && len(all) > most {
		all = all[:most]
	}
	return all
}

func (c *client) public(p netip.Prefix, now stamp) Client {
	out := Client{Client: p, Last: c.last.time(), Conns: c.conns.since(0, -1)}
	if c.first != 0 {
		out.First = c.first.time()
	}
	if c.switched != 0 {
		out.Switched = c.switched.time()
	}
	for _, t := range c.tags {
		if now >= t.until {
			continue
		}
		if out.Tags == nil {
			out.Tags = map[string]time.Time{}
		}
		out.Tags[t.name] = t.until.time()
	}
	return out
}

// Clear forgets the clients within a prefix, or for the zero one all of them and what
// was said. It returns how many clients that were.
func (m *Memory) Clear(in netip.Prefix) (n int) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for k, c := range s.clients {
			if !in.IsValid() || in.Overlaps(m.prefix(k)) {
				s.remove(c)
				n++
			}
		}
		s.mu.Unlock()
	}
	if !in.IsValid() {
		m.clearSaid()
	}
	m.writes.Add(1)
	return n
}

func (m *Memory) clearSaid() {
	for i := range m.said {
		s := &m.said[i]
		s.mu.Lock()
		s.young, s.old = nil, nil
		s.mu.Unlock()
	}
}

// Size is how many clients, and how many beginnings of payloads, are remembered.
func (m *Memory) Size() (clients, payloads int) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		clients += len(s.clients)
		s.mu.Unlock()
	}
	for i := range m.said {
		s := &m.said[i]
		s.mu.Lock()
		payloads += len(s.young) + len(s.old)
		s.mu.Unlock()
	}
	return clients, payloads
}
