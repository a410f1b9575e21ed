package evidence

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// maxLine bounds an event that is read, in bytes.
const maxLine = 1 << 20

// ErrEnded says that the events have ended and the awaited one was not among
// them.
var ErrEnded = errors.New("the events have ended")

// Reader reads a gateway's events while they are written, and keeps them.
type Reader struct {
	mu     sync.Mutex
	events []Event
	lines  [][]byte
	bad    error
	grown  chan struct{} // closed, and made anew, with each event
	done   chan struct{}
}

// NewReader reads r to its end; Done tells when that is.
func NewReader(r io.Reader) *Reader {
	e := &Reader{grown: make(chan struct{}), done: make(chan struct{})}
	go e.run(r)
	return e
}

func (r *Reader) run(in io.Reader) {
	defer close(r.done)
	s := bufio.NewScanner(in)
	s.Buffer(nil, maxLine)
	for s.Scan() {
		r.add(append([]byte(nil), s.Bytes()...))
	}
	if err := s.Err(); err != nil {
		r.fail(err)
		// Whoever writes must not wait for a reader that has given up.
		_, _ = io.Copy(io.Discard, in)
	}
}

func (r *Reader) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad = errors.Join(r.bad, err)
}

func (r *Reader) add(line []byte) {
	var e Event
	err := json.Unmarshal(line, &e)
	if err != nil {
		r.fail(fmt.Errorf("an event that is not JSON: %q", line))
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events, r.lines = append(r.events, e), append(r.lines, line)
	close(r.grown)
	r.grown = make(chan struct{})
}

// All returns the events of one type so far.
func (r *Reader) All(kind string) (es []Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Type == kind {
			es = append(es, e)
		}
	}
	return es
}

// Lines returns the events so far as they were written.
func (r *Reader) Lines() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lines[:len(r.lines):len(r.lines)]
}

// Err returns what was read and is no event.
func (r *Reader) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bad
}

// Done is closed at the end of the events.
func (r *Reader) Done() <-chan struct{} { return r.done }

// Wait returns the first event of a type that is as wanted.
func (r *Reader) Wait(ctx context.Context, kind string, wanted func(*Event) bool) (*Event, error) {
	for looked := 0; ; {
		e, grown := r.find(&looked, kind, wanted)
		if e != nil {
			return e, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, fmt.Errorf("no such %s event came: %w", kind, ctx.Err())
		case <-r.done:
			// The last event may have come together with the end.
			if e, _ := r.find(&looked, kind, wanted); e != nil {
				return e, nil
			}
			return nil, ErrEnded
		}
	}
}

// find looks at the events from looked on, and returns what tells of more.
func (r *Reader) find(looked *int, kind string, wanted func(*Event) bool) (*Event, <-chan struct{}) {
	r.mu.Lock()
	events, grown := r.events, r.grown
	r.mu.Unlock()
	for ; *looked < len(events); *looked++ {
		if e := events[*looked]; e.Type == kind && wanted(&e) {
			return &e, nil
		}
	}
	return nil, grown
}
