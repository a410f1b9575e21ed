package replay_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"sleight/redirect/replay"
	"sleight/stack/tcb"
	"sleight/stack/wire"
	"sleight/stack/wire/wiretest"
)

// talk is a machine whose peer says what the test makes it say. Lines are
// relative to the two ISNs.
type talk struct {
	*testing.T
	m    *replay.Machine
	c, b tcb.Seq // ours and the peer's ISN
	now  time.Time
	out  []string
}

// synack is the peer's usual answer.
const synack = `S. 0:0(0) ack 1 win 65160 <mss 1460,sackOK,TS val 300 ecr 5,wscale 7>`

// begin starts a machine; what it sends first is the SYN, which the test has
// still to take.
func begin(t *testing.T, edit func(*replay.Config)) *talk {
	k := &talk{T: t, c: 0xffffff00, b: 0x7fffff00, now: time.Unix(1_700_000_000, 0)}
	cfg := base()
	cfg.ISS, cfg.Src, cfg.Dst, cfg.TTL = k.c, wiretest.Legs[tcb.Serving].Gateway, wiretest.Legs[tcb.Serving].Peer, 64
	cfg.Timeout = 20 * time.Second
	if edit != nil {
		edit(&cfg)
	}
	k.m = replay.New(cfg, k.emit)
	k.m.Start(k.now)
	return k
}

// open takes the SYN and answers it.
func open(t *testing.T, edit func(*replay.Config), answer string) *talk {
	t.Helper()
	k := begin(t, edit)
	k.out = nil
	k.hears(answer)
	return k
}

// emit keeps a segment as it is on the wire, out of a dirty buffer.
func (k *talk) emit(s *wire.Segment) {
	var got wire.Segment
	if r := wire.Parse(&got, wire.Build(bytes.Repeat([]byte{0xa5}, wire.MaxHeader+len(s.Payload)), s), wire.Offload{}); r != wire.OK {
		k.Fatal(r)
	}
	got.Seq -= k.c
	if got.Flags.Has(wire.ACK) {
		got.Ack -= k.b
	}
	for i := range got.Opts.Blocks() {
		got.Opts.SACK[i].Start -= k.b
		got.Opts.SACK[i].End -= k.b
	}
	k.out = append(k.out, strings.TrimPrefix(wiretest.Format(tcb.Serving, wiretest.Out, &got), "serving > "))
}

func (k *talk) hears(line string) {
	k.Helper()
	l, err := wiretest.Parse("serving < " + line)
	if err != nil {
		k.Fatal(err)
	}
	s := &l.Segment
	s.Seq += k.b
	s.Ack += k.c
	k.m.Segment(k.now, s)
}

// want is what the machine has sent since the last call; none: silence.
func (k *talk) want(lines ...string) {
	k.Helper()
	if got, want := strings.Join(k.out, "\n"), strings.Join(lines, "\n"); got != want {
		k.Errorf("sent\n%s\nwant\n%s", got, want)
	}
	k.out = nil
}

func (k *talk) is(state replay.State, result replay.Result) {
	k.Helper()
	if k.m.State() != state || k.m.Result() != result {
		k.Fatalf("state %d, result %d; want %d, %d", k.m.State(), k.m.Result(), state, result)
	}
}

func with(pairs ...string) func(*replay.Config) {
	return func(c *replay.Config) { c.Turns = turns(pairs...) }
}

// "The SYN looks like the client's own"; its window is not scaled and bounded by
// what S has room for.
func TestTheSYN(t *testing.T) {
	k := begin(t, func(c *replay.Config) { c.Offer.TSVal, c.Offer.TSEcr = 77, 88 })
	k.want(`S 0:0(0) win 64000 <mss 1460,sackOK,TS val 5 ecr 0,wscale 10>`)
	k = begin(t, with("a", strings.Repeat("b", 5000)))
	k.want(`S 0:0(0) win 65535 <mss 1460,sackOK,TS val 5 ecr 0,wscale 10>`)
}

// RFC 9293, section 3.10.7.3.
func TestAnswersToTheSYN(t *testing.T) {
	for _, v := range []struct {
		in    string
		state replay.State
		res   replay.Result
		want  []string
	}{
		{synack, replay.Done, replay.None, []string{`. 1:1(0) ack 1 win 62 <TS val 5 ecr 300>`}},
		{`R. 0:0(0) ack 1 win 0`, replay.Failed, replay.Refused, nil},
		{`R 0:0(0) win 0`, replay.Dial, replay.None, nil},
		{`R. 0:0(0) ack 0 win 0`, replay.Dial, replay.None, nil},
		{`. 0:0(0) ack 1 win 0`, replay.Dial, replay.None, nil},
		// A challenge ACK, or another life's SYN-ACK: reset, and asked again.
		{`. 0:0(0) ack 5000 win 100`, replay.Dial, replay.None, []string{`R 5000:5000(0) win 0`, `S 0:0(0) win 64000 <mss 1460,sackOK,TS val 5 ecr 0,wscale 10>`}},
		{`S. 0:0(0) ack 2 win 100`, replay.Dial, replay.None, []string{`R 2:2(0) win 0`, `S 0:0(0) win 64000 <mss 1460,sackOK,TS val 5 ecr 0,wscale 10>`}},
	} {
		t.Run(v.in, func(t *testing.T) {
			k := open(t, nil, v.in)
			k.want(v.want...)
			k.is(v.state, v.res)
		})
	}
}

// "restricted to what both agreed to": each option only if both ends sent it.
func TestOptionsOfBothEnds(t *testing.T) {
	for name, v := range map[string]struct {
		edit             func(*replay.Config)
		answer           string
		first, duplicate string
	}{
		"all": {nil, synack,
			`P. 1:3(2) ack 1 win 62 <TS val 5 ecr 300> "hi"`, `. 3:3(0) ack 1 win 62 <TS val 5 ecr 310,sack 11:12>`},
		"peer without scale": {nil, `S. 0:0(0) ack 1 win 65160 <mss 1460,sackOK,TS val 300 ecr 5>`,
			`P. 1:3(2) ack 1 win 64005 <TS val 5 ecr 300> "hi"`, `. 3:3(0) ack 1 win 64005 <TS val 5 ecr 310,sack 11:12>`},
		"client without scale": {func(c *replay.Config) { c.Offer.HasWndShift = false }, synack,
			`P. 1:3(2) ack 1 win 64005 <TS val 5 ecr 300> "hi"`, `. 3:3(0) ack 1 win 64005 <TS val 5 ecr 310,sack 11:12>`},
		"peer without SACK": {nil, `S. 0:0(0) ack 1 win 65160 <mss 1460,TS val 300 ecr 5,wscale 7>`,
			`P. 1:3(2) ack 1 win 62 <TS val 5 ecr 300> "hi"`, `. 3:3(0) ack 1 win 62 <TS val 5 ecr 310>`},
		"client without SACK": {func(c *replay.Config) { c.Offer.SACKPermitted = false }, synack,
			`P. 1:3(2) ack 1 win 62 <TS val 5 ecr 300> "hi"`, `. 3:3(0) ack 1 win 62 <TS val 5 ecr 310>`},
		"peer without timestamps": {nil, `S. 0:0(0) ack 1 win 65160 <mss 1460,sackOK,wscale 7>`,
			`P. 1:3(2) ack 1 win 62 "hi"`, `. 3:3(0) ack 1 win 62 <sack 11:12>`},
		"client without timestamps": {func(c *replay.Config) { c.Offer.HasTS = false }, synack,
			`P. 1:3(2) ack 1 win 62 "hi"`, `. 3:3(0) ack 1 win 62 <sack 11:12>`},
	} {
		t.Run(name, func(t *testing.T) {
			k := open(t, func(c *replay.Config) {
				with("hi", "hello")(c)
				if v.edit != nil {
					v.edit(c)
				}
			}, v.answer)
			k.want(v.first)
			k.hears(`. 11:12(1) ack 3 win 500 <TS val 310 ecr 5> "x"`)
			k.want(v.duplicate)
		})
	}
	k := open(t, nil, synack)
	if k.m.Leg.TSFirst != 300 || k.m.Leg.TSRecent != 300 || k.m.Leg.SndShift != 7 || k.m.Leg.RcvShift != 10 {
		t.Errorf("%+v", k.m.Leg)
	}
}

// RFC 9293, MUST-15 and section 3.7.1: the MSS of a peer that names none; one of
// a few bytes is not believed.
func TestTheMSSOfAPeer(t *testing.T) {
	for _, v := range []struct {
		name, option string
		six          bool
		first        int
	}{
		{"1460", "mss 1460,", false, 1448}, {"none, IPv4", "", false, 524}, {"none, IPv6", "", true, 1208}, {"1", "mss 1,", false, 76},
	} {
		t.Run(v.name, func(t *testing.T) {
			k := begin(t, with(strings.Repeat("a", 3000), "b"))
			k.out = nil
			l := wiretest.MustParse(`serving < S. 0:0(0) ack 1 win 65160 <` + v.option + `sackOK,TS val 300 ecr 5,wscale 7>`)
			if v.six {
				l = l.To6()
			}
			l.Segment.Seq += k.b
			l.Segment.Ack += k.c
			k.m.Segment(k.now, &l.Segment)
			if want := fmt.Sprintf(". 1:%d(%d) ack 1 ", 1+v.first, v.first); len(k.out) == 0 || !strings.HasPrefix(k.out[0], want) {
				t.Errorf("sent %.60q, want %q first", k.out, want)
			}
		})
	}
}

// A turn: what the client said, the answer compared, acknowledged, swallowed.
func TestATurn(t *testing.T) {
	k := open(t, func(c *replay.Config) { with("hi", "hello")(c); c.Open = []byte("so") }, synack)
	k.want(`P. 1:3(2) ack 1 win 62 <TS val 5 ecr 300> "hi"`)
	k.hears(synack) // "A SYN-ACK that comes again is acknowledged, never passed on"
	k.want(`. 3:3(0) ack 1 win 62 <TS val 5 ecr 300>`)
	k.hears(`P. 1:4(3) ack 3 win 500 <TS val 310 ecr 5> "hel"`)
	k.want(`. 3:3(0) ack 4 win 62 <TS val 5 ecr 310>`)
	// What comes beyond the answer is S's: not acknowledged, but kept.
	k.hears(`P. 4:10(6) ack 3 win 500 <TS val 320 ecr 5> "lotail"`)
	k.want(`P. 3:5(2) ack 6 win 62 <TS val 5 ecr 320> "so"`)
	k.is(replay.Drain, replay.None)
	k.hears(`. 10:10(0) ack 5 win 500 <TS val 330 ecr 5>`)
	k.want()
	k.is(replay.Done, replay.None)
	if k.m.Swallowed() != k.b+6 || string(k.m.Tail()) != "tail" || k.m.Executed() != 4 || k.m.TailFIN() {
		t.Errorf("swallowed %d, tail %q, executed %d", k.m.Swallowed()-k.b, k.m.Tail(), k.m.Executed())
	}
	if l := &k.m.Leg; l.RcvNxt != k.b+6 || l.SndNxt != k.c+5 || l.SndUna != k.c+5 || l.RcvMax != k.b+10 || l.TSRecent != 330 || l.RcvEdge != k.b+6+62<<10 {
		t.Errorf("%+v", l)
	}
}

// "the record ends with the client's FIN".
func TestTheFIN(t *testing.T) {
	k := open(t, func(c *replay.Config) { c.Open, c.FIN = []byte("bye"), true }, synack)
	k.want(`FP. 1:4(3) ack 1 win 62 <TS val 5 ecr 300> "bye"`)
	k.hears(`. 1:1(0) ack 4 win 500 <TS val 310 ecr 5>`)
	k.is(replay.Drain, replay.None)
	k.hears(`F. 1:1(0) ack 5 win 500 <TS val 310 ecr 5>`)
	k.is(replay.Done, replay.None)
	if !k.m.TailFIN() || k.m.Swallowed() != k.b+1 {
		t.Errorf("the peer's FIN: %v, swallowed %d", k.m.TailFIN(), k.m.Swallowed()-k.b)
	}
}

// "no FIN within what was swallowed"; and nothing comes after a FIN.
func TestAFINOfThePeers(t *testing.T) {
	k := open(t, with("hi", "hello"), synack)
	k.hears(`FP. 1:4(3) ack 3 win 500 <TS val 310 ecr 5> "hel"`)
	k.is(replay.Failed, replay.Reset)

	k = open(t, func(c *replay.Config) { with("hi", "hello")(c); c.Open = []byte("so") }, synack)
	k.hears(`FP. 1:6(5) ack 3 win 500 <TS val 310 ecr 5> "hello"`)
	k.hears(`. 6:9(3) ack 3 win 500 <TS val 310 ecr 5> "???"`)
	k.is(replay.Drain, replay.None)
	if string(k.m.Tail()) != "" || !k.m.TailFIN() {
		t.Errorf("tail %q, FIN %v", k.m.Tail(), k.m.TailFIN())
	}
}

// RFC 5961, section 3.2: exactly RCV.NXT, or a challenge; outside of the window
// nothing.
func TestRSTs(t *testing.T) {
	k := open(t, func(c *replay.Config) { with("hi", "hello")(c); c.Open = []byte("so") }, synack)
	k.out = nil
	k.hears(`R 50:50(0) win 0`)
	k.want(`. 3:3(0) ack 1 win 62 <TS val 5 ecr 300>`)
	k.hears(`R 70000:70000(0) win 0`)
	k.want()
	k.is(replay.Turns, replay.None)
	k.hears(`R 1:1(0) win 0`)
	k.is(replay.Failed, replay.Reset)

	k = open(t, func(c *replay.Config) { with("hi", "hello")(c); c.Open = []byte("so") }, synack)
	k.hears(`P. 1:10(9) ack 3 win 500 <TS val 320 ecr 5> "hellotail"`)
	k.hears(`R 10:10(0) win 0`) // behind what it has said, of which four bytes were not acknowledged
	k.is(replay.Failed, replay.Reset)
}

// What lies outside of the window draws the acknowledgement and changes nothing.
func TestOutsideOfTheWindow(t *testing.T) {
	k := open(t, with("hi", "hello"), synack)
	k.out = nil
	k.hears(`. 70000:70001(1) ack 3 win 500 <TS val 320 ecr 5> "x"`)
	k.want(`. 3:3(0) ack 1 win 62 <TS val 5 ecr 300>`)
	if k.m.Executed() != 0 {
		t.Error("its acknowledgement was believed")
	}
}

// RFC 2018, section 4: the newest block first; holes close in any order.
func TestAheadOfAHole(t *testing.T) {
	k := open(t, with("hi", "hello"), synack)
	k.out = nil
	k.hears(`. 2:3(1) ack 3 win 500 <TS val 310 ecr 5> "e"`)
	k.hears(`. 4:6(2) ack 3 win 500 <TS val 310 ecr 5> "lo"`)
	k.want(`. 3:3(0) ack 1 win 62 <TS val 5 ecr 310,sack 2:3>`, `. 3:3(0) ack 1 win 62 <TS val 5 ecr 310,sack 4:6 2:3>`)
	k.hears(`. 1:4(3) ack 3 win 500 <TS val 310 ecr 5> "hel"`)
	k.is(replay.Done, replay.None)
	if k.m.Swallowed() != k.b+6 || len(k.m.Tail()) > 0 {
		t.Errorf("swallowed %d, tail %q", k.m.Swallowed()-k.b, k.m.Tail())
	}
}

// What goes on beyond the record is S's to acknowledge. To repeat meanwhile what was
// acknowledged before would ask for all of it again (RFC 5681, section 3.2).
func TestBeyondTheRecordThereIsSilence(t *testing.T) {
	k := open(t, func(c *replay.Config) { with("a", "A")(c); c.Open = []byte("b") }, synack)
	k.hears(`P. 1:2(1) ack 2 win 500 "A"`)
	k.out = nil
	for i := range 4 {
		k.hears(fmt.Sprintf(`. %d:%d(1) ack 2 win 500 "x"`, 2+i, 3+i))
	}
	k.want()
	k.hears(`. 2:3(1) ack 2 win 500 "x"`) // and when it comes again
	k.want()
	k.hears(`. 1:2(1) ack 2 win 500 "A"`) // what was acknowledged is
	if len(k.out) != 1 {
		t.Errorf("%q", k.out)
	}
	k.hears(`. 6:6(0) ack 3 win 500`)
	k.is(replay.Done, replay.None)
	if got := string(k.m.Tail()); got != "xxxx" {
		t.Errorf("tail %q", got)
	}
}

// RFC 9293, section 3.8.6.1: a closed window is asked by one byte.
func TestAClosedWindowIsProbed(t *testing.T) {
	k := open(t, with("hi", "hello"), strings.Replace(synack, "win 65160", "win 0", 1))
	k.want(`. 1:1(0) ack 1 win 62 <TS val 5 ecr 300>`)
	k.now = k.now.Add(tcb.FirstRTO)
	k.m.Advance(k.now)
	k.want(`. 1:2(1) ack 1 win 62 <TS val 5 ecr 300> "h"`)
}

// A hard ICMP error, or none: only what still dials ends.
func TestUnreachable(t *testing.T) {
	k := begin(t, nil)
	k.m.Unreachable()
	k.is(replay.Failed, replay.Refused)
	k = open(t, with("hi", "hello"), synack)
	k.m.Unreachable()
	k.is(replay.Turns, replay.None)
}

// "A roll-back sends the backend an exact RST".
func TestAbort(t *testing.T) {
	k := open(t, with("hi", "hello"), synack)
	k.out = nil
	k.m.Abort()
	k.want(`R 3:3(0) win 0`)
	if k.m.Executed() != 0 {
		t.Errorf("%d bytes executed, none was acknowledged", k.m.Executed())
	}
}

// frames ends an answer at each semicolon.
type frames struct{}

func (frames) Answers(_, b []byte, limit int) (n, size int) {
	for n < limit {
		i := bytes.IndexByte(b[size:], ';')
		if i < 0 {
			break
		}
		n, size = n+1, size+i+1
	}
	return n, size
}

// How `compare` decides, byte by byte: what is acknowledged before an answer is
// whole, and what is swallowed.
func TestComparing(t *testing.T) {
	number := []*regexp.Regexp{regexp.MustCompile(`<[0-9]+>`)}
	digits := []*regexp.Regexp{regexp.MustCompile(`[0-9]+`)}
	for _, v := range []struct {
		name          string
		edit          func(*replay.Config)
		decoy         string
		peer          []string
		state         replay.State
		result        replay.Result
		swallow, acks int // the latter before the last piece
	}{
		{"exact", nil, "hello", []string{"he", "llo!"}, replay.Done, replay.None, 5, 2},
		{"exact, other", nil, "hello", []string{"he", "lpo"}, replay.Failed, replay.Mismatch, 0, 2},
		{"length", func(c *replay.Config) { c.Mode = replay.Length }, "hello", []string{"HE", "LLO!"}, replay.Done, replay.None, 5, 2},
		{"framed", func(c *replay.Config) { c.Mode = replay.Framed }, "a;b;", []string{"long;", "other;tail"}, replay.Done, replay.None, 11, 5},
		{"framed, the decoy's ends with the connection", func(c *replay.Config) { c.Mode = replay.Framed }, "abc", []string{"x", "y;tail"}, replay.Done, replay.None, 3, 1},
		{"a pattern that still grows", func(c *replay.Config) { c.Except = number }, "a <1234> b", []string{"a <1", "2> b and more"}, replay.Done, replay.None, 8, 4},
		{"a pattern of other length", func(c *replay.Config) { c.Except = number }, "a <1> b", []string{"a <1234", "> b"}, replay.Done, replay.None, 10, 7},
		{"a pattern at the end", func(c *replay.Config) { c.Except = digits }, "a 1", []string{"a 1", "234"}, replay.Done, replay.None, 6, 3},
		{"a shorter one", func(c *replay.Config) { c.Except = digits }, "a 1234", []string{"a ", "1"}, replay.Done, replay.None, 3, 2},
		{"nothing but a pattern", func(c *replay.Config) { c.Except = number }, "<12>", []string{"<9", "9>tail"}, replay.Done, replay.None, 4, 2},
		{"another beside a pattern", func(c *replay.Config) { c.Except = number }, "a <1> b", []string{"a <1", "> c"}, replay.Failed, replay.Mismatch, 0, 4},
	} {
		t.Run(v.name, func(t *testing.T) {
			k := open(t, func(c *replay.Config) {
				with("hi", v.decoy)(c)
				c.Framer = frames{}
				if v.edit != nil {
					v.edit(c)
				}
			}, synack)
			at := 1
			for i, p := range v.peer {
				if i == len(v.peer)-1 && k.m.Leg.RcvNxt != k.b+1+tcb.Seq(v.acks) {
					t.Errorf("%d acknowledged, want %d", k.m.Leg.RcvNxt-k.b-1, v.acks)
				}
				k.hears(fmt.Sprintf(`. %d:%d(%d) ack 3 win 500 <TS val 310 ecr 5> %q`, at, at+len(p), len(p), p))
				at += len(p)
			}
			k.now = k.now.Add(50 * time.Millisecond)
			k.m.Advance(k.now)
			k.is(v.state, v.result)
			if v.state == replay.Done && k.m.Swallowed() != k.b+1+tcb.Seq(v.swallow) {
				t.Errorf("%d swallowed, want %d", k.m.Swallowed()-k.b-1, v.swallow)
			}
		})
	}
}

// `off`: whatever comes until the peer is quiet, all of it acknowledged; a peer
// that is slow to begin is not quiet.
func TestOffWaitsForSilence(t *testing.T) {
	k := open(t, func(c *replay.Config) { with("hi", "hello")(c); c.Mode = replay.Off; c.Room = 0 }, synack)
	k.want(`P. 1:3(2) ack 1 win 64 <TS val 5 ecr 300> "hi"`)
	k.now = k.now.Add(time.Second)
	k.hears(`. 1:1(0) ack 3 win 500 <TS val 310 ecr 5>`)
	k.now = k.now.Add(time.Second)
	k.m.Advance(k.now)
	k.is(replay.Turns, replay.None)
	for i := range 3 {
		k.now = k.now.Add(49 * time.Millisecond)
		k.m.Advance(k.now)
		k.is(replay.Turns, replay.None)
		k.hears(fmt.Sprintf(`. %d:%d(3) ack 3 win 500 <TS val 310 ecr 5> "abc"`, 1+3*i, 4+3*i))
		k.want(fmt.Sprintf(`. 3:3(0) ack %d win 64 <TS val 5 ecr 310>`, 4+3*i))
	}
	k.now = k.now.Add(50 * time.Millisecond)
	k.m.Advance(k.now)
	k.is(replay.Done, replay.None)
	if k.m.Swallowed() != k.b+10 {
		t.Errorf("%d swallowed", k.m.Swallowed()-k.b-1)
	}
}

// "While swallowing, the replay announces no more than the bytes still to be
// swallowed + (S's edge − cut)".
func TestTheWindowOfAReplay(t *testing.T) {
	k := open(t, func(c *replay.Config) {
		with("a", strings.Repeat("x", 1000), "b", strings.Repeat("y", 500))(c)
		c.Room, c.Offer.HasWndShift = 100, false
	}, synack)
	k.want(`P. 1:2(1) ack 1 win 1600 <TS val 5 ecr 300> "a"`)
	k.hears(fmt.Sprintf(`. 1:401(400) ack 2 win 500 <TS val 310 ecr 5> %q`, strings.Repeat("x", 400)))
	k.want(`. 2:2(0) ack 401 win 1200 <TS val 5 ecr 310>`)
	k.hears(fmt.Sprintf(`. 401:1001(600) ack 2 win 500 <TS val 310 ecr 5> %q`, strings.Repeat("x", 600)))
	k.want(`P. 2:3(1) ack 1001 win 600 <TS val 5 ecr 310> "b"`)
}

// Silence says nothing before the peer has said as much as the decoy, or anything.
func TestASlowPeerIsNoMismatch(t *testing.T) {
	number := func(c *replay.Config) { c.Except = []*regexp.Regexp{regexp.MustCompile(`<[0-9]+>`)} }
	k := open(t, func(c *replay.Config) { with("hi", "a <12> b")(c); number(c) }, synack)
	k.hears(`. 1:5(4) ack 3 win 500 <TS val 310 ecr 5> "a <1"`)
	k.now = k.now.Add(time.Second)
	k.m.Advance(k.now)
	k.is(replay.Turns, replay.None)
	k.hears(`. 5:8(3) ack 3 win 500 <TS val 310 ecr 5> "> b"`)
	k.is(replay.Done, replay.None)

	k = open(t, func(c *replay.Config) { with("hi", "<12>")(c); number(c) }, synack)
	k.hears(`F. 1:1(0) ack 3 win 500 <TS val 310 ecr 5>`)
	k.is(replay.Failed, replay.Reset)
}
