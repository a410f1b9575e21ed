package tuntest

import (
	"sync"
	"time"
)

// Direction says which way a packet went through a door.
type Direction uint8

const (
	// In is what the gateway read.
	In Direction = iota
	// Out is what the gateway wrote.
	Out
)

// String names the direction as traces print it.
func (d Direction) String() string {
	if d == In {
		return "in"
	}
	return "out"
}

// Trace wraps a door: see is called with each packet that the gateway read or
// wrote with success. The bytes are see's only until it returns, and it may be
// called by several goroutines at once.
func Trace(d Device, see func(Direction, Packet)) Device { return &traced{d, see} }

type traced struct {
	Device
	see func(Direction, Packet)
}

func (t *traced) Read(q int, b []byte) (int, error) {
	n, err := t.Device.Read(q, b)
	if err == nil {
		t.see(In, Packet{q, b[:n]})
	}
	return n, err
}

func (t *traced) Write(q int, b []byte) (int, error) {
	n, err := t.Device.Write(q, b)
	if err == nil {
		t.see(Out, Packet{q, b})
	}
	return n, err
}

// Faulty is a door behind a faulty wire. What the gateway reads has come over
// one link, what it writes goes over another. Time is whatever now says: packets
// that are due move when the gateway reads or writes, and when Pump is called.
type Faulty struct {
	Device
	now func() time.Time
	mu  sync.Mutex // guards the links
	in  *Link
	out *Link
}

// NewFaulty wraps a door with an incoming and an outgoing link; a nil link is
// perfect. A link's own methods must not be called while the gateway runs.
func NewFaulty(d Device, in, out *Link, now func() time.Time) *Faulty {
	return &Faulty{Device: d, now: now, in: in, out: out}
}

// Write puts a packet on the outgoing link, and writes what comes out of it.
func (f *Faulty) Write(q int, b []byte) (int, error) {
	if f.out == nil {
		return f.Device.Write(q, b)
	}
	f.mu.Lock()
	f.out.Send(f.now(), Packet{q, b})
	f.mu.Unlock()
	return len(b), f.Pump()
}

// Pump writes the packets that have come out of the outgoing link by now.
func (f *Faulty) Pump() error {
	if f.out == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		p, ok := f.out.Receive(f.now())
		if !ok {
			return nil
		}
		if _, err := f.Device.Write(p.Queue, p.Data); err != nil {
			return err
		}
	}
}

// Deadline is when Pump has something to do.
func (f *Faulty) Deadline() (time.Time, bool) {
	if f.out == nil {
		return time.Time{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.Deadline()
}

// Read takes packets from the door through the incoming link until one has come
// out of it. It never waits for time to pass: a packet that is still under way
// comes out with a later Read.
func (f *Faulty) Read(q int, b []byte) (int, error) {
	if f.in == nil {
		return f.Device.Read(q, b)
	}
	for {
		if p, ok := f.receive(); ok {
			return copy(b, p.Data), nil
		}
		n, err := f.Device.Read(q, b)
		if err != nil {
			return n, err
		}
		f.mu.Lock()
		f.in.Send(f.now(), Packet{q, b[:n]})
		f.mu.Unlock()
	}
}

func (f *Faulty) receive() (Packet, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.in.Receive(f.now())
}
