package flow

import (
	"container/heap"
	"sync"
	"time"
)

// Timers says which entries' time has come. An entry may stand in it more than
// once; its owner looks at its own deadline when it is woken.
type Timers[E any] struct {
	mu sync.Mutex
	q  queue[E]
}

// NewTimers makes an empty schedule.
func NewTimers[E any]() *Timers[E] { return &Timers[E]{} }

type timer[E any] struct {
	at time.Time
	e  E
}

type queue[E any] []timer[E]

func (q queue[E]) Len() int           { return len(q) }
func (q queue[E]) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue[E]) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push and Pop are heap.Interface's.
func (q *queue[E]) Push(x any) { *q = append(*q, x.(timer[E])) }
func (q *queue[E]) Pop() any {
	old := *q
	n := len(old) - 1
	t := old[n]
	old[n] = timer[E]{}
	*q = old[:n]
	return t
}

// Schedule asks for e to be woken at a time.
func (t *Timers[E]) Schedule(e E, at time.Time) {
	t.mu.Lock()
	heap.Push(&t.q, timer[E]{at, e})
	t.mu.Unlock()
}

// Due appends the entries whose time has come and takes them off the schedule.
func (t *Timers[E]) Due(now time.Time, dst []E) []E {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.q) > 0 && !now.Before(t.q[0].at) {
		dst = append(dst, heap.Pop(&t.q).(timer[E]).e)
	}
	return dst
}

// Len is how many wakings are scheduled.
func (t *Timers[E]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.q)
}
