package stack

import (
	"errors"
	"io"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// errOver is what a service gets once the flow is no longer its own: the client
// has reset it, it was switched, or it was forgotten.
var errOver = errors.New("the connection is over")

// connEvents turns an endpoint's notifications, which come under its lock, into
// channels.
type connEvents struct {
	queue                 *waiter.Queue
	readable, writable    chan struct{}
	readEntry, writeEntry waiter.Entry
}

func newConnEvents(q *waiter.Queue) *connEvents {
	c := &connEvents{queue: q}
	const over = waiter.EventHUp | waiter.EventErr
	c.readEntry, c.readable = waiter.NewChannelEntry(waiter.ReadableEvents | over)
	c.writeEntry, c.writable = waiter.NewChannelEntry(waiter.WritableEvents | over)
	q.EventRegister(&c.readEntry)
	q.EventRegister(&c.writeEntry)
	return c
}

func (c *connEvents) unregister() {
	c.queue.EventUnregister(&c.readEntry)
	c.queue.EventUnregister(&c.writeEntry)
}

// Peer is the client as a service sees it. One goroutine may read while another
// writes.
type Peer struct {
	gate   *Gate
	ep     tcpip.Endpoint
	events *connEvents
}

// Client is the true address of the client, Dialled the one that it asked for.
func (p *Peer) Client() netip.AddrPort { return p.gate.conn.Client }

// Dialled is the address that the client asked for.
func (p *Peer) Dialled() netip.AddrPort { return p.gate.conn.Dialled }

// Read reads what the client has said; io.EOF once it has ended its stream.
func (p *Peer) Read(b []byte) (int, error) {
	for len(b) > 0 {
		w := tcpip.SliceWriter(b)
		if n, err := p.take(&w); err != errNothing {
			return n, err
		}
		select {
		case <-p.events.readable:
		case <-p.gate.ended:
			return 0, errOver
		}
	}
	return 0, nil
}

// errNothing: the client has said nothing that was not read.
var errNothing = errors.New("nothing to read")

// take reads what there is, or returns errNothing.
func (p *Peer) take(w io.Writer) (int, error) {
	res, err := p.ep.Read(w, tcpip.ReadOptions{})
	switch err.(type) {
	case nil:
	case *tcpip.ErrWouldBlock:
		return 0, errNothing
	case *tcpip.ErrClosedForReceive:
		return 0, io.EOF
	default:
		return 0, errOver
	}
	p.gate.mu.Lock()
	p.gate.read += uint64(res.Count)
	total := p.gate.read
	p.gate.mu.Unlock()
	p.grow(res.Count, total)
	return res.Count, nil
}

// Readable reports whether Read would return at once.
func (p *Peer) Readable() bool {
	return p.ep.Readiness(waiter.ReadableEvents)&waiter.ReadableEvents != 0
}

// Begin says that an answer begins, End that it is whole. A switch waits for
// the end of an answer of which something has been written.
func (p *Peer) Begin() {
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy == 0 {
		g.begun = g.written
	}
	g.busy++
}

// End says that the answer is whole.
func (p *Peer) End() {
	g := p.gate
	g.mu.Lock()
	g.busy--
	g.mu.Unlock()
	g.settle()
}

// Write writes all of the parts as one stream, and waits while the endpoint's
// buffer is full or the gate is frozen.
func (p *Peer) Write(parts ...[]byte) error {
	q := payload(parts)
	for q.Len() > 0 {
		wait, err := p.offer(&q)
		if err != nil {
			return err
		}
		if wait == nil {
			continue
		}
		select {
		case <-wait:
		case <-p.gate.ended:
			return errOver
		}
	}
	return nil
}

// offer gives the endpoint what it accepts now. wait, if any, is what to wait
// for before the next offer.
func (p *Peer) offer(q *payload) (wait <-chan struct{}, err error) {
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.phase >= discarded || g.closed:
		return nil, errOver
	case g.phase == frozen:
		return g.thawed, nil
	}
	before := *q
	n, terr := p.ep.Write(q, tcpip.WriteOptions{})
	*q = before
	if n > 0 {
		g.accepted(q.take(int(n)))
	}
	switch terr.(type) {
	case nil:
		return nil, nil
	case *tcpip.ErrWouldBlock:
		return p.events.writable, nil
	}
	return nil, errOver
}

// accepted keeps the books of what the endpoint has taken.
func (g *Gate) accepted(parts [][]byte, n int) {
	g.written += uint64(n)
	g.last = time.Now()
	if g.overflow {
		return
	}
	room := g.conn.Record - len(g.answered) - markCost*len(g.marks) - markCost
	keep := min(n, room)
	if keep > 0 && g.conn.Budget != nil && !g.conn.Budget.Take(keep+markCost) {
		keep = 0
	}
	if g.overflow = keep < n; keep <= 0 {
		return
	}
	g.taken += keep + markCost
	for _, b := range parts {
		b = b[:min(len(b), keep)]
		keep -= len(b)
		g.answered = append(g.answered, b...)
	}
	g.marks = append(g.marks, Mark{g.read, g.written})
}

// Close ends the service's stream; the client may still talk.
func (p *Peer) Close() {
	g := p.gate
	for {
		g.mu.Lock()
		switch {
		case g.phase >= discarded || g.closed:
			g.mu.Unlock()
			return
		case g.phase != frozen:
			g.closed = true
			p.ep.Shutdown(tcpip.ShutdownWrite)
			g.mu.Unlock()
			return
		}
		thawed := g.thawed
		g.mu.Unlock()
		select {
		case <-thawed:
		case <-g.ended:
			return
		}
	}
}

// Abort resets the connection, as a host does whose process has died.
func (p *Peer) Abort() {
	g := p.gate
	for {
		g.mu.Lock()
		if g.phase != frozen {
			if g.phase < discarded && !g.closed {
				g.closed = true
				p.ep.Abort()
			}
			g.mu.Unlock()
			return
		}
		thawed := g.thawed
		g.mu.Unlock()
		select {
		case <-thawed:
		case <-g.ended:
			return
		}
	}
}

// skip throws away what the client still says, to the end.
func (p *Peer) skip() {
	var b [512]byte
	for {
		if _, err := p.Read(b[:]); err != nil {
			return
		}
	}
}

// Over is closed once the flow is no longer the service's.
func (p *Peer) Over() <-chan struct{} { return p.gate.ended }
