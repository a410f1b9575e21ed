package wire

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"

	"sleight/stack/tcb"
)

const (
	ipv4Header = 20
	ipv6Header = 40
	tcpHeader  = 20

	protoTCP = 6
	// maxExtensions bounds the IPv6 extension headers that Parse walks.
	maxExtensions = 8
)

// Packet is an IP packet's network layer.
type Packet struct {
	Src, Dst  netip.Addr
	Proto     uint8 // of the payload, after IPv6 extension headers
	TTL, TOS  uint8
	ID        uint16
	DF        bool
	FlowLabel uint32
	Options   bool   // IPv4 options or IPv6 extension headers
	L4        []byte // the transport header and what follows, without link padding
	At        int    // where L4 begins in the packet
}

// Parse checks one whole IPv4 or IPv6 packet that carries TCP and fills s.
// Checksums are verified unless off says that the kernel vouches for them.
// s.Payload aliases pkt.
func Parse(s *Segment, pkt []byte, off Offload) Reason {
	var p Packet
	if r := ParseIP(&p, pkt); r != OK {
		return r
	}
	if p.Proto != protoTCP {
		return NotTCP
	}
	return ParseTCP(s, &p, off)
}

// ParseIP checks the network layer of one whole packet.
func ParseIP(p *Packet, pkt []byte) Reason {
	if len(pkt) < 1 {
		return Short
	}
	switch pkt[0] >> 4 {
	case 4:
		return parse4(p, pkt)
	case 6:
		return parse6(p, pkt)
	}
	return BadVersion
}

func parse4(p *Packet, pkt []byte) Reason {
	if len(pkt) < ipv4Header {
		return Short
	}
	hl := int(pkt[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(pkt[2:]))
	if hl < ipv4Header || total < hl {
		return BadIPHeader
	}
	if len(pkt) < total {
		return Short
	}
	if checksum.Checksum(pkt[:hl], 0) != 0xffff {
		return BadIPSum
	}
	frag := binary.BigEndian.Uint16(pkt[6:])
	if frag&0x3fff != 0 { // more fragments, or an offset
		return Fragment
	}
	*p = Packet{
		Src: netip.AddrFrom4([4]byte(pkt[12:16])), Dst: netip.AddrFrom4([4]byte(pkt[16:20])),
		Proto: pkt[9], TTL: pkt[8], TOS: pkt[1], ID: binary.BigEndian.Uint16(pkt[4:]),
		DF: frag&0x4000 != 0, Options: hl > ipv4Header, L4: pkt[hl:total], At: hl,
	}
	return OK
}

func parse6(p *Packet, pkt []byte) Reason {
	if len(pkt) < ipv6Header {
		return Short
	}
	end := ipv6Header + int(binary.BigEndian.Uint16(pkt[4:]))
	if len(pkt) < end {
		return Short
	}
	first := binary.BigEndian.Uint32(pkt)
	*p = Packet{
		Src: netip.AddrFrom16([16]byte(pkt[8:24])), Dst: netip.AddrFrom16([16]byte(pkt[24:40])),
		TTL: pkt[7], TOS: uint8(first >> 20), FlowLabel: first & 0xfffff,
	}
	if p.Src.Is4In6() || p.Dst.Is4In6() {
		return BadIPHeader // never on a wire (RFC 4291, section 2.5.5.2)
	}
	next, at, r := skipExtensions(pkt[:end])
	if r != OK {
		return r
	}
	p.Proto, p.Options, p.L4, p.At = next, at > ipv6Header, pkt[at:end], at
	return OK
}

// skipExtensions walks the IPv6 extension headers (RFC 8200, section 4).
func skipExtensions(pkt []byte) (next uint8, at int, r Reason) {
	const hopByHop, routing, fragment, destination = 0, 43, 44, 60
	next, at = pkt[6], ipv6Header
	for range maxExtensions + 1 { // and the transport header behind them
		switch next {
		case fragment:
			return 0, 0, Fragment
		case hopByHop, routing, destination:
			if len(pkt) < at+8 {
				return 0, 0, Short
			}
			n := 8 * (int(pkt[at+1]) + 1)
			if len(pkt) < at+n {
				return 0, 0, Short
			}
			next, at = pkt[at], at+n
		default:
			return next, at, OK
		}
	}
	return 0, 0, BadIPHeader
}

// ParseTCP fills s from a packet whose network layer ParseIP has checked.
func ParseTCP(s *Segment, p *Packet, off Offload) Reason {
	b := p.L4
	if len(b) < tcpHeader {
		return Short
	}
	hl := int(b[12]>>4) * 4
	if hl < tcpHeader || hl > len(b) {
		return BadTCPHeader
	}
	pseudo := pseudoSum(p.Src, p.Dst, len(b))
	csum := binary.BigEndian.Uint16(b[16:])
	if !off.NeedsCsum && !off.CsumValid && checksum.Checksum(b, fold(pseudo)) != 0xffff {
		return BadChecksum
	}
	*s = Segment{
		Src: netip.AddrPortFrom(p.Src, binary.BigEndian.Uint16(b)),
		Dst: netip.AddrPortFrom(p.Dst, binary.BigEndian.Uint16(b[2:])),
		TTL: p.TTL, TOS: p.TOS, ID: p.ID, DF: p.DF, FlowLabel: p.FlowLabel,
		Seq:   tcb.Seq(binary.BigEndian.Uint32(b[4:])),
		Ack:   tcb.Seq(binary.BigEndian.Uint32(b[8:])),
		Flags: Flags(b[13]) | Flags(b[12]&1)<<8,
		Wnd:   binary.BigEndian.Uint16(b[14:]), Urg: binary.BigEndian.Uint16(b[18:]),
		Reserved: b[12] & 0x0e,
		Payload:  b[hl:], Offload: off,
		Quirks: Quirks{IPOptions: p.Options},
	}
	s.Quirks.BadOptions = !s.Opts.parse(b[tcpHeader:hl], s.Flags.Has(SYN))
	s.was = header{
		sum:  pseudo + uint32(checksum.Checksum(b[:hl], 0)) + uint32(^csum),
		csum: csum, payload: len(s.Payload),
	}
	return OK
}

// pseudoSum is the unfolded sum of the pseudo-header (RFC 9293, section 3.1;
// RFC 8200, section 8.1) for n bytes of TCP.
func pseudoSum(src, dst netip.Addr, n int) uint32 {
	sum := uint32(protoTCP) + uint32(n>>16) + uint32(n&0xffff)
	if src.Is4() {
		a, b := src.As4(), dst.As4()
		return sum + uint32(checksum.Checksum(a[:], 0)) + uint32(checksum.Checksum(b[:], 0))
	}
	a, b := src.As16(), dst.As16()
	return sum + uint32(checksum.Checksum(a[:], 0)) + uint32(checksum.Checksum(b[:], 0))
}

// fold brings a sum of 16-bit words back into 16 bits, carries around.
func fold(sum uint32) uint16 {
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum&0xffff)
}
