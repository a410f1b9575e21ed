package stack

import (
	"io"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/waiter"
)

// listener throws away what the client still says after the service's last word: a
// close with unread data would draw a RST. It ends the service's stream when the
// client ends its own. While the client says nothing it has no goroutine and no
// buffer: of many flows most are silent.
type listener struct {
	peer  Peer
	entry waiter.Entry
	state atomic.Int32
}

// Where a listener is. One that has heard the end stays as it is: nothing wakes it.
const (
	idle    int32 = iota
	hearing       // a goroutine reads
	news          // and there may be more than it has seen
)

// listen begins in the service's goroutine.
func (g *Gate) listen(p Peer) {
	l := &listener{peer: p}
	l.entry.Init(l, waiter.ReadableEvents|waiter.EventHUp|waiter.EventErr)
	g.queue.EventRegister(&l.entry)
	if l.state.Swap(news) == idle {
		l.hear()
	}
}

// NotifyEvent implements waiter.EventListener. The endpoint's lock is held: what there
// is to be heard is for another goroutine.
func (l *listener) NotifyEvent(waiter.EventMask) {
	if l.state.Swap(news) != idle {
		return
	}
	select {
	case <-l.peer.gate.ended:
		return
	default:
	}
	if d := l.peer.gate.decoy; d.begin() {
		go l.wake(d)
	}
}

// wake is the goroutine of a flow whose client has said something.
func (l *listener) wake(d *Decoy) {
	defer d.finish()
	l.hear()
}

// hear reads until there is nothing more now, or ever.
func (l *listener) hear() {
	for {
		l.state.Store(hearing)
		var err error
		for err == nil {
			_, err = l.peer.take(io.Discard)
		}
		if err != errNothing {
			l.peer.Close()
			return
		}
		if l.state.CompareAndSwap(hearing, idle) {
			return
		}
	}
}
