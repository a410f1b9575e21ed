// Package wire is one IP/TCP packet: parsed into plain values, rewritten in
// place with an incremental checksum, or built anew. It knows IPv4 and IPv6 and
// nothing of connections.
package wire

import (
	"net/netip"

	"sleight/stack/tcb"
)

// Flags are the control bits of a TCP header (RFC 9293, section 3.1).
type Flags uint16

// The control bits, in their place in the header.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
	AE
)

// Has reports whether every bit of want is set.
func (f Flags) Has(want Flags) bool { return f&want == want }

// Any reports whether at least one bit of want is set.
func (f Flags) Any(want Flags) bool { return f&want != 0 }

// String prints the bits as packetdrill and tcpdump do: "SFRP.UEW".
func (f Flags) String() string {
	const names = "FSRP.UEWA"
	b := make([]byte, 0, len(names))
	for i := range len(names) {
		if f&(1<<i) != 0 {
			b = append(b, names[i])
		}
	}
	if len(b) == 0 {
		return "-"
	}
	return string(b)
}

// Offload is what the virtio_net_hdr in front of a packet says of it.
type Offload struct {
	NeedsCsum bool   // the TCP checksum holds only the pseudo-header's sum
	CsumValid bool   // the kernel has verified the checksum, or it never left the machine
	GSOSize   uint16 // bytes of payload in each segment of a super-packet; 0: one segment
}

// Block is one SACK block, half-open: [Start, End) (RFC 2018, section 3).
type Block struct{ Start, End tcb.Seq }

// MaxBlocks is how many SACK blocks fit in 40 bytes of options.
const MaxBlocks = 4

// Options are the TCP options that Sleight knows.
type Options struct {
	MSS           uint16
	WndShift      uint8 // at most 14 (RFC 7323, section 2.3)
	HasMSS        bool
	HasWndShift   bool
	SACKPermitted bool
	HasTS         bool
	TSVal, TSEcr  uint32
	SACK          [MaxBlocks]Block
	NumSACK       int
	Unknown       int // options of other kinds, left out when the segment is written again
}

// Blocks returns the SACK blocks, the first one first.
func (o *Options) Blocks() []Block { return o.SACK[:o.NumSACK] }

// AddBlock appends a SACK block where there is room and reports whether there was.
func (o *Options) AddBlock(b Block) bool {
	if o.NumSACK == MaxBlocks {
		return false
	}
	o.SACK[o.NumSACK] = b
	o.NumSACK++
	return true
}

// Segment is one IP/TCP packet as plain values. Parse fills it; Rewrite and
// Build write it.
type Segment struct {
	Src, Dst  netip.AddrPort // IPv4 is never in mapped form
	TTL       uint8          // or hop limit
	TOS       uint8          // or traffic class
	ID        uint16         // IPv4 only
	DF        bool           // IPv4 only
	FlowLabel uint32         // IPv6 only

	Seq, Ack tcb.Seq
	Flags    Flags
	Wnd      uint16 // as on the wire, unscaled
	Urg      uint16
	Reserved uint8 // the reserved bits in their place; read, and never written
	Opts     Options
	Payload  []byte // aliases the packet's buffer

	Offload Offload
	Quirks  Quirks

	was header // what Rewrite needs of the packet that was parsed
}

// Quirks say what in a parsed packet is lost when it is written again.
type Quirks struct {
	IPOptions  bool // IPv4 options or IPv6 extension headers
	BadOptions bool // a TCP option whose length is impossible: the rest was not read
}

// header remembers the packet as it was read.
type header struct {
	sum     uint32 // pseudo-header and TCP header without its checksum field
	csum    uint16 // the TCP checksum field
	payload int    // bytes of payload; another length asks for a full checksum
}

// Is4 reports whether the segment travels in IPv4.
func (s *Segment) Is4() bool { return s.Src.Addr().Is4() }

// Len is the segment's length in sequence space: SYN and FIN count one each
// (RFC 9293, section 3.4, "SEG.LEN").
func (s *Segment) Len() tcb.Size {
	n := tcb.Size(len(s.Payload))
	if s.Flags&SYN != 0 {
		n++
	}
	if s.Flags&FIN != 0 {
		n++
	}
	return n
}

// End is the sequence number after the segment's last one.
func (s *Segment) End() tcb.Seq { return s.Seq.Add(s.Len()) }

// Tuple is the leg's socket pair, as the sender of this segment sees it.
func (s *Segment) Tuple() tcb.Tuple { return tcb.TupleOf(s.Src, s.Dst) }

// TrimFront drops the first n bytes of payload and moves Seq and the urgent
// pointer along.
func (s *Segment) TrimFront(n int) {
	s.Payload = s.Payload[n:]
	s.Seq = s.Seq.Add(tcb.Size(n))
	if s.Flags&URG == 0 {
		return
	}
	if int(s.Urg) <= n {
		s.Flags &^= URG
		s.Urg = 0
		return
	}
	s.Urg -= uint16(n)
}

// TrimBack keeps the first n bytes of payload; a FIN or PSH behind them goes.
func (s *Segment) TrimBack(n int) {
	s.Payload = s.Payload[:n]
	s.Flags &^= FIN | PSH
}
