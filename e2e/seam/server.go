package seam

import (
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// server is what S has been shown so far, as its kernel keeps it. Positions are
// bytes since the server's ISS, unwrapped.
type server struct {
	met    bool         // a segment has come; synack and iss are valid unless Partial
	synack wire.Segment // the first one, without payload
	last   tcb.Seq      // a sequence number whose position is known
	at     int64        // its position
	high   int64        // the next position that S has not seen anything of
	seen   spans        // positions that S has seen
	bytes  history      // what was there
	came   moments      // when S has seen a position first

	finAt   int64
	finSeen bool
	reset   bool // an RST in order

	header  headers
	stamps  stamps
	window  window
	ackSeen bool
	ackHigh tcb.Seq // the highest acknowledgement that S was shown
}

// position unwraps a sequence number.
func (v *server) position(s tcb.Seq) int64 { return v.at + int64(tcb.Diff(s, v.last)) }

// segment checks one segment that reached S, then takes note of it.
func (c *checker) segment(f *flow, s *wire.Segment) {
	f.End = c.now
	f.SegmentsIn++
	c.checkHeaders(f, s)
	c.checkECN(f, s)
	switch {
	case !c.checkFlags(s):
		return
	case s.Flags.Has(wire.RST):
		c.checkRST(f, s)
		return
	case s.Flags.Has(wire.SYN):
		c.checkSYNACK(f, s)
		return
	}
	if !f.server.met && !f.Partial {
		c.found(Unsolicited, "%v before any SYN-ACK", s.Flags)
		return
	}
	if !f.server.met {
		c.meet(f, s)
	}
	c.checkAfterReset(f)
	c.checkOptions(f, s)
	c.checkTimestamps(f, s)
	c.checkAck(f, s)
	c.checkSACK(f, s)
	c.checkEdge(f, s)
	c.checkData(f, s)
	if s.Flags.Has(wire.FIN) {
		c.checkFIN(f, s)
	}
}

// meet fixes the beginning of the server's positions.
func (c *checker) meet(f *flow, s *wire.Segment) {
	v := &f.server
	v.met, v.last, v.bytes.limit = true, s.Seq, c.o.MaxHistory
	if s.Flags.Has(wire.SYN) {
		v.synack = *s
		v.synack.Payload = nil
	}
}

// checkFlags finds combinations of control bits that no host sends (RFC 9293,
// section 3.5), and reports whether there is a sense in the segment.
func (c *checker) checkFlags(s *wire.Segment) bool {
	const kinds = wire.SYN | wire.FIN | wire.RST
	switch s.Flags & kinds {
	case wire.RST:
	case 0, wire.SYN, wire.FIN:
		if !s.Flags.Has(wire.ACK) {
			c.found(Flags, "%v without ACK", s.Flags)
		}
	default:
		c.found(Flags, "%v", s.Flags)
		return false
	}
	// A FIN whose data was acknowledged in part may be sent again with its PSH.
	if s.Flags.Has(wire.PSH) && len(s.Payload) == 0 && !s.Flags.Has(wire.FIN) {
		c.found(PushEmpty, "%v with no payload", s.Flags)
	}
	if s.Flags.Has(wire.URG) != (s.Urg != 0) {
		c.found(UrgentField, "%v with an urgent pointer of %d", s.Flags, s.Urg)
	}
	return true
}

// checkSYNACK checks the handshake's answer, and that one sent again says the same.
func (c *checker) checkSYNACK(f *flow, s *wire.Segment) {
	v, k := &f.server, &f.client
	if f.Partial || !s.Flags.Has(wire.ACK) {
		return
	}
	if s.Ack != k.iss+1 {
		c.found(SYNACKNumber, "acknowledges %d, and the SYN was %d", s.Ack, k.iss)
		return
	}
	if !v.met {
		c.firstSYNACK(f, s)
		return
	}
	if what := unlike(&v.synack, s); what != "" {
		c.found(SYNACKChanged, "another %s than in the one before", what)
	}
	if c.o.Lossless && k.syns < 2 {
		c.found(Duplicate, "the SYN-ACK again, and S has sent its SYN once")
	}
	c.checkTimestamps(f, s)
}

func (c *checker) firstSYNACK(f *flow, s *wire.Segment) {
	c.meet(f, s)
	f.server.high = 1
	if f.client.syns == 1 {
		f.RTT = c.now.Sub(f.client.synAt)
	}
	c.checkOptions(f, s)
	c.checkTimestamps(f, s)
	c.checkEdge(f, s)
	f.server.ackSeen, f.server.ackHigh = true, s.Ack
	f.measure(s.Ack, c.now)
}

// unlike names the first field in which two SYN-ACKs differ that a host repeats.
func unlike(a, b *wire.Segment) string {
	x, y := &a.Opts, &b.Opts
	switch {
	case a.Seq != b.Seq:
		return "sequence number"
	case a.Wnd != b.Wnd:
		return "window"
	case a.Flags != b.Flags:
		return "set of flags"
	case x.HasMSS != y.HasMSS, x.MSS != y.MSS:
		return "MSS"
	case x.HasWndShift != y.HasWndShift, x.WndShift != y.WndShift:
		return "window scale"
	case x.SACKPermitted != y.SACKPermitted:
		return "SACK-permitted"
	case x.HasTS != y.HasTS:
		return "timestamps option"
	}
	return ""
}

// checkAfterReset finds segments after an RST that S's kernel has accepted.
func (c *checker) checkAfterReset(f *flow) {
	if c.o.Lossless && f.server.reset {
		c.found(AfterReset, "the server goes on after its RST")
	}
}

// answerTime is how long after a segment of S an RST still answers it, beyond
// four round trips.
const answerTime = time.Second

// checkRST tells an RST in order from a bare one. A host that aborts sends RST and
// ACK at its SND.NXT; one that has no such connection answers a segment, with the
// segment's own ACK for SEQ, or with SEQ 0 where it has none (RFC 9293, section
// 3.10.7.1).
func (c *checker) checkRST(f *flow, s *wire.Segment) {
	v, k := &f.server, &f.client
	if !v.reset {
		f.Reset = true
	}
	if c.o.ForbidReset {
		c.found(Reset, "%v, SEQ %d", s.Flags, s.Seq)
		return
	}
	answers := k.acks.since(s.Seq, c.now.Add(-answerTime-4*f.RTT))
	switch {
	case !v.met: // refused: it answers the SYN
		if !f.Partial && (!s.Flags.Has(wire.ACK) || s.Seq != 0 || s.Ack != k.nxt) && !answers {
			c.found(ResetInexact, "%v, SEQ %d, ACK %d, in answer to a SYN", s.Flags, s.Seq, s.Ack)
		}
		return
	case !s.Flags.Has(wire.ACK) && !answers:
		c.found(ResetBare, "SEQ %d answers nothing that S did", s.Seq)
		return
	case s.Flags.Has(wire.ACK) && !c.exact(f, s):
		c.found(ResetInexact, "SEQ %d, %d bytes from what S expects next", s.Seq, v.position(s.Seq)-v.high)
		return
	}
	v.reset = v.reset || c.exact(f, s)
	if s.Flags.Has(wire.ACK) {
		c.checkAck(f, s)
	}
}

// exact reports whether S's kernel accepts an RST (RFC 5961, section 3.2). Where
// segments get lost, S may expect less than the server has sent.
func (c *checker) exact(f *flow, s *wire.Segment) bool {
	at := f.server.position(s.Seq)
	if c.o.Lossless {
		return at == f.server.high
	}
	return f.client.acked && at >= f.server.position(f.client.ack) && s.Seq.LessThanEq(f.client.edge)
}
