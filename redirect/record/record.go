// Package record assembles in order what the client said, so that the rules and
// every serving leg read the same bytes: the first copy of a byte wins.
package record

import (
	"slices"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Config bounds a record.
type Config struct {
	Limit int // bytes in order that are kept
	Ahead int // bytes ahead of a hole that are kept
}

// maxPieces bounds the pieces ahead of holes: each costs memory beside its bytes.
const maxPieces = 256

// Class is what a segment was to the record.
type Class uint8

const (
	// Bare: no byte and no FIN.
	Bare Class = iota
	// InOrder: some of it continues the stream.
	InOrder
	// Ahead: it lies ahead of a hole, and is kept.
	Ahead
	// Old: all of it was there before.
	Old
	// Full: it was dropped at a bound; S sends it again.
	Full
)

// Outcome is what a segment changed.
type Outcome struct {
	Class Class
	Grew  int        // new bytes in order, those from ahead of a closed hole included
	FIN   bool       // the FIN has come in order just now
	Dup   wire.Block // what had come before; empty: nothing
}

// piece is a run of bytes ahead of a hole.
type piece struct {
	seq   tcb.Seq
	data  []byte
	stamp uint64 // of the newest segment that brought some of it
}

func (p *piece) end() tcb.Seq { return p.seq.Add(tcb.Size(len(p.data))) }

// PieceCost is what a piece takes in memory beside its bytes, about.
const PieceCost = 48

// Record is one client's stream. What first claims a place in it, a byte or the
// FIN, has it for good.
type Record struct {
	cfg    Config
	first  tcb.Seq
	stream []byte
	fin    bool

	pieces []piece // in order of seq; none overlaps another, the stream or the FIN
	kept   int     // bytes in pieces
	stamp  uint64
	finAt  tcb.Seq // place of the FIN, if hasFIN
	hasFIN bool
}

// New makes a record whose first byte has sequence number first.
func New(cfg Config, first tcb.Seq) *Record { return &Record{cfg: cfg, first: first} }

// Stream is all that was said in order. It only grows; its bytes never change.
func (r *Record) Stream() []byte { return r.stream }

// FIN reports whether the stream has ended.
func (r *Record) FIN() bool { return r.fin }

// end is the sequence number after the last byte in order.
func (r *Record) end() tcb.Seq { return r.first.Add(tcb.Size(len(r.stream))) }

// Next is the sequence number that is awaited; the FIN counts once it is in order.
func (r *Record) Next() tcb.Seq {
	if r.fin {
		return r.end() + 1
	}
	return r.end()
}

// Offset is the position of a sequence number in the stream.
func (r *Record) Offset(seq tcb.Seq) int { return tcb.Diff(seq, r.first) }

// Bytes are up to n recorded bytes from seq on.
func (r *Record) Bytes(seq tcb.Seq, n int) []byte {
	at := r.Offset(seq)
	if at < 0 || at > len(r.stream) {
		return nil
	}
	return r.stream[at:min(at+n, len(r.stream))]
}

// Footprint is how many bytes of memory the record takes, about.
func (r *Record) Footprint() int { return len(r.stream) + r.kept + len(r.pieces)*PieceCost }

// Pieces calls f with each run of bytes ahead of a hole, in order.
func (r *Record) Pieces(f func(seq tcb.Seq, data []byte)) {
	for _, p := range r.pieces {
		f(p.seq, p.data)
	}
}

// Segment files one acceptable segment of the client's.
func (r *Record) Segment(seq tcb.Seq, payload []byte, fin bool) Outcome {
	if len(payload) == 0 && !fin {
		return Outcome{}
	}
	end := seq.Add(tcb.Size(len(payload)))
	if !r.news(end, fin) {
		return Outcome{Class: Old, Dup: r.had(seq, end)}
	}
	r.stamp++
	if fin {
		r.fileFIN(end)
	}
	if r.end().LessThan(seq) {
		return r.keep(seq, r.beforeFIN(seq, payload))
	}
	return r.extend(seq, r.beforeFIN(seq, payload))
}

// news reports whether a segment that ends at end can add something.
func (r *Record) news(end tcb.Seq, fin bool) bool {
	return !r.fin && (r.end().LessThan(end) || fin && end == r.end())
}

// had is the part of [seq, end) that lies in the stream.
func (r *Record) had(seq, end tcb.Seq) wire.Block {
	if end = tcb.Min(end, r.end()); seq.LessThan(end) {
		return wire.Block{Start: seq, End: end}
	}
	return wire.Block{}
}

// fileFIN notes that the stream ends at a place, unless it was taken. What lies
// beyond is forgotten: nothing comes after a FIN.
func (r *Record) fileFIN(at tcb.Seq) {
	i := r.find(at)
	taken := i < len(r.pieces) && !at.LessThan(r.pieces[i].seq)
	if r.hasFIN || taken || at.LessThan(r.end()) {
		return
	}
	r.finAt, r.hasFIN = at, true
	for _, p := range r.pieces[i:] {
		r.kept -= len(p.data)
	}
	r.pieces = slices.Delete(r.pieces, i, len(r.pieces))
}

// beforeFIN is the part of a payload at seq that lies before the FIN.
func (r *Record) beforeFIN(seq tcb.Seq, payload []byte) []byte {
	if !r.hasFIN {
		return payload
	}
	return payload[:max(0, min(len(payload), tcb.Diff(r.finAt, seq)))]
}

// extend takes a segment that reaches up to what is awaited, or beyond.
func (r *Record) extend(seq tcb.Seq, payload []byte) Outcome {
	before := len(r.stream)
	out := Outcome{Class: InOrder, Dup: r.had(seq, seq.Add(tcb.Size(len(payload))))}
	r.fill(payload[min(len(payload), tcb.Diff(r.end(), seq)):])
	if r.hasFIN && r.finAt == r.end() {
		r.fin, out.FIN = true, true
	}
	out.Grew = len(r.stream) - before
	if out.Grew == 0 && !out.FIN {
		out.Class = Full
	}
	return out
}

// fill appends new bytes; where a piece has come first, its own instead.
func (r *Record) fill(b []byte) {
	whole := 0 // pieces that the stream has taken in
	for i := range r.pieces {
		p := &r.pieces[i]
		gap := tcb.Diff(p.seq, r.end())
		if gap > len(b) || r.grow(b[:gap]) < gap {
			break
		}
		b = b[min(len(b), gap+len(p.data)):]
		n := r.grow(p.data)
		r.kept -= n
		if n < len(p.data) {
			p.seq, p.data = r.end(), p.data[n:]
			break
		}
		whole++
	}
	r.pieces = slices.Delete(r.pieces, 0, whole)
	if len(r.pieces) > 0 {
		b = b[:min(len(b), tcb.Diff(r.pieces[0].seq, r.end()))]
	}
	r.grow(b)
}

// grow appends to the stream what the limit allows and returns how much.
func (r *Record) grow(b []byte) int {
	n := min(len(b), max(0, r.cfg.Limit-len(r.stream)))
	r.stream = append(r.stream, b[:n]...)
	return n
}
