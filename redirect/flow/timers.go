package flow

import (
	"sync"
	"time"
)

// Timers says which entries' time has come. An entry stands in it at most once,
// however often it is scheduled, so it never grows beyond the live flows. It is
// safe for concurrent use.
type Timers[E comparable] struct {
	mu   sync.Mutex
	base time.Time
	q    []timer[E] // a binary heap: no timer is due before its parent, (i−1)/2
}

// NewTimers makes an empty schedule.
func NewTimers[E comparable]() *Timers[E] { return &Timers[E]{} }

type timer[E comparable] struct {
	at time.Duration // since base
	m  *Member[E]    // which knows its place, too
}

// Schedule asks for a flow to be woken at a time, which takes the place of the
// one that it was scheduled for before.
func (t *Timers[E]) Schedule(m *Member[E], at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.base.IsZero() {
		t.base = at
	}
	i := int(m.timer) - 1
	if i < 0 {
		i = len(t.q)
		t.q = append(t.q, timer[E]{})
	}
	t.settle(i, timer[E]{at.Sub(t.base), m})
}

// Cancel takes a flow off the schedule.
func (t *Timers[E]) Cancel(m *Member[E]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.timer > 0 {
		t.remove(int(m.timer) - 1)
	}
}

// Due appends the entries whose time has come, the earliest first, and takes
// them off the schedule.
func (t *Timers[E]) Due(now time.Time, dst []E) []E {
	for more := true; more; {
		dst, more = t.some(now, dst)
	}
	return dst
}

// atOnce is how many entries are taken while packets may wait for the lock.
const atOnce = 64

func (t *Timers[E]) some(now time.Time, dst []E) (_ []E, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := now.Sub(t.base)
	for range atOnce {
		if len(t.q) == 0 || at < t.q[0].at {
			return dst, false
		}
		dst = append(dst, t.q[0].m.Of)
		t.remove(0)
	}
	return dst, true
}

// Len is how many entries are scheduled.
func (t *Timers[E]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.q)
}

// remove takes out the timer at i and fills its place with the last one.
func (t *Timers[E]) remove(i int) {
	t.q[i].m.timer = 0
	end := len(t.q) - 1
	last := t.q[end]
	t.q[end] = timer[E]{}
	t.q = t.q[:end]
	if i < end {
		t.settle(i, last)
	}
}

// settle puts a timer at i, or as far up or down from there as the heap asks.
func (t *Timers[E]) settle(i int, v timer[E]) {
	for i > 0 && v.at < t.q[(i-1)/2].at {
		t.set(i, t.q[(i-1)/2])
		i = (i - 1) / 2
	}
	for {
		child := 2*i + 1
		if child+1 < len(t.q) && t.q[child+1].at < t.q[child].at {
			child++
		}
		if child >= len(t.q) || v.at <= t.q[child].at {
			break
		}
		t.set(i, t.q[child])
		i = child
	}
	t.set(i, v)
}

func (t *Timers[E]) set(i int, v timer[E]) {
	t.q[i] = v
	v.m.timer = int32(i) + 1
}
