// Package seam reads a capture taken at the client, S, and finds everything in it
// that a real host would not have sent: the traces of a switch. It looks at the
// wire only, as S does, and knows nothing of the gateway.
//
// Where the wire loses or reorders, a field that goes backwards proves nothing;
// then a finding is what S's kernel would act on. On a lossless wire every
// segment has its place, and a finding is whatever an observer could see.
package seam

import (
	"cmp"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"sleight/internal/pcap"
	"sleight/stack/wire"
)

// Options say what the capture shows. The zero value but for Server is a capture
// at a wire that loses and reorders, of a kernel whose offloads are off.
type Options struct {
	// Server tells the addresses that S dials from S's own; see In.
	Server func(netip.Addr) bool
	// Hidden tells addresses that S must never see, as a source or in an ICMP
	// error: the backends'. Nil: none.
	Hidden func(netip.Addr) bool

	// Lossless says that the wire between S and the gateway neither loses, nor
	// reorders, nor duplicates, nor damages.
	Lossless bool
	// Reorder is how much later than a segment that was sent after it a segment may
	// come where the wire is not lossless; 0: 100 ms.
	Reorder time.Duration
	// Jitter is how much longer than the shortest round trip a segment and its
	// acknowledgement may be under way on a lossless wire, the machine's own pauses
	// included; 0: not at all. A duplicate within it is S's own doing.
	Jitter time.Duration
	// Corrupting says that the wire flips bits: what that explains is counted in
	// Stats.Damaged and is no anomaly.
	Corrupting bool
	// Offload says that checksums may not be filled in and that packets may be
	// longer than the MSS, as a capture shows them where offloads are on.
	Offload bool
	// ForbidReset makes an anomaly of every RST by the server, also of one that is
	// in order.
	ForbidReset bool

	MaxFlows     int // flows that are followed; 0: 16,384. What is beyond is counted.
	MaxAnomalies int // anomalies that are listed; 0: 1,000. All are counted.
	MaxHistory   int // bytes of a flow that are kept, to compare retransmissions; 0: 1 MiB
}

// In makes a test for addresses of some prefixes.
func In(prefixes ...netip.Prefix) func(netip.Addr) bool {
	return func(a netip.Addr) bool {
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	}
}

// Check reads a capture.
func Check(packets iter.Seq[pcap.Packet], o Options) *Report {
	o.Reorder = cmp.Or(o.Reorder, 100*time.Millisecond)
	o.MaxFlows = cmp.Or(o.MaxFlows, 16384)
	o.MaxAnomalies = cmp.Or(o.MaxAnomalies, 1000)
	o.MaxHistory = cmp.Or(o.MaxHistory, 1<<20)
	c := &checker{o: o, flows: map[Pair]*flow{}, report: newReport()}
	for p := range packets {
		c.packet(p)
	}
	c.finish()
	return c.report
}

// CheckFile reads a capture file, pcap or pcapng. A damaged one is an error: it
// proves nothing.
func CheckFile(path string, o Options) (*Report, error) {
	r, err := pcap.Open(path)
	if err != nil {
		return nil, err
	}
	report := Check(r.All(), o)
	if err := r.Err(); err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return report, r.Close()
}

// checker is one run of Check.
type checker struct {
	o      Options
	flows  map[Pair]*flow
	report *Report

	// The packet at hand.
	number  int
	now     time.Time
	flow    *flow
	options []byte // of its TCP header, as on the wire
}

// packet takes one packet of the capture.
func (c *checker) packet(p pcap.Packet) {
	c.number, c.now, c.flow = p.Number, p.Time, nil
	c.report.Stats.Packets++
	var ip wire.Packet
	switch r := wire.ParseIP(&ip, p.Data); {
	case r != wire.OK:
		c.refused(p, r)
	case c.hidden(&ip):
	case ip.Proto != protoTCP:
		c.report.Stats.OtherProtocol++
	case c.o.Server(ip.Src):
		c.fromServer(p, &ip)
	case c.o.Server(ip.Dst):
		c.fromClient(p, &ip)
	default:
		c.report.Stats.OtherAddress++
	}
}

const protoTCP = 6

// refused handles what is not even IP.
func (c *checker) refused(p pcap.Packet, r wire.Reason) {
	if p.Cut > 0 {
		c.report.Stats.Truncated++
		return
	}
	src, ok := source(p.Data)
	if !ok || !c.o.Server(src) {
		c.report.Stats.OtherAddress++
		return
	}
	if c.o.Corrupting && r != wire.Fragment {
		c.report.Stats.Damaged++
		return
	}
	kind := Malformed
	if r == wire.BadIPSum {
		kind = BadChecksum
	}
	c.found(kind, "an IP packet from %v that S's kernel drops: %v", src, r)
}

// source reads a packet's source address, whatever else is wrong with it.
func source(b []byte) (netip.Addr, bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case len(b) >= 40 && b[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(b[8:24])), true
	}
	return netip.Addr{}, false
}

// hidden reports a packet that shows S an address which it must not see.
func (c *checker) hidden(ip *wire.Packet) bool {
	if c.o.Hidden == nil {
		return false
	}
	var e wire.ICMPError
	switch {
	case c.o.Hidden(ip.Src):
		c.found(HiddenAddress, "a packet of protocol %d from %v", ip.Proto, ip.Src)
	case wire.ParseICMPError(&e, ip) && (c.o.Hidden(e.QuoteSrc.Addr()) || c.o.Hidden(e.QuoteDst.Addr())):
		c.found(HiddenAddress, "an ICMP error that quotes a segment from %v to %v", e.QuoteSrc, e.QuoteDst)
	default:
		return false
	}
	return true
}

// fromClient takes a segment that S sent. Its checksum may not be filled in yet:
// the capture is at the sender.
func (c *checker) fromClient(p pcap.Packet, ip *wire.Packet) {
	var s wire.Segment
	if r := wire.ParseTCP(&s, ip, wire.Offload{CsumValid: true}); r != wire.OK {
		c.count(&c.report.Stats.Truncated, p.Cut > 0)
		return
	}
	pair := Pair{s.Src, s.Dst}
	f := c.flows[pair]
	if f == nil {
		f = c.open(pair, &s)
	}
	if f != nil {
		f.client.sent(f, &s, c.now)
	}
}

// fromServer takes a segment that reached S.
func (c *checker) fromServer(p pcap.Packet, ip *wire.Packet) {
	var s wire.Segment
	r := wire.ParseTCP(&s, ip, wire.Offload{CsumValid: c.o.Offload})
	if r != wire.OK {
		c.dropped(p, ip, r)
		return
	}
	c.options = ip.L4[20 : int(ip.L4[12]>>4)*4]
	pair := Pair{s.Dst, s.Src}
	f := c.flows[pair]
	if f == nil {
		c.found(Unsolicited, "%v from %v to %v, where S has sent nothing", s.Flags, s.Src, s.Dst)
		return
	}
	c.flow = c.reopened(f, &s)
	c.segment(c.flow, &s)
}

// dropped handles a TCP segment that S's kernel drops unseen.
func (c *checker) dropped(p pcap.Packet, ip *wire.Packet, r wire.Reason) {
	switch {
	case p.Cut > 0:
		c.report.Stats.Truncated++
	case c.o.Corrupting:
		c.report.Stats.Damaged++
	case r == wire.BadChecksum:
		c.found(BadChecksum, "a TCP segment from %v that S's kernel drops", ip.Src)
	default:
		c.found(Malformed, "a TCP segment from %v that S's kernel drops: %v", ip.Src, r)
	}
}

// open begins to follow a flow, nil at the bound.
func (c *checker) open(pair Pair, s *wire.Segment) *flow {
	if len(c.flows) == c.o.MaxFlows {
		c.report.Stats.Unfollowed++
		return nil
	}
	f := newFlow(pair, s, c.now)
	c.flows[pair] = f
	return f
}

// reopened returns the flow that a server's segment belongs to: where S has sent
// a SYN of a new connection and this answers it, the old flow is over.
func (c *checker) reopened(f *flow, s *wire.Segment) *flow {
	again := f.client.again
	if again == nil || !s.Flags.Any(wire.SYN|wire.RST) || !s.Flags.Has(wire.ACK) || s.Ack != again.syn.Seq+1 {
		return f
	}
	c.close(f)
	next := newFlow(f.Pair, &again.syn, again.first)
	next.client.sent(next, &again.syn, again.first)
	next.client.syns = again.count
	c.flows[f.Pair] = next
	return next
}

func (c *checker) count(n *uint64, when bool) {
	if when {
		*n++
	}
}
