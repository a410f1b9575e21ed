package memory

import "sync"

// saidShards is among how many locks what was said is spread.
const saidShards = 16

// said is hashes of what clients have said, in two generations: where the younger has
// half of the bound, the older goes. What is said again stays.
type said struct {
	mu    sync.Mutex
	young map[uint64]struct{}
	old   map[uint64]struct{}
	born  stamp // of the young
	max   int
}

// Known reports whether another connection has said this.
func (m *Memory) Known(h uint64) bool {
	s := &m.said[h%saidShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	_, yes := s.young[h]
	if !yes {
		_, yes = s.old[h]
	}
	return yes
}

// learn remembers a hash.
func (m *Memory) learn(now stamp, h uint64) {
	s := &m.said[h%saidShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.young[h]; ok {
		return
	}
	full := len(s.young) >= s.max/2
	if s.young == nil || full || now-s.born > within(m.cfg.Keep)/2 {
		if full && len(s.old) > 0 {
			m.forgotten[payloadsFull].Add(uint64(len(s.old)))
		}
		s.old, s.young, s.born = s.young, map[uint64]struct{}{}, now
	}
	s.young[h] = struct{}{}
	m.writes.Add(1)
}
