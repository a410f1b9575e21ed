package replay_test

import (
	"bytes"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"sleight/redirect/frame"
	"sleight/redirect/replay"
	"sleight/redirect/sim"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

var (
	client = netip.MustParseAddrPort("198.51.100.7:40000")
	server = netip.MustParseAddrPort("10.0.2.2:80")
)

// bench is a machine, a simulated backend and the wire between them.
type bench struct {
	*testing.T
	w    *sim.World
	m    *replay.Machine
	host *sim.Host
	up   *sim.Link
	sent []wire.Segment
	// path is the most payload that a router lets through, in bytes; 0: any.
	path   int
	tooBig bool // it has thrown a segment away, and says so
}

// serve answers what the backend has read; it is called at every arrival.
type serve func(h *sim.Host, now time.Time)

func setup(t *testing.T, cfg replay.Config, f sim.Fault, hc sim.HostConfig, s serve) *bench {
	b := &bench{T: t, w: sim.NewWorld(1)}
	down := sim.NewLink(b.w, f, func(pkt []byte) {
		var seg wire.Segment
		if wire.Parse(&seg, pkt, wire.Offload{}) == wire.OK {
			b.m.Segment(b.w.Now, &seg)
		}
	})
	b.up = sim.NewLink(b.w, f, func(pkt []byte) {
		var seg wire.Segment
		if wire.Parse(&seg, pkt, wire.Offload{}) == wire.OK && b.host != nil {
			b.host.Segment(b.w.Now, &seg)
			if s != nil {
				s(b.host, b.w.Now)
			}
		}
	})
	hc.Local, hc.Peer = server, client
	b.host = sim.NewHost(hc, down.SendSegment)
	cfg.Src, cfg.Dst, cfg.TTL = client, server, 64
	if cfg.Timeout == 0 {
		cfg.Timeout = 20 * time.Second
	}
	b.m = replay.New(cfg, func(s *wire.Segment) {
		b.sent = append(b.sent, *s)
		if b.path > 0 && len(s.Payload) > b.path {
			b.tooBig = true
			return
		}
		b.up.SendSegment(s)
	})
	return b
}

func (b *bench) run() {
	b.m.Start(b.w.Now)
	b.w.Drive(time.Millisecond, func(now time.Time) {
		if b.tooBig {
			b.tooBig = false
			b.m.TooBig(now, uint16(b.path+12)) // the timestamps' place
		}
		b.m.Advance(now)
		b.host.Advance(now)
	})
	b.w.Run(30*time.Second, func() bool { return b.m.State() >= replay.Done })
}

func (b *bench) want(state replay.State, result replay.Result) {
	b.Helper()
	if b.m.State() != state || b.m.Result() != result {
		b.Fatalf("state %d, result %d, mismatch %+v; want %d, %d", b.m.State(), b.m.Result(), b.m.Mismatch(), state, result)
	}
	if len(b.host.Faults) > 0 {
		b.Fatalf("the backend complains: %v", b.host.Faults)
	}
}

// lines answers each line with what answer says of it.
func lines(answer func(string) string) serve {
	done := 0
	return func(h *sim.Host, now time.Time) {
		for {
			n := bytes.IndexByte(h.Got[done:], '\n')
			if n < 0 {
				return
			}
			line := string(h.Got[done : done+n])
			done += n + 1
			h.Write(now, []byte(answer(line)))
		}
	}
}

func echo(s string) string { return "you said " + s + "\n" }

func turns(pairs ...string) (ts []replay.Turn) {
	for i := 0; i < len(pairs); i += 2 {
		ts = append(ts, replay.Turn{Client: []byte(pairs[i]), Answer: []byte(pairs[i+1])})
	}
	return ts
}

var linux = sim.HostConfig{ISS: 7000, MSS: 1460, WndShift: 7, SACK: true, TS: true, TSBase: 99, Buffer: 65535, Strict: true}

func offer() wire.Options {
	return wire.Options{HasMSS: true, MSS: 1460, HasWndShift: true, WndShift: 10, SACKPermitted: true, HasTS: true}
}

func base() replay.Config {
	return replay.Config{ISS: 1000, Offer: offer(), TSVal: 5, Room: 64000, Guess: 64 << 10, Quiet: 50 * time.Millisecond}
}

func TestEmptyRecordIsDoneAfterTheHandshake(t *testing.T) {
	for _, iss := range []tcb.Seq{1000, 0x7fffff00, 0xffffff00} {
		cfg := base()
		cfg.ISS = iss
		hc := linux
		hc.ISS = 0xffffffff
		b := setup(t, cfg, sim.Fault{}, hc, nil)
		b.run()
		b.want(replay.Done, replay.None)
		if got := b.m.Leg.SndNxt; got != iss+1 {
			t.Errorf("SND.NXT %d, want ISS+1 = %d", got, iss+1)
		}
		b.w.Run(time.Second, b.host.Open)
		if !b.host.Open() {
			t.Error("the backend has not seen the handshake's ACK")
		}
	}
}

func TestExactTurnsAreSwallowed(t *testing.T) {
	cfg := base()
	cfg.Turns = turns("a\n", "you said a\n", "b\nc\n", "you said b\nyou said c\n")
	cfg.Open = []byte("half a li")
	b := setup(t, cfg, sim.Fault{}, linux, lines(echo))
	b.run()
	b.want(replay.Done, replay.None)
	want := 7001 + len("you said a\nyou said b\nyou said c\n")
	if int(b.m.Swallowed()) != want {
		t.Errorf("swallowed up to %d, want %d", b.m.Swallowed(), want)
	}
	if got := string(b.host.Got); got != "a\nb\nc\nhalf a li" {
		t.Errorf("the backend has read %q", got)
	}
}

func TestServerSpeaksFirst(t *testing.T) {
	cfg := base()
	cfg.Turns = turns("", "220 ready\n", "EHLO x\n", "you said EHLO x\n")
	greeted := false
	answer := lines(echo)
	b := setup(t, cfg, sim.Fault{}, linux, func(h *sim.Host, now time.Time) {
		if h.Open() && !greeted {
			greeted = true
			h.Write(now, []byte("220 ready\n"))
		}
		answer(h, now)
	})
	b.run()
	b.want(replay.Done, replay.None)
}

func TestMismatchTellsTurnOffsetAndBytes(t *testing.T) {
	cfg := base()
	cfg.Turns = turns("a\n", "you said a\n", "b\n", "you SAID b\n")
	b := setup(t, cfg, sim.Fault{}, linux, lines(echo))
	b.run()
	b.want(replay.Failed, replay.Mismatch)
	if got, want := b.m.Mismatch(), (replay.Mismatched{Turn: 1, Offset: 4, Decoy: 'S', Peer: 's'}); got != want {
		t.Errorf("mismatch %+v, want %+v", got, want)
	}
}

// "more: in the last closed turn they are S's (a real sshd goes on after its banner)".
func TestMoreInTheLastClosedTurnIsTheClients(t *testing.T) {
	cfg := base()
	cfg.Turns = turns("a\n", "you said")
	b := setup(t, cfg, sim.Fault{}, linux, lines(echo))
	b.run()
	b.want(replay.Done, replay.None)
	if got := string(b.m.Tail()); got != " a\n" {
		t.Errorf("left for S: %q, want %q", got, " a\n")
	}
}

func TestFewerBytesAreATimeout(t *testing.T) {
	cfg := base()
	cfg.Timeout = time.Second
	cfg.Turns = turns("a\n", "you said a\nand more\n")
	b := setup(t, cfg, sim.Fault{}, linux, lines(echo))
	b.run()
	b.want(replay.Failed, replay.Timeout)
}

func TestLengthComparesNoContent(t *testing.T) {
	cfg := base()
	cfg.Mode = replay.Length
	cfg.Turns = turns("a\n", "YOU SAID A\n", "b\n", "0123456789\n")
	b := setup(t, cfg, sim.Fault{}, linux, lines(echo))
	b.run()
	b.want(replay.Done, replay.None)
}

func TestOffTakesWhateverComesUntilItIsQuiet(t *testing.T) {
	cfg := base()
	cfg.Mode = replay.Off
	cfg.Turns = turns("a\n", "?", "b\n", "a much longer answer than the backend's")
	b := setup(t, cfg, sim.Fault{}, linux, lines(echo))
	begun := b.w.Now
	b.run()
	b.want(replay.Done, replay.None)
	if d := b.w.Now.Sub(begun); d < 100*time.Millisecond || d > 150*time.Millisecond {
		t.Errorf("took %v, want two times quiet", d)
	}
	if len(b.m.Tail()) != 0 {
		t.Errorf("left %q", b.m.Tail())
	}
}

// A backend that is slow to begin is not quiet: the decoy has answered the turn,
// so there is an answer to wait for.
func TestOffWaitsForTheFirstByte(t *testing.T) {
	cfg := base()
	cfg.Mode = replay.Off
	cfg.Turns = turns("a\n", "?")
	begun := false
	b := setup(t, cfg, sim.Fault{}, linux, nil)
	b.w.Drive(time.Millisecond, func(now time.Time) {
		if !begun && b.host.Open() && now.UnixMilli()-sim.NewWorld(0).Now.UnixMilli() > 300 {
			begun = true
			b.host.Write(now, []byte("late\n"))
		}
	})
	b.run()
	b.want(replay.Done, replay.None)
	if want := 7001 + len("late\n"); int(b.m.Swallowed()) != want {
		t.Errorf("swallowed up to %d, want %d", b.m.Swallowed(), want)
	}
}

func TestFramedTakesWholeAnswersOfAnyLength(t *testing.T) {
	get := "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	response := func(body string) string {
		return "HTTP/1.1 200 OK\r\nContent-Length: " + string(rune('0'+len(body))) + "\r\n\r\n" + body
	}
	cfg := base()
	cfg.Mode, cfg.Framer = replay.Framed, frame.HTTP{}
	cfg.Turns = turns(get, response("decoy"), get+get, response("x")+response("y"))
	n := 0
	b := setup(t, cfg, sim.Fault{}, linux, func(h *sim.Host, now time.Time) {
		for ; n < bytes.Count(h.Got, []byte("\r\n\r\n")); n++ {
			h.Write(now, []byte(response("backend!")))
		}
	})
	b.run()
	b.want(replay.Done, replay.None)
	if want := 7001 + 3*len(response("backend!")); int(b.m.Swallowed()) != want {
		t.Errorf("swallowed up to %d, want %d", b.m.Swallowed(), want)
	}
}

func TestExceptBlanksBoth(t *testing.T) {
	cfg := base()
	cfg.Except = []*regexp.Regexp{regexp.MustCompile(`Date: [^\n]*\n`)}
	cfg.Turns = turns("a\n", "Date: Monday\nhello\n", "b\n", "bye\nDate: Tue\n")
	b := setup(t, cfg, sim.Fault{}, linux, lines(func(l string) string {
		if l == "a" {
			return "Date: Wednesday, the third\nhello\n"
		}
		return "bye\nDate: never\n"
	}))
	b.run()
	b.want(replay.Done, replay.None)
	if len(b.m.Tail()) != 0 {
		t.Errorf("left %q", b.m.Tail())
	}
}

// In a pattern \xff is the byte.
func TestExceptReadsBytes(t *testing.T) {
	cfg := base()
	cfg.Except = []*regexp.Regexp{regexp.MustCompile(`\xff[\x80-\xfe]`)}
	cfg.Turns = turns("a\n", "\xff\x81hello \xc3\xa9\n")
	b := setup(t, cfg, sim.Fault{}, linux, lines(func(string) string { return "\xff\xfehello \xc3\xa9\n" }))
	b.run()
	b.want(replay.Done, replay.None)
	if len(b.m.Tail()) != 0 {
		t.Errorf("left %q", b.m.Tail())
	}
}

func TestRefused(t *testing.T) {
	b := setup(t, base(), sim.Fault{}, linux, nil)
	b.m.Start(b.w.Now)
	b.m.Segment(b.w.Now, &wire.Segment{Src: server, Dst: client, Flags: wire.RST | wire.ACK, Ack: 1001})
	b.want(replay.Failed, replay.Refused)
}

func TestARSTThatAcknowledgesSomethingElseIsNotRefusal(t *testing.T) {
	b := setup(t, base(), sim.Fault{}, linux, nil)
	b.m.Start(b.w.Now)
	b.m.Segment(b.w.Now, &wire.Segment{Src: server, Dst: client, Flags: wire.RST | wire.ACK, Ack: 1002})
	b.want(replay.Dial, replay.None)
}

// "answers a challenge ACK in SYN-SENT by RST and sends the SYN again".
func TestChallengeACKInSYNSENT(t *testing.T) {
	b := setup(t, base(), sim.Fault{}, linux, nil)
	b.m.Start(b.w.Now)
	b.m.Segment(b.w.Now, &wire.Segment{Src: server, Dst: client, Flags: wire.ACK, Seq: 55, Ack: 4242})
	last := b.sent[len(b.sent)-2:]
	if last[0].Flags != wire.RST || last[0].Seq != 4242 || last[1].Flags != wire.SYN || last[1].Seq != 1000 {
		t.Errorf("sent %v seq %d, %v seq %d; want RST 4242, SYN 1000", last[0].Flags, last[0].Seq, last[1].Flags, last[1].Seq)
	}
}

func TestALostSYNIsSentAgainAfter200ms(t *testing.T) {
	b := setup(t, base(), sim.Fault{Lose: 1}, linux, nil)
	b.m.Start(b.w.Now)
	at := b.m.Deadline()
	if d := at.Sub(b.w.Now); d != 200*time.Millisecond {
		t.Fatalf("next deadline in %v", d)
	}
	b.m.Advance(at)
	if n := len(b.sent); n != 2 || b.sent[1].Flags != wire.SYN {
		t.Fatalf("%d segments sent", n)
	}
	if d := b.m.Deadline().Sub(at); d != 400*time.Millisecond {
		t.Errorf("backs off to %v, want 400 ms", d)
	}
}

func TestSmallWindowAndMSSAreRespected(t *testing.T) {
	cfg := base()
	said := strings.Repeat("x", 9999) + "\n"
	cfg.Turns = turns(said, echo(said[:9999]))
	hc := linux
	hc.MSS, hc.Buffer = 536, 1000
	b := setup(t, cfg, sim.Fault{}, hc, lines(echo))
	b.run()
	b.want(replay.Done, replay.None)
}

// The gateway's own link may be smaller than the peer's.
func TestTheLinksOwnMSSIsRespected(t *testing.T) {
	cfg := base()
	cfg.MaxMSS = 600
	line := strings.Repeat("x", 5000)
	cfg.Turns = turns(line+"\n", echo(line))
	b := setup(t, cfg, sim.Fault{}, linux, lines(echo))
	b.run()
	b.want(replay.Done, replay.None)
	for i := range b.sent {
		if n := len(b.sent[i].Payload); n > 600-12 {
			t.Errorf("a segment of %d bytes", n)
		}
	}
}

// A path MTU that a router tells of cuts what is sent, at once: the record does
// not wait for a timeout.
func TestAPathMTUIsTakenDuringTheRecord(t *testing.T) {
	line := strings.Repeat("x", 20000)
	cfg := base()
	cfg.Turns = turns(line+"\n", echo(line))
	b := setup(t, cfg, sim.Fault{}, linux, lines(echo))
	b.path = 1200
	begun := b.w.Now
	b.run()
	b.want(replay.Done, replay.None)
	if took := b.w.Now.Sub(begun); took >= tcb.FirstRTO {
		t.Errorf("it took %v", took)
	}
	long := 0
	for i := range b.sent {
		if len(b.sent[i].Payload) > b.path {
			long++
		}
	}
	if long == 0 || long > 20 {
		t.Errorf("%d segments were too long; want the first flight's alone", long)
	}
}

func TestUnderLoss(t *testing.T) {
	said := strings.Repeat("x", 19999) + "\n"
	for seed := range uint64(40) {
		cfg := base()
		cfg.Turns = turns(said, echo(said[:19999]), "b\n", echo("b"))
		hc := linux
		hc.Strict = false
		b := setup(t, cfg, sim.Fault{Lose: .05, Reorder: .1, Duplicate: .05, Delay: time.Millisecond}, hc, lines(echo))
		b.w.Rand = sim.NewWorld(seed).Rand
		b.run()
		b.want(replay.Done, replay.None)
	}
}

func TestEverySubsetOfOptions(t *testing.T) {
	for mask := range 64 {
		bit := func(i int) bool { return mask>>i&1 == 1 }
		cfg := base()
		cfg.Offer.HasTS, cfg.Offer.SACKPermitted, cfg.Offer.HasWndShift = bit(0), bit(1), bit(2)
		cfg.Turns = turns("a\n", echo("a"))
		hc := linux
		hc.TS, hc.SACK = bit(3), bit(4)
		if !bit(5) {
			hc.WndShift = -1
		}
		b := setup(t, cfg, sim.Fault{}, hc, lines(echo))
		b.run()
		b.want(replay.Done, replay.None)
	}
}

func TestRSTDuringTheRecord(t *testing.T) {
	cfg := base()
	cfg.Turns = turns("a\n", "you said a\n")
	b := setup(t, cfg, sim.Fault{}, linux, nil)
	b.m.Start(b.w.Now)
	b.w.Run(50*time.Millisecond, func() bool { return b.m.State() == replay.Turns })
	b.m.Segment(b.w.Now, &wire.Segment{Src: server, Dst: client, Flags: wire.RST, Seq: 7001})
	b.want(replay.Failed, replay.Reset)
}

// RFC 9293, section 3.8.6: an edge never moves left. The decoy's answer was long
// and the peer's is short; the host of the bench would complain.
func TestAShorterAnswerDoesNotRetractTheEdge(t *testing.T) {
	long := strings.Repeat("1", 9000)
	for name, set := range map[string]func(*replay.Config){
		"except": func(c *replay.Config) { c.Except = []*regexp.Regexp{regexp.MustCompile(`[0-9]+`)} },
		"off":    func(c *replay.Config) { c.Mode = replay.Off },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := base()
			set(&cfg)
			cfg.Turns = turns("a\n", "you said "+long+"\n", "b\n", "you said "+long+"\n")
			b := setup(t, cfg, sim.Fault{Delay: time.Millisecond}, linux, lines(func(string) string { return "you said 7\n" }))
			b.run()
			b.want(replay.Done, replay.None)
		})
	}
}
