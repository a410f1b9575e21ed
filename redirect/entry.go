package redirect

import (
	"net/netip"
	"sync"
	"time"

	"sleight/redirect/flow"
	"sleight/redirect/record"
	"sleight/redirect/replay"
	"sleight/redirect/splice"
	"sleight/rules"
	"sleight/stack/tcb"
)

// Phase is where a flow stands. The handshake has no flow yet: see front.
type Phase uint8

const (
	// Answering: the decoy serves; rules read what the client says.
	Answering Phase = iota
	// Replaying: a backend is being brought to the decoy's state; the decoy
	// still serves, client bytes are held.
	Replaying
	// Spliced: the backend serves; the decoy may still drain.
	Spliced
	// Closing: reset, or closed by both; translated until its timeout, and
	// replaced at once by a new SYN.
	Closing
)

// String names the phase as events print it.
func (p Phase) String() string {
	return [...]string{"answering", "replaying", "spliced", "closing"}[p]
}

// decoyDoor stands for the netstack where a door's index is asked for.
const decoyDoor = 0xff

// entry is one flow. Its lock guards everything in it; whoever holds the lock
// is its worker. There can be a million, nearly all of them joined to a backend: what
// such a flow can do without is aside.
type entry struct {
	mu    sync.Mutex
	id    uint64
	node  flow.Member[*entry] // its key, and its place in the table
	decoy *DecoyConfig

	started   instant
	heard     instant // anything from either peer
	repeated  instant // the last bare acknowledgement that was repeated
	scheduled instant

	*aside
	back *leg // nil before a switch
	cli  splice.ClientLeg
	paws uint32 // TS.Recent of the client leg (RFC 7323, section 4.3)

	phase Phase
	gone  bool
	final bool        // the verdict is spoken
	steer [2]steering // at the doors of client and backend

	bytes, pkts [2]uint64 // by the side that they came from
}

// aside is what a flow needs until a backend serves it alone, and again once it closes.
type aside struct {
	w    *worker   // who holds the lock
	hand *handDown // nil unless the carrier watches the flow

	scaled    bool    // the client leg uses window scales
	held      bool    // bytes from judged on wait for the end of a switch
	silent    bool    // verdict drop: what S sends is discarded
	spoke     instant // the client's last byte that rules have read
	nextJudge instant // of a rule that looks at time, or of bytes not judged yet
	delayed   delayed // the decoy's acknowledgement

	rec     *record.Record // nil once no rule can ask for it
	taken   int            // of the record budget, in bytes
	judged  tcb.Seq        // client bytes before this may go to a serving leg
	packets int
	rules   *reading // nil once the verdict is spoken

	dec  *leg // nil before it is opened and after it was detached
	room *leg // for dec
	gate Gate // nil while there is no decoy
	sw   *attempt

	cut       tcb.Seq // once Spliced, in the client leg's numbers
	drainEdge tcb.Seq // S's edge when the backend was last told of it
	draining  instant

	srtt, rttvar   time.Duration // of the handshake
	handshakeTSEcr uint32

	cliFIN, srvFIN tcb.Seq // after the FIN, in the client leg's numbers
	hasCliFIN      bool
	hasSrvFIN      bool
	srvFirst       bool // the server's FIN was the first
	cliFINAcked    bool

	closing instant // when Closing ends
	why     string  // flow_end's reason, once Closing
	ended   Phase   // what it was before Closing
}

// newAside is a new flow's, with room for its leg to the decoy and for its rules: one
// piece of memory, of a size that nothing has which lasts. Entries and legs to backends
// would have holes between them else.
func newAside() *aside {
	var a struct {
		aside
		decoy leg
		reads reading
	}
	a.room, a.rules = &a.decoy, &a.reads
	return &a.aside
}

// joined stands for aside in every flow that a backend serves alone: no record, no
// rules, no decoy, nothing held, no FIN. It is shared, so nobody may write to it.
var joined aside

// join gives up what a flow does not need while a backend serves it alone, neither end
// has closed, and S was told all that was acknowledged.
func (e *entry) join() {
	if e.phase == Spliced && !e.hasCliFIN && !e.hasSrvFIN && e.delayed.due == 0 {
		e.aside = &joined
	}
}

// part is its opposite, for a flow that closes. It must precede what is written aside
// of a joined flow.
func (e *entry) part() {
	if e.aside == &joined {
		e.aside = new(aside)
	}
}

// reading is what the rules know of a flow and keep of it.
type reading struct {
	rules.Flow
	syn    rules.SYN
	policy *policy // under which it began
}

// client and dialled are the client leg's ends, as S has them.
func (e *entry) client() netip.AddrPort  { return e.node.Key.Leg.Source() }
func (e *entry) dialled() netip.AddrPort { return e.node.Key.Leg.Dest() }

// instant is a time in nanoseconds since the gateway's clock began, a third as large
// as a time.Time; 0 is never.
type instant int64

func (g *Gateway) at(t time.Time) instant {
	if t.IsZero() {
		return 0
	}
	return instant(t.Sub(g.cfg.Started))
}

// since is a time since the gateway's clock began.
func (g *Gateway) since(t time.Time) time.Duration { return t.Sub(g.cfg.Started) }

func (g *Gateway) time(i instant) time.Time {
	if i == 0 {
		return time.Time{}
	}
	return g.cfg.Started.Add(time.Duration(i))
}

// leg is a serving leg of a flow.
type leg struct {
	splice.Splice
	own  tcb.Sender        // bytes that the gateway sends on this leg itself
	open *replay.Machine   // until the leg is ready
	node flow.Node[*entry] // its key
	b    *backend          // nil: the decoy's
}

// src and dst are the leg's ends as packets to its peer have them.
func (l *leg) src() netip.AddrPort { return l.node.Key.Leg.Dest() }
func (l *leg) dst() netip.AddrPort { return l.node.Key.Leg.Source() }

// door is the one that the leg's peer is behind.
func (l *leg) door() int { return int(l.node.Key.Door) }

// queue is the one of that door by which packets to the leg's peer are written.
func (l *leg) queue() int { return int(l.node.Of.steer[tcb.Serving].queue) }

// attempt is a switch under way.
type attempt struct {
	backend     *backend
	rule        string
	began       time.Time
	deadline    time.Time
	written     uint64
	frozen      bool
	clientBytes int
	counted     bool // to Limits.Switching
}

// serving is the leg that serves the client now.
func (e *entry) serving() *leg {
	if e.phase == Spliced || e.phase == Closing && e.back != nil && e.back.open == nil {
		return e.back
	}
	return e.dec
}

func (e *entry) info() FlowInfo { return FlowInfo{e.id, e.client(), e.dialled()} }
