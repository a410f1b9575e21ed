package e2e

import (
	"strings"
	"testing"

	"sleight/stack/wire"
)

// 30 KB of the decoy's answer are not acknowledged when the backend takes over.
func TestUnacknowledgedAnswerAtTheSwitch(t *testing.T) {
	l := newLines(t, linesConfig())
	c := l.client(t, 17)
	c.Open()
	// A congestion window opens only while it is what holds the sender back (RFC 9293,
	// 3.8.2; RFC 7661), and is closed again after an idle time (RFC 5681, section 4.1):
	// one answer may not be enough.
	for asked := 1; ; asked++ {
		c.Say("big\n")
		if c.HearAllQuietly(bigAnswer) {
			break
		}
		if asked == bigAnswers {
			t.Fatalf("the decoy never has %d bytes on their way", len(bigAnswer))
		}
	}
	c.Say("go!\n")
	c.HearQuietly("real: go!\n")
	l.switched(t, c, "ok")
	// "Decoy bytes that S has not acknowledged stay the decoy leg's business until S has
	// acknowledged the cut" (TCP.md, 6).
	c.Want("the decoy's bytes again", func(s *wire.Segment) bool {
		return strings.HasPrefix(bigAnswer, string(s.Payload)) && len(s.Payload) > 100
	})
	c.Unsaid = 0
	c.Ack()
	c.Say("more!\n")
	c.Hear("real: more!\n")
	c.FIN()
	c.WantFIN()
}

// A probe whose TTL ends at the claimed address finds its host there, before and
// after the switch, and never a router behind it (TCP.md, 8); one that ends before
// finds the gateway, as any router on the way.
func TestProbesOfSmallTTL(t *testing.T) {
	l := newLines(t, linesConfig())
	c := l.client(t, toScripted)
	c.TTL = 2
	c.Open()
	c.Say("hello\n")
	c.Hear("hello\n")
	c.Say("go!\n")
	d := l.d2.Accept(t, toScripted)
	d.Hear("hello\n")
	d.Say("hello\n")
	wantReal(c, d, "go!\n")
	c.Say("probe\n")
	if s := d.Want("the probe", func(s *wire.Segment) bool { return len(s.Payload) > 0 }); s.TTL < 60 {
		t.Errorf("the backend gets it with TTL %d", s.TTL)
	}
	d.Say("answer\n")
	c.Hear("answer\n")
	if got := l.s.ICMP(); len(got) > 0 {
		t.Errorf("a TTL of 2 drew %v", got)
	}
	c.TTL = 1
	c.Put(c.Segment(wire.ACK|wire.PSH, c.Sent, "lost\n"))
	d.WantNo("a probe that ends before", func(s *wire.Segment) bool { return len(s.Payload) > 0 })
	got := l.s.ICMP()
	if len(got) != 1 || len(got[0].L4) == 0 || got[0].L4[0] != wire.TimeExceeded4 {
		t.Fatalf("a TTL of 1 drew %v, want one time exceeded", got)
	}
	if from := got[0].Src.String(); from != "198.51.100.1" {
		t.Errorf("it came from %s", from)
	}
}
