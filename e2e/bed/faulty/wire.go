package faulty

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"sleight/e2e/bed/ring"
)

// Wire carries frames until it is closed.
type Wire struct {
	halves  [2]half
	synSeen atomic.Bool
	fromSYN bool
	close   sync.Once
}

// half is one direction. Its goroutine owns everything but the atomics.
type half struct {
	dir     Direction
	wire    *Wire
	in, out *ring.Ring
	faults  atomic.Pointer[Faults]
	counts  counters
	rng     *rand.Rand // decisions about TCP frames
	noise   *rand.Rand // jitter, of every frame
	queue   queue
	lastDue time.Time
	spin    bool // after a long wait, until the next frame is sent
	tcp     int  // TCP frames so far
	stop    atomic.Bool
	done    chan struct{}
	err     error // of the goroutine, valid when done is closed
}

// Start begins to carry frames between devices a and b of the calling thread's namespace.
func Start(a, b string, cfg Config) (*Wire, error) {
	ringA, err := ring.Open(a, ring.Config{})
	if err != nil {
		return nil, err
	}
	ringB, err := ring.Open(b, ring.Config{})
	if err != nil {
		return nil, errors.Join(err, ringA.Close())
	}
	w := &Wire{fromSYN: cfg.FromSYN}
	w.halves[AtoB] = half{dir: AtoB, in: ringA, out: ringB}
	w.halves[BtoA] = half{dir: BtoA, in: ringB, out: ringA}
	w.Set(AtoB, cfg.AtoB)
	w.Set(BtoA, cfg.BtoA)
	for i := range w.halves {
		h := &w.halves[i]
		h.wire = w
		h.seed(cfg.Seed)
		h.done = make(chan struct{})
		go h.run()
	}
	return w, nil
}

func (h *half) seed(seed uint64) {
	h.rng = rand.New(rand.NewPCG(seed, uint64(h.dir)))
	h.noise = rand.New(rand.NewPCG(seed, uint64(h.dir)+2))
}

// Set changes the faults of one direction for the frames to come.
func (w *Wire) Set(d Direction, f Faults) { w.halves[d].faults.Store(&f) }

// SetBoth changes the faults of both directions.
func (w *Wire) SetBoth(f Faults) {
	w.Set(AtoB, f)
	w.Set(BtoA, f)
}

// Counts says what a direction did so far.
func (w *Wire) Counts(d Direction) Counts {
	h := &w.halves[d]
	c := h.counts.read()
	c.Missed = h.in.Missed()
	return c
}

// Close stops the wire. Frames that are still held are lost.
func (w *Wire) Close() error {
	var errs []error
	w.close.Do(func() {
		for i := range w.halves {
			w.halves[i].stop.Store(true)
			errs = append(errs, w.halves[i].in.Wake())
		}
		for i := range w.halves {
			<-w.halves[i].done
			errs = append(errs, w.halves[i].err)
		}
		for i := range w.halves {
			errs = append(errs, w.halves[i].in.Close())
		}
	})
	return errors.Join(errs...)
}

// run carries the frames of one direction.
func (h *half) run() {
	defer close(h.done)
	for !h.stop.Load() {
		if err := h.wait(time.Now()); err != nil {
			h.err = fmt.Errorf("wire %s: %w", h.dir, err)
			return
		}
		h.readAll()
		h.sendDue(time.Now())
	}
}

// A virtual machine that has gone to sleep takes up to a millisecond to come back when its timer
// fires. After a long wait the half is therefore awake early, and spins until the frame is due.
const (
	longWait = 4 * time.Millisecond
	early    = time.Millisecond
)

// wait waits for frames, or until the next that is held is due.
func (h *half) wait(now time.Time) error {
	next, ok := h.queue.first()
	if !ok {
		return h.in.Wait(-1)
	}
	d := next.Sub(now)
	switch {
	case d <= 0 || h.spin && d <= early:
		return nil
	case d > longWait:
		h.spin = true
		return h.in.Wait(d - early)
	}
	return h.in.Wait(d)
}

// readBatch bounds the frames read before due ones are sent.
const readBatch = 64

func (h *half) readAll() {
	for range readBatch {
		f, ok := h.in.Read()
		if !ok {
			return
		}
		h.take(f.Data, time.Now())
		f.Release()
	}
}

// take decides about one frame; data is copied if it is held.
func (h *half) take(data []byte, now time.Time) {
	h.counts.frames.Add(1)
	faults := h.faults.Load()
	frame, isTCP := parse(data, h.dir)
	fate := fate{}
	if isTCP {
		h.counts.tcp.Add(1)
		h.tcp++
		frame.N = h.tcp
		if frame.Has(SYN) {
			h.wire.synSeen.Store(true)
		}
		if !h.wire.fromSYN || h.wire.synSeen.Load() {
			fate = h.decide(faults, &frame)
		}
	}
	if fate.drop {
		h.counts.lost.Add(1)
		return
	}
	due := h.due(faults, fate, now)
	if fate.flip {
		data = append([]byte(nil), data...)
		h.flip(data, &frame, fate.bit)
	}
	if !due.After(now) && h.queue.empty() {
		h.send(data)
		if fate.duplicate {
			h.send(data)
		}
		return
	}
	held := append([]byte(nil), data...)
	h.queue.push(due, held)
	if fate.duplicate {
		h.queue.push(due, held)
	}
}

// due says when a frame leaves. Frames keep their order whatever the jitter; only those that are
// held back on purpose let later ones pass.
func (h *half) due(f *Faults, fate fate, now time.Time) time.Time {
	due := now.Add(f.Delay)
	if f.Jitter > 0 {
		due = due.Add(time.Duration(h.noise.Int64N(2*int64(f.Jitter)+1)) - f.Jitter)
	}
	if due.Before(h.lastDue) {
		due = h.lastDue
	}
	h.lastDue = due
	return due.Add(fate.extra)
}

func (h *half) sendDue(now time.Time) {
	for {
		data, ok := h.queue.popDue(now)
		if !ok {
			return
		}
		h.send(data)
	}
}

func (h *half) send(data []byte) {
	if err := h.out.Write(data); err != nil {
		h.counts.failed.Add(1)
		return
	}
	h.spin = false
	h.counts.sent.Add(1)
}

// flip changes one bit of the IP packet; padding behind it does not count.
func (h *half) flip(data []byte, f *Frame, random uint64) {
	bit := int(random % uint64(len(f.IP)*8))
	data[etherLen+bit/8] ^= 0x80 >> (bit % 8)
	h.counts.flipped.Add(1)
	if f.unseen(bit) {
		h.counts.unseen.Add(1)
	}
}

type counters struct {
	frames, tcp, lost, reordered, duplicated, flipped, unseen, sent, failed atomic.Uint64
}

func (c *counters) read() Counts {
	return Counts{
		Frames:     c.frames.Load(),
		TCP:        c.tcp.Load(),
		Lost:       c.lost.Load(),
		Reordered:  c.reordered.Load(),
		Duplicated: c.duplicated.Load(),
		Flipped:    c.flipped.Load(),
		Unseen:     c.unseen.Load(),
		Sent:       c.sent.Load(),
		Failed:     c.failed.Load(),
	}
}
