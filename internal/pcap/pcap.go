// Package pcap reads captures, pcap and pcapng, and hands out the IP packets in
// them. A capture may come from anyone: every length in it is checked against a
// bound before memory is taken for it.
package pcap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"
)

// Bounds of what a file may ask for.
const (
	// MaxFrame is the longest frame that is read, in bytes: a super-packet and
	// any link header. A longer one is skipped and counted.
	MaxFrame = 1<<16 + 256
	// maxBlock is the longest pcapng block that is read into memory: a frame of
	// MaxFrame bytes and its options. A longer one is skipped, never stored.
	maxBlock = MaxFrame + 1<<16
	// maxInterfaces is how many interfaces one pcapng section may describe.
	maxInterfaces = 1024
)

// Direction says whether a frame came in or went out, where the file says so.
type Direction uint8

// The directions of a frame.
const (
	Unknown Direction = iota
	Inbound
	Outbound
)

// Packet is one IP packet of a capture.
type Packet struct {
	Number    int       // of its frame in the file, from 1, as Wireshark counts
	Time      time.Time // when it was captured, UTC
	Data      []byte    // from the IP header on, link padding included; valid until the next call
	Cut       int       // bytes that were on the wire but not captured
	Direction Direction
}

// Skipped counts the frames that are not handed out.
type Skipped struct {
	NotIP   uint64 // another network protocol, ARP for example
	Link    uint64 // a link type that is not known, or a link header cut short
	TooLong uint64 // longer than MaxFrame
}

// A capture that cannot be read on.
var (
	ErrFormat = errors.New("not a capture: neither pcap nor pcapng")
	ErrBroken = errors.New("the capture is damaged")
)

// Reader reads one capture from its beginning to its end.
type Reader struct {
	in      *bufio.Reader
	next    func() (Packet, error) // of the file's format
	order   binary.ByteOrder
	buf     []byte
	number  int
	skipped Skipped
	err     error
	closer  io.Closer

	pcap pcapFile
	ng   section
}

// NewReader looks at the beginning of a capture and returns its reader.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, 1<<16)}
	magic, err := r.in.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("%w: it is shorter than 4 bytes", ErrFormat)
	}
	if binary.LittleEndian.Uint32(magic) == blockSection {
		r.next = r.nextBlock
		return r, nil
	}
	r.next = r.nextRecord
	return r, r.openPcap(magic)
}

// Open opens a capture file; Close closes it.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := NewReader(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", path, err), f.Close())
	}
	r.closer = f
	return r, nil
}

// Close closes the file that Open opened.
func (r *Reader) Close() error {
	if r.closer == nil {
		return nil
	}
	return r.closer.Close()
}

// Next returns the next IP packet, or io.EOF at the end.
func (r *Reader) Next() (Packet, error) {
	if r.err != nil {
		return Packet{}, r.err
	}
	for {
		p, err := r.next()
		if err != nil {
			r.err = err
			return Packet{}, err
		}
		if p.Data != nil {
			return p, nil
		}
	}
}

// All iterates over what is left; Err says afterwards whether it came to the end.
func (r *Reader) All() iter.Seq[Packet] {
	return func(yield func(Packet) bool) {
		for {
			p, err := r.Next()
			if err != nil || !yield(p) {
				return
			}
		}
	}
}

// Err is the error that ended the reading; nil at the end of the file.
func (r *Reader) Err() error {
	if errors.Is(r.err, io.EOF) {
		return nil
	}
	return r.err
}

// Skipped is what was left out so far.
func (r *Reader) Skipped() Skipped { return r.skipped }

// ReadFile reads a whole capture into memory, at most max packets (0: no limit).
func ReadFile(path string, maxPackets int) (packets []Packet, err error) {
	r, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for p := range r.All() {
		if maxPackets > 0 && len(packets) == maxPackets {
			return packets, fmt.Errorf("read %s: more than %d packets", path, maxPackets)
		}
		p.Data = append([]byte(nil), p.Data...)
		packets = append(packets, p)
	}
	return packets, r.Err()
}

// packet finds the IP packet in a frame; Data is nil where there is none.
func (r *Reader) packet(link uint32, frame []byte, wire int) Packet {
	p := Packet{Number: r.number, Cut: max(0, wire-len(frame))}
	data, found := network(link, frame)
	switch found {
	case linkIP:
		p.Data = data
	case linkOther:
		r.skipped.NotIP++
	case linkBad:
		r.skipped.Link++
	}
	return p
}

// read fills the reader's buffer with n bytes, growing it as they arrive: a
// length in a header alone takes no memory.
func (r *Reader) read(n int) ([]byte, error) {
	const step = 1 << 14
	r.buf = r.buf[:0]
	for len(r.buf) < n {
		at, want := len(r.buf), min(n-len(r.buf), step)
		if cap(r.buf) < at+want {
			r.buf = append(make([]byte, 0, max(2*cap(r.buf), at+want)), r.buf...)
		}
		r.buf = r.buf[:at+want]
		if _, err := io.ReadFull(r.in, r.buf[at:]); err != nil {
			return nil, broken("it ends within a packet")
		}
	}
	return r.buf, nil
}

// skip passes n bytes over.
func (r *Reader) skip(n int64) error {
	if _, err := io.CopyN(io.Discard, r.in, n); err != nil {
		return broken("it ends within a packet")
	}
	return nil
}

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBroken, fmt.Sprintf(format, args...))
}
