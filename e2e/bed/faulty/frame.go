package faulty

import (
	"encoding/binary"
	"net/netip"
)

// TCP flags as they stand in the header.
const (
	FIN uint8 = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// Frame is one TCP frame as a Target sees it. The slices are valid during the call.
type Frame struct {
	Dir      Direction
	N        int // number of this TCP frame in its direction; the first is 1
	Src, Dst netip.AddrPort
	Seq, Ack uint32
	Flags    uint8
	Wnd      uint16
	IP       []byte // the whole packet
	Options  []byte // of TCP
	Payload  []byte
}

// Has says whether all of these flags are set.
func (f *Frame) Has(flags uint8) bool { return f.Flags&flags == flags }

const etherLen = 14

// parse reads a TCP segment over IPv4, or over IPv6 without extension headers; later fragments have
// no TCP header and are not TCP here.
func parse(data []byte, dir Direction) (Frame, bool) {
	if len(data) < etherLen+20 {
		return Frame{}, false
	}
	ip := data[etherLen:]
	switch binary.BigEndian.Uint16(data[12:]) {
	case 0x0800:
		return parse4(ip, dir)
	case 0x86dd:
		return parse6(ip, dir)
	}
	return Frame{}, false
}

func parse4(ip []byte, dir Direction) (Frame, bool) {
	header, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	offset := binary.BigEndian.Uint16(ip[6:]) & 0x1fff
	if ip[0]>>4 != 4 || ip[9] != 6 || offset != 0 || header < 20 || total < header || total > len(ip) {
		return Frame{}, false
	}
	src, dst := netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:]))
	return parseTCP(Frame{Dir: dir, IP: ip[:total]}, src, dst, ip[header:total])
}

func parse6(ip []byte, dir Direction) (Frame, bool) {
	if len(ip) < 40 || ip[0]>>4 != 6 || ip[6] != 6 {
		return Frame{}, false
	}
	total := 40 + int(binary.BigEndian.Uint16(ip[4:]))
	if total > len(ip) {
		return Frame{}, false
	}
	src, dst := netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
	return parseTCP(Frame{Dir: dir, IP: ip[:total]}, src, dst, ip[40:total])
}

func parseTCP(f Frame, src, dst netip.Addr, tcp []byte) (Frame, bool) {
	if len(tcp) < 20 {
		return Frame{}, false
	}
	header := int(tcp[12]>>4) * 4
	if header < 20 || header > len(tcp) {
		return Frame{}, false
	}
	f.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(tcp))
	f.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(tcp[2:]))
	f.Seq, f.Ack = binary.BigEndian.Uint32(tcp[4:]), binary.BigEndian.Uint32(tcp[8:])
	f.Flags, f.Wnd = tcp[13], binary.BigEndian.Uint16(tcp[14:])
	f.Options, f.Payload = tcp[20:header], tcp[header:]
	return f, true
}

// unseen says whether a bit of the IP packet is under no checksum: in IPv6 traffic class, flow label
// and hop limit (RFC 8200, section 8.1 leaves them out of the pseudo-header).
func (f *Frame) unseen(bit int) bool {
	if f.IP[0]>>4 != 6 {
		return false
	}
	return bit >= 4 && bit < 32 || bit >= 56 && bit < 64
}
