package record

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

var firsts = []tcb.Seq{1000, 0x7fffff00, 0xffffff00}

// model keeps the first copy of every byte and nothing else.
type model struct {
	first tcb.Seq
	at    map[int]byte
	fin   int // offset; −1: none
}

func (m *model) segment(seq tcb.Seq, b []byte) {
	for i, c := range b {
		off := tcb.Diff(seq, m.first) + i
		if _, ok := m.at[off]; !ok && off >= 0 {
			m.at[off] = c
		}
	}
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

func run(t *testing.T, first tcb.Seq, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	rec := New(Config{Limit: 4096, Ahead: 4096}, first)
	m := &model{first: first, at: map[int]byte{}}
	for range 80 {
		off, n := r.IntN(400), r.IntN(60)
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		seq := first.Add(tcb.Size(off))
		before := len(rec.Stream())
		out := rec.Segment(seq, b, false)
		m.segment(seq, b)
		if out.Grew != len(rec.Stream())-before {
			t.Fatalf("seed %d: Grew %d, but %d bytes came", seed, out.Grew, len(rec.Stream())-before)
		}
		if !bytes.Equal(rec.Stream(), m.stream()) {
			t.Fatalf("seed %d: stream differs from the first copies:\n%x\n%x", seed, rec.Stream(), m.stream())
		}
		for _, blk := range rec.Blocks(nil) {
			for s := blk.Start; s != blk.End; s++ {
				if _, ok := m.at[tcb.Diff(s, first)]; !ok {
					t.Fatalf("seed %d: SACK of %d, which never came", seed, tcb.Diff(s, first))
				}
			}
		}
	}
}

// "First byte wins on overlaps, so what the rules read is what every serving leg
// gets, byte for byte."
func TestFirstByteWins(t *testing.T) {
	for _, first := range firsts {
		for seed := range uint64(200) {
			run(t, first, seed)
		}
	}
}

func FuzzFirstByteWins(f *testing.F) {
	f.Add(uint64(1), uint32(1000))
	f.Add(uint64(7), uint32(0xffffff00))
	f.Fuzz(func(t *testing.T, seed uint64, first uint32) { run(t, tcb.Seq(first), seed) })
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
