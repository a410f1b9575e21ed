package tuntest

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// Faults says what a link does to packets. Each rate is a probability from 0 to
// 1, rolled for each packet.
type Faults struct {
	Loss      float64
	Duplicate float64
	// Corrupt flips one bit of the IP packet, never of its header in front.
	Corrupt float64
	// Reorder lets later packets overtake: the packet takes ReorderBy longer.
	Reorder   float64
	ReorderBy time.Duration
	// Delay is how long a packet takes, at least; up to Jitter more is rolled
	// for each packet. Jitter alone does not reorder: a packet waits for those
	// before it.
	Delay, Jitter time.Duration
	// Rate in bytes per second; 0 is no limit.
	Rate int
	// Queue is how many packets the link holds; what comes on top is lost. 0 is
	// no limit.
	Queue int
}

// Stats counts what a link did.
type Stats struct {
	Sent, Lost, Duplicated, Corrupted, Reordered, Overflowed, Delivered int
}

// Link is one direction of a faulty wire in virtual time: the same seed and the
// same calls give the same faults. It is not safe for concurrent use.
type Link struct {
	faults Faults
	rng    *rand.Rand
	queue  arrivals
	last   time.Time // arrival of the latest packet that was not reordered
	free   time.Time // when the sender may put the next byte on a limited link
	sent   uint64
	stats  Stats
}

// NewLink makes a link from a seed.
func NewLink(seed uint64, f Faults) *Link {
	return &Link{faults: f, rng: rand.New(rand.NewPCG(seed, 0x736c65696768742e))}
}

// Set changes the faults of packets sent from now on.
func (l *Link) Set(f Faults) { l.faults = f }

// Stats returns what the link did so far.
func (l *Link) Stats() Stats { return l.stats }

// Send puts a copy of a packet on the link.
func (l *Link) Send(now time.Time, p Packet) {
	l.stats.Sent++
	if l.roll(l.faults.Loss) {
		l.stats.Lost++
		return
	}
	copies := 1
	if l.roll(l.faults.Duplicate) {
		l.stats.Duplicated++
		copies = 2
	}
	for range copies {
		l.put(now, p)
	}
}

// put schedules one copy.
func (l *Link) put(now time.Time, p Packet) {
	if l.faults.Queue > 0 && len(l.queue) >= l.faults.Queue {
		l.stats.Overflowed++
		return
	}
	p.Data = append([]byte(nil), p.Data...)
	if l.roll(l.faults.Corrupt) && len(p.Data) > Header {
		l.stats.Corrupted++
		bit := l.rng.IntN(8 * (len(p.Data) - Header))
		p.Data[Header+bit/8] ^= 1 << (bit % 8)
	}
	l.sent++
	heap.Push(&l.queue, arrival{l.arrival(now, len(p.Data)), l.sent, p})
}

// arrival decides when a packet comes out.
func (l *Link) arrival(now time.Time, size int) time.Time {
	at := l.depart(now, size).Add(l.faults.Delay)
	if l.faults.Jitter > 0 {
		at = at.Add(time.Duration(l.rng.Int64N(int64(l.faults.Jitter) + 1)))
	}
	if at.Before(l.last) {
		at = l.last
	}
	if l.roll(l.faults.Reorder) {
		l.stats.Reordered++
		return at.Add(l.faults.ReorderBy)
	}
	l.last = at
	return at
}

// depart is when the last byte of a packet is on a link of limited rate.
func (l *Link) depart(now time.Time, size int) time.Time {
	if l.faults.Rate <= 0 {
		return now
	}
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(size) / float64(l.faults.Rate) * float64(time.Second)))
	return l.free
}

// roll draws only where there is something to decide: a fault that is off does
// not shift the others' draws.
func (l *Link) roll(p float64) bool { return p > 0 && l.rng.Float64() < p }

// Deadline is when the next packet comes out.
func (l *Link) Deadline() (time.Time, bool) {
	if len(l.queue) == 0 {
		return time.Time{}, false
	}
	return l.queue[0].at, true
}

// Receive returns the next packet that has come out by now.
func (l *Link) Receive(now time.Time) (Packet, bool) {
	if len(l.queue) == 0 || l.queue[0].at.After(now) {
		return Packet{}, false
	}
	l.stats.Delivered++
	return heap.Pop(&l.queue).(arrival).p, true
}

// Len is the number of packets on the link.
func (l *Link) Len() int { return len(l.queue) }

// arrival is one packet on a link; seq breaks ties, so that equal times keep
// their order.
type arrival struct {
	at  time.Time
	seq uint64
	p   Packet
}

type arrivals []arrival

func (a arrivals) Len() int { return len(a) }
func (a arrivals) Less(i, j int) bool {
	if a[i].at.Equal(a[j].at) {
		return a[i].seq < a[j].seq
	}
	return a[i].at.Before(a[j].at)
}
func (a arrivals) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *arrivals) Push(x any)   { *a = append(*a, x.(arrival)) }
func (a *arrivals) Pop() any {
	last := (*a)[len(*a)-1]
	(*a)[len(*a)-1] = arrival{}
	*a = (*a)[:len(*a)-1]
	return last
}
