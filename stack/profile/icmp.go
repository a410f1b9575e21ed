package profile

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"

	"sleight/stack/wire"
)

const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
	port4, port6             = 3, 4 // code of "port unreachable"
	// quote bounds what an error quotes (RFC 1812, section 4.3.2.3: at most 576
	// bytes; RFC 4443, section 2.4: within the least MTU).
	quote4, quote6 = 576 - 28, 1280 - 48
)

// Answer writes what the host says to a ping or to a UDP datagram for a closed
// port, and returns its length; 0: nothing. pkt is the packet that p describes.
func (p *Profile) Answer(dst []byte, in *wire.Packet, pkt []byte) int {
	four := in.Src.Is4()
	switch {
	case in.Proto == wire.ProtoUDP && four:
		return p.icmp(dst, in, wire.Unreachable4, port4, pkt[:min(len(pkt), quote4)])
	case in.Proto == wire.ProtoUDP:
		return p.icmp(dst, in, wire.Unreachable6, port6, pkt[:min(len(pkt), quote6)])
	case len(in.L4) < 8 || len(in.L4) > 1480:
		return 0
	case in.Proto == wire.ProtoICMP4 && in.L4[0] == echoRequest4:
		return p.icmp(dst, in, echoReply4, 0, in.L4[4:])
	case in.Proto == wire.ProtoICMP6 && in.L4[0] == echoRequest6:
		return p.icmp(dst, in, echoReply6, 0, in.L4[4:])
	}
	return 0
}

// icmp writes a message whose body follows type, code and checksum; an error's
// four unused bytes are put before its quote.
func (p *Profile) icmp(dst []byte, in *wire.Packet, typ, code uint8, body []byte) int {
	head := 20
	if !in.Src.Is4() {
		head = 40
	}
	at := head + 4
	if code != 0 {
		clear(dst[at : at+4])
		at += 4
	}
	n := at + copy(dst[at:], body)
	ip, msg := dst[:head], dst[head:n]
	msg[0], msg[1], msg[2], msg[3] = typ, code, 0, 0
	sum := uint16(0)
	if in.Src.Is4() {
		p.ip4(ip, in.Dst, in.Src, n)
	} else {
		p.ip6(ip, in.Dst, in.Src, len(msg))
		sum = pseudo6(ip, len(msg))
	}
	binary.BigEndian.PutUint16(msg[2:], ^checksum.Checksum(msg, sum))
	return n
}

func (p *Profile) ip4(b []byte, src, dst netip.Addr, total int) {
	clear(b)
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(total))
	b[8], b[9] = p.TTL, wire.ProtoICMP4
	s, d := src.As4(), dst.As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	binary.BigEndian.PutUint16(b[10:], ^checksum.Checksum(b, 0))
}

func (p *Profile) ip6(b []byte, src, dst netip.Addr, payload int) {
	clear(b)
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(payload))
	b[6], b[7] = wire.ProtoICMP6, p.TTL
	s, d := src.As16(), dst.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
}

// pseudo6 sums the pseudo-header of RFC 8200, section 8.1.
func pseudo6(ip []byte, n int) uint16 {
	sum := checksum.Checksum(ip[8:40], 0)
	return checksum.Combine(sum, checksum.Combine(uint16(n), wire.ProtoICMP6))
}
