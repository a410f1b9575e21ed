// Package replay opens a serving leg: the client's SYN, then the record, turn
// by turn, each answer compared with what the decoy said and swallowed. The same
// machine opens the decoy's leg, whose record is empty.
//
//	Dial ──SYN-ACK──► Turns ──last closed turn──► Drain ──all acknowledged──► Done
//	 │                  │                           │
//	 └── refused        └── mismatch, reset         └── reset
//
// The machine does no I/O and has no clock: segments come in by Segment, time by
// Advance, and what it wants to send goes out through Emit.
package replay

import (
	"net/netip"
	"regexp"
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// State is where a replay stands.
type State uint8

const (
	// Dial: a SYN is out, or about to be sent again. An answer other than the
	// right SYN-ACK changes nothing; a RST ends it.
	Dial State = iota
	// Turns: the client's part of a turn is out, its answer is awaited.
	Turns
	// Drain: every closed turn was answered; the peer has not acknowledged the
	// whole record yet.
	Drain
	// Done: the leg is at the point at which the decoy stood.
	Done
	// Failed: see Result.
	Failed
)

// Result is how a replay that failed ended.
type Result uint8

const (
	// None: it has not failed.
	None Result = iota
	// Refused: RST or a hard ICMP error while dialling.
	Refused
	// Reset: RST or FIN from the peer during the record.
	Reset
	// Timeout: the deadline passed.
	Timeout
	// Mismatch: the peer answered otherwise than the decoy.
	Mismatch
)

// Turn is what the client said and what the decoy answered to it.
type Turn struct{ Client, Answer []byte }

// Mode is how a closed turn's answer is compared.
type Mode uint8

const (
	// Exact: the peer's bytes equal the decoy's, patterns of Except blanked.
	Exact Mode = iota
	// Framed: one whole answer of the protocol for each of the decoy's.
	Framed
	// Length: as many bytes.
	Length
	// Off: whatever comes until the peer is quiet.
	Off
)

// Framer finds where a protocol's answers end.
type Framer interface {
	// Answers reports how many whole answers b begins with, at most limit, and
	// how many bytes they take. asked is what the client said in the turn.
	Answers(asked, b []byte, limit int) (n, size int)
}

// Config is what a replay needs to know.
type Config struct {
	Src, Dst netip.AddrPort // the leg as its peer sees it
	ISS      tcb.Seq        // the client's own ISN
	// What the SYN offers; a field that the client leg did not agree to is off.
	Offer     wire.Options // MSS, WndShift, SACKPermitted, HasTS
	MaxMSS    uint16       // the link's own, whatever the peer announces, in bytes; 0: any
	TSVal     uint32       // the client's newest
	TTL       uint8
	FlowLabel uint32
	Turns     []Turn // closed turns, in order
	Open      []byte // what the client said after the last answer
	FIN       bool   // the record ends with the client's FIN
	Rides     bool   // the caller has more to send at once, on which the handshake's ACK can ride
	Mode      Mode
	Except    []*regexp.Regexp
	Framer    Framer
	Quiet     time.Duration // of Off, and where Except may still match more
	Room      int           // S's edge − cut, in bytes: what may come beyond the swallowed
	Guess     int           // room for answers whose length nobody knows, in bytes
	Timeout   time.Duration // of the whole replay; 0: none
}

// Mismatched says where a mismatch lies.
type Mismatched struct {
	Turn, Offset int
	Decoy, Peer  int // the two bytes; -1: none
}

// Machine is one replay. Make one with New.
type Machine struct {
	Leg tcb.Leg

	cfg      Config
	emit     func(*wire.Segment)
	state    State
	result   Result
	mismatch Mismatched

	send     tcb.Sender
	deadline time.Time
	synDue   time.Time
	synRTO   time.Duration
	quietAt  time.Time
	silent   bool // the peer has been quiet for long enough: judge for good

	turn     int
	in       inbox
	swallow  tcb.Seq
	compared int // of the inbox, by the turn that is under way
	out      wire.Segment
}

// New makes a machine; emit sends a segment and must not keep it.
func New(cfg Config, emit func(*wire.Segment)) *Machine {
	m := &Machine{cfg: cfg, emit: emit, synRTO: tcb.FirstRTO}
	m.Leg.ISS = cfg.ISS
	m.Leg.SndUna, m.Leg.SndNxt, m.Leg.SndEdge = cfg.ISS, cfg.ISS, cfg.ISS
	m.send.Init(cfg.ISS + 1)
	return m
}

// Start sends the SYN.
func (m *Machine) Start(now time.Time) {
	if m.cfg.Timeout > 0 {
		m.deadline = now.Add(m.cfg.Timeout)
	}
	m.sendSYN(now)
}

// State is where the replay stands.
func (m *Machine) State() State { return m.state }

// Result is how it failed.
func (m *Machine) Result() Result { return m.result }

// Mismatch tells where the answers differ, after a Mismatch.
func (m *Machine) Mismatch() Mismatched { return m.mismatch }

// Executed is how many bytes of the client's the peer has acknowledged: what a
// roll-back cannot take back.
func (m *Machine) Executed() int { return max(0, tcb.Diff(m.send.Start(), m.cfg.ISS+1)) }

// Swallowed is the peer's first sequence number that was not swallowed.
func (m *Machine) Swallowed() tcb.Seq { return m.swallow }

// Tail is what the peer has sent in order beyond the swallowed: it is S's.
func (m *Machine) Tail() []byte { return m.in.bytes[m.compared:] }

// TailFIN reports whether the peer's FIN stands behind Tail.
func (m *Machine) TailFIN() bool { return m.in.fin }

// Deadline is when Advance wants to be called next; zero: never.
func (m *Machine) Deadline() time.Time {
	if m.state >= Done {
		return time.Time{}
	}
	d := m.deadline
	for _, t := range []time.Time{m.synDue, m.quietAt, m.send.Deadline()} {
		if !t.IsZero() && (d.IsZero() || t.Before(d)) {
			d = t
		}
	}
	return d
}

// Advance lets time pass.
func (m *Machine) Advance(now time.Time) {
	if m.state >= Done {
		return
	}
	if !m.deadline.IsZero() && !now.Before(m.deadline) {
		m.fail(Timeout)
		return
	}
	if m.state == Dial {
		if !m.synDue.IsZero() && !now.Before(m.synDue) {
			m.synRTO = min(2*m.synRTO, tcb.MaxRTO)
			m.sendSYN(now)
		}
		return
	}
	if !m.quietAt.IsZero() && !now.Before(m.quietAt) {
		m.quietAt = time.Time{}
		m.quieted(now)
	}
	if fire, probe := m.send.Timeout(now, m.Leg.SndEdge); fire {
		m.pump(now, probe)
	}
}

// Unreachable ends a replay that is still dialling (RFC 9293, section 3.9.2.2:
// a hard ICMP error); later it changes nothing.
func (m *Machine) Unreachable() {
	if m.state == Dial {
		m.fail(Refused)
	}
}

// TooBig takes a path MTU's MSS, in bytes: what was sent in longer segments and
// is not acknowledged goes out again. Only the first of the errors that a flight
// draws changes anything.
func (m *Machine) TooBig(now time.Time, mss uint16) {
	if m.state == Dial || m.state >= Done || mss >= m.Leg.MSS {
		return
	}
	m.Leg.MSS = mss
	m.send.Again(m.send.Start())
	m.pump(now, false)
}

// Abort sends the peer an exact RST: the switch is off.
func (m *Machine) Abort() { m.reset(m.Leg.SndNxt) }

func (m *Machine) fail(r Result) { m.state, m.result = Failed, r }
