package redirect

import (
	"encoding/binary"

	"sleight/stack/wire"
)

// maxIP is the longest packet that is written, in bytes.
const maxIP = 0xffff

// The virtio_net_hdr of a TUN device: ten bytes, little-endian
// (linux/virtio_net.h).
const (
	needsCsum = 1
	dataValid = 2

	gsoTCP4 = 1
	gsoTCP6 = 4

	csumOffset = 16 // of the checksum in a TCP header
)

// readOffload reads a virtio_net_hdr.
func readOffload(h []byte) wire.Offload {
	return wire.Offload{
		NeedsCsum: h[0]&needsCsum != 0,
		CsumValid: h[0]&dataValid != 0,
		GSOSize:   binary.LittleEndian.Uint16(h[4:]),
	}
}

// putOffload writes the virtio_net_hdr of a segment that was rewritten.
func putOffload(h []byte, seg *wire.Segment) {
	clear(h[:VnetHeader])
	if !seg.Offload.NeedsCsum {
		return
	}
	h[0] = needsCsum
	binary.LittleEndian.PutUint16(h[6:], uint16(seg.IPSize()))
	binary.LittleEndian.PutUint16(h[8:], csumOffset)
	if seg.Offload.GSOSize == 0 {
		return
	}
	h[1] = gsoTCP6
	if seg.Is4() {
		h[1] = gsoTCP4
	}
	binary.LittleEndian.PutUint16(h[2:], uint16(seg.HeaderSize()))
	binary.LittleEndian.PutUint16(h[4:], seg.Offload.GSOSize)
}

// resize gives a segment the segment size of the leg that it goes to: at most
// room bytes of payload, or what its sender chose if that is less. It returns that
// size, and whether a door can carry the segment whole: what is longer, or lacks
// its checksum, only one that takes super-packets.
func resize(seg *wire.Segment, room int, super bool) (size int, whole bool) {
	n, off := len(seg.Payload), &seg.Offload
	if off.GSOSize > 0 {
		room = min(room, int(off.GSOSize))
	}
	if room <= 0 || n <= room {
		off.GSOSize = 0
		return max(n, 1), super || !off.NeedsCsum
	}
	if !super || seg.Flags.Has(wire.URG) || seg.HeaderSize()+n > maxIP {
		return room, false
	}
	*off = wire.Offload{NeedsCsum: true, GSOSize: uint16(room)}
	return room, true
}

// segments is how many segments of size bytes carry n bytes of payload.
func segments(n, size int) int { return max(1, (n+size-1)/size) }
