package seam

import (
	"net/netip"
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Pair names a flow as S sees it.
type Pair struct{ Client, Server netip.AddrPort }

// String prints the flow as S dialled it.
func (p Pair) String() string {
	if !p.Client.IsValid() {
		return "-"
	}
	return p.Client.String() + " > " + p.Server.String()
}

// Flow is what the report tells of one connection.
type Flow struct {
	Pair
	Start, End    time.Time     // first and last segment
	RTT           time.Duration // SYN to SYN-ACK; 0 if it is not known
	Partial       bool          // the capture has no handshake of it
	SegmentsOut   uint64        // that S sent
	SegmentsIn    uint64        // that reached S
	BytesOut      uint64        // of payload that S sent, retransmissions included
	BytesIn       uint64        // of payload that reached S, each counted once
	Retransmitted uint64        // bytes that reached S more than once
	Reset         bool          // the server sent an RST
}

// flow is a connection that is followed.
type flow struct {
	Flow
	client client
	server server
	rtt    time.Duration     // the shortest that was seen; 0: none
	listed map[Kind]int      // anomalies that are listed
	told   map[constant]bool // other values of a constant field
}

func newFlow(p Pair, s *wire.Segment, now time.Time) *flow {
	return &flow{Flow: Flow{
		Pair: p, Start: now, End: now, Partial: !s.Flags.Has(wire.SYN) || s.Flags.Has(wire.ACK),
	}}
}

// scaled reports whether both ends have agreed on window scaling; a shift counts
// only then (RFC 7323, section 2.2).
func (f *flow) scaled() bool {
	return f.client.offer.HasWndShift && f.server.synack.Opts.HasWndShift
}

// timestamps reports whether both ends have agreed on timestamps.
func (f *flow) timestamps() bool { return f.client.offer.HasTS && f.server.synack.Opts.HasTS }

// client is what S has sent so far: what the server may refer to.
type client struct {
	offer  wire.Options // of the SYN
	flags  wire.Flags   // of the SYN
	iss    tcb.Seq
	syns   int       // how often S has sent the SYN
	synAt  time.Time // when first
	opened bool      // iss is known
	begun  bool      // nxt is known
	nxt    tcb.Seq   // after the highest byte sent

	acked bool    // ack is known
	ack   tcb.Seq // the last acknowledgement that S sent
	edge  tcb.Seq // the rightmost edge that S has announced; valid if both shifts are known
	acks  acks    // what S acknowledged lately: an RST may answer one of those
	// covered is when S has acknowledged a position of the server's.
	covered moments

	timed   bool // a round trip is being measured: from the sending of timedTo on
	timedTo tcb.Seq
	timedAt time.Time

	hasTS            bool
	firstTS, newstTS uint32

	fin, rst bool
	again    *reopening // a SYN of a new connection
}

// reopening is a SYN of a new connection with the same addresses and ports. The
// old one is over only if the server agrees.
type reopening struct {
	syn   wire.Segment
	first time.Time
	count int
}

// sent takes note of a segment that S sent.
func (c *client) sent(f *flow, s *wire.Segment, now time.Time) {
	f.End = now
	f.SegmentsOut++
	f.BytesOut += uint64(len(s.Payload))
	if s.Flags.Has(wire.SYN) && !s.Flags.Has(wire.ACK) && !c.opens(f, s, now) {
		return
	}
	if !c.begun || c.nxt.LessThan(s.End()) {
		c.nxt, c.begun = s.End(), true
		if !c.timed {
			c.timed, c.timedTo, c.timedAt = true, s.End(), now
		}
	}
	c.fin = c.fin || s.Flags.Has(wire.FIN)
	c.rst = c.rst || s.Flags.Has(wire.RST)
	c.stamped(s)
	if s.Flags.Has(wire.ACK) {
		c.acknowledged(f, s, now)
	}
}

// opens takes a SYN and reports whether it is this connection's.
func (c *client) opens(f *flow, s *wire.Segment, now time.Time) bool {
	switch {
	case !f.Partial && !c.opened:
		c.offer, c.flags, c.iss, c.synAt, c.opened = s.Opts, s.Flags, s.Seq, now, true
		c.syns = 1
	case !f.Partial && s.Seq == c.iss:
		c.syns++
	case c.again != nil && c.again.syn.Seq == s.Seq:
		c.again.count++
		return false
	default:
		c.again = &reopening{syn: *s, first: now, count: 1}
		c.again.syn.Payload = nil
		return false
	}
	return true
}

// measure takes an acknowledgement that reached S for the shortest round trip.
func (f *flow) measure(ack tcb.Seq, now time.Time) {
	c := &f.client
	if !c.timed || ack.LessThan(c.timedTo) {
		return
	}
	c.timed = false
	if d := now.Sub(c.timedAt); d > 0 && (f.rtt == 0 || d < f.rtt) {
		f.rtt = d
	}
}

// stamped notes the timestamps that S has sent.
func (c *client) stamped(s *wire.Segment) {
	switch {
	case !s.Opts.HasTS:
	case !c.hasTS:
		c.hasTS, c.firstTS, c.newstTS = true, s.Opts.TSVal, s.Opts.TSVal
	case int32(s.Opts.TSVal-c.newstTS) > 0:
		c.newstTS = s.Opts.TSVal
	}
}

// acknowledged notes what S has acknowledged and how far its window reaches.
func (c *client) acknowledged(f *flow, s *wire.Segment, now time.Time) {
	c.acks.add(s.Ack, now)
	shift := uint8(0)
	if f.scaled() {
		shift = c.offer.WndShift
	}
	edge := s.Ack.Add(tcb.Size(s.Wnd) << shift)
	if !c.acked || c.edge.LessThan(edge) {
		c.edge = edge
	}
	if !c.acked || c.ack.LessThan(s.Ack) {
		c.ack = s.Ack
	}
	c.acked = true
	if f.server.met {
		c.covered.add(f.server.position(s.Ack), now)
	}
}

// acks remembers S's last acknowledgements.
type acks struct {
	seq  [64]tcb.Seq
	at   [64]time.Time
	n, i int
}

func (a *acks) add(seq tcb.Seq, now time.Time) {
	a.seq[a.i], a.at[a.i] = seq, now
	a.i = (a.i + 1) % len(a.seq)
	a.n = min(a.n+1, len(a.seq))
}

// since reports whether S has sent this acknowledgement after a moment.
func (a *acks) since(seq tcb.Seq, t time.Time) bool {
	for i := range a.n {
		if a.seq[i] == seq && !a.at[i].Before(t) {
			return true
		}
	}
	return false
}
