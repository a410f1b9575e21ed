package stack

import (
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"

	"sleight/stack/tcb"
)

// Mark says that the service, once it had read Read bytes of the client's, had
// written up to Written bytes.
type Mark = struct{ Read, Written uint64 }

// markCost is what a mark counts toward Conn.Record, in bytes.
const markCost = 16

// Budget bounds what all flows keep together.
type Budget interface {
	Take(n int) bool
	Give(n int)
}

// Conn tells of a flow before its SYN is injected.
type Conn struct {
	Leg     tcb.Tuple      // as the client's packets carry it: Dst is the decoy's socket
	Client  netip.AddrPort // the true addresses, as S sees them
	Dialled netip.AddrPort
	Service *Compiled // nil: silent
	Record  int       // bound of the answers that are kept, in bytes; 0: none
	Budget  Budget    // nil: no limit in all
}

// phase is where a gate is in a switch.
//
//	open ⇄ freezing ─► frozen ─► discarded        forgotten: from each
//	  ▲                  │ Release
//	  └──────────────────┘
type phase uint8

const (
	open      phase = iota
	freezing        // an answer is under way, and may finish
	frozen          // writes and closes are parked
	discarded       // they never go on; the endpoint still resends what it has
	forgotten       // nothing of the flow matters any more
)

// Gate stands between one flow's service and its endpoint. It counts what the
// endpoint accepted, keeps the transcript, and can be frozen.
//
// Its mutex comes after the flow's lock and before the endpoint's; a service
// never waits while it holds it, and nothing outside is called under it.
type Gate struct {
	conn  Conn
	decoy *Decoy
	ended chan struct{} // closed by Discard and Forget: the service is over

	mu     sync.Mutex
	phase  phase
	thawed chan struct{} // while frozen; closed by Release
	queue  *waiter.Queue // once the SYN has come
	ep     tcpip.Endpoint
	closed bool // the service has ended its stream

	read, written uint64
	answered      []byte // append-only: snapshots share it
	marks         []Mark // append-only
	overflow      bool
	taken         int   // from the budget
	grown         int64 // of the receive buffer, from the decoy's room

	busy  int    // answers under way
	begun uint64 // written when the first of them began
	last  time.Time
	done  func(written uint64) // while freezing
	quiet time.Duration        // while freezing: silence that ends an answer
	timer *time.Timer
}

func newGate(d *Decoy, c Conn) *Gate {
	if c.Service == nil {
		c.Service = silentService
	}
	return &Gate{conn: c, decoy: d, ended: make(chan struct{})}
}

// Answered is a snapshot of what the service has said. The slices are shared
// and only ever grow; overflow: the bound was reached, and what came after it
// is missing.
func (g *Gate) Answered() (b []byte, marks []Mark, overflow bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.answered, g.marks, g.overflow
}

// Written is how many bytes the endpoint has accepted.
func (g *Gate) Written() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.written
}

// Closed reports whether the service has ended its stream: its FIN was or will
// be sent, and no switch is possible.
func (g *Gate) Closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// Freeze stops new answers. If none is under way it returns what was written,
// and true. Else the answer may finish: done is then called once, with nothing
// held, from the service's goroutine or a timer's. Release, Discard and Forget
// take the request back, but a done that is already on its way still comes.
//
// An answer of which nothing has been written is not under way: it is parked.
// quiet is the silence that ends an answer of a service that cannot tell where
// its answers end (forward).
func (g *Gate) Freeze(quiet time.Duration, done func(written uint64)) (written uint64, isFrozen bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.phase != open {
		return g.written, g.phase != freezing
	}
	if !g.conn.Service.untold {
		quiet = 0
	}
	g.quiet, g.done = quiet, done
	if g.busy > 0 && g.written > g.begun {
		g.phase = freezing
		return g.written, false
	}
	if rest := g.unquiet(); rest > 0 {
		g.phase = freezing
		g.arm(rest)
		return g.written, false
	}
	g.freeze()
	return g.written, true
}

// unquiet is how long the service must still be silent.
func (g *Gate) unquiet() time.Duration {
	if g.quiet <= 0 || g.last.IsZero() {
		return 0
	}
	return g.quiet - time.Since(g.last)
}

func (g *Gate) freeze() {
	g.phase = frozen
	g.done = nil
	g.thawed = make(chan struct{})
}

// arm looks again after d.
func (g *Gate) arm(d time.Duration) {
	if g.timer != nil {
		g.timer.Stop()
	}
	g.timer = time.AfterFunc(d, g.settle)
}

// settle freezes a gate that waits for it, once no answer is under way.
func (g *Gate) settle() {
	g.mu.Lock()
	if g.phase != freezing || g.busy > 0 {
		g.mu.Unlock()
		return
	}
	if rest := g.unquiet(); rest > 0 {
		g.arm(rest)
		g.mu.Unlock()
		return
	}
	done, written := g.done, g.written
	g.freeze()
	g.mu.Unlock()
	done(written)
}

// Release takes a freeze back: parked writes and closes go on.
func (g *Gate) Release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch g.phase {
	case freezing:
		g.phase, g.done = open, nil
	case frozen:
		g.phase = open
		close(g.thawed)
	}
}

// Discard ends the service and what it has parked. The endpoint stays, to send
// again what S has not acknowledged, until a RST comes in or Forget is called.
func (g *Gate) Discard() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.discard(discarded)
}

// Forget ends everything of the flow, in whatever state it is. What the
// netstack still emits for it belongs to nobody.
func (g *Gate) Forget() {
	g.mu.Lock()
	if g.phase == forgotten {
		g.mu.Unlock()
		return
	}
	g.discard(forgotten)
	ep, taken := g.ep, g.taken
	g.decoy.growth.used.Add(-g.grown)
	g.ep, g.taken = nil, 0
	g.answered, g.marks = nil, nil
	handshake := g.queue != nil && ep == nil
	g.mu.Unlock()
	g.decoy.forget(g)
	if handshake {
		g.endHandshake()
	}
	if taken > 0 && g.conn.Budget != nil {
		g.conn.Budget.Give(taken)
	}
	if ep != nil {
		ep.Abort() // emits at most a RST, which belongs to nobody
		g.decoy.open.Add(-1)
	}
}

func (g *Gate) discard(to phase) {
	if g.phase < discarded {
		close(g.ended)
	}
	g.phase = max(g.phase, to)
	g.done = nil
	if g.timer != nil {
		g.timer.Stop()
	}
}

// endAgain is how often the end of a handshake that nobody wants is tried, until it
// has noticed.
const endAgain = 20 * time.Millisecond

// endHandshake ends a handshake that still waits for the client, by its endpoint. Only
// to wake it would not do: it lets go of the endpoint in SYN-RCVD, and gVisor panics
// where a segment of the client's comes to that then. The first call may come before
// there is an endpoint.
func (g *Gate) endHandshake() {
	g.mu.Lock()
	waits := g.queue != nil
	if waits {
		g.timer = time.AfterFunc(endAgain, g.endHandshake)
	}
	g.mu.Unlock()
	if waits {
		g.decoy.abort(g.conn.Leg)
	}
}
