package e2e

import (
	"fmt"
	"strings"
	"testing"

	"sleight/e2e/scripted"
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
	for family, is := range []struct {
		kind   uint8 // of the ICMP error
		router string
	}{{wire.TimeExceeded4, "198.51.100.1"}, {wire.TimeExceeded6, "2001:db8:51::1"}} {
		l.in(family)
		l.run(fmt.Sprintf("v%d", 4+2*family), func(t *testing.T) { smallTTL(t, l, is.kind, is.router) })
	}
}

func smallTTL(t *testing.T, l *linesBed, kind uint8, router string) {
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
	if s := d.Want("the probe", scripted.HasData); s.TTL < 60 {
		t.Errorf("the backend gets it with TTL %d", s.TTL)
	}
	d.Say("answer\n")
	c.Hear("answer\n")
	if got := exceeded(l.s, kind); len(got) > 0 {
		t.Errorf("a TTL of 2 drew %v", got)
	}
	c.TTL = 1
	c.Put(c.Segment(wire.ACK|wire.PSH, c.Sent, "lost\n"))
	d.WantNo("a probe that ends before", scripted.HasData)
	if got := exceeded(l.s, kind); len(got) != 1 || got[0] != router {
		t.Errorf("a TTL of 1 drew time exceeded from %v, want one from %s", got, router)
	}
}

// exceeded is from whom the host was told since the last call that a TTL has ended.
func exceeded(h *scripted.Host, kind uint8) (from []string) {
	for _, p := range h.ICMP() {
		if len(p.L4) > 0 && p.L4[0] == kind {
			from = append(from, p.Src.String())
		}
	}
	return from
}
