// Package redirect is the gateway: it reads the doors, finds the flow of each
// packet and sends the packet where the flow is.
//
// A flow is one client leg joined to one serving leg, the decoy's at first and,
// after a switch, the backend's:
//
//	Handshake ──ACK──► Answering ──verdict switch──► Replaying ──commit──► Spliced
//	    │               │    ▲                           │                   │
//	    │               │    └──────── rolled back ──────┘                   │
//	    └───────────────┴───────────────┬────────────────────────────────────┴─► Closing ─► gone
//
// The way of a packet, run to completion under its flow's lock by the goroutine
// that read it:
//
//  1. inbound.go: parse, drop what cannot be, look up the flow; backend.go does
//     the same for the backends' doors, decoy.go for what the netstack emits;
//  2. answering.go: the client leg while the decoy answers: record, judge, feed;
//  3. switching.go: freeze, replay, commit or roll back;
//  4. spliced.go: translate in place; draining.go: until S has acknowledged the
//     cut; closing.go: RST, FIN and the end;
//  5. emit.go: cut to size, write.
package redirect

import (
	"net/netip"
	"regexp"
	"time"

	"sleight/redirect/record"
	"sleight/redirect/replay"
	"sleight/rules"
	"sleight/stack/profile"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// VnetHeader is the length of the virtio_net_hdr before each packet at a door.
const VnetHeader = 10

// Door is one TUN device, as far as it is written to. A packet in b is a
// virtio_net_hdr of VnetHeader bytes, then a whole IP packet.
type Door interface {
	Queues() int
	// Super reports whether Write takes super-packets and checksums that the
	// kernel is to fill in.
	Super() bool
	Write(queue int, b []byte) (int, error)
}

// Reader reads queues of the doors for one goroutine. Read blocks for a packet, and
// tells by which door it came; os.ErrClosed: a door is closed.
type Reader interface {
	Read(b []byte) (door, n int, err error)
}

// Conn tells the decoy of a flow before its SYN.
type Conn struct {
	Leg     tcb.Tuple // as the client's packets to the decoy carry it
	Client  netip.AddrPort
	Dialled netip.AddrPort
	Service any // DecoyConfig.Service
	Record  int // bound of the answers that are kept, in bytes
	Budget  *Budget
}

// Decoy plays the low-interaction hosts.
type Decoy interface {
	// Expect announces a flow; it precedes the flow's SYN.
	Expect(Conn) Gate
	// Inject gives the decoy one IP packet. It never blocks or calls back.
	Inject(pkt []byte)
	// Next blocks for the next packet that the decoy has emitted: a super-packet
	// or one without checksum, if off says so.
	Next(buf []byte) (n int, off wire.Offload, err error)
}

// Gate stands between one flow's service and its connection.
type Gate interface {
	// Answered is what the service has said, and when in the client's stream.
	Answered() (b []byte, marks []record.Mark, overflow bool)
	// Freeze stops new answers. If none is under way it returns how many bytes
	// were written; else done is called once the answer is whole, from another
	// goroutine, with no lock held.
	Freeze(quiet time.Duration, done func(written uint64)) (written uint64, frozen bool)
	// Release lets parked writes go on, Discard throws them away.
	Release()
	Discard()
	// Forget ends the connection; what it still emits has no flow.
	Forget()
	// Closed reports whether the service has ended its stream.
	Closed() bool
}

// Kind is what a decoy does with a connection.
type Kind uint8

// Serve answers on the netstack, Closed refuses, Filtered says nothing.
const (
	Serve Kind = iota
	Closed
	Filtered
)

// DecoyConfig is one decoy, matched in order.
type DecoyConfig struct {
	Name    string
	Match   rules.Match
	Kind    Kind
	Profile *profile.Profile
	Compare replay.Mode
	Except  []*regexp.Regexp
	Framer  replay.Framer
	Quiet   time.Duration // silence that ends a forward decoy's answer, and of compare: off
	Timeout time.Duration // of a switch
	Service any           // what the Decoy plays; the gateway only hands it on
}

// Mode is how a backend sees a flow's addresses.
type Mode uint8

// Keep rewrites nothing, ToBackend D1's address only ("client"), NAT both.
const (
	Keep Mode = iota
	ToBackend
	NAT
)

// Backend is one real host.
type Backend struct {
	Name     string
	V4, V6   netip.Addr // the zero Addr: none of that family
	Mode     Mode
	Ports    map[uint16]uint16 // dialled → real
	Door     int               // index of its door; 0 is the clients'
	MaxFlows int               // 0: no limit
	MTU      int               // of the way to it, in bytes; 0: the door's
}

// Refusal is what is done with what no decoy matches.
type Refusal uint8

// Drop says nothing, Reset answers as a closed port.
const (
	Drop Refusal = iota
	Reset
)

// Limits bound what peers can grow; all in bytes but the counts.
type Limits struct {
	Flows          int
	FlowsPerClient int
	PrefixV4       int
	PrefixV6       int
	HalfOpen       int
	Record         int
	DecoyRecord    int
	RecordTotal    int64
	Held           int
	Switching      int // switches under way at once; 0: no bound
}

// Timeouts end what stands still.
type Timeouts struct {
	Handshake, Answering, Established, Closing, Drain time.Duration
}

// Policy is what Reload replaces, as a whole: a flow keeps the one under which it
// began.
type Policy struct {
	Observe  bool           // decide and report; hold and do nothing
	Refused  []netip.Prefix // sources that cannot be clients: pool, backends, our own addresses
	Decoys   []DecoyConfig
	Default  Refusal
	Backends []Backend
	Rules    *rules.Set
}

// Config is what a gateway is made of.
type Config struct {
	Policy
	Claimed  []netip.Prefix
	Pool     []netip.Prefix // of NAT
	Limits   Limits
	Timeouts Timeouts
	MTU      int       // of the doors, in bytes
	Secret   [16]byte  // of ISNs, timestamps and tables
	Started  time.Time // origin of the client legs' clocks
	Carrier  Carrier   // nil: every packet comes to the gateway
}
