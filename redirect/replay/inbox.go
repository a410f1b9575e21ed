package replay

import (
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// maxAhead bounds the bytes that are kept ahead of a hole in the peer's stream.
const maxAhead = 256 << 10

// piece is a run of bytes ahead of a hole.
type piece struct {
	seq  tcb.Seq
	data []byte
	fin  bool
}

// inbox assembles the peer's stream in order; the first copy of a byte wins.
type inbox struct {
	first tcb.Seq
	bytes []byte
	fin   bool
	ahead []piece // newest first
	kept  int     // bytes in ahead
}

func (b *inbox) init(first tcb.Seq) { *b = inbox{first: first} }

// at is the sequence number at offset n.
func (b *inbox) at(n int) tcb.Seq { return b.first.Add(tcb.Size(n)) }

// next is the sequence number that is awaited.
func (b *inbox) next() tcb.Seq {
	n := b.at(len(b.bytes))
	if b.fin {
		n++
	}
	return n
}

// add files a segment's bytes. What does not fit is dropped; the peer sends it
// again.
func (b *inbox) add(seq tcb.Seq, data []byte, fin bool) {
	if b.fin {
		return
	}
	if b.next().LessThan(seq) {
		if b.kept+len(data) <= maxAhead && len(b.ahead) < maxAhead/64 {
			b.ahead = append([]piece{{seq, append([]byte(nil), data...), fin}}, b.ahead...)
			b.kept += len(data)
		}
		return
	}
	b.take(piece{seq, data, fin})
	for b.fill() {
	}
}

// take appends what is new of a piece that does not lie ahead of a hole.
func (b *inbox) take(p piece) {
	skip := tcb.Diff(b.next(), p.seq)
	if skip > len(p.data) {
		return
	}
	b.bytes = append(b.bytes, p.data[skip:]...)
	b.fin = p.fin
}

// fill moves one piece from ahead of the hole that has closed.
func (b *inbox) fill() bool {
	for i, p := range b.ahead {
		if b.next().LessThan(p.seq) || b.fin {
			continue
		}
		b.ahead = append(b.ahead[:i], b.ahead[i+1:]...)
		b.kept -= len(p.data)
		b.take(p)
		return true
	}
	return false
}

// blocks reports what lies ahead of holes, newest first (RFC 2018, section 4).
func (b *inbox) blocks(o *wire.Options) {
	for _, p := range b.ahead {
		if len(p.data) > 0 && !o.AddBlock(wire.Block{Start: p.seq, End: p.seq.Add(tcb.Size(len(p.data)))}) {
			return
		}
	}
}
