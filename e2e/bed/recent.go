package bed

import (
	"bufio"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"sleight/e2e/bed/ring"
)

// What Recent keeps, in frames, and of each, in bytes: headers and the beginning of the payload.
const (
	recentFirst   = 1 << 10
	recentLast    = 1 << 13
	recentSnapLen = 320
)

// Recent watches a device and keeps in memory what passed there first and what passed last, to be
// written when it turns out that somebody wants to see it. Unlike a Capture it may miss frames: it
// is to explain, not to prove.
type Recent struct {
	ring  *ring.Ring
	name  string
	stop  atomic.Bool
	done  chan struct{}
	first []kept
	last  []kept // circular once it is full: the oldest is at turn
	turn  int
	seen  int   // frames, in all
	err   error // of the goroutine; it owns all this until done is closed
}

// kept is one frame.
type kept struct {
	data     []byte
	length   int // on the wire
	at       time.Time
	outgoing bool
}

// Recent starts to watch a device.
func (n *Namespace) Recent(device string) (*Recent, error) {
	r := &Recent{name: n.Name + "/" + device, done: make(chan struct{})}
	err := n.Do(func() (err error) {
		r.ring, err = ring.Open(device, ring.Config{SnapLen: recentSnapLen, Outgoing: true})
		return err
	})
	if err != nil {
		return nil, err
	}
	go r.run()
	return r, nil
}

func (r *Recent) run() {
	defer close(r.done)
	for !r.stop.Load() && r.err == nil {
		if r.err = r.ring.Wait(-1); r.err == nil {
			r.drain()
		}
	}
	r.drain()
}

func (r *Recent) drain() {
	for f, ok := r.ring.Read(); ok; f, ok = r.ring.Read() {
		r.keep(f)
		f.Release()
	}
}

func (r *Recent) keep(f ring.Frame) {
	r.seen++
	switch {
	case len(r.first) < recentFirst:
		r.first = append(r.first, keep(nil, f))
	case len(r.last) < recentLast:
		r.last = append(r.last, keep(nil, f))
	default:
		oldest := &r.last[r.turn]
		*oldest = keep(oldest.data, f)
		r.turn = (r.turn + 1) % recentLast
	}
}

func keep(buf []byte, f ring.Frame) kept {
	return kept{append(buf[:0], f.Data...), f.Len, f.Time, f.Outgoing}
}

// Stop ends the watch. Save may be called then, once or never.
func (r *Recent) Stop() error {
	r.stop.Store(true)
	err := r.ring.Wake()
	<-r.done
	return errors.Join(err, r.err, r.ring.Close())
}

// Save writes what was kept to a pcapng file and returns how many frames that are, and how many have
// passed in all.
func (r *Recent) Save(file string) (n, seen int, err error) {
	f, err := os.Create(file)
	if err != nil {
		return 0, 0, err
	}
	out, err := newPcapng(bufio.NewWriter(f), r.name, recentSnapLen)
	if err != nil {
		return 0, 0, errors.Join(err, f.Close())
	}
	for _, part := range [][]kept{r.first, r.last[r.turn:], r.last[:r.turn]} {
		for _, k := range part {
			err = errors.Join(err, out.packet(k.data, k.length, k.at, k.outgoing))
			n++
		}
	}
	return n, r.seen, errors.Join(err, out.flush(), f.Close())
}
