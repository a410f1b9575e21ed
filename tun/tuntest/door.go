// Package tuntest stands for the kernel behind a door: an in-memory Door with
// the methods of tun.Door, a Link that loses, delays, reorders, duplicates and
// corrupts packets from a seed in virtual time, and wrappers that do so, or
// trace, around any door. Nothing here starts a goroutine or reads a clock.
package tuntest

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// Header is the length in bytes of the virtio_net_hdr in front of a packet.
const Header = 10

// ErrFull is what Inject and Write return when the door's buffer is full.
var ErrFull = errors.New("the queue is full")

// Device is what every door can do, be it the kernel's or this package's.
type Device interface {
	Name() string
	Index() int
	Queues() int
	Super() bool
	Read(q int, b []byte) (int, error)
	Write(q int, b []byte) (int, error)
	Close() error
}

// Packet is one packet that a door carried: Data is the header of Header bytes
// and the IP packet.
type Packet struct {
	Queue int
	Data  []byte
}

// IP returns the packet without its header.
func (p Packet) IP() []byte { return p.Data[Header:] }

// Door is an in-memory door. The test injects what the gateway reads, and takes
// what the gateway wrote.
type Door struct {
	name   string
	in     []chan []byte
	out    chan Packet
	closed chan struct{}
	once   sync.Once
}

// NewDoor makes a door with a number of queues, each of which holds depth
// packets; so many for each queue are kept of what the gateway writes.
func NewDoor(name string, queues, depth int) *Door {
	d := &Door{
		name:   name,
		in:     make([]chan []byte, queues),
		out:    make(chan Packet, queues*depth),
		closed: make(chan struct{}),
	}
	for q := range d.in {
		d.in[q] = make(chan []byte, depth)
	}
	return d
}

// Name returns the door's name.
func (d *Door) Name() string { return d.name }

// Index returns 0: there is no interface.
func (d *Door) Index() int { return 0 }

// Queues returns the number of queues.
func (d *Door) Queues() int { return len(d.in) }

// Super reports that the door carries super-packets: it carries what it is given.
func (d *Door) Super() bool { return true }

// Read blocks for one injected packet of queue q, as tun.Door does.
func (d *Door) Read(q int, b []byte) (int, error) {
	select {
	case <-d.closed:
		return 0, os.ErrClosed
	default:
	}
	select {
	case p := <-d.in[q]:
		return copy(b, p), nil
	case <-d.closed:
		return 0, os.ErrClosed
	}
}

// Reader reads one queue of a door for one goroutine, as tun.Reader does for several
// doors.
type Reader struct {
	Door  *Door
	Index int // as Read tells it
	Queue int
}

// Read blocks for one injected packet.
func (r Reader) Read(b []byte) (door, n int, err error) {
	n, err = r.Door.Read(r.Queue, b)
	return r.Index, n, err
}

// Write keeps a copy of the gateway's packet for Take.
func (d *Door) Write(q int, b []byte) (int, error) {
	select {
	case <-d.closed:
		return 0, os.ErrClosed
	default:
	}
	select {
	case d.out <- Packet{q, append([]byte(nil), b...)}:
		return len(b), nil
	default:
		return 0, fmt.Errorf("%s: %w", d.name, ErrFull)
	}
}

// Close wakes readers and takers, whose calls end with os.ErrClosed.
func (d *Door) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// Inject puts a copy of a packet, header first, where queue q reads it. Like the
// kernel it does not wait: a full queue loses the packet.
func (d *Door) Inject(q int, data []byte) error {
	select {
	case d.in[q] <- append([]byte(nil), data...):
		return nil
	default:
		return fmt.Errorf("%s, queue %d: %w", d.name, q, ErrFull)
	}
}

// InjectIP is Inject for a packet without header: all checksums are filled in.
func (d *Door) InjectIP(q int, ip []byte) error {
	return d.Inject(q, append(make([]byte, Header, Header+len(ip)), ip...))
}

// Take blocks for the next packet that the gateway wrote.
func (d *Door) Take() (Packet, error) {
	if p, ok := d.TryTake(); ok {
		return p, nil
	}
	select {
	case p := <-d.out:
		return p, nil
	case <-d.closed:
		return Packet{}, os.ErrClosed
	}
}

// TryTake returns the next packet that the gateway wrote, if there is one.
func (d *Door) TryTake() (Packet, bool) {
	select {
	case p := <-d.out:
		return p, true
	default:
		return Packet{}, false
	}
}

// Written is the channel behind Take, for a select.
func (d *Door) Written() <-chan Packet { return d.out }
