package evidence

import (
	"encoding/json"
	"io"
	"sync"
	"sync/atomic"
)

// queue bounds the events that wait to be written.
const queue = 8192

// Writer writes events, one a line. Emit never blocks: at the bound an event is
// lost and counted.
type Writer struct {
	out    io.Writer
	sensor string
	ch     chan Event
	done   chan struct{}
	once   sync.Once
	lost   atomic.Uint64
	failed atomic.Uint64
}

// NewWriter starts a writer; sensor is the name that every event carries.
func NewWriter(out io.Writer, sensor string) *Writer {
	w := &Writer{out: out, sensor: sensor, ch: make(chan Event, queue), done: make(chan struct{})}
	go w.run()
	return w
}

func (w *Writer) run() {
	defer close(w.done)
	enc := json.NewEncoder(w.out)
	enc.SetEscapeHTML(false)
	for e := range w.ch {
		if err := enc.Encode(&e); err != nil {
			w.failed.Add(1)
		}
	}
}

// Emit queues an event.
func (w *Writer) Emit(e Event) {
	e.Sensor = w.sensor
	select {
	case w.ch <- e:
	default:
		w.lost.Add(1)
	}
}

// Lost is how many events found the queue full, or could not be written.
func (w *Writer) Lost() uint64 { return w.lost.Load() + w.failed.Load() }

// Close writes what is queued. Nothing may be emitted afterwards.
func (w *Writer) Close() {
	w.once.Do(func() { close(w.ch) })
	<-w.done
}
