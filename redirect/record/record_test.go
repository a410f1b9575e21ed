package record

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

var firsts = []tcb.Seq{1000, 0x7fffff00, 0xffffff00}

// model is the specification: each place belongs to what claimed it first, a
// byte or the FIN.
type model struct {
	first tcb.Seq
	at    map[int]byte
	fin   int // place of the FIN; −1: none
	end   int // of the stream
}

func newModel(first tcb.Seq) *model { return &model{first: first, at: map[int]byte{}, fin: -1} }

func (m *model) segment(seq tcb.Seq, b []byte, fin bool) {
	off := tcb.Diff(seq, m.first)
	if _, taken := m.at[off+len(b)]; fin && !taken && m.fin < 0 && off+len(b) >= m.end {
		m.fin = off + len(b)
		for o := range m.at {
			if o > m.fin {
				delete(m.at, o)
			}
		}
	}
	for i, c := range b {
		o := off + i
		if _, taken := m.at[o]; !taken && o >= 0 && (m.fin < 0 || o < m.fin) {
			m.at[o] = c
		}
	}
	m.end = len(m.stream())
}

func (m *model) stream() (b []byte) {
	for i := 0; ; i++ {
		c, ok := m.at[i]
		if !ok {
			return b
		}
		b = append(b, c)
	}
}

// check compares a record with its model after a segment.
func (m *model) check(t *testing.T, r *Record) {
	t.Helper()
	if want := m.stream(); !bytes.Equal(want, r.Stream()) {
		t.Fatalf("the stream is not what was said first:\n%x\n%x", r.Stream(), want)
	}
	if fin := m.fin == m.end; r.FIN() != fin {
		t.Fatalf("FIN %v, want %v", r.FIN(), fin)
	}
	ahead := map[int]byte{}
	last := r.end()
	r.Pieces(func(seq tcb.Seq, b []byte) {
		if seq.LessThan(last) || len(b) == 0 {
			t.Fatalf("a piece of %d bytes at %d, out of order", len(b), tcb.Diff(seq, m.first))
		}
		last = seq.Add(tcb.Size(len(b)))
		for i, c := range b {
			ahead[tcb.Diff(seq, m.first)+i] = c
		}
	})
	want := map[int]byte{}
	for o, c := range m.at {
		if o >= m.end {
			want[o] = c
		}
	}
	if !maps.Equal(want, ahead) {
		t.Fatalf("what lies ahead differs: %s", cmp.Diff(want, ahead))
	}
	if r.kept != len(ahead) {
		t.Fatalf("counts %d bytes ahead, has %d", r.kept, len(ahead))
	}
	m.checkBlocks(t, r)
}

// "The first SACK block ... MUST specify the contiguous block of data containing
// the segment which triggered this ACK"; a block ends where a hole begins
// (RFC 2018, sections 3 and 4).
func (m *model) checkBlocks(t *testing.T, r *Record) {
	t.Helper()
	for _, b := range r.Blocks(nil) {
		from, to := tcb.Diff(b.Start, m.first), tcb.Diff(b.End, m.first)
		for o := from; o < to; o++ {
			if _, ok := m.at[o]; !ok {
				t.Fatalf("SACK of %d, which never came", o)
			}
		}
		_, before := m.at[from-1]
		_, after := m.at[to]
		if before || after || from <= m.end {
			t.Fatalf("SACK block %d:%d is not the whole run", from, to)
		}
	}
}

// converse sends a random conversation to a record and its model.
func converse(t *testing.T, first tcb.Seq, seed uint64) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d, first %#x", seed, first)
		}
	}()
	r := rand.New(rand.NewPCG(seed, 1))
	rec := New(Config{Limit: 4096, Ahead: 4096}, first)
	m := newModel(first)
	span := 20 + r.IntN(400)
	for range 80 {
		b := make([]byte, r.IntN(60))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		seq := first.Add(tcb.Size(r.IntN(span)))
		if r.IntN(4) == 0 {
			seq = rec.Next()
		}
		send(t, rec, m, seq, b, r.IntN(20) == 0)
	}
}

// send files one segment in both and compares.
func send(t *testing.T, rec *Record, m *model, seq tcb.Seq, b []byte, fin bool) {
	t.Helper()
	before, had := len(rec.Stream()), rec.FIN()
	out := rec.Segment(seq, b, fin)
	// The buffer is the caller's: what it writes there next must not show.
	said := slices.Clone(b)
	for i := range b {
		b[i] = 0xa5
	}
	m.segment(seq, said, fin)
	if out.Grew != len(rec.Stream())-before || out.FIN != (rec.FIN() && !had) {
		t.Fatalf("grew %d, FIN %v; the stream %d, %v", out.Grew, out.FIN, len(rec.Stream())-before, rec.FIN() && !had)
	}
	if out.Class == Ahead && len(said) > 0 && !rec.hasFIN {
		if blocks := rec.Blocks(nil); seq.LessThan(blocks[0].Start) || blocks[0].End.LessThan(seq.Add(tcb.Size(len(said)))) {
			t.Fatal("the first SACK block has not the segment that came last")
		}
	}
	m.check(t, rec)
}

// "First byte wins on overlaps, so what the rules read is what every serving leg
// gets, byte for byte."
func TestFirstByteWins(t *testing.T) {
	for _, first := range firsts {
		for seed := range uint64(200) {
			converse(t, first, seed)
		}
	}
}

// Three bytes of the fuzzer's make a segment: place, length and FIN, filling.
func FuzzSegments(f *testing.F) {
	f.Add(uint32(1000), []byte{10, 10, 1, 5, 0x87, 2, 0, 5, 3, 20, 1, 4})
	f.Add(uint32(0xfffffff0), []byte{30, 20, 1, 0, 60, 2, 10, 0x80, 3, 40, 9, 4})
	f.Fuzz(func(t *testing.T, first uint32, ops []byte) {
		rec := New(Config{Limit: 4096, Ahead: 4096}, tcb.Seq(first))
		m := newModel(tcb.Seq(first))
		for ; len(ops) >= 3 && len(rec.pieces) < maxPieces-2; ops = ops[3:] {
			b := bytes.Repeat(ops[2:3], int(ops[1]&0x7f))
			send(t, rec, m, rec.first.Add(tcb.Size(ops[0])), b, ops[1]&0x80 != 0)
		}
	})
}

// A FIN in the middle of what came before it is none: the place has its byte.
func TestAByteBeforeTheFINKeepsItsPlace(t *testing.T) {
	for _, first := range firsts {
		r := New(Config{Limit: 100, Ahead: 100}, first)
		r.Segment(first+10, []byte("0123456789"), false)
		r.Segment(first+5, []byte("fghijKL"), true)
		r.Segment(first, []byte("abcde"), false)
		r.Segment(r.Next(), []byte("x"), true)
		if got := string(r.Stream()); got != "abcdefghij0123456789x" || !r.FIN() {
			t.Errorf("stream %q, FIN %v", got, r.FIN())
		}
	}
}

// Whatever comes in whatever order, neither bound is passed, and the stream is
// what an unbounded record has, cut off.
func TestBoundsHoldInAnyOrder(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 2))
		rec := New(Config{Limit: 150, Ahead: 40}, 7)
		for range 200 {
			b := bytes.Repeat([]byte{byte(r.Uint32())}, 1+r.IntN(30))
			out := rec.Segment(tcb.Seq(7+r.IntN(200)), b, false)
			if len(rec.Stream()) > 150 || rec.kept > 40 {
				t.Fatalf("seed %d: %d in order, %d ahead", seed, len(rec.Stream()), rec.kept)
			}
			if out.Class == Full && out.Grew > 0 || out.Class == InOrder && out.Grew == 0 {
				t.Fatalf("seed %d: class %d, grew %d", seed, out.Class, out.Grew)
			}
		}
	}
}

func TestSegmentClasses(t *testing.T) {
	for _, first := range firsts {
		r := New(Config{Limit: 100, Ahead: 10}, first)
		for _, step := range []struct {
			why   string
			off   int
			bytes string
			fin   bool
			want  Class
			grew  int
		}{
			{"nothing", 0, "", false, Bare, 0},
			{"the first bytes", 0, "abc", false, InOrder, 3},
			{"the same again", 0, "xyz", false, Old, 0},
			{"half of it new", 2, "Xde", false, InOrder, 2},
			{"ahead of a hole", 7, "hi", false, Ahead, 0},
			{"more than may lie ahead", 20, "0123456789", false, Full, 0},
			{"the hole closes", 5, "fg??", false, InOrder, 4},
			{"FIN ahead of a hole", 12, "", true, Ahead, 0},
			{"FIN in order", 9, "jkl", false, InOrder, 3},
			{"bytes behind the FIN", 13, "no", false, Old, 0},
		} {
			out := r.Segment(first.Add(tcb.Size(step.off)), []byte(step.bytes), step.fin)
			if out.Class != step.want || out.Grew != step.grew {
				t.Fatalf("%s: class %d, grew %d; want %d, %d", step.why, out.Class, out.Grew, step.want, step.grew)
			}
		}
		if got := string(r.Stream()); got != "abcdefghijkl" || !r.FIN() || r.Next() != first.Add(13) {
			t.Errorf("stream %q, FIN %v, next %d", got, r.FIN(), tcb.Diff(r.Next(), first))
		}
	}
}

func TestTheLimitIsReachedAndNotPassed(t *testing.T) {
	r := New(Config{Limit: 10, Ahead: 100}, 1)
	r.Segment(9, []byte("0123456789"), false)
	r.Segment(1, []byte("abcdefgh"), false)
	if got := string(r.Stream()); got != "abcdefgh01" {
		t.Errorf("stream %q", got)
	}
	if out := r.Segment(r.Next(), []byte("x"), false); out.Class != Full {
		t.Errorf("class %d at the limit, want Full", out.Class)
	}
}

func TestManySmallPiecesAreBounded(t *testing.T) {
	r := New(Config{Limit: 1 << 20, Ahead: 1 << 20}, 0)
	for i := range 10 * maxPieces {
		r.Segment(tcb.Seq(10+2*i), []byte("x"), false)
	}
	if len(r.pieces) != maxPieces {
		t.Errorf("%d pieces, want %d", len(r.pieces), maxPieces)
	}
}

func TestBlocksAreNewestFirstAndJoined(t *testing.T) {
	r := New(Config{Limit: 100, Ahead: 100}, 0)
	r.Segment(10, []byte("aa"), false)
	r.Segment(20, []byte("bb"), false)
	r.Segment(12, []byte("cc"), false)
	want := []wire.Block{{Start: 10, End: 14}, {Start: 20, End: 22}}
	if d := cmp.Diff(want, r.Blocks(nil)); d != "" {
		t.Error(d)
	}
}

func TestTurns(t *testing.T) {
	type marks = []Mark
	for _, tt := range []struct {
		name           string
		said, answered string
		marks          marks
		want           []string
		open           string
	}{
		{"silence", "abc", "", nil, nil, "abc"},
		{"one", "abc", "X", marks{{3, 1}}, []string{"abc", "X"}, ""},
		{"server first", "abc", "HI", marks{{0, 2}}, []string{"", "HI"}, "abc"},
		{"one answer in two writes", "abcd", "XY", marks{{2, 1}, {2, 2}}, []string{"ab", "XY"}, "cd"},
		{"two turns", "abcd", "XYZ", marks{{1, 1}, {3, 3}}, []string{"a", "X", "bc", "YZ"}, "d"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			closed, open := Turns([]byte(tt.said), []byte(tt.answered), tt.marks)
			var got []string
			for _, c := range closed {
				got = append(got, string(c.Client), string(c.Answer))
			}
			if d := cmp.Diff(tt.want, got); d != "" || string(open) != tt.open {
				t.Errorf("%s open %q", d, open)
			}
		})
	}
}
