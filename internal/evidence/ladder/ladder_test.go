package ladder

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"sleight/stack/wire"
)

var update = flag.Bool("update", false, "rewrite the golden files, docs/seed.svg among them")

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-update rewrites it):\n%s", file, diff)
	}
}

func TestTheSeedsFigure(t *testing.T) {
	l := SeedFigure()
	golden(t, filepath.Join("testdata", "seed.txt"), l.Text(false))
	golden(t, filepath.Join("testdata", "seed.ansi"), l.Text(true))
	golden(t, filepath.Join("..", "..", "..", "docs", "seed.svg"), l.SVG())
}

func TestColourChangesNoCharacter(t *testing.T) {
	l := SeedFigure()
	if diff := cmp.Diff(l.Text(false), regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(l.Text(true), "")); diff != "" {
		t.Error(diff)
	}
}

func TestEveryLineFitsItsColumns(t *testing.T) {
	const columns = 121
	for i, line := range strings.Split(SeedFigure().Text(false), "\n") {
		if n := utf8.RuneCountInString(line); n > columns {
			t.Errorf("line %d has %d columns: %s", i+1, n, line)
		}
	}
}

// marks lists what the steps are, with their numbers.
func marks(l *Ladder) (all []string) {
	for i, number := range l.numbers() {
		if s := &l.Steps[i]; s.Mark != Plain || s.Note != "" {
			all = append(all, strings.TrimSpace(number+" "+s.remark()))
		}
	}
	return all
}

func TestTheSwitchIsReadOutOfTheCaptures(t *testing.T) {
	want := []string{
		"6 the decoy's", "8 held", "d replayed", "f swallowed",
		"switch committed: 2 bytes replayed, 2 bytes swallowed", "9 the backend's, SEQ +1295037296",
	}
	if diff := cmp.Diff(want, marks(SeedFigure())); diff != "" {
		t.Error(diff)
	}
}

var (
	s  = netip.MustParseAddrPort("[2001:db8:51::2]:40001")
	d1 = netip.MustParseAddrPort("[2001:db8:113::7]:7")
	d2 = netip.MustParseAddrPort("[fd00:2::2]:7")
)

func TestNumbersCountFromTheISNAcrossTheWrap(t *testing.T) {
	client := Captured{s, d1, play(seedAtClient, s, d1, 0xffffffff, 0x7fffffff)}
	backend := Captured{s, d2, play(seedAtBackend, s, d2, 0xffffffff, 0xfffffffd)}
	l := New("", client, &backend)
	want := SeedFigure()
	for i := range l.Steps {
		got, want := &l.Steps[i], &want.Steps[i]
		if got.RelSeq != want.RelSeq || got.RelAck != want.RelAck || got.Mark != want.Mark {
			t.Errorf("step %d: %s %v, want %s %v", i, got.label(), got.Mark, want.label(), want.Mark)
		}
	}
}

func TestAFlowThatIsNotSwitchedHasOneLeg(t *testing.T) {
	l := New("", Captured{s, d1, play(seedAtClient, s, d1, 1, 2)}, nil)
	if got := marks(l); len(got) != 0 || len(l.Steps) != 13 {
		t.Errorf("%d steps, marks %q", len(l.Steps), got)
	}
}

func TestARollBackIsDrawn(t *testing.T) {
	reset := append(append([]scripted{}, seedAtBackend[:6]...), scripted{70500, false, wire.RST | wire.ACK, ""})
	backend := Captured{s, d2, play(reset, s, d2, 1, 2)}
	l := New("", Captured{s, d1, play(seedAtClient, s, d1, 1, 2)}, &backend)
	want := []string{"6 the decoy's", "8 held", "d replayed", "f swallowed", "rolled back: 2 bytes replayed, the decoy goes on"}
	if diff := cmp.Diff(want, marks(l)); diff != "" {
		t.Error(diff)
	}
}

func TestMomentsOfTheCallerStandAtTheirTime(t *testing.T) {
	note := Step{Time: time.Date(2009, 6, 12, 0, 0, 0, 65e6, time.UTC), From: AtGateway, To: AtGateway, Note: "rule shellshock matches"}
	l := New("", Captured{s, d1, play(seedAtClient, s, d1, 1, 2)}, nil, note)
	if got := l.Steps[8]; got.Note != note.Note {
		t.Errorf("after the trigger stands %+v", got)
	}
	if text := l.Text(false); !strings.Contains(text, "┄ rule shellshock matches ┄") {
		t.Error(text)
	}
}

func TestALongFlowIsCutInTheMiddle(t *testing.T) {
	var long []scripted
	for i := range 5 * MaxSteps {
		long = append(long, scripted{i, i%2 == 1, wire.ACK, "x"})
	}
	l := New("", Captured{s, d1, play(long, s, d1, 1, 2)}, nil)
	if len(l.Steps) != MaxSteps {
		t.Errorf("%d steps, want %d", len(l.Steps), MaxSteps)
	}
	if want := fmt.Sprintf("%d segments are not drawn", 4*MaxSteps+1); !strings.Contains(l.Text(false), want) {
		t.Errorf("it does not say %q", want)
	}
	if len(l.SVG()) == 0 {
		t.Error("no figure")
	}
}

func TestNoCaptureIsNoFlow(t *testing.T) {
	var none iter.Seq2[time.Time, []byte] = func(func(time.Time, []byte) bool) {}
	l := New("", Captured{s, d1, none}, nil)
	if len(l.Steps) != 0 || l.Text(true) == "" || l.SVG() == "" {
		t.Errorf("%d steps", len(l.Steps))
	}
}

// What S sends is drawn on the operator's terminal and opened in a browser.
func TestAHostilePayloadIsHarmless(t *testing.T) {
	hostile := []scripted{
		{0, false, wire.SYN, ""},
		{1, true, wire.SYN | wire.ACK, ""},
		{2, false, wire.ACK, "\x1b]0;x\x07\x9b31m<script>\"&'\xff\x00"},
	}
	l := New("<b>&", Captured{s, d1, play(hostile, s, d1, 1, 2)}, nil)
	for _, r := range l.Text(false) {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 {
			t.Errorf("a control character in the text: %#x", r)
		}
	}
	if svg := l.SVG(); strings.Contains(svg, "<script") || strings.Contains(svg, "<b>") {
		t.Error("markup of S's in the figure")
	}
	wellFormed(t, l.SVG())
}

func TestTheFigureIsWellFormed(t *testing.T) { wellFormed(t, SeedFigure().SVG()) }

func wellFormed(t *testing.T, svg string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestQuoteEndsWhereItHasTo(t *testing.T) {
	tests := []struct {
		payload string
		length  int
		n       int
		want    string
	}{
		{"", 0, 10, ""},
		{"GET /\r\n", 7, 20, `"GET /\r\n"`},
		{"GET /index", 10, 8, `"GET /…"`},
		{"GET", 900, 20, `"GET…"`},
		{"\x00\xff", 2, 20, `"\x00\xff"`},
		{"\x00\xff", 2, 7, `"\x00…"`},
	}
	for _, tt := range tests {
		if got := quote([]byte(tt.payload), tt.length, tt.n); got != tt.want {
			t.Errorf("quote(%q, %d, %d) = %s, want %s", tt.payload, tt.length, tt.n, got, tt.want)
		}
	}
}

// with is the name of the party at the other end of each client-leg segment.
func with(l *Ladder) (all []string) {
	for i := range l.Steps {
		if s := &l.Steps[i]; !s.moment() && s.left() {
			all = append(all, map[Place]string{AtDecoy: "decoy", AtGateway: "gateway"}[max(s.From, s.To)])
		}
	}
	return all
}

func repeat(word string, n int) []string { return strings.Fields(strings.Repeat(word+" ", n)) }

func TestTheDecoyHasItsPartOfTheClientLeg(t *testing.T) {
	// S has not seen the decoy's answer: the decoy says it again after the switch.
	again := append([]scripted{}, seedAtClient...)
	again[8] = scripted{80900, true, wire.PSH | wire.ACK, "b\n"}
	late := Captured{s, d1, func(yield func(time.Time, []byte) bool) {
		for at, p := range play(again, s, d1, 1, 2) {
			if !yield(at, p) {
				return
			}
			if at.Nanosecond() == 40300e3 && !yield(at.Add(42*time.Millisecond), p) { // the decoy's a, repeated
				return
			}
		}
	}}
	backend := Captured{s, d2, play(seedAtBackend, s, d2, 1, 2)}
	reset := Captured{s, d2, play(append(append([]scripted{}, seedAtBackend[:6]...), scripted{70500, false, wire.RST | wire.ACK, ""}), s, d2, 1, 2)}
	client := Captured{s, d1, play(seedAtClient, s, d1, 1, 2)}
	switched := append(append(repeat("decoy", 7), "gateway"), repeat("gateway", 5)...)
	repeated := append(append(repeat("decoy", 7), "gateway", "gateway", "gateway", "decoy"), repeat("gateway", 3)...)
	rolledBack := append(append(repeat("decoy", 7), "gateway"), repeat("decoy", 5)...)
	for _, tt := range []struct {
		name string
		l    *Ladder
		want []string
	}{
		{"never switched", New("", client, nil), repeat("decoy", 13)},
		{"switched", New("", client, &backend), switched},
		{"the decoy repeats itself", New("", late, &backend), repeated},
		{"rolled back", New("", client, &reset), rolledBack},
	} {
		if diff := cmp.Diff(tt.want, with(tt.l)); diff != "" {
			t.Errorf("%s: %s\n%s", tt.name, diff, tt.l.Text(false))
		}
	}
}
