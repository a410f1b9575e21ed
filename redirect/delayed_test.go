package redirect_test

import (
	"strings"
	"testing"
	"time"

	"sleight/redirect"
	"sleight/redirect/sim"
	"sleight/rules"
	"sleight/stack/wire"
)

// lines answers each whole line.
type lines struct{ done int }

func (l *lines) Serve(got []byte, say func([]byte), _ func()) {
	if i := strings.LastIndexByte(string(got), '\n') + 1; i > l.done {
		say(got[l.done:i])
		l.done = i
	}
}

// talking is a client in the midst of a talk with a decoy that answers lines.
// If it stays there, what it says passes by the rules.
func talking(t *testing.T, stays bool) (*bench, *peer) {
	t.Helper()
	return talkingTo(t, decoyHost, stays)
}

func talkingTo(t *testing.T, host sim.HostConfig, stays bool) (*bench, *peer) {
	t.Helper()
	word, edit := "hello\n", func(*redirect.Config) {}
	if stays {
		word, edit = sim.Trigger+"\n", func(c *redirect.Config) { c.Rules = always(rules.Stay) }
	}
	b := &bench{T: t, w: sim.NewWorld(1)}
	b.hosts = sim.NewDecoy(b.w, func(redirect.Conn) (sim.HostConfig, sim.Service) { return host, &lines{} })
	b.make(edit, b.hosts)
	b.hosts.Attach(b.g, false)
	s := b.dial(1)
	s.say(word)
	b.wait(time.Millisecond)
	first := b.doors[0].take()
	if len(first) != 2 || len(first[0].Payload) > 0 || first[0].Ack != s.seq {
		t.Fatalf("what comes first is acknowledged at once: %+v", first)
	}
	s.hears(first[1])
	b.wait(100 * time.Millisecond)
	b.wantSilence(0)
	return b, s
}

// "A host that is receiving a stream of TCP data segments can increase efficiency in
// both the Internet and the hosts by sending fewer than one ACK (acknowledgment) segment
// per data segment received; this is known as a 'delayed ACK'" (RFC 1122, section 4.2.3.2).
func TestADecoysAcknowledgementRidesOnItsAnswer(t *testing.T) {
	for _, stays := range []bool{false, true} {
		b, s := talking(t, stays)
		for range 3 {
			s.say("again\n")
			b.wait(time.Millisecond)
			a := b.one(0)
			if string(a.Payload) != "again\n" || a.Ack != s.seq {
				t.Fatalf("%+v, want the answer with its acknowledgement", a)
			}
			s.hears(a)
		}
	}
}

func TestADecoyAcknowledgesAfter40msWhatItHasNoAnswerTo(t *testing.T) {
	b, s := talking(t, false)
	s.say("half")
	b.wait(35 * time.Millisecond)
	b.wantSilence(0)
	b.wait(10 * time.Millisecond)
	if a := b.one(0); a.Len() != 0 || a.Ack != s.seq || a.Opts.TSEcr != s.ts {
		t.Errorf("%+v", a)
	}
	// By turns no more, until both have spoken again.
	s.say(" of it")
	b.wait(time.Millisecond)
	if a := b.one(0); a.Len() != 0 || a.Ack != s.seq {
		t.Errorf("%+v, want it at once", a)
	}
	b.wait(100 * time.Millisecond)
	b.wantSilence(0)
}

// Linux acknowledges at once what ends with a second short segment. The time is the
// first one's: "the earliest unacknowledged segment" (RFC 7323, section 4.3, (A)).
func TestADecoyAcknowledgesASecondShortSegmentAtOnce(t *testing.T) {
	b, s := talking(t, false)
	first := s.ts
	s.say("half")
	s.ts += 10
	b.wait(20 * time.Millisecond)
	b.wantSilence(0)
	s.say(" of it")
	b.wait(time.Millisecond)
	if a := b.one(0); a.Len() != 0 || a.Ack != s.seq || a.Opts.TSEcr != first {
		t.Errorf("%+v, want the acknowledgement of both, with the time %d", a, first)
	}
	s.ts += 10
	s.say("!\n")
	b.wait(time.Millisecond)
	if a := b.one(0); a.Opts.TSEcr != s.ts {
		t.Errorf("%+v, want the time %d", a, s.ts)
	}
}

// The decoy reads the first of two short segments alone; S hears of both, as of a host
// that has taken them in at once.
func TestADecoyAcknowledgesTwoShortSegmentsAsOne(t *testing.T) {
	b, s := talking(t, false)
	s.say("half")
	s.say(" of it")
	b.wait(time.Millisecond)
	if a := b.one(0); a.Len() != 0 || a.Ack != s.seq {
		t.Errorf("%+v, want the acknowledgement of both", a)
	}
	b.wait(100 * time.Millisecond)
	b.wantSilence(0)
}

// "A TCP receiver SHOULD send an immediate duplicate ACK when an out-of-order segment
// arrives" (RFC 5681, section 4.2).
func TestADecoyAcknowledgesAtOnceWhatComesBeforeAHole(t *testing.T) {
	host := decoyHost
	host.SACK = false
	b, s := talkingTo(t, host, true)
	s.say("half")
	beyond := s.segment(wire.ACK|wire.PSH, "!\n")
	beyond.Seq += 6
	s.send(beyond)
	b.wait(time.Millisecond)
	as := b.doors[0].take()
	if len(as) != 2 || as[0].Ack != s.seq || as[1].Ack != s.seq {
		t.Errorf("%+v, want two acknowledgements of what lies before the hole", as)
	}
}

// More than a whole segment does not wait.
func TestADecoyAcknowledgesEverySecondSegmentAtOnce(t *testing.T) {
	b, s := talking(t, false)
	for range 3 {
		s.say(strings.Repeat("x", 1000))
		b.wait(time.Millisecond)
		b.wantSilence(0)
		s.say(strings.Repeat("x", 1000))
		b.wait(time.Millisecond)
		if a := b.one(0); a.Len() != 0 || a.Ack != s.seq {
			t.Errorf("%+v", a)
		}
	}
}

// What S says again has waited long enough: it came before, and the answer says so.
func TestARepetitionOfWhatWasWithheldIsAnswered(t *testing.T) {
	b, s := talking(t, false)
	s.say("half")
	b.wait(10 * time.Millisecond)
	b.wantSilence(0)
	again := s.segment(wire.ACK|wire.PSH, "half")
	again.Seq -= 4
	s.send(again)
	want := wire.Block{Start: again.Seq, End: s.seq}
	if a := b.one(0); a.Ack != s.seq || a.Opts.NumSACK != 1 || a.Opts.SACK[0] != want {
		t.Errorf("%+v, want a D-SACK of %v", a, want)
	}
	b.wait(100 * time.Millisecond)
	b.wantSilence(0)
}

// The decoy's FIN acknowledges S's.
func TestADecoysFINAcknowledges(t *testing.T) {
	for _, stays := range []bool{false, true} {
		b, s := talking(t, stays)
		s.send(s.segment(wire.ACK|wire.FIN, ""))
		s.seq++
		b.wait(time.Millisecond)
		if a := b.one(0); !a.Flags.Has(wire.FIN) || a.Ack != s.seq {
			t.Errorf("%+v", a)
		}
	}
}

// A switch takes the debt with it: the backend's first word pays, or the time does.
func TestWhatWasWithheldIsAcknowledgedAfterASwitch(t *testing.T) {
	for _, answers := range []bool{true, false} {
		b, s := talking(t, false)
		s.say("half")
		b.wait(time.Millisecond)
		s.say(sim.Trigger)
		d := b.answers(nil)
		d.hears(b.last(1))
		d.say("hello\n")
		d.hears(b.last(1))
		b.wantSwitch("ok")
		b.wantSilence(0)
		if answers {
			d.say("real")
		}
		b.wait(100 * time.Millisecond)
		if a := b.one(0); (string(a.Payload) == "real") != answers || a.Ack.LessThan(s.seq-7) {
			t.Errorf("answers: %t: %+v", answers, a)
		}
		b.wait(time.Second)
		b.wantSilence(0)
		if !redirect.JoinedIsEmpty() {
			t.Error("what joined flows share was written to")
		}
	}
}
