package faulty

import (
	"container/heap"
	"time"
)

// queue holds frames until they are due; frames that are due at the same time leave as they came.
type queue struct {
	heap frameHeap
	n    uint64
}

type held struct {
	due  time.Time
	n    uint64
	data []byte
}

func (q *queue) empty() bool { return len(q.heap) == 0 }

func (q *queue) first() (time.Time, bool) {
	if q.empty() {
		return time.Time{}, false
	}
	return q.heap[0].due, true
}

func (q *queue) push(due time.Time, data []byte) {
	q.n++
	heap.Push(&q.heap, held{due, q.n, data})
}

func (q *queue) popDue(now time.Time) ([]byte, bool) {
	if q.empty() || q.heap[0].due.After(now) {
		return nil, false
	}
	return heap.Pop(&q.heap).(held).data, true
}

type frameHeap []held

func (h frameHeap) Len() int { return len(h) }

func (h frameHeap) Less(i, j int) bool {
	if !h[i].due.Equal(h[j].due) {
		return h[i].due.Before(h[j].due)
	}
	return h[i].n < h[j].n
}

func (h frameHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *frameHeap) Push(x any)   { *h = append(*h, x.(held)) }

func (h *frameHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = held{}
	*h = (*h)[:last]
	return x
}
