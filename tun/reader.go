package tun

import (
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// turn is how many packets of one door come before another's are looked at.
	turn = 8
	// crowded is how long a yielded processor stays away where others need it.
	crowded = 200 * time.Microsecond
	// resting is how long the reader then does not poll.
	resting = 10 * time.Millisecond
)

// Reader reads one queue of every door, for one goroutine. What answers a packet
// that the goroutine has just written is often there already: the kernel carries a
// packet to its end within the write.
type Reader struct {
	from []source
	at   int // whose turn it is
	left int // of its turn, in packets
	busy time.Duration
	rest time.Time // until then it does not poll
	fds  []unix.PollFd
}

// source is a door's queue.
type source struct {
	door  int // as Read tells it
	d     *Door
	queue *queue
}

// NewReader makes the reader of queue q of those doors that have one. Before it
// blocks it polls for busy, with the processor left to whoever else wants it: to
// wake a thread on an idle processor takes longer than most answers. 0: it does
// not.
func NewReader(q int, busy time.Duration, doors ...*Door) *Reader {
	r := &Reader{busy: busy}
	for i, d := range doors {
		if q >= d.Queues() {
			continue
		}
		r.from = append(r.from, source{i, d, d.queues[q]})
		for _, fd := range []int{d.queues[q].fd, d.wake} {
			r.fds = append(r.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	return r
}

// Read blocks for one packet, as Door.Read does, and tells by which door it came:
// its index among NewReader's.
func (r *Reader) Read(b []byte) (door, n int, err error) {
	if len(b) <= VnetHeader {
		return 0, 0, io.ErrShortBuffer
	}
	for {
		if door, n, err = r.try(b); err != unix.EAGAIN {
			return door, n, err
		}
		if door, n, err = r.poll(b); err != unix.EAGAIN {
			return door, n, err
		}
		r.wait()
	}
}

// try reads a packet of the door whose turn it is, or of the next that has one;
// unix.EAGAIN: none has.
func (r *Reader) try(b []byte) (door, n int, err error) {
	for range r.from {
		if r.left == 0 {
			r.next()
		}
		s := &r.from[r.at]
		n, err = s.read(b)
		if err != unix.EAGAIN {
			r.left--
			if err != nil && err != errClosed {
				err = fmt.Errorf("%s: %w", s.d.name, err)
			}
			return s.door, n, err
		}
		r.next()
	}
	return 0, 0, unix.EAGAIN
}

func (r *Reader) next() {
	r.at, r.left = (r.at+1)%len(r.from), turn
}

func (s *source) read(b []byte) (int, error) {
	s.queue.mu.RLock()
	defer s.queue.mu.RUnlock()
	return s.d.tryRead(s.queue, b)
}

// poll tries again for a while. Where others keep the processor, a wake-up brings
// the reader back sooner than its turn does, so it blocks there.
func (r *Reader) poll(b []byte) (door, n int, err error) {
	began := time.Now()
	if r.busy == 0 || began.Before(r.rest) {
		return 0, 0, unix.EAGAIN
	}
	for last := began; last.Sub(began) < r.busy; {
		runtime.Gosched()
		unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		if door, n, err = r.try(b); err != unix.EAGAIN {
			return door, n, err
		}
		now := time.Now()
		if now.Sub(last) > crowded {
			r.rest = now.Add(resting)
			break
		}
		last = now
	}
	return 0, 0, unix.EAGAIN
}

// wait blocks until a queue may be readable, or a door closes.
func (r *Reader) wait() {
	closed := false
	for i := range r.from {
		u := r.from[i].queue
		u.mu.RLock()
		closed = closed || u.closed.Load()
	}
	if !closed {
		// An error (EINTR) is a spurious wake-up: the caller tries again.
		unix.Poll(r.fds, -1)
	}
	for i := range r.from {
		r.from[i].queue.mu.RUnlock()
	}
}
