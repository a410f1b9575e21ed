package redirect_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sleight/redirect"
	"sleight/redirect/sim"
	"sleight/rules"
	"sleight/rules/rulestest"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// keeps is a service that keeps what it reads.
type keeps struct{ got *[]byte }

func (k keeps) Serve(got []byte, _ func([]byte), _ func()) { *k.got = got }

// evader says a conversation in a way that is meant to be read otherwise by the
// rules than by the server.
type evader struct {
	*peer
	text  string
	rnd   *rand.Rand
	start tcb.Seq
}

// put sends [from, to) of the conversation, or other bytes in its place.
func (e *evader) put(from, to int, edit ...func(*wire.Segment)) {
	from, to = min(from, len(e.text)), min(to, len(e.text))
	if from == to {
		return
	}
	s := e.segment(wire.ACK|wire.PSH, e.text[from:to])
	s.Seq = e.start.Add(tcb.Size(from))
	for _, f := range edit {
		f(&s)
	}
	e.send(s)
}

// other puts other bytes of the same length in.
func other(s *wire.Segment) { s.Payload = []byte(strings.Repeat("Z", len(s.Payload))) }

// chunks calls f with pieces of n bytes.
func (e *evader) chunks(n int, f func(from, to int)) {
	for i := 0; i < len(e.text); i += n {
		f(i, min(i+n, len(e.text)))
	}
}

// pieces are the beginnings and ends of pieces of n bytes.
func (e *evader) pieces(n int) (ps [][2]int) {
	e.chunks(n, func(from, to int) { ps = append(ps, [2]int{from, to}) })
	return ps
}

// damaged sends other bytes with a checksum that is wrong.
func (e *evader) damaged(from, to int) {
	s := e.segment(wire.ACK|wire.PSH, strings.Repeat("Z", to-from))
	s.Seq = e.start.Add(tcb.Size(from))
	pkt := built(&s)
	pkt[36] ^= 0x40
	e.b.packet(0, pkt)
}

// transforms are ways to say a conversation. What they send beside it, or first, is
// what an evader hopes that one of the two reads, and the other does not.
var transforms = []struct {
	name string
	say  func(*evader)
	true bool // the server reads the conversation as it is, up to the verdict
}{
	{"one-byte segments", func(e *evader) { e.chunks(1, func(i, j int) { e.put(i, j) }) }, true},
	{"reversed", func(e *evader) {
		ps := e.pieces(7)
		slices.Reverse(ps)
		for _, p := range ps {
			e.put(p[0], p[1])
		}
	}, true},
	{"shuffled", func(e *evader) {
		ps := e.pieces(5)
		e.rnd.Shuffle(len(ps), func(i, j int) { ps[i], ps[j] = ps[j], ps[i] })
		for _, p := range ps {
			e.put(p[0], p[1])
		}
	}, true},
	{"overlaps, other data first", func(e *evader) {
		e.chunks(16, func(i, j int) { e.put(i+8, j, other); e.put(i, j) })
	}, false},
	{"overlaps, other data last", func(e *evader) {
		e.chunks(16, func(i, j int) {
			e.put(i+8, j)
			e.put(i, j, func(s *wire.Segment) {
				for k := 8; k < len(s.Payload); k++ {
					s.Payload[k] = 'Z'
				}
			})
		})
	}, true},
	{"duplicates with other data", func(e *evader) {
		e.chunks(9, func(i, j int) { e.put(i, j); e.put(i, j, other) })
	}, true},
	{"bad checksums", func(e *evader) {
		e.chunks(9, func(i, j int) { e.damaged(i, j); e.put(i, j) })
	}, true},
	{"low TTLs", func(e *evader) {
		e.chunks(9, func(i, j int) { e.put(i, j, other, func(s *wire.Segment) { s.TTL = 1 }); e.put(i, j) })
	}, false},
	{"old timestamps", func(e *evader) {
		e.chunks(9, func(i, j int) {
			e.put(i, j, other, func(s *wire.Segment) { s.Opts.TSVal -= 1000 })
			e.put(i, j)
		})
	}, true},
	{"out of window", func(e *evader) {
		e.chunks(9, func(i, j int) {
			e.put(i, j, other, func(s *wire.Segment) { s.Seq += 1 << 20 })
			e.put(i, j, other, func(s *wire.Segment) { s.Seq -= 1 << 20 })
			e.put(i, j)
		})
	}, true},
	{"split at each third byte, backwards in twos", func(e *evader) {
		for at := 0; at < len(e.text); at += 6 {
			e.put(at+3, at+6)
			e.put(at, at+3)
		}
	}, true},
	{"one segment, or as few as there can be", func(e *evader) { e.chunks(1400, func(i, j int) { e.put(i, j) }) }, true},
}

// "The same conversation gives the same verdict however it is cut, reordered,
// overlapped, retransmitted with other data, padded with bad-checksum, low-TTL,
// old-timestamp or out-of-window decoy segments: what is judged is what the serving
// leg receives, first byte wins."
func TestVerdictsCannotBeDodged(t *testing.T) {
	talks, judged := 0, 0
	for _, e := range rulestest.Examples(t, "..") {
		if action, err := rules.ParseAction(e.Action); err != nil || action == rules.Log {
			continue
		}
		for i, c := range e.Talks {
			if !c.Bare || len(c.Stream) < 8 {
				continue
			}
			talks++
			for _, tr := range transforms {
				judged++
				t.Run(fmt.Sprintf("%s %d/%s", e.Name, i, tr.name), func(t *testing.T) {
					dodge(t, &e, &c, tr.say, tr.true)
				})
			}
		}
	}
	if talks < 20 {
		t.Errorf("%d conversations", talks)
	}
	t.Logf("%d conversations, %d verdicts", talks, judged)
}

func dodge(t *testing.T, e *rulestest.Example, c *rulestest.Talk, say func(*evader), whole bool) {
	set, errs := rules.Compile([]rules.Rule{{Name: e.Name, When: e.When, Action: rules.Switch, Backend: "real"}})
	if errs != nil {
		t.Fatal(errs)
	}
	var got []byte
	b := &bench{T: t, w: sim.NewWorld(1)}
	b.hosts = sim.NewDecoy(b.w, func(redirect.Conn) (sim.HostConfig, sim.Service) { return decoyHost, keeps{&got} })
	// The decoy is given all that is judged, whatever the verdict.
	b.make(func(cfg *redirect.Config) { cfg.Observe, cfg.Rules = true, set }, b.hosts)
	b.hosts.Attach(b.g, false)
	p := b.caller(40000)
	p.dst = netip.AddrPortFrom(decoyAddr.Addr(), c.Port)
	p.shake()
	b.wait(10 * time.Millisecond)
	say(&evader{peer: p, text: c.Stream, rnd: rand.New(rand.NewPCG(1, 2)), start: p.seq})
	b.wait(time.Second)

	spoke := len(b.ev.Decisions) == 1 && b.ev.Decisions[0].Verdict == "switch"
	read := len(c.Stream)
	if spoke { // from then on what S sends is passed on, to be assembled by the server
		read = b.ev.Decisions[0].Offset
	}
	if len(got) != len(c.Stream) || whole && string(got[:read]) != c.Stream[:read] {
		t.Fatalf("the server has read %q, not %q", got, c.Stream)
	}
	if whole && spoke != c.Speaks {
		t.Errorf("decisions %+v", b.ev.Decisions)
	}
	var fl rules.Flow
	f := rules.Facts{Src: p.src, Dst: p.dst, Stream: got[:read], Last: got[:read], Bytes: read}
	set.Start(&fl, &f)
	if want := set.Decide(&fl, &f).Action == rules.Switch; spoke != want {
		t.Errorf("decisions %+v, but of %q the rules say %v", b.ev.Decisions, f.Stream, want)
	}
}
