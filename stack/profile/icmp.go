package profile

import (
	"encoding/binary"
	"net/netip"
	"time"

	"sleight/stack/wire"
)

const (
	ip4Header, ip6Header = 20, 40
	icmpHeader           = 8
	udpHeader            = 8

	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
	timeRequest, timeReply   = 13, 14
	timeMessage              = icmpHeader + 3*4 // bytes (RFC 792)
	port4, port6             = 3, 4             // code of "port unreachable"
	protocol4, nextHeader6   = 2, 1             // code of "protocol unreachable", "unrecognized Next Header"
	nextHeaderAt             = 6                // in an IPv6 header

	igmp, udpLite, noNext = 2, 136, 59 // protocols that a host without such sockets takes in silence

	// quote4 and quote6 bound what an error quotes: the whole error has at most
	// 576 bytes (RFC 1812, section 4.3.2.3), or the least MTU (RFC 4443, section 2.4).
	quote4 = 576 - ip4Header - icmpHeader
	quote6 = 1280 - ip6Header - icmpHeader

	// internetControl is the precedence of an ICMP error (RFC 1812, section 4.3.2.5).
	internetControl = 0xc0
)

// Probe writes what the host says to a ping, to a question for the time, to a UDP
// datagram for a closed port or to a protocol that it does not speak, and returns its
// length; 0: nothing. pkt is the packet that in describes, id the IP ID of the
// answer, whose DF bit is not set: a series of the host's. Errors are limited: see
// Limits. dst must have room for as much as pkt has, and for 1280 bytes.
func (p *Profile) Probe(dst []byte, in *wire.Packet, pkt []byte, off wire.Offload, id uint16, now time.Time) int {
	is4 := in.Src.Is4()
	switch {
	case in.Proto == wire.ProtoICMP4 && is4:
		if n := p.echo(dst, in, echoRequest4, echoReply4, id); n > 0 {
			return n
		}
		return p.time(dst, in, id, now)
	case in.Proto == wire.ProtoICMP6 && !is4:
		return p.echo(dst, in, echoRequest6, echoReply6, id)
	case in.Proto == wire.ProtoUDP:
		if !datagram(in, off) {
			return 0
		}
		if is4 {
			return p.problem(dst, in, pkt, wire.Unreachable4, port4, 0, id)
		}
		return p.problem(dst, in, pkt, wire.Unreachable6, port6, 0, id)
	case in.Proto == igmp || in.Proto == udpLite || in.Proto == noNext:
	case is4:
		// RFC 1122, section 3.2.2.1.
		return p.problem(dst, in, pkt, wire.Unreachable4, protocol4, 0, id)
	case !in.Options: // else nobody has noted where the header is that names it
		// RFC 8200, section 4.
		return p.problem(dst, in, pkt, wire.ParamProblem6, nextHeader6, nextHeaderAt, id)
	}
	return 0
}

// echo answers a ping: its code, ToS and data are the request's.
func (p *Profile) echo(dst []byte, in *wire.Packet, request, reply uint8, id uint16) int {
	if len(in.L4) < icmpHeader || in.L4[0] != request || l4Sum(in) != 0xffff {
		return 0
	}
	msg := dst[headerOf(in):][:len(in.L4)]
	copy(msg, in.L4)
	msg[0] = reply
	return p.finish(dst, in, len(msg), in.TOS, id)
}

// time answers a question for the time: milliseconds of the day, UTC (RFC 792).
func (p *Profile) time(dst []byte, in *wire.Packet, id uint16, now time.Time) int {
	if len(in.L4) < icmpHeader+4 || in.L4[0] != timeRequest || l4Sum(in) != 0xffff {
		return 0
	}
	msg := dst[headerOf(in):][:timeMessage]
	copy(msg, in.L4[:icmpHeader+4])
	msg[0], msg[1] = timeReply, 0
	ms := uint32(now.Sub(now.Truncate(24 * time.Hour)).Milliseconds())
	binary.BigEndian.PutUint32(msg[icmpHeader+4:], ms)
	binary.BigEndian.PutUint32(msg[icmpHeader+8:], ms)
	return p.finish(dst, in, len(msg), in.TOS, id)
}

// problem is an ICMP error about a packet, which it quotes.
func (p *Profile) problem(dst []byte, in *wire.Packet, pkt []byte, typ, code uint8, pointer uint32, id uint16) int {
	quote, tos := quote6, uint8(0)
	if in.Src.Is4() {
		quote, tos = quote4, in.TOS&^ecn|internetControl
	}
	pkt = pkt[:min(len(pkt), quote)]
	msg := dst[headerOf(in):][:icmpHeader+len(pkt)]
	msg[0], msg[1] = typ, code
	binary.BigEndian.PutUint32(msg[4:], pointer)
	copy(msg[icmpHeader:], pkt)
	return p.finish(dst, in, len(msg), tos, id)
}

// datagram reports whether a host would look for the port at all: lengths that
// fit, and a checksum that is right (RFC 768: 0 is none, but not in IPv6, RFC
// 8200, section 8.1) unless the kernel has left it open.
func datagram(in *wire.Packet, off wire.Offload) bool {
	b := in.L4
	if len(b) < udpHeader {
		return false
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n < udpHeader || n > len(b) {
		return false
	}
	switch csum := binary.BigEndian.Uint16(b[6:]); {
	case off.NeedsCsum || off.CsumValid:
		return true
	case csum == 0:
		return in.Src.Is4()
	}
	said := *in
	said.L4 = b[:n]
	return l4Sum(&said) == 0xffff
}

// finish writes the IP header before a message of n bytes, and its checksum.
func (p *Profile) finish(dst []byte, in *wire.Packet, n int, tos uint8, id uint16) int {
	head := headerOf(in)
	out := wire.Packet{Src: in.Dst, Dst: in.Src, Proto: wire.ProtoICMP6, L4: dst[head : head+n]}
	if in.Src.Is4() {
		out.Proto = wire.ProtoICMP4
		p.ip4(dst[:head], &out, tos, id)
	} else {
		p.ip6(dst[:head], &out, tos)
	}
	out.L4[2], out.L4[3] = 0, 0
	binary.BigEndian.PutUint16(out.L4[2:], ^l4Sum(&out))
	return head + n
}

func headerOf(in *wire.Packet) int {
	if in.Src.Is4() {
		return ip4Header
	}
	return ip6Header
}

func (p *Profile) ip4(b []byte, out *wire.Packet, tos uint8, id uint16) {
	clear(b)
	b[0], b[1] = 0x45, tos
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(out.L4)))
	binary.BigEndian.PutUint16(b[4:], id)
	b[8], b[9] = p.TTL, out.Proto
	s, d := out.Src.As4(), out.Dst.As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	binary.BigEndian.PutUint16(b[10:], ^fold(sum(b)))
}

func (p *Profile) ip6(b []byte, out *wire.Packet, tos uint8) {
	flow := label(netip.AddrPortFrom(out.Src, 0), netip.AddrPortFrom(out.Dst, 0))
	binary.BigEndian.PutUint32(b, 6<<28|uint32(tos)<<20|flow)
	binary.BigEndian.PutUint16(b[4:], uint16(len(out.L4)))
	b[6], b[7] = out.Proto, p.TTL
	s, d := out.Src.As16(), out.Dst.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
}

// l4Sum sums a packet's transport part, with the pseudo-header of RFC 8200,
// section 8.1, where there is one: ICMP in IPv4 has none.
func l4Sum(p *wire.Packet) uint16 {
	s := sum(p.L4)
	if p.Proto != wire.ProtoICMP4 {
		s += sum(p.Src.AsSlice()) + sum(p.Dst.AsSlice()) + uint32(len(p.L4)) + uint32(p.Proto)
	}
	return fold(s)
}

// sum adds 16-bit words up (RFC 1071). A probe is the exception among packets:
// this does not have to be fast.
func sum(b []byte) (s uint32) {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	s = s>>16 + s&0xffff
	return uint16(s>>16 + s&0xffff)
}
