package wire

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// MaxHeader is the longest header that Build and Rewrite write, in bytes.
const MaxHeader = ipv6Header + tcpHeader + maxOptions

// HeaderSize is the length of the headers that Build and Rewrite would write.
func (s *Segment) HeaderSize() int {
	return s.IPSize() + tcpHeader + s.Opts.Size(s.Flags.Has(SYN))
}

// IPSize is the length of the IP header that Build and Rewrite would write.
func (s *Segment) IPSize() int {
	if s.Is4() {
		return ipv4Header
	}
	return ipv6Header
}

// Build writes the segment into dst, which must have room for its headers and
// payload, with checksums computed afresh, and returns the packet.
func Build(dst []byte, s *Segment) []byte {
	h := s.HeaderSize()
	pkt := dst[:h+len(s.Payload)]
	copy(pkt[h:], s.Payload)
	tcp := s.putHeaders(pkt)
	sum := pseudoSum(s.Src.Addr(), s.Dst.Addr(), len(tcp))
	binary.BigEndian.PutUint16(tcp[16:], ^checksum.Checksum(tcp, fold(sum)))
	return pkt
}

// Rewrite writes the segment's headers in front of its payload, where Parse
// found it in buf, and returns where in buf the packet begins now. buf is the
// buffer of which Parse was given a part; before that part it has room for
// longer headers (at most MaxHeader bytes). The TCP checksum is carried over
// incrementally (RFC 1624, eqn 3), so that a mistake of ours stays as detectable
// as it was; only a payload that was trimmed is summed again.
func Rewrite(buf []byte, s *Segment) (at int) {
	body := cap(buf) - cap(s.Payload)
	at = body - s.HeaderSize()
	tcp := s.putHeaders(buf[at : body+len(s.Payload)])
	pseudo := pseudoSum(s.Src.Addr(), s.Dst.Addr(), len(tcp))
	field := tcp[16:18]
	switch {
	case s.Offload.NeedsCsum:
		// A partial checksum is the pseudo-header's sum, not complemented.
		binary.BigEndian.PutUint16(field, fold(pseudo))
	case len(s.Payload) != s.was.payload:
		binary.BigEndian.PutUint16(field, ^checksum.Checksum(tcp, fold(pseudo)))
	default:
		now := pseudo + uint32(checksum.Checksum(tcp[:len(tcp)-len(s.Payload)], 0))
		sum := uint32(^s.was.csum) + uint32(^fold(s.was.sum)) + uint32(fold(now))
		binary.BigEndian.PutUint16(field, ^fold(sum))
	}
	return at
}

// putHeaders writes the IP and TCP headers, the TCP checksum zero, and returns
// the TCP part of pkt.
func (s *Segment) putHeaders(pkt []byte) (tcp []byte) {
	if s.Is4() {
		s.put4(pkt)
		tcp = pkt[ipv4Header:]
	} else {
		s.put6(pkt)
		tcp = pkt[ipv6Header:]
	}
	syn := s.Flags.Has(SYN)
	size := s.Opts.Size(syn)
	binary.BigEndian.PutUint16(tcp, s.Src.Port())
	binary.BigEndian.PutUint16(tcp[2:], s.Dst.Port())
	binary.BigEndian.PutUint32(tcp[4:], uint32(s.Seq))
	binary.BigEndian.PutUint32(tcp[8:], uint32(s.Ack))
	tcp[12] = byte((tcpHeader+size)/4)<<4 | byte(s.Flags>>8)&1
	tcp[13] = byte(s.Flags)
	binary.BigEndian.PutUint16(tcp[14:], s.Wnd)
	binary.BigEndian.PutUint16(tcp[16:], 0)
	binary.BigEndian.PutUint16(tcp[18:], s.Urg)
	s.Opts.put(tcp[tcpHeader:tcpHeader+size], syn)
	return tcp
}

func (s *Segment) put4(pkt []byte) {
	pkt[0], pkt[1] = 0x45, s.TOS
	binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
	binary.BigEndian.PutUint16(pkt[4:], s.ID)
	frag := uint16(0)
	if s.DF {
		frag = 0x4000
	}
	binary.BigEndian.PutUint16(pkt[6:], frag)
	pkt[8], pkt[9] = s.TTL, protoTCP
	pkt[10], pkt[11] = 0, 0
	src, dst := s.Src.Addr().As4(), s.Dst.Addr().As4()
	copy(pkt[12:], src[:])
	copy(pkt[16:], dst[:])
	binary.BigEndian.PutUint16(pkt[10:], ^checksum.Checksum(pkt[:ipv4Header], 0))
}

func (s *Segment) put6(pkt []byte) {
	binary.BigEndian.PutUint32(pkt, 6<<28|uint32(s.TOS)<<20|s.FlowLabel&0xfffff)
	binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-ipv6Header))
	pkt[6], pkt[7] = protoTCP, s.TTL
	src, dst := s.Src.Addr().As16(), s.Dst.Addr().As16()
	copy(pkt[8:], src[:])
	copy(pkt[24:], dst[:])
}
