package suricata

import "time"

// maxCounters bounds what a Counters remembers; the oldest go first, about.
const maxCounters = 1 << 16

// Counters is a Memory. Its owner guards it. The zero value is ready.
type Counters struct {
	windows map[Key]window
}

type window struct {
	until time.Time
	n     int
}

// Count is Memory's.
func (c *Counters) Count(now time.Time, key Key, length time.Duration) int {
	w, ok := c.windows[key]
	if !ok || !now.Before(w.until) {
		if !ok {
			c.makeRoom(now)
		}
		w = window{until: now.Add(length)}
	}
	w.n++
	c.windows[key] = w
	return w.n
}

// makeRoom forgets a window where there are too many: one that is over, if one of a
// few that it looks at is, else the one that ends first.
func (c *Counters) makeRoom(now time.Time) {
	if c.windows == nil {
		c.windows = map[Key]window{}
	}
	if len(c.windows) < maxCounters {
		return
	}
	var oldest Key
	var until time.Time
	looked := 0
	for k, w := range c.windows {
		if looked == 0 || w.until.Before(until) {
			oldest, until = k, w.until
		}
		if looked++; looked == 16 || !now.Before(w.until) {
			break
		}
	}
	delete(c.windows, oldest)
}
