package sim

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"sleight/stack/wire"
)

// World is virtual time: events in order, nothing between them.
type World struct {
	Now    time.Time
	Rand   *rand.Rand
	events events
	n      int
}

// NewWorld begins at a fixed time, with chance from a seed.
func NewWorld(seed uint64) *World {
	return &World{Now: time.Unix(1_700_000_000, 0), Rand: rand.New(rand.NewPCG(seed, seed^0x9e3779b9))}
}

type event struct {
	at time.Time
	n  int
	f  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }

// Push and Pop are heap.Interface's.
func (e *events) Push(x any) { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

// After runs f once d has passed.
func (w *World) After(d time.Duration, f func()) {
	w.n++
	heap.Push(&w.events, event{w.Now.Add(d), w.n, f})
}

// Run lets time pass until done says so, nothing is left to happen, or limit is
// over. It reports whether done said so.
func (w *World) Run(limit time.Duration, done func() bool) bool {
	end := w.Now.Add(limit)
	for len(w.events) > 0 {
		if done() {
			return true
		}
		if w.events[0].at.After(end) {
			w.Now = end
			return false
		}
		e := heap.Pop(&w.events).(event)
		w.Now = e.at
		e.f()
	}
	return done()
}

// Fault is how a wire treats packets: chances in 0..1.
type Fault struct {
	Lose, Duplicate, Reorder, Flip float64
	Delay, Jitter                  time.Duration
}

// Link is one direction of a wire. It carries whole IP packets.
type Link struct {
	w    *World
	f    Fault
	to   func(pkt []byte)
	last time.Time // of the newest delivery: order is kept but for Reorder
	Sent int
	Lost int
	// Trace, if set, is told of every packet that is sent.
	Trace func(now time.Time, pkt []byte)
	// Drop, if set, loses the packets that it names by their number, from 1.
	Drop func(n int) bool
}

// NewLink makes a wire that ends in to.
func NewLink(w *World, f Fault, to func(pkt []byte)) *Link { return &Link{w: w, f: f, to: to} }

// Send puts a packet on the wire; it is copied.
func (l *Link) Send(pkt []byte) {
	l.Sent++
	if l.Trace != nil {
		l.Trace(l.w.Now, pkt)
	}
	if l.Drop != nil && l.Drop(l.Sent) || l.w.Rand.Float64() < l.f.Lose {
		l.Lost++
		return
	}
	l.carry(pkt)
	if l.w.Rand.Float64() < l.f.Duplicate {
		l.carry(pkt)
	}
}

func (l *Link) carry(pkt []byte) {
	b := append([]byte(nil), pkt...)
	if l.w.Rand.Float64() < l.f.Flip {
		b[l.w.Rand.IntN(len(b))] ^= 1 << l.w.Rand.IntN(8)
	}
	at := l.w.Now.Add(l.f.Delay)
	if l.f.Jitter > 0 {
		at = at.Add(time.Duration(l.w.Rand.Int64N(int64(l.f.Jitter))))
	}
	if l.w.Rand.Float64() < l.f.Reorder {
		at = at.Add(l.f.Delay/2 + time.Millisecond)
	} else if at.Before(l.last) {
		at = l.last
	}
	if l.last.Before(at) {
		l.last = at
	}
	l.w.After(at.Sub(l.w.Now), func() { l.to(b) })
}

// SendSegment builds a segment and puts it on the wire.
func (l *Link) SendSegment(s *wire.Segment) {
	buf := make([]byte, wire.MaxHeader+len(s.Payload))
	l.Send(wire.Build(buf, s))
}

// Drive calls advance every tick.
func (w *World) Drive(tick time.Duration, advance func(time.Time)) {
	var step func()
	step = func() {
		advance(w.Now)
		w.After(tick, step)
	}
	w.After(0, step)
}
