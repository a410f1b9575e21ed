// Package record assembles in order what the client said, so that the rules and
// every serving leg read the same bytes: the first copy of a byte wins.
package record

import (
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

// piece is a run of bytes ahead of a hole. Pieces never overlap.
type piece struct {
	seq  tcb.Seq
	data []byte
}

func (p piece) end() tcb.Seq { return p.seq.Add(tcb.Size(len(p.data))) }

// Record is one client's stream.
type Record struct {
	cfg    Config
	first  tcb.Seq
	stream []byte
	fin    bool

	pieces []piece // newest first (RFC 2018, section 4)
	kept   int     // bytes in pieces
	finAt  tcb.Seq // of a FIN ahead of a hole
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

// Footprint is how many bytes are held in memory.
func (r *Record) Footprint() int { return len(r.stream) + r.kept }

// Blocks appends the SACK blocks for what lies ahead of holes, newest first,
// pieces that touch as one.
func (r *Record) Blocks(dst []wire.Block) []wire.Block {
	for _, p := range r.pieces {
		b := wire.Block{Start: p.seq, End: p.end()}
		if !within(dst, b) {
			dst = append(dst, r.widen(b))
		}
		if len(dst) == wire.MaxBlocks {
			break
		}
	}
	return dst
}

func within(bs []wire.Block, b wire.Block) bool {
	for _, o := range bs {
		if !b.Start.LessThan(o.Start) && !o.End.LessThan(b.End) {
			return true
		}
	}
	return false
}

// widen joins the pieces that touch a block to it.
func (r *Record) widen(b wire.Block) wire.Block {
	for grew := true; grew; {
		grew = false
		for _, p := range r.pieces {
			if p.seq == b.End {
				b.End, grew = p.end(), true
			}
			if p.end() == b.Start {
				b.Start, grew = p.seq, true
			}
		}
	}
	return b
}

// Pieces calls f with each run of bytes ahead of a hole.
func (r *Record) Pieces(f func(seq tcb.Seq, data []byte)) {
	for _, p := range r.pieces {
		f(p.seq, p.data)
	}
}

// Segment files one acceptable segment of the client's.
func (r *Record) Segment(seq tcb.Seq, payload []byte, fin bool) Outcome {
	end := seq.Add(tcb.Size(len(payload)))
	switch {
	case len(payload) == 0 && !fin:
		return Outcome{}
	case r.known(end, fin):
		return Outcome{Class: Old, Dup: wire.Block{Start: seq, End: end}}
	}
	if fin && !r.hasFIN && !end.LessThan(r.end()) {
		r.finAt, r.hasFIN = end, true
	}
	if r.end().LessThan(seq) {
		return r.keep(seq, payload)
	}
	return r.extend(seq, payload)
}

// known reports whether a segment that ends at end adds nothing.
func (r *Record) known(end tcb.Seq, fin bool) bool {
	if r.fin {
		return true
	}
	return !r.end().LessThan(end) && !(fin && end == r.end())
}

// extend takes a segment that reaches up to what is awaited, or beyond.
func (r *Record) extend(seq tcb.Seq, payload []byte) Outcome {
	before := len(r.stream)
	out := Outcome{Class: InOrder}
	skip := tcb.Diff(r.end(), seq)
	if skip > 0 {
		out.Dup = wire.Block{Start: seq, End: r.end()}
	}
	r.fill(payload[min(skip, len(payload)):])
	for r.close() {
	}
	if r.hasFIN && r.finAt == r.end() && !r.fin {
		r.fin, out.FIN = true, true
		r.pieces, r.kept = nil, 0 // nothing comes after a FIN
	}
	out.Grew = len(r.stream) - before
	if out.Grew == 0 && !out.FIN {
		out.Class = Full
	}
	return out
}

// fill appends new bytes, but keeps those that had come first from ahead of the
// hole which they close.
func (r *Record) fill(b []byte) {
	for len(b) > 0 && len(r.stream) < r.cfg.Limit {
		n := min(len(b), r.cfg.Limit-len(r.stream))
		if r.hasFIN {
			n = min(n, tcb.Diff(r.finAt, r.end()))
		}
		at := r.end()
		next := -1
		for i, p := range r.pieces {
			if d := tcb.Diff(p.seq, at); d < n {
				n, next = max(d, 0), i
			}
		}
		r.stream = append(r.stream, b[:n]...)
		b = b[n:]
		if next < 0 {
			if n == 0 {
				return
			}
			continue
		}
		had := r.take(next)
		b = b[min(had, len(b)):]
		if had == 0 {
			return
		}
	}
}

// close moves a piece that the stream has reached.
func (r *Record) close() bool {
	for i, p := range r.pieces {
		if !r.end().LessThan(p.seq) {
			return r.take(i) > 0 || !r.end().LessThan(p.end())
		}
	}
	return false
}

// take moves the piece i to the stream, as far as the limit allows, and returns
// how many bytes it brought.
func (r *Record) take(i int) int {
	p := r.pieces[i]
	fresh := p.data[min(len(p.data), max(0, tcb.Diff(r.end(), p.seq))):]
	n := min(len(fresh), max(0, r.cfg.Limit-len(r.stream)))
	r.stream = append(r.stream, fresh[:n]...)
	r.kept -= len(p.data)
	if n < len(fresh) {
		r.pieces[i] = piece{r.end(), fresh[n:]}
		r.kept += len(fresh) - n
		return n
	}
	r.pieces = append(r.pieces[:i], r.pieces[i+1:]...)
	return n
}

// keep files what is new of a segment ahead of a hole.
func (r *Record) keep(seq tcb.Seq, payload []byte) Outcome {
	out := Outcome{Class: Ahead}
	for len(payload) > 0 {
		n, covered := r.gap(seq, len(payload))
		if covered {
			if out.Dup.Start == out.Dup.End {
				out.Dup = wire.Block{Start: seq, End: seq.Add(tcb.Size(n))}
			}
		} else {
			if r.kept+n > r.cfg.Ahead || len(r.pieces) == maxPieces {
				out.Class = Full
				return out
			}
			r.pieces = append([]piece{{seq, append([]byte(nil), payload[:n]...)}}, r.pieces...)
			r.kept += n
		}
		seq, payload = seq.Add(tcb.Size(n)), payload[n:]
	}
	return out
}

// gap is how many of n bytes at seq are all new, or all covered.
func (r *Record) gap(seq tcb.Seq, n int) (run int, covered bool) {
	for _, p := range r.pieces {
		if !seq.LessThan(p.seq) && seq.LessThan(p.end()) {
			return min(n, tcb.Diff(p.end(), seq)), true
		}
		if d := tcb.Diff(p.seq, seq); d > 0 && d < n {
			n = d
		}
	}
	return n, false
}
