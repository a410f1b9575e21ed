package e2e

import (
	"fmt"
	"testing"

	"sleight/e2e/scripted"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// phase brings a connection into a phase. d is the backend's end, nil while the
// decoy answers.
type phase struct {
	name  string
	enter func(t *testing.T, l *linesBed) (c, d *scripted.End)
}

// phases are all that a flow goes through, replaying in three steps.
var phases = []phase{
	{"answering", answering}, {"replaying, SYN sent", synSent}, {"replaying, connected", connected},
	{"draining", draining}, {"joined", joined},
}

func answering(t *testing.T, l *linesBed) (c, d *scripted.End) {
	t.Helper()
	c = l.client(t, toScripted)
	c.Open()
	c.Say("hello\n")
	c.Hear("hello\n")
	return c, nil
}

// synSent is a switch whose backend has not answered the SYN.
func synSent(t *testing.T, l *linesBed) (c, d *scripted.End) {
	t.Helper()
	c, _ = answering(t, l)
	c.Say("go!\n")
	d, _ = l.d2.Server(t, toScripted)
	return c, d
}

// connected is a switch whose backend has heard the record and not answered.
func connected(t *testing.T, l *linesBed) (c, d *scripted.End) {
	t.Helper()
	c, d = synSent(t, l)
	d.SYNACK()
	d.Hear("hello\n")
	return c, d
}

// draining is a joined flow whose client has not acknowledged the decoy's answer.
func draining(t *testing.T, l *linesBed) (c, d *scripted.End) {
	t.Helper()
	c = l.client(t, toScripted)
	c.Open()
	c.Say("hello\n")
	c.HearQuietly("hello\n")
	c.Say("go!\n")
	d = l.d2.Accept(t, toScripted)
	d.Hear("hello\n")
	d.Say("hello\n")
	d.Hear("go!\n")
	d.Say("real\n")
	c.HearQuietly("real\n")
	return c, d
}

func joined(t *testing.T, l *linesBed) (c, d *scripted.End) {
	t.Helper()
	c, d = connected(t, l)
	d.Say("hello\n")
	wantReal(c, d, "go!\n")
	return c, d
}

// commit ends a replay that is under way.
func commit(name string, c, d *scripted.End) {
	c.Helper()
	switch name {
	case "replaying, SYN sent":
		d.SYNACK()
		d.Hear("hello\n")
		fallthrough
	case "replaying, connected":
		d.Say("hello\n")
		d.Hear("go!\n")
		d.Say("real\n")
		c.Hear("real\n")
	}
}

func eachPhase(t *testing.T, l *linesBed, f func(t *testing.T, name string, c, d *scripted.End)) {
	for family := range 2 {
		l.in(family)
		for _, p := range phases {
			l.run(fmt.Sprintf("%s v%d", p.name, 4+2*family), func(t *testing.T) {
				c, d := p.enter(t, l)
				f(t, p.name, c, d)
			})
		}
	}
}

// S's RST: "Answering, Spliced, Closing: passed on, translated. Replaying: S's goes
// to the decoy (and cancels). Draining: S's goes to the backend and detaches the
// decoy" (TCP.md, 12). The flow is gone after timeouts.closing.
func TestResetByTheClientInEachPhase(t *testing.T) {
	l := newLines(t, linesConfig()+"timeouts: {closing: 100ms}\n")
	eachPhase(t, l, func(t *testing.T, name string, c, d *scripted.End) {
		c.RST()
		switch name {
		case "replaying, SYN sent":
			l.switched(t, c, "cancelled")
		case "replaying, connected":
			d.WantRST()
			l.switched(t, c, "cancelled")
		case "draining", "joined":
			d.WantRST()
		}
		l.ended(t, c, "reset")
		c.WantNo("after its own RST S hears", func(s *wire.Segment) bool { return s.Flags.Any(wire.RST | wire.SYN | wire.FIN) })
	})
}

// S's FIN is held with the bytes before it while a switch is under way; else it is
// passed on. Both ends close, and the tuple can be used again.
func TestCloseByTheClientInEachPhase(t *testing.T) {
	l := newLines(t, linesConfig())
	eachPhase(t, l, func(t *testing.T, name string, c, d *scripted.End) {
		c.FIN()
		if d != nil {
			commit(name, c, d)
			d.WantFIN()
			d.FIN()
		}
		c.Unsaid = 0
		c.WantFIN()
		if d != nil {
			d.WantAck()
			l.switched(t, c, "ok")
		}
		c.WantNo("a RST at the end", scripted.IsRST)
		n := again(l, t, c)
		n.Put(n.SYN())
		l.ended(t, c, "fin")
		n.WantSYNACK()
		n.RST()
	})
}

// The backend's end, where there is one that S may see.
func TestEndByTheBackend(t *testing.T) {
	l := newLines(t, linesConfig()+"timeouts: {closing: 100ms}\n")
	for _, p := range phases[3:] {
		l.run("FIN while "+p.name, func(t *testing.T) {
			c, d := p.enter(t, l)
			d.FIN()
			c.Unsaid = 0
			c.WantFIN()
			d.WantAck()
			c.Say("half-closed\n") // RFC 9293, section 3.6: a half-closed connection still carries data
			d.Hear("half-closed\n")
			c.FIN()
			d.WantFIN()
			c.WantAck()
		})
		l.run("RST while "+p.name, func(t *testing.T) {
			c, d := p.enter(t, l)
			d.RST()
			c.WantRST()
			l.ended(t, c, "reset")
		})
	}
}

// Keep-alives, SND.NXT − 1 with no byte or one (RFC 9293, section 3.8.4), are
// answered in each phase, and the flow lives.
func TestKeepAlivesInEachPhase(t *testing.T) {
	l := newLines(t, linesConfig())
	eachPhase(t, l, func(t *testing.T, name string, c, d *scripted.End) {
		una := c.Sent
		if name == "replaying, SYN sent" || name == "replaying, connected" {
			una -= len("go!\n") // held: S still has to send it again
		}
		for _, garbage := range []string{"", "\n"} {
			c.Put(c.Segment(wire.ACK, una-1, garbage))
			if d != nil && (name == "joined" || name == "draining") {
				d.Want("the keep-alive", func(s *wire.Segment) bool { return tcb.Diff(s.Seq, d.IRS) == una-1 })
				d.Ack()
			}
			c.Want("its ACK", func(s *wire.Segment) bool { return s.Flags == wire.ACK && tcb.Diff(s.Ack, c.ISS) == una })
		}
		wantAlive(name, c, d)
	})
}

// wantAlive is a word to and from whoever answers in the end.
func wantAlive(name string, c, d *scripted.End) {
	c.Helper()
	c.Unsaid = 0
	if d == nil {
		c.Say("alive\n")
		c.Hear("alive\n")
		return
	}
	commit(name, c, d)
	c.Say("alive?\n")
	d.Hear("alive?\n")
	d.Say("alive\n")
	c.Hear("alive\n")
}

// A client whose window is full gets no byte beyond it, in any phase, whoever
// serves; and everything once it opens.
func TestZeroWindowsInEachPhase(t *testing.T) {
	l := newLines(t, linesConfig())
	c := l.client(t, toKernel)
	c.Opts.WndShift, c.SYNWnd, c.Wnd = 0, 6, 6
	c.Put(c.SYN())
	c.WantSYNACK()
	c.Ack()
	for _, line := range []struct{ say, want string }{
		{"hello\n", "hello\n"}, {"decoy\n", "decoy\n"}, // answering
		{"go!\n", "real: go!\n"},     // held and replayed
		{"more!\n", "real: more!\n"}, // joined
	} {
		c.Say(line.say)
		for at := 0; at < len(line.want); at += 6 {
			part, edge := line.want[at:min(at+6, len(line.want))], c.Got+6
			c.Wnd = 0
			c.Hear(part)
			wantNothingBeyond(c, edge)
			c.Wnd = 6
			c.Ack()
		}
	}
	l.switched(t, c, "ok")
	c.FIN()
	c.WantFIN()
}

// wantNothingBeyond wants no data beyond the edge that an end has announced last, but for
// a probe of one byte (RFC 9293, section 3.8.6.1).
func wantNothingBeyond(e *scripted.End, edge int) {
	e.Helper()
	if e.Got > edge+1 {
		e.Errorf("data beyond the edge: %d bytes were received, not %d", e.Got, edge)
	}
	e.WantNo("data beyond the edge", func(s *wire.Segment) bool {
		return tcb.Diff(s.Seq, e.IRS)+len(s.Payload) > edge+1
	})
}

// A backend whose window is full gets no byte beyond it, and everything once it opens.
func TestZeroWindowOfTheBackend(t *testing.T) {
	l := newLines(t, linesConfig())
	for _, at := range []string{"from the SYN-ACK on", "joined"} {
		l.run(at, func(t *testing.T) {
			c, d := synSent(t, l)
			d.Opts.WndShift = 0
			d.SYNWnd, d.Wnd = 6, 0
			if at == "joined" {
				d.SYNWnd, d.Wnd = 10, 4
			}
			d.SYNACK()
			d.Hear("hello\n")
			d.Wnd = 0
			d.Say("hello\n")
			if at == "joined" {
				d.Hear("go!\n")
				c.WantAck()
				c.Say("after\n")
			}
			wantNothingBeyond(d, d.Got)
			d.Wnd = 64240
			d.Ack()
			if at != "joined" {
				d.Hear("go!\n")
				c.Say("after\n")
			}
			d.Hear("after\n")
			d.Say("real\n")
			c.Hear("real\n")
		})
	}
}
