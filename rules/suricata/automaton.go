package suricata

import (
	"math/bits"
	"slices"
)

// automaton finds all of many texts in one pass (Aho and Corasick, 1975). Texts and
// stream are compared in lower case. Its states are numbered breadth first, so that
// the children of one stand together; states that have many children, and those
// near the root, have a row with the next state for each byte instead. A state is
// all that a pass has to remember between two pieces of a stream.
type automaton struct {
	states []state
	label  []byte   // of each state: the byte that leads to it
	rows   []uint32 // 256 for each state that has a row
	outs   []out    // from 1
	begins *begins
	ends   bitset           // states in which a text ends
	levels [gram + 1]uint32 // first state of each depth
}

// state is 16 bytes, so that four share a cache line.
type state struct {
	first uint32 // first child; of a state with a row: the row
	fail  uint32 // the longest proper suffix that is a state as well
	out   uint32 // texts that end here; 0: none
	n     uint16 // children; hasRow: it has a row
	key   byte   // the first child's label
}

const (
	hasRow   = 1<<16 - 1
	rowFrom  = 4       // children from which a state has a row
	maxRows  = 8 << 10 // 1 KiB each
	rootRows = 2       // depth below which every state has one
)

// out says that a text ends, and what else ends with it.
type out struct {
	text int    // index of the text
	next uint32 // the longest other text that ends here; 0: none
}

// newAutomaton builds one of texts in lower case, sorted, none twice and none shorter
// than gram.
func newAutomaton(texts [][]byte) *automaton {
	b := &builder{a: &automaton{outs: make([]out, 1)}, texts: texts}
	b.trie()
	b.fails()
	b.pack()
	b.begins()
	return b.a
}

// builder is an automaton that is being made.
type builder struct {
	a     *automaton
	texts [][]byte
	first []uint32 // children of state s are [first[s], first[s+1])
	depth []uint16
	fail  []uint32
	out   []uint32
}

// trie numbers the states breadth first. Each stands for a range of the sorted
// texts, which share their beginnings.
func (b *builder) trie() {
	type node struct{ lo, hi, depth int }
	queue := []node{{0, len(b.texts), 0}}
	b.a.label = []byte{0}
	for s := 0; s < len(queue); s++ {
		n := queue[s]
		b.first = append(b.first, uint32(len(queue)))
		b.depth = append(b.depth, uint16(n.depth))
		end := uint32(0)
		if n.lo < n.hi && len(b.texts[n.lo]) == n.depth && n.depth > 0 {
			end = uint32(len(b.a.outs))
			b.a.outs = append(b.a.outs, out{text: n.lo})
			n.lo++
		}
		b.out = append(b.out, end)
		for lo := n.lo; lo < n.hi; {
			c := b.texts[lo][n.depth]
			hi := lo
			for hi < n.hi && b.texts[hi][n.depth] == c {
				hi++
			}
			queue = append(queue, node{lo, hi, n.depth + 1})
			b.a.label = append(b.a.label, c)
			lo = hi
		}
	}
	b.first = append(b.first, uint32(len(queue)))
}

// begins notes the first bytes of every text.
func (b *builder) begins() {
	b.a.begins = newBegins(len(b.texts))
	for _, t := range b.texts {
		s := b.child(b.child(0, t[0]), t[1])
		b.a.begins.add(uint32(t[0])|uint32(t[1])<<8|uint32(t[2])<<16, s)
	}
}

// child is where a byte leads within the trie; 0: nowhere.
func (b *builder) child(s uint32, c byte) uint32 {
	lo, hi := b.first[s], b.first[s+1]
	if i, ok := slices.BinarySearch(b.a.label[lo:hi], c); ok {
		return lo + uint32(i)
	}
	return 0
}

// fails finds each state's longest proper suffix, and what ends there.
func (b *builder) fails() {
	b.fail = make([]uint32, len(b.first)-1)
	for s := range uint32(len(b.fail)) {
		for c := b.first[s]; c < b.first[s+1]; c++ {
			f := s
			for f != 0 && b.fail[c] == 0 {
				f = b.fail[f]
				b.fail[c] = b.child(f, b.a.label[c])
			}
			switch ends := b.out[b.fail[c]]; {
			case b.out[c] == 0:
				b.out[c] = ends
			default:
				b.a.outs[b.out[c]].next = ends
			}
		}
	}
}

// pack lays the states out as the pass reads them.
func (b *builder) pack() {
	a := b.a
	a.states, a.ends = make([]state, len(b.fail)), newBitset(len(b.fail))
	for d := range a.levels {
		at, _ := slices.BinarySearch(b.depth, uint16(d))
		a.levels[d] = uint32(at)
	}
	for s := range a.states {
		if b.out[s] != 0 {
			a.ends.add(s)
		}
		lo, hi := b.first[s], b.first[s+1]
		st := state{first: lo, n: uint16(hi - lo), fail: b.fail[s], out: b.out[s]}
		if lo < hi {
			st.key = a.label[lo]
		}
		if b.depth[s] < rootRows || hi-lo >= rowFrom && len(a.rows) < maxRows<<8 {
			b.row(uint32(s))
			st.first, st.n = uint32(len(a.rows)-256), hasRow
		}
		a.states[s] = st
	}
}

// row adds the row of a state: its children, and for the other bytes what its
// suffix does, whose states are packed before it.
func (b *builder) row(s uint32) {
	a := b.a
	for c := range 256 {
		next := b.child(s, byte(c))
		if next == 0 && s != 0 {
			next = a.step(b.fail[s], byte(c))
		}
		a.rows = append(a.rows, next)
	}
}

// step is the state after a byte, which is in lower case.
func (a *automaton) step(s uint32, c byte) uint32 {
	for {
		if s < a.levels[rootRows] {
			return a.rows[s<<8+uint32(c)] // the first rows, in order
		}
		st := &a.states[s]
		switch {
		case st.n == hasRow:
			return a.rows[st.first+uint32(c)]
		case st.n == 1:
			if st.key == c {
				return st.first
			}
		default:
			for i := st.first; i < st.first+uint32(st.n); i++ {
				if a.label[i] == c {
					return i
				}
			}
		}
		s = st.fail
	}
}

// scan reads on from a state, up to where a text ends that was not seen yet; n is how
// many bytes were read. Where no text can begin no state is looked up: most of what
// clients say is passed over that way.
func (a *automaton) scan(s uint32, b []byte, seen bitset) (next uint32, n int, hit uint32) {
	for i := 0; i < len(b); i++ {
		if s < a.levels[gram] {
			// All that may have begun has begun d bytes ago.
			if d := a.depth(s); d <= i {
				if s, i = a.begin(b, i-d); i == len(b) {
					return s, i, 0
				}
			}
		}
		s = a.step(s, fold[b[i]])
		if a.ends[s>>6]&(1<<(s&63)) != 0 {
			if o := a.states[s].out; !seen.has(int(o)) {
				return s, i + 1, o
			}
		}
	}
	return s, len(b), 0
}

// depth is how many bytes of a text a state stands for, where that is less than gram.
func (a *automaton) depth(s uint32) (d int) {
	for d+1 < gram && s >= a.levels[d+1] {
		d++
	}
	return d
}

// gram is how many bytes the filter looks at: no text is shorter.
const gram = 3

// begins tells where texts begin. The filter is a hash of gram bytes, small enough to
// stay in the nearest cache; what it lets pass is looked up.
type begins struct {
	filter [1 << (32 - filterWord)]uint32
	keys   []uint32 // of gram bytes, by their hash
	states []uint32 // after all but the last of them
	shift  int      // of a hash, to an index
}

// Which bits of a hash tell the filter's word, and the bit in it.
const (
	filterWord = 20
	filterBit  = 15
)

func hash(key uint32) uint32 { return key * 0x9e3779b1 }

func newBegins(n int) *begins {
	log := max(1, bits.Len(uint(4*n)))
	return &begins{keys: make([]uint32, 1<<log), states: make([]uint32, 1<<log), shift: 32 - log}
}

// add notes that texts begin with gram bytes; no key is zero but that of zeros, which
// is looked up by its state.
func (g *begins) add(key, state uint32) {
	h := hash(key)
	g.filter[h>>filterWord] |= 1 << (h >> filterBit & 31)
	i := int(h >> g.shift)
	for g.states[i] != 0 && g.keys[i] != key {
		i = (i + 1) & (len(g.keys) - 1)
	}
	g.keys[i], g.states[i] = key, state
}

// state is that after all but the last of the bytes; 0: no text begins with them.
func (g *begins) state(key uint32) uint32 {
	i := int(hash(key) >> g.shift)
	for g.states[i] != 0 && g.keys[i] != key {
		i = (i + 1) & (len(g.keys) - 1)
	}
	return g.states[i]
}

// begin goes to the first place from on where a text begins, but for the last of gram
// bytes; or to the end.
func (a *automaton) begin(b []byte, from int) (s uint32, i int) {
	if from+gram <= len(b) {
		g := a.begins
		key := uint32(fold[b[from]])<<8 | uint32(fold[b[from+1]])<<16
		for i, c := range b[from+gram-1:] {
			key = key>>8 | uint32(fold[c])<<16
			h := hash(key)
			if g.filter[h>>filterWord]>>(h>>filterBit&31)&1 == 0 {
				continue
			}
			if s = g.state(key); s != 0 {
				return s, from + gram - 1 + i
			}
		}
		from = len(b) - gram + 1
	}
	for _, c := range b[from:] {
		s = a.step(s, fold[c])
	}
	return s, len(b)
}

// bitset is a set of small numbers; nil is empty.
type bitset []uint64

func (b bitset) has(i int) bool { return i>>6 < len(b) && b[i>>6]&(1<<(i&63)) != 0 }

func (b bitset) add(i int)    { b[i>>6] |= 1 << (i & 63) }
func (b bitset) remove(i int) { b[i>>6] &^= 1 << (i & 63) }

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }
