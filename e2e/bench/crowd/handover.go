package crowd

import (
	"math"
	"slices"
	"time"

	"sleight/redirect"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Handover is what one way of deciding has cost: in the goroutine that read the
// packet, or in another that it is handed to.
type Handover struct {
	PerSecond float64   // packets, as fast as they are taken
	Decided   []float64 // seconds from a packet's arrival to its end, of flows that rules read
	Passed    []float64 // and of spliced flows, which share the reader with them
	Lost      int       // packets for which the worker's queue had no room
}

const (
	mixed   = 128 // flows, every other one spliced
	steps   = 300 // packets of each
	size    = 32  // bytes in each
	waiting = 256 // the worker's queue
)

// pace is the time between packets where delays are measured: less than one goroutine
// can do alone.
const pace = 50 * time.Microsecond

// MeasureHandover sends the same packets twice: as fast as they are taken, and at
// a pace that leaves the gateway time.
func MeasureHandover(handed bool) (h Handover, err error) {
	c, err := start(mixed, func(i int) string {
		if i%2 == 0 {
			return trigger
		}
		return harmless
	})
	if err != nil {
		return h, err
	}
	if err := c.Grow(0, mixed); err != nil {
		return h, err
	}
	r := reader{c: c, handed: handed, queue: make(chan arrival, waiting), h: &h}
	spent := r.read(c.said(0, steps), 0)
	h.PerSecond = mixed * steps / spent.Seconds()
	h.Decided, h.Passed = nil, nil
	r.read(c.said(steps, steps), pace)
	slices.Sort(h.Decided)
	slices.Sort(h.Passed)
	return h, c.Close()
}

// arrival is a packet and when it came.
type arrival struct {
	pkt    []byte
	at     time.Time
	passed bool
}

// reader stands for the goroutine that reads a door.
type reader struct {
	c      *Crowd
	handed bool
	queue  chan arrival
	h      *Handover
}

// read takes the packets one by one, each not before its time; 0: at once. It returns
// when all are done.
func (r *reader) read(pkts [][]byte, every time.Duration) time.Duration {
	done := make(chan []float64)
	go r.decide(done)
	begun := time.Now()
	for i, p := range pkts {
		a := arrival{p, begun.Add(time.Duration(i) * every), i%2 == 0}
		for every > 0 && time.Now().Before(a.at) {
		}
		r.take(a, every > 0)
	}
	r.queue <- arrival{}
	decided := <-done
	r.h.Decided = append(r.h.Decided, decided...)
	return time.Since(begun)
}

// take finishes a packet, or hands it over. A reader that waited for the worker would
// make all flows wait: at a full queue it drops, as a network does.
func (r *reader) take(a arrival, mayLose bool) {
	switch {
	case a.passed || !r.handed:
		r.c.g.FromDoor(a.at, 0, a.pkt)
		d := time.Since(a.at).Seconds()
		if a.passed {
			r.h.Passed = append(r.h.Passed, d)
		} else {
			r.h.Decided = append(r.h.Decided, d)
		}
	case !mayLose:
		r.queue <- a
	default:
		select {
		case r.queue <- a:
		default:
			r.h.Lost++
		}
	}
}

// decide is the worker.
func (r *reader) decide(done chan<- []float64) {
	var d []float64
	for a := range r.queue {
		if a.pkt == nil {
			break
		}
		r.c.g.FromDoor(a.at, 0, a.pkt)
		d = append(d, time.Since(a.at).Seconds())
	}
	done <- d
}

// said are n packets of each client, from its first-th on, the clients by turns.
func (c *Crowd) said(first, n int) (pkts [][]byte) {
	text := make([]byte, size)
	for i := range text {
		text[i] = '.'
	}
	for step := first; step < first+n; step++ {
		for i := range mixed {
			s := wire.Segment{
				Src: Client(i), Dst: dialled, TTL: 64, DF: true, Flags: wire.ACK | wire.PSH, Wnd: math.MaxUint16,
				Seq: irs + 1 + tcb.Seq(len(c.says(i))+step*size), Ack: tcb.Seq(c.heard[i].Load()), Payload: text,
			}
			s.Opts.HasTS, s.Opts.TSVal, s.Opts.TSEcr = true, 3, 1
			pkts = append(pkts, append(make([]byte, redirect.VnetHeader), wire.Build(make([]byte, wire.MaxHeader+size), &s)...))
		}
	}
	return pkts
}
