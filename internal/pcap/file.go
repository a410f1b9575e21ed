package pcap

import (
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// Magic numbers of a pcap file (draft-ietf-opsawg-pcap, section 4).
const (
	magicMicro = 0xa1b2c3d4
	magicNano  = 0xa1b23c4d

	pcapHeader   = 24
	recordHeader = 16
)

// pcapFile is what a pcap file's header says.
type pcapFile struct {
	link uint32
	nano bool
}

// openPcap reads the file's header.
func (r *Reader) openPcap(magic []byte) error {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		m := order.Uint32(magic)
		if m != magicMicro && m != magicNano {
			continue
		}
		var h [pcapHeader]byte
		if _, err := io.ReadFull(r.in, h[:]); err != nil {
			return broken("it ends within the file's header")
		}
		r.order = order
		// The upper bits are the length of a frame check sequence.
		r.pcap = pcapFile{link: order.Uint32(h[20:]) & 0xffff, nano: m == magicNano}
		return nil
	}
	return ErrFormat
}

// nextRecord reads one packet record.
func (r *Reader) nextRecord() (Packet, error) {
	var h [recordHeader]byte
	if _, err := io.ReadFull(r.in, h[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return Packet{}, io.EOF
		}
		return Packet{}, broken("it ends within a record's header")
	}
	r.number++
	captured, wire := r.order.Uint32(h[8:]), r.order.Uint32(h[12:])
	if captured > MaxFrame {
		r.skipped.TooLong++
		return Packet{}, r.skip(int64(captured))
	}
	frame, err := r.read(int(captured))
	if err != nil {
		return Packet{}, err
	}
	p := r.packet(r.pcap.link, frame, int(min(wire, MaxFrame)))
	frac := int64(r.order.Uint32(h[4:]))
	if !r.pcap.nano {
		frac *= int64(time.Microsecond)
	}
	p.Time = time.Unix(int64(r.order.Uint32(h[0:])), frac).UTC()
	return p, nil
}
