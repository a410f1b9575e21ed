package evidence

import (
	"bytes"
	"encoding/json"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// bound is how many events may wait to be written.
	bound = 8192
	// rhythm is how often an awake writer looks for events.
	rhythm = 5 * time.Millisecond
	// patience is how often in a row it finds none before it sleeps.
	patience = 200
	// chunk is how much is written at once, in bytes.
	chunk = 64 << 10
)

// Writer writes events, one a line. Emit never blocks: at the bound an event is lost
// and counted. Nor does it wake anybody while there is something to do: to wake a
// goroutine takes its caller, who has a packet in hand, longer than the packet does.
type Writer struct {
	out    io.Writer
	sensor string
	wake   chan struct{}
	done   chan struct{}
	lost   atomic.Uint64
	failed atomic.Uint64

	mu     sync.Mutex
	queue  []Event
	asleep bool // until wake is written to
	closed bool
}

// NewWriter starts a writer; sensor is the name that every event carries.
func NewWriter(out io.Writer, sensor string) *Writer {
	w := &Writer{out: out, sensor: sensor, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.run()
	return w
}

func (w *Writer) run() {
	defer close(w.done)
	var batch []Event
	for idle := 0; ; {
		var closed bool
		batch, closed = w.take(batch, idle >= patience)
		switch {
		case len(batch) > 0:
			idle = 0
			w.write(batch)
			clear(batch) // or what events point to would stay in memory
		case closed:
			return
		case idle >= patience:
			idle = 0
			<-w.wake
		default:
			idle++
			time.Sleep(rhythm)
		}
	}
}

// take is what waits, for an empty queue with the room of one that was written. sleep:
// who finds nothing will sleep, and must be woken.
func (w *Writer) take(room []Event, sleep bool) (batch []Event, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	batch, w.queue = w.queue, room[:0]
	w.asleep = sleep && len(batch) == 0 && !w.closed
	return batch, w.closed
}

// write writes events, many of them at once.
func (w *Writer) write(batch []Event) {
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	enc.SetEscapeHTML(false)
	n := uint64(0)
	flush := func() {
		if _, err := w.out.Write(lines.Bytes()); err != nil {
			w.failed.Add(n)
		}
		lines.Reset()
		n = 0
	}
	for i := range batch {
		if err := enc.Encode(&batch[i]); err != nil {
			w.failed.Add(1)
			continue
		}
		if n++; lines.Len() >= chunk {
			flush()
		}
	}
	if n > 0 {
		flush()
	}
}

// Emit queues an event.
func (w *Writer) Emit(e Event) {
	e.Sensor = w.sensor
	w.mu.Lock()
	full := len(w.queue) >= bound
	if !full {
		w.queue = append(w.queue, e)
	}
	woken := w.asleep
	w.asleep = false
	w.mu.Unlock()
	if full {
		w.lost.Add(1)
	}
	if woken {
		w.wake <- struct{}{}
	}
}

// Lost is how many events found the queue full, or could not be written.
func (w *Writer) Lost() uint64 { return w.lost.Load() + w.failed.Load() }

// Close writes what is queued. Nothing may be emitted afterwards.
func (w *Writer) Close() {
	w.mu.Lock()
	w.closed = true
	woken := w.asleep
	w.asleep = false
	w.mu.Unlock()
	if woken {
		w.wake <- struct{}{}
	}
	<-w.done
}
