package seam

import (
	"sort"
	"time"
)

// span is a range of positions, half-open.
type span struct{ start, end int64 }

// maxSpans bounds the ranges that are kept; beyond, the lowest gap counts as seen.
const maxSpans = 4096

// spans is a set of positions: ranges in order that do not touch.
type spans []span

// add adds a range and returns how many positions are new.
func (p *spans) add(start, end int64) int64 {
	fresh := p.missing(start, end)
	if start >= end || fresh == 0 {
		return 0
	}
	s := *p
	// [i, j) are the ranges that the new one overlaps or touches.
	i := sort.Search(len(s), func(i int) bool { return s[i].end >= start })
	j := sort.Search(len(s), func(i int) bool { return s[i].start > end })
	if i == j {
		s = append(s, span{})
		copy(s[i+1:], s[i:])
		s[i] = span{start, end}
	} else {
		s[i] = span{min(start, s[i].start), max(end, s[j-1].end)}
		s = append(s[:i+1], s[j:]...)
	}
	if len(s) > maxSpans {
		s[1].start = s[0].start
		s = append(s[:0], s[1:]...)
	}
	*p = s
	return fresh
}

// missing is how many positions of a range are not in the set.
func (p *spans) missing(start, end int64) int64 {
	n := max(0, end-start)
	for from, to := range p.parts(start, end) {
		n -= to - from
	}
	return n
}

// gaps iterates over the parts of a range that are not in the set.
func (p *spans) gaps(start, end int64) func(yield func(from, to int64) bool) {
	return func(yield func(from, to int64) bool) {
		at := start
		for a, b := range p.parts(start, end) {
			if at < a && !yield(at, a) {
				return
			}
			at = b
		}
		if at < end {
			yield(at, end)
		}
	}
}

// parts iterates over the parts of a range that are in the set.
func (p *spans) parts(start, end int64) func(yield func(from, to int64) bool) {
	return func(yield func(from, to int64) bool) {
		s := *p
		i := sort.Search(len(s), func(i int) bool { return s[i].end > start })
		for ; i < len(s) && s[i].start < end; i++ {
			if !yield(max(start, s[i].start), min(end, s[i].end)) {
				return
			}
		}
	}
}

// history keeps the newest bytes of a stream, by position.
type history struct {
	ring  []byte // its length is a power of two
	end   int64  // after the highest position kept
	limit int    // in bytes
}

// put keeps bytes for positions that have none yet.
func (h *history) put(at int64, b []byte) {
	end := at + int64(len(b))
	h.grow(end)
	h.end = max(h.end, end)
	if oldest := h.oldest(); at < oldest {
		b = b[min(int64(len(b)), oldest-at):]
		at = oldest
	}
	for len(b) > 0 {
		n := copy(h.ring[h.slot(at):], b)
		at, b = at+int64(n), b[n:]
	}
}

// grow makes room for positions up to end, as far as the limit lets it.
func (h *history) grow(end int64) {
	const first = 1 << 9
	size := max(len(h.ring), first)
	for int64(size) < end && 2*size <= h.limit {
		size *= 2
	}
	if size == len(h.ring) {
		return
	}
	grown := history{ring: make([]byte, size)}
	for at := h.oldest(); at < h.end; at++ {
		grown.ring[grown.slot(at)] = h.at(at)
	}
	h.ring = grown.ring
}

// oldest is the lowest position that may be kept.
func (h *history) oldest() int64 { return h.end - int64(len(h.ring)) }

func (h *history) slot(at int64) int64 { return at & int64(len(h.ring)-1) }

// at is the byte at a position, which must be kept.
func (h *history) at(pos int64) byte { return h.ring[h.slot(pos)] }

// differs finds the first byte of a segment that is another than was seen at its
// position before.
func (h *history) differs(at int64, b []byte, seen *spans) (index int, found bool) {
	for from, to := range seen.parts(at, at+int64(len(b))) {
		for pos := max(from, h.oldest()); pos < to; pos++ {
			if b[pos-at] != h.at(pos) {
				return int(pos - at), true
			}
		}
	}
	return 0, false
}

// moments remembers when positions were reached lately.
type moments struct {
	end  [64]int64 // each higher than the one before
	at   [64]time.Time
	n, i int
}

// add notes that everything up to a position was reached at a moment.
func (m *moments) add(end int64, at time.Time) {
	if m.n > 0 && end <= m.end[m.back(1)] {
		return
	}
	m.end[m.i], m.at[m.i] = end, at
	m.i = (m.i + 1) % len(m.end)
	m.n = min(m.n+1, len(m.end))
}

// first is when a position was reached first; false if it was not, or so long ago
// that it is forgotten and what is known came later.
func (m *moments) first(end int64) (at time.Time, ok bool) {
	for k := 1; k <= m.n && m.end[m.back(k)] >= end; k++ {
		at, ok = m.at[m.back(k)], true
	}
	return at, ok
}

// back is the index of the kth entry from the newest on.
func (m *moments) back(k int) int { return (m.i - k + len(m.end)) % len(m.end) }
