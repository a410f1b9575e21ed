package flow

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// index is one shard of the table: open addressing in buckets of a cache line
// each. Who looks up takes no lock; who changes it does. A bucket that is left
// for a larger array is never written again, so a look-up that began there ends
// there, with what was true when it began.
type index[E comparable] struct {
	mu      sync.Mutex
	buckets atomic.Pointer[[]bucket[E]]
	keys    int
	hand    int // where the next search for a victim begins
	_       [16]byte
}

// slots and the word of tags fill a cache line of 64 bytes.
const slots = 7

// bucket has room for seven keys. Byte i of word is the tag of slot i, 0 if it is
// free; the last byte counts the keys that should be here and stand further on,
// and stays at 255 once it was there.
type bucket[E comparable] struct {
	word  atomic.Uint64
	nodes [slots]atomic.Pointer[Node[E]]
}

const (
	spillShift = 8 * slots
	spillMax   = 0xff
	ones       = 0x01010101010101
	tops       = 0x80808080808080
)

func tagOf(h uint64) uint64 { return max(h>>56, 1) }

// home is where a key's search begins, of n buckets.
func home(h uint64, n int) int {
	at, _ := bits.Mul64(h<<8, uint64(n)) // the first byte is the tag's
	return int(at)
}

// matching has the top bit of each slot's byte set that may have the tag; what is
// set above the lowest true one can be wrong, and then its key differs.
func matching(word, tag uint64) uint64 {
	x := (word ^ tag*ones) &^ (0xff << spillShift)
	return (x - ones) &^ x & tops
}

func (s *index[E]) lookup(k *Key, h uint64) *Node[E] {
	at := s.buckets.Load()
	if at == nil {
		return nil
	}
	bs, tag := *at, tagOf(h)
	for i, looked := home(h, len(bs)), 0; looked < len(bs); looked++ {
		b := &bs[i]
		word := b.word.Load()
		for m := matching(word, tag); m != 0; m &= m - 1 {
			if n := b.nodes[bits.TrailingZeros64(m)/8].Load(); n != nil && n.Key == *k {
				return n
			}
		}
		if word>>spillShift == 0 {
			return nil
		}
		if i++; i == len(bs) {
			i = 0
		}
	}
	return nil
}

// put adds a node whose key is free; else it returns whose it is. The caller
// holds the lock, as in all that follow.
func (s *index[E]) put(n *Node[E], h uint64, rehash func(*Key) uint64) (owner *Node[E]) {
	if old := s.lookup(&n.Key, h); old != nil {
		return old
	}
	if s.keys >= s.room()*7/8 {
		s.resize(s.keys+s.keys/2+slots, rehash)
	}
	s.place(*s.buckets.Load(), n, h)
	s.keys++
	return nil
}

func (s *index[E]) room() int {
	if at := s.buckets.Load(); at != nil {
		return slots * len(*at)
	}
	return 0
}

// place sets a node into the first free slot from its home on. The node is there
// before its tag is.
func (s *index[E]) place(bs []bucket[E], n *Node[E], h uint64) {
	for i := home(h, len(bs)); ; i = (i + 1) % len(bs) {
		b := &bs[i]
		word := b.word.Load()
		if free := matching(word, 0); free != 0 {
			slot := bits.TrailingZeros64(free) / 8
			b.nodes[slot].Store(n)
			b.word.Store(word | tagOf(h)<<(8*slot))
			return
		}
		if word>>spillShift < spillMax {
			b.word.Store(word + 1<<spillShift)
		}
	}
}

// take removes a node; it reports whether it was there.
func (s *index[E]) take(n *Node[E], h uint64, rehash func(*Key) uint64) bool {
	if s.lookup(&n.Key, h) != n {
		return false
	}
	bs := *s.buckets.Load()
	for i := home(h, len(bs)); ; i = (i + 1) % len(bs) {
		b := &bs[i]
		for slot := range slots {
			if b.nodes[slot].Load() == n {
				b.word.Store(b.word.Load() &^ (0xff << (8 * slot)))
				b.nodes[slot].Store(nil)
				s.keys--
				s.shrink(rehash)
				return true
			}
		}
		if spill := b.word.Load() >> spillShift; spill < spillMax {
			b.word.Store(b.word.Load() - 1<<spillShift)
		}
	}
}

// smallest is the least number of slots that is worth less room.
const smallest = 64

// shrink gives room back once seven of eight slots are free.
func (s *index[E]) shrink(rehash func(*Key) uint64) {
	if s.room() > smallest && s.keys*8 < s.room() {
		s.resize(2*s.keys+slots, rehash)
	}
}

// resize moves all keys to an array with room for at least n.
func (s *index[E]) resize(n int, rehash func(*Key) uint64) {
	next := make([]bucket[E], (n+slots-1)/slots+1)
	s.each(func(n *Node[E]) bool {
		s.place(next, n, rehash(&n.Key))
		return true
	})
	s.buckets.Store(&next)
	s.hand = 0
}

// each calls f with every node until f has had enough, from where the last walk
// that was cut short ended.
func (s *index[E]) each(f func(*Node[E]) bool) {
	at := s.buckets.Load()
	if at == nil {
		return
	}
	bs := *at
	for i := range bs {
		b := &bs[(s.hand+i)%len(bs)]
		for slot := range slots {
			if n := b.nodes[slot].Load(); n != nil && !f(n) {
				s.hand = (s.hand + i) % len(bs)
				return
			}
		}
	}
}
