package bed

import (
	"bufio"
	"encoding/binary"
	"time"
)

// Blocks, options and flags of pcapng (draft-ietf-opsawg-pcapng, sections 4.1 to 4.3).
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockPacket    = 6
	byteOrderMagic = 0x1a2b3c4d
	linkEthernet   = 1

	optEnd       = 0
	optIfName    = 2
	optIfTsResol = 9
	optPackFlags = 2

	flagInbound  = 1
	flagOutbound = 2
)

// pcapng writes one section with one Ethernet interface.
type pcapng struct {
	w       *bufio.Writer
	buf     []byte
	snapLen int // 0: no limit
}

func newPcapng(w *bufio.Writer, device string, snapLen int) (*pcapng, error) {
	p := &pcapng{w: w, snapLen: snapLen}
	p.begin(blockSection)
	p.u32(byteOrderMagic)
	p.u16(1, 0)       // version
	p.u32(0xffffffff) // section length: not given
	p.u32(0xffffffff) //
	if err := p.end(); err != nil {
		return nil, err
	}
	p.begin(blockInterface)
	p.u16(linkEthernet, 0)
	p.u32(uint32(snapLen))
	p.option(optIfName, []byte(device))
	p.option(optIfTsResol, []byte{9})
	p.option(optEnd, nil)
	return p, p.end()
}

// packet writes one frame, of more than the interface's limit only so much: readers
// refuse the rest of the file otherwise. length is its length on the wire.
func (p *pcapng) packet(data []byte, length int, t time.Time, outgoing bool) error {
	if p.snapLen > 0 && len(data) > p.snapLen {
		data = data[:p.snapLen]
	}
	ns := uint64(t.UnixNano())
	p.begin(blockPacket)
	p.u32(0) // interface
	p.u32(uint32(ns >> 32))
	p.u32(uint32(ns))
	p.u32(uint32(len(data)))
	p.u32(uint32(length))
	p.bytes(data)
	flags := uint32(flagInbound)
	if outgoing {
		flags = flagOutbound
	}
	p.option(optPackFlags, binary.LittleEndian.AppendUint32(nil, flags))
	p.option(optEnd, nil)
	return p.end()
}

func (p *pcapng) flush() error { return p.w.Flush() }

// begin starts a block; its length is filled in by end.
func (p *pcapng) begin(kind uint32) {
	p.buf = p.buf[:0]
	p.u32(kind)
	p.u32(0)
}

func (p *pcapng) end() error {
	length := uint32(len(p.buf) + 4)
	p.u32(length)
	binary.LittleEndian.PutUint32(p.buf[4:], length)
	_, err := p.w.Write(p.buf)
	return err
}

func (p *pcapng) option(code uint16, value []byte) {
	p.u16(code, uint16(len(value)))
	p.bytes(value)
}

func (p *pcapng) u16(vs ...uint16) {
	for _, v := range vs {
		p.buf = binary.LittleEndian.AppendUint16(p.buf, v)
	}
}

func (p *pcapng) u32(v uint32) { p.buf = binary.LittleEndian.AppendUint32(p.buf, v) }

// bytes appends and pads to 32 bits.
func (p *pcapng) bytes(b []byte) {
	p.buf = append(p.buf, b...)
	for len(p.buf)%4 != 0 {
		p.buf = append(p.buf, 0)
	}
}
