package wire

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"

	"sleight/stack/tcb"
)

// Protocol numbers of ICMP.
const (
	ProtoICMP4 = 1
	ProtoICMP6 = 58
	ProtoUDP   = 17
)

// ICMP types and codes that the gateway looks at (RFC 792, RFC 4443).
const (
	Unreachable4  = 3
	FragNeeded    = 4 // code of Unreachable4
	TimeExceeded4 = 11
	ParamProblem4 = 12
	Unreachable6  = 1
	PacketTooBig  = 2
	TimeExceeded6 = 3
	ParamProblem6 = 4
)

// ICMPError is an ICMP error that quotes a TCP segment.
type ICMPError struct {
	Src, Dst   netip.Addr // of the error itself
	Type, Code uint8
	MTU        uint32 // of a FragNeeded or a PacketTooBig, in bytes
	QuoteSrc   netip.AddrPort
	QuoteDst   netip.AddrPort
	QuoteSeq   tcb.Seq
	quote      []byte // the quoted IP packet, as far as it goes
	quoteL4    int    // where the quoted TCP header begins
}

// Is4 reports whether the error travels in ICMPv4.
func (e *ICMPError) Is4() bool { return e.Src.Is4() }

// Hard reports whether the error says that the peer cannot be reached at all
// (RFC 1122, section 4.2.3.9; RFC 4443, section 3.1: port unreachable,
// administratively prohibited, and their like).
func (e *ICMPError) Hard() bool {
	if e.Is4() {
		return e.Type == Unreachable4 && e.Code != FragNeeded
	}
	return e.Type == Unreachable6
}

// TooBig reports whether the error carries a path MTU.
func (e *ICMPError) TooBig() bool {
	if e.Is4() {
		return e.Type == Unreachable4 && e.Code == FragNeeded
	}
	return e.Type == PacketTooBig
}

// ParseICMPError reads an ICMP error that quotes TCP. Its own checksum and, in
// IPv4, the quoted header's are verified; the quoted TCP checksum is not used
// (RFC 5508, section 4). It reports false for everything else.
func ParseICMPError(e *ICMPError, p *Packet) bool {
	b := p.L4
	if len(b) < 8 || !isError(p, b[0]) || !icmpSumOK(p) {
		return false
	}
	*e = ICMPError{Src: p.Src, Dst: p.Dst, Type: b[0], Code: b[1], quote: b[8:]}
	if e.TooBig() {
		e.MTU = binary.BigEndian.Uint32(b[4:])
		if p.Proto == ProtoICMP4 {
			e.MTU &= 0xffff
		}
	}
	return e.parseQuote()
}

// isError reports whether the packet is an error of its own family's ICMP.
func isError(p *Packet, typ uint8) bool {
	if p.Src.Is4() {
		return p.Proto == ProtoICMP4 && (typ == Unreachable4 || typ == TimeExceeded4 || typ == ParamProblem4)
	}
	return p.Proto == ProtoICMP6 && typ >= Unreachable6 && typ <= ParamProblem6
}

func icmpSumOK(p *Packet) bool {
	if p.Proto == ProtoICMP4 {
		return checksum.Checksum(p.L4, 0) == 0xffff
	}
	return checksum.Checksum(p.L4, icmp6Pseudo(p.Src, p.Dst, len(p.L4))) == 0xffff
}

func icmp6Pseudo(src, dst netip.Addr, n int) uint16 {
	return fold(pseudoSum(src, dst, n) - protoTCP + ProtoICMP6)
}

// parseQuote finds the quoted segment's socket pair and sequence number.
func (e *ICMPError) parseQuote() bool {
	q := e.quote
	if len(q) == 0 {
		return false
	}
	var src, dst netip.Addr
	switch {
	case q[0]>>4 == 4 && e.Is4() && len(q) >= ipv4Header:
		hl := int(q[0]&0x0f) * 4
		// The kernel's quote has its header checksum intact.
		if hl < ipv4Header || len(q) < hl+8 || q[9] != protoTCP || checksum.Checksum(q[:hl], 0) != 0xffff {
			return false
		}
		// Only the first fragment begins with a TCP header (RFC 791, section 3.2).
		if binary.BigEndian.Uint16(q[6:])&0x1fff != 0 {
			return false
		}
		src, dst = netip.AddrFrom4([4]byte(q[12:16])), netip.AddrFrom4([4]byte(q[16:20]))
		e.quoteL4 = hl
	case q[0]>>4 == 6 && !e.Is4() && len(q) >= ipv6Header+8 && q[6] == protoTCP:
		src, dst = netip.AddrFrom16([16]byte(q[8:24])), netip.AddrFrom16([16]byte(q[24:40]))
		// A mapped address would name an IPv4 flow (RFC 4291, section 2.5.5.2).
		if src.Is4In6() || dst.Is4In6() {
			return false
		}
		e.quoteL4 = ipv6Header
	default:
		return false
	}
	l4 := q[e.quoteL4:]
	e.QuoteSrc = netip.AddrPortFrom(src, binary.BigEndian.Uint16(l4))
	e.QuoteDst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(l4[2:]))
	e.QuoteSeq = tcb.Seq(binary.BigEndian.Uint32(l4[4:]))
	return true
}

// maxQuote is how much of the quoted packet an error of ours carries on: its IP
// header and 8 bytes of TCP, no more, since what follows are numbers of another
// leg.
const maxQuote = ipv6Header + 8

// MaxICMPError is the room that BuildICMPError needs, in bytes.
const MaxICMPError = ipv6Header + 8 + maxQuote

// BuildICMPError writes the error with the addresses, ports, sequence number and
// MTU that e holds now and returns the packet. Type and code are kept.
func BuildICMPError(dst []byte, e *ICMPError, ttl uint8) []byte {
	if e.Is4() {
		return e.build4(dst, ttl)
	}
	return e.build6(dst, ttl)
}

func (e *ICMPError) build4(dst []byte, ttl uint8) []byte {
	const size = ipv4Header + 8 + ipv4Header + 8
	pkt := dst[:size]
	clear(pkt)
	put4(pkt, e.Src, e.Dst, ProtoICMP4, ttl, size)
	icmp := pkt[ipv4Header:]
	icmp[0], icmp[1] = e.Type, e.Code
	binary.BigEndian.PutUint32(icmp[4:], e.MTU)
	q := icmp[8:]
	total := int(binary.BigEndian.Uint16(e.quote[2:])) - (e.quoteL4 - ipv4Header)
	put4(q, e.QuoteSrc.Addr(), e.QuoteDst.Addr(), protoTCP, e.quote[8], total)
	e.putL4(q[ipv4Header:])
	binary.BigEndian.PutUint16(icmp[2:], ^checksum.Checksum(icmp, 0))
	return pkt
}

func (e *ICMPError) build6(dst []byte, ttl uint8) []byte {
	const size = ipv6Header + 8 + ipv6Header + 8
	pkt := dst[:size]
	clear(pkt)
	put6(pkt, e.Src, e.Dst, ProtoICMP6, ttl, size-ipv6Header)
	icmp := pkt[ipv6Header:]
	icmp[0], icmp[1] = e.Type, e.Code
	binary.BigEndian.PutUint32(icmp[4:], e.MTU)
	q := icmp[8:]
	put6(q, e.QuoteSrc.Addr(), e.QuoteDst.Addr(), protoTCP, e.quote[7], int(binary.BigEndian.Uint16(e.quote[4:])))
	e.putL4(q[ipv6Header:])
	sum := icmp6Pseudo(e.Src, e.Dst, len(icmp))
	binary.BigEndian.PutUint16(icmp[2:], ^checksum.Checksum(icmp, sum))
	return pkt
}

func (e *ICMPError) putL4(b []byte) {
	binary.BigEndian.PutUint16(b, e.QuoteSrc.Port())
	binary.BigEndian.PutUint16(b[2:], e.QuoteDst.Port())
	binary.BigEndian.PutUint32(b[4:], uint32(e.QuoteSeq))
}

// put4 writes a plain IPv4 header with DF set.
func put4(b []byte, src, dst netip.Addr, proto, ttl uint8, total int) {
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(total))
	binary.BigEndian.PutUint16(b[6:], 0x4000)
	b[8], b[9] = ttl, proto
	s, d := src.As4(), dst.As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	binary.BigEndian.PutUint16(b[10:], ^checksum.Checksum(b[:ipv4Header], 0))
}

// put6 writes a plain IPv6 header.
func put6(b []byte, src, dst netip.Addr, proto, hops uint8, payload int) {
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(payload))
	b[6], b[7] = proto, hops
	s, d := src.As16(), dst.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
}
