package pcap

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"time"
)

// Blocks, options and flags of pcapng (draft-ietf-opsawg-pcapng, sections 3 and 4).
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockOldPacket = 2
	blockSimple    = 3
	blockPacket    = 6

	byteOrderMagic = 0x1a2b3c4d

	optEnd       = 0
	optFlags     = 2 // of a packet
	optResol     = 9 // of an interface
	optTSOffset  = 14
	simpleHeader = 4
	packetHeader = 20
)

// section is a pcapng section: its interfaces, by number.
type section struct{ interfaces []device }

// device is an interface of a section.
type device struct {
	link    uint32
	snap    uint32
	unit    uint64 // ticks in a second
	seconds int64  // added to every timestamp
}

// nextBlock reads one block; only those with packets return one.
func (r *Reader) nextBlock() (Packet, error) {
	var h [8]byte
	if _, err := io.ReadFull(r.in, h[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return Packet{}, io.EOF
		}
		return Packet{}, broken("it ends within a block's header")
	}
	// A section's type reads the same in both byte orders.
	if binary.LittleEndian.Uint32(h[:]) == blockSection {
		return Packet{}, r.section(h[4:])
	}
	if r.order == nil {
		return Packet{}, broken("it has no section header")
	}
	kind := r.order.Uint32(h[:])
	if isPacket(kind) {
		r.number++
	}
	body, err := r.body(kind, r.order.Uint32(h[4:]))
	if err != nil || body == nil {
		return Packet{}, err
	}
	switch kind {
	case blockInterface:
		return Packet{}, r.describe(body)
	case blockPacket, blockOldPacket:
		return r.enhanced(kind, body)
	case blockSimple:
		return r.simple(body)
	}
	return Packet{}, nil
}

func isPacket(kind uint32) bool {
	return kind == blockPacket || kind == blockOldPacket || kind == blockSimple
}

// body reads a block's body; it is nil where the block is of no use to us.
func (r *Reader) body(kind, length uint32) ([]byte, error) {
	if length < 12 || length%4 != 0 {
		return nil, broken("a block of %d bytes", length)
	}
	useful := isPacket(kind) || kind == blockInterface
	if useful && length > maxBlock {
		r.skipped.TooLong++
		useful = false
	}
	if !useful {
		return nil, r.skip(int64(length) - 8)
	}
	b, err := r.read(int(length) - 8)
	if err != nil {
		return nil, err
	}
	body := b[:len(b)-4]
	if r.order.Uint32(b[len(body):]) != length {
		return nil, broken("a block's two lengths differ")
	}
	return body, nil
}

// section reads a section header: what came before it counts no more.
func (r *Reader) section(length []byte) error {
	var magic [4]byte
	if _, err := io.ReadFull(r.in, magic[:]); err != nil {
		return broken("it ends within a section's header")
	}
	switch {
	case binary.LittleEndian.Uint32(magic[:]) == byteOrderMagic:
		r.order = binary.LittleEndian
	case binary.BigEndian.Uint32(magic[:]) == byteOrderMagic:
		r.order = binary.BigEndian
	default:
		return broken("a section of unknown byte order")
	}
	r.ng = section{interfaces: r.ng.interfaces[:0]}
	n := r.order.Uint32(length)
	if n < 28 || n%4 != 0 {
		return broken("a section header of %d bytes", n)
	}
	return r.skip(int64(n) - 12)
}

// describe adds an interface.
func (r *Reader) describe(b []byte) error {
	if len(b) < 8 {
		return broken("an interface of %d bytes", len(b))
	}
	if len(r.ng.interfaces) == maxInterfaces {
		return broken("more than %d interfaces", maxInterfaces)
	}
	d := device{link: uint32(r.order.Uint16(b)), snap: r.order.Uint32(b[4:]), unit: 1e6}
	for code, v := range r.options(b[8:]) {
		switch {
		case code == optResol && len(v) == 1:
			d.unit = resolution(v[0])
		case code == optTSOffset && len(v) == 8:
			d.seconds = int64(r.order.Uint64(v))
		}
	}
	r.ng.interfaces = append(r.ng.interfaces, d)
	return nil
}

// resolution is how many ticks a second has; what does not fit is taken as
// nanoseconds.
func resolution(v byte) uint64 {
	n := v & 0x7f
	if v&0x80 != 0 && n < 64 {
		return 1 << n
	}
	if v&0x80 != 0 || n > 19 {
		return 1e9
	}
	unit := uint64(1)
	for range n {
		unit *= 10
	}
	return unit
}

// enhanced reads an Enhanced Packet Block, or its obsolete forerunner.
func (r *Reader) enhanced(kind uint32, b []byte) (Packet, error) {
	if len(b) < packetHeader {
		return Packet{}, broken("a packet block of %d bytes", len(b))
	}
	number := r.order.Uint32(b)
	if kind == blockOldPacket {
		number = uint32(r.order.Uint16(b))
	}
	if uint64(number) >= uint64(len(r.ng.interfaces)) {
		return Packet{}, broken("a packet of interface %d, which is not described", number)
	}
	captured, wire := r.order.Uint32(b[12:]), r.order.Uint32(b[16:])
	if uint64(captured) > uint64(len(b)-packetHeader) {
		return Packet{}, broken("a packet longer than its block")
	}
	if captured > MaxFrame {
		r.skipped.TooLong++
		return Packet{}, nil
	}
	d := r.ng.interfaces[number]
	end := packetHeader + int(captured)
	p := r.packet(d.link, b[packetHeader:end], int(min(wire, MaxFrame)))
	p.Time = d.time(uint64(r.order.Uint32(b[4:]))<<32 | uint64(r.order.Uint32(b[8:])))
	for code, v := range r.options(b[min(len(b), end+padding(end)):]) {
		if code == optFlags && len(v) == 4 {
			p.Direction = Direction((r.order.Uint32(v) & 3) % 3)
		}
	}
	return p, nil
}

// simple reads a Simple Packet Block, which has no time.
func (r *Reader) simple(b []byte) (Packet, error) {
	if len(b) < simpleHeader || len(r.ng.interfaces) == 0 {
		return Packet{}, broken("a simple packet without an interface")
	}
	d, wire, frame := r.ng.interfaces[0], r.order.Uint32(b), b[simpleHeader:]
	frame = frame[:min(uint64(len(frame)), uint64(wire))]
	if d.snap > 0 {
		frame = frame[:min(uint64(len(frame)), uint64(d.snap))]
	}
	if len(frame) > MaxFrame {
		r.skipped.TooLong++
		return Packet{}, nil
	}
	return r.packet(d.link, frame, int(min(wire, MaxFrame))), nil
}

// time is the moment of a timestamp in the interface's ticks.
func (d device) time(ticks uint64) time.Time {
	hi, lo := bits.Mul64(ticks%d.unit, 1e9)
	ns, _ := bits.Div64(hi, lo, d.unit) // hi < unit, since ticks%unit < unit
	return time.Unix(int64(ticks/d.unit)+d.seconds, int64(ns)).UTC()
}

// options iterates over a block's options and stops at what is malformed.
func (r *Reader) options(b []byte) func(yield func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			code, n := r.order.Uint16(b), int(r.order.Uint16(b[2:]))
			if code == optEnd || len(b) < 4+n {
				return
			}
			if !yield(code, b[4:4+n]) {
				return
			}
			b = b[min(len(b), 4+n+padding(n)):]
		}
	}
}

// padding is what is missing to a multiple of four.
func padding(n int) int { return -n & 3 }
