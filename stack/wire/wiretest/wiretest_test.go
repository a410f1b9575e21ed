package wiretest

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

var same = cmp.Options{cmpopts.IgnoreUnexported(wire.Segment{}), cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty()}

func TestALineIsReadAndWrittenAlike(t *testing.T) {
	for _, line := range []string{
		"client  < S 1000:1000(0) win 65535",
		"client  > S. 4294967040:4294967040(0) ack 1001 win 65160 <mss 1460,sackOK,TS val 90 ecr 1,wscale 7>",
		"serving < . 2147483392:2147483397(5) ack 5 win 0",
		"serving > FP. 1:6(5) ack 9 win 1 \"a\\\"b<>\"",
		"client  < .U 1:3(2) ack 9 win 1 urg 2",
		"client  < . 1:1(0) ack 9 win 1 <TS val 4294967295 ecr 0,sack 4294967290:5 9:10>",
		"client  < R 77:77(0) win 0",
		"client  < S.EWA 1:1(0) ack 2 win 3",
		"client  < - 1:1(0) win 3",
		"serving < . 4294967290:3(9) ack 1 win 1",
	} {
		l, err := Parse(line)
		if err != nil {
			t.Error(err)
		} else if got := l.String(); got != line {
			t.Errorf("read    %s\nwritten %s", line, got)
		}
	}
}

func TestWhatALineMeans(t *testing.T) {
	got := MustParse(`serving > S. 7:7(0) ack 8 win 9 <mss 1460,nop,nop,sackOK,TS val 1 ecr 2,nop,wscale 7,eol>`)
	want := Line{Side: tcb.Serving, Dir: Out, Segment: wire.Segment{
		Src: Legs[tcb.Serving].Gateway, Dst: Legs[tcb.Serving].Peer, TTL: 64,
		Seq: 7, Ack: 8, Flags: wire.SYN | wire.ACK, Wnd: 9,
		Opts: wire.Options{
			MSS: 1460, HasMSS: true, SACKPermitted: true, HasTS: true, TSVal: 1, TSEcr: 2, WndShift: 7, HasWndShift: true,
		},
	}}
	if d := cmp.Diff(want, got, same); d != "" {
		t.Error(d)
	}
	if six := got.To6(); six.Segment.Src != Legs6[tcb.Serving].Gateway || six.Segment.Dst != Legs6[tcb.Serving].Peer {
		t.Errorf("%v > %v", six.Segment.Src, six.Segment.Dst)
	}
}

// From a line to a packet and back: the packet says what the line says.
func TestALineMakesAPacket(t *testing.T) {
	for _, line := range []string{
		"client  < S 4294967040:4294967040(0) win 65535 <mss 1460,sackOK,TS val 1 ecr 0,wscale 7>",
		"serving < P. 1:6(5) ack 9 win 1 <TS val 3 ecr 4> \"hello\"",
	} {
		for _, l := range []Line{MustParse(line), MustParse(line).To6()} {
			pkt := wire.Build(bytes.Repeat([]byte{0xa5}, 200), &l.Segment)
			back := Line{Side: l.Side, Dir: l.Dir}
			if r := wire.Parse(&back.Segment, pkt, wire.Offload{}); r != wire.OK {
				t.Fatal(r)
			}
			if got := back.String(); got != line {
				t.Errorf("%s\nbecame %s", line, got)
			}
		}
	}
}

func TestLinesThatCannotBe(t *testing.T) {
	for line, word := range map[string]string{
		"":                                             "want:",
		"client < S":                                   "want:",
		"decoy < S 1:1(0)":                             "neither client nor serving",
		"client = S 1:1(0)":                            "neither < nor >",
		"client < X 1:1(0)":                            "unknown",
		"client < S 1:2(0)":                            "1 bytes, not 0",
		"client < S 1:1":                               "start:end(length)",
		"client < S 1:4294967296(0)":                   "start:end(length)",
		"client < S 1:1(0) win 65536":                  "16 bits",
		"client < S 1:1(0) ack":                        "without a number",
		"client < S 1:1(0) wim 1":                      "unknown",
		"client < S 1:1(0) win 1 mss 2>":               "without '<'",
		"client < S 1:1(0) win 1 <mss>":                "wrong number of words",
		"client < S 1:1(0) win 1 <mss 1,>":             "empty",
		"client < S 1:1(0) <wscale 256>":               "range",
		"client < S 1:1(0) <sack 1>":                   "sack",
		"client < . 1:3(2) ack 1 \"abc\"":              "3 bytes, not 2",
		"client < . 1:3(2) ack 1 \"ab":                 "payload",
		"client < . 1:1(0) <sack 1:2 1:2 1:2 1:2 1:2>": "more than 4",
	} {
		if _, err := Parse(line); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%q: error %v does not say %q", line, err, word)
		}
	}
}

func FuzzNotation(f *testing.F) {
	f.Add("client  > S. 7000:7000(0) ack 1001 win 65160 <mss 1460,sackOK,TS val 90 ecr 1,wscale 7>")
	f.Add("serving < FP. 4294967290:3(9) ack 9 win 1 <sack 1:2 3:4> \"hello\\r\\n!!\"")
	f.Fuzz(func(t *testing.T, line string) {
		l, err := Parse(line)
		if err != nil {
			return
		}
		again, err := Parse(l.String())
		if err != nil {
			t.Fatalf("%q was written as %q: %v", line, l, err)
		}
		if again.String() != l.String() {
			t.Errorf("%q, then %q", l, again)
		}
	})
}

// turn is a peer that sends every segment back.
func turn(script []Line) (out []Line) {
	for _, l := range script {
		s := &l.Segment
		s.Seq, s.Ack = s.Ack, s.Seq
		l.Dir = Out
		out = append(out, l)
	}
	return out
}

func TestTranscript(t *testing.T) { Transcript(t, "testdata/echo.txtar", turn) }

func TestUpdateWritesTheDialogue(t *testing.T) {
	src, err := os.ReadFile("testdata/echo.txtar")
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(src), "-- dialogue --")
	file := filepath.Join(t.TempDir(), "new.txtar")
	if err := os.WriteFile(file, []byte(head), 0o600); err != nil {
		t.Fatal(err)
	}
	old := flag.Lookup("update").Value.String()
	flag.Set("update", "true")
	t.Cleanup(func() { flag.Set("update", old) })
	Transcript(t, file, turn)
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(src), string(got)); d != "" {
		t.Error(d)
	}
}
