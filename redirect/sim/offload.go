package sim

import (
	"encoding/binary"
	"fmt"
	"time"

	"sleight/redirect"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// The kernel's offloads, as a TUN device with IFF_VNET_HDR shows them: what comes
// in is merged to super-packets (GRO) and lacks its checksum, what goes out is cut
// to segments and summed (GSO, linux/virtio_net.h).
const (
	needsCsum = 1
	gsoTCP4   = 1
	gsoTCP6   = 4
	maxSuper  = 65535
	// mergeFor is how long a segment waits for its successors.
	mergeFor = 50 * time.Microsecond
)

// merger makes super-packets of segments that follow each other.
type merger struct {
	w       *World
	deliver func(pkt []byte, off wire.Offload)

	held    bool
	seg     wire.Segment // what is held
	payload []byte
	size    int // of its first segment
	last    int // of its last
	serial  int // of the held packet, so that a timer knows its own
}

// take delivers a packet, or holds it for a while.
func (m *merger) take(pkt []byte) {
	var s wire.Segment
	if wire.Parse(&s, pkt, wire.Offload{}) != wire.OK {
		m.flush()
		m.deliver(pkt, wire.Offload{}) // damaged: the kernel leaves it alone
		return
	}
	if m.held && !m.follows(&s) {
		m.flush()
	}
	s.Payload = append([]byte(nil), s.Payload...)
	if !m.held {
		m.hold(&s)
	} else {
		m.payload, m.last = append(m.payload, s.Payload...), len(s.Payload)
		m.seg.Flags |= s.Flags
	}
	if len(s.Payload) == 0 || m.seg.Flags&^wire.ACK != 0 {
		m.flush()
	}
}

func (m *merger) hold(s *wire.Segment) {
	m.held, m.seg, m.payload = true, *s, s.Payload
	m.size, m.last = len(s.Payload), len(s.Payload)
	m.serial++
	mine := m.serial
	m.w.After(mergeFor, func() {
		if m.serial == mine {
			m.flush()
		}
	})
}

// follows reports whether a segment can be merged to what is held.
func (m *merger) follows(s *wire.Segment) bool {
	h := &m.seg
	return s.Tuple() == h.Tuple() && s.Seq == h.Seq.Add(tcb.Size(len(m.payload))) && s.Ack == h.Ack && s.Wnd == h.Wnd &&
		s.Opts == h.Opts && s.Flags&^(wire.PSH|wire.FIN) == wire.ACK && s.TTL == h.TTL && s.TOS == h.TOS &&
		len(s.Payload) > 0 && len(s.Payload) <= m.size && m.last == m.size && len(m.payload)+len(s.Payload)+120 <= maxSuper
}

// flush delivers what is held, its checksum partial.
func (m *merger) flush() {
	if !m.held {
		return
	}
	m.held = false
	s := m.seg
	buf := make([]byte, wire.MaxHeader+len(m.payload))
	copy(buf[wire.MaxHeader:], m.payload)
	s.Payload = buf[wire.MaxHeader:]
	s.Offload = wire.Offload{NeedsCsum: true}
	if len(s.Payload) > m.size {
		s.Offload.GSOSize = uint16(m.size)
	}
	at := wire.Rewrite(buf, &s)
	m.deliver(buf[at:at+s.HeaderSize()+len(s.Payload)], s.Offload)
}

// header is the virtio_net_hdr of a packet that the kernel hands over.
func header(pkt []byte, off wire.Offload) []byte {
	b := make([]byte, redirect.VnetHeader, redirect.VnetHeader+len(pkt))
	if off.NeedsCsum {
		b[0] = needsCsum
	}
	if off.GSOSize > 0 {
		b[1] = gsoTCP4
		if pkt[0]>>4 == 6 {
			b[1] = gsoTCP6
		}
		binary.LittleEndian.PutUint16(b[4:], off.GSOSize)
	}
	return append(b, pkt...)
}

// segment is what the kernel makes of a packet that was written to a device: b is
// the virtio_net_hdr and the packet. It complains of what a kernel would refuse.
func segment(b []byte) (pkts [][]byte, err error) {
	h, pkt := b[:redirect.VnetHeader], append([]byte(nil), b[redirect.VnetHeader:]...)
	if h[0]&needsCsum == 0 {
		if h[1] != 0 {
			return nil, fmt.Errorf("a super-packet whose checksum is not partial")
		}
		return [][]byte{pkt}, nil
	}
	start := int(binary.LittleEndian.Uint16(h[6:]))
	field := start + int(binary.LittleEndian.Uint16(h[8:]))
	if field+2 > len(pkt) {
		return nil, fmt.Errorf("a checksum at %d of %d bytes", field, len(pkt))
	}
	binary.BigEndian.PutUint16(pkt[field:], ^sum(pkt[start:]))
	var s wire.Segment
	if r := wire.Parse(&s, pkt, wire.Offload{}); r != wire.OK {
		return nil, fmt.Errorf("a partial checksum that the kernel completes to: %v", r)
	}
	size := int(binary.LittleEndian.Uint16(h[4:]))
	if h[1] == 0 {
		return [][]byte{pkt}, nil
	}
	if want := len(pkt) - len(s.Payload); int(binary.LittleEndian.Uint16(h[2:])) != want || size == 0 || (h[1] == gsoTCP4) != (pkt[0]>>4 == 4) {
		return nil, fmt.Errorf("header %x of a packet with %d bytes of headers", h, want)
	}
	return cut(&s, size), nil
}

// cut makes segments of size bytes (the last may be shorter) of a super-packet.
func cut(s *wire.Segment, size int) (pkts [][]byte) {
	rest := s.Payload
	for len(rest) > 0 {
		p := *s
		p.Payload = rest[:min(size, len(rest))]
		rest = rest[len(p.Payload):]
		if len(rest) > 0 {
			p.Flags &^= wire.PSH | wire.FIN
		}
		pkts = append(pkts, wire.Build(make([]byte, wire.MaxHeader+len(p.Payload)), &p))
		s.Seq, s.ID = p.Seq.Add(tcb.Size(len(p.Payload))), s.ID+1
		s.Flags &^= wire.CWR
	}
	return pkts
}

// sum is the Internet checksum's sum (RFC 1071), which a partial checksum in b
// takes part in.
func sum(b []byte) uint16 {
	var n uint32
	for i, c := range b {
		n += uint32(c) << (8 * (1 - i&1))
	}
	for n>>16 != 0 {
		n = n>>16 + n&0xffff
	}
	return uint16(n)
}
