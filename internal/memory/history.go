package memory

import "slices"

// stamp is a time in milliseconds since 1970.
type stamp int64

// history counts what has happened in any time up to now, in little memory: the newest
// one by one, older ones in groups of two, four and so on, of which only the latest's
// time is kept (Datar, Gionis, Indyk, Motwani: Maintaining stream statistics over
// sliding windows, 2002). What it counts is exact up to perSize, and then at most one
// part in perSize too much.
type history struct {
	groups []group // the oldest first
	whole  stamp   // nothing that happened since then is missing
}

// group is the time of its latest, and how many they are, as a power of two.
type group uint64

func newGroup(at stamp, size int) group { return group(at)<<8 | group(size) }

func (g group) at() stamp { return stamp(g >> 8) }
func (g group) size() int { return int(g & 0xff) }
func (g group) n() int    { return 1 << g.size() }

const (
	perSize   = 16
	maxGroups = 7 * perSize // some 2,000; the oldest are forgotten
)

// add counts one more.
func (h *history) add(at stamp) {
	if n := len(h.groups); n > 0 {
		at = max(at, h.groups[n-1].at()) // a clock that was set back
	}
	h.groups = append(h.groups, newGroup(at, 0))
	for size := 0; ; size++ {
		first := slices.IndexFunc(h.groups, func(g group) bool { return g.size() <= size })
		if first < 0 || first+perSize >= len(h.groups) || h.groups[first+perSize].size() != size {
			break
		}
		h.groups[first] = newGroup(h.groups[first+1].at(), size+1)
		h.groups = slices.Delete(h.groups, first+1, first+2)
	}
	if len(h.groups) > maxGroups {
		h.forget(1)
	}
}

// forget drops the oldest groups.
func (h *history) forget(n int) {
	h.whole = h.groups[n-1].at() + 1
	h.groups = slices.Delete(h.groups, 0, n)
}

// expire drops what happened before a time.
func (h *history) expire(before stamp) {
	n := 0
	for n < len(h.groups) && h.groups[n].at() < before {
		n++
	}
	if n > 0 {
		h.forget(n)
	}
}

// since counts what has happened since a time, but for the one that happened at own.
func (h *history) since(from, own stamp) (n int) {
	mine := own >= h.whole
	for _, g := range h.groups {
		in := g.at() >= from
		if in {
			n += g.n()
		}
		if mine && g.at() >= own {
			mine = false
			if in {
				n--
			}
		}
	}
	return n
}
