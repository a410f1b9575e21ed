package record

import (
	"slices"
	"sort"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// find is the index of the first piece that ends after seq.
func (r *Record) find(seq tcb.Seq) int {
	return sort.Search(len(r.pieces), func(i int) bool { return seq.LessThan(r.pieces[i].end()) })
}

// keep files what is new of a segment ahead of a hole.
func (r *Record) keep(seq tcb.Seq, payload []byte) Outcome {
	out := Outcome{Class: Ahead}
	for i := r.find(seq); len(payload) > 0; i++ {
		n := len(payload)
		if i < len(r.pieces) && !seq.LessThan(r.pieces[i].seq) {
			p := &r.pieces[i]
			n = min(n, tcb.Diff(p.end(), seq))
			p.stamp = r.stamp
			if out.Dup.Start == out.Dup.End {
				out.Dup = wire.Block{Start: seq, End: seq.Add(tcb.Size(n))}
			}
		} else {
			if i < len(r.pieces) {
				n = min(n, tcb.Diff(r.pieces[i].seq, seq))
			}
			if !r.room(i, seq, n) {
				out.Class = Full
				return out
			}
			i = r.insert(i, seq, payload[:n])
		}
		seq, payload = seq.Add(tcb.Size(n)), payload[n:]
	}
	return out
}

// room reports whether n more bytes at seq, before the piece i, are within the
// bounds.
func (r *Record) room(i int, seq tcb.Seq, n int) bool {
	return r.kept+n <= r.cfg.Ahead && (len(r.pieces) < maxPieces || r.touches(i, seq))
}

// touches reports whether the piece before i ends at seq.
func (r *Record) touches(i int, seq tcb.Seq) bool { return i > 0 && r.pieces[i-1].end() == seq }

// insert puts bytes before the piece i, at the end of the one before if they
// touch, and returns the index of the piece that has them.
func (r *Record) insert(i int, seq tcb.Seq, b []byte) int {
	r.kept += len(b)
	if r.touches(i, seq) {
		p := &r.pieces[i-1]
		p.data, p.stamp = append(p.data, b...), r.stamp
		return i - 1
	}
	r.pieces = slices.Insert(r.pieces, i, piece{seq, slices.Clone(b), r.stamp})
	return i
}

// Blocks appends the SACK blocks for what lies ahead of holes, as many as fit.
// The first one has the segment that came last, the others follow in the order
// in which they were reported (RFC 2018, section 4).
func (r *Record) Blocks(dst []wire.Block) []wire.Block {
	var top [wire.MaxBlocks]run
	n := 0
	for i := 0; i < len(r.pieces); {
		u := r.run(i)
		i = u.next
		at := n
		for at > 0 && top[at-1].stamp < u.stamp {
			at--
		}
		if at == len(top) {
			continue
		}
		n = min(n+1, len(top))
		copy(top[at+1:n], top[at:])
		top[at] = u
	}
	for _, u := range top[:n] {
		if len(dst) == wire.MaxBlocks {
			break
		}
		dst = append(dst, u.Block)
	}
	return dst
}

// run is a row of pieces that touch.
type run struct {
	wire.Block
	stamp uint64 // the newest
	next  int    // index of the piece behind it
}

func (r *Record) run(i int) run {
	p := &r.pieces[i]
	u := run{wire.Block{Start: p.seq, End: p.end()}, p.stamp, i + 1}
	for u.next < len(r.pieces) && r.pieces[u.next].seq == u.End {
		p = &r.pieces[u.next]
		u.End, u.stamp = p.end(), max(u.stamp, p.stamp)
		u.next++
	}
	return u
}
