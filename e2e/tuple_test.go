package e2e

import (
	"testing"

	"sleight/e2e/scripted"
	"sleight/stack/wire"
)

// talkAndSwitch is one connection up to the real host's first word.
func talkAndSwitch(c *scripted.End) {
	c.Helper()
	c.Open()
	c.Say("hello\n")
	c.Hear("hello\n")
	c.Say("go!\n")
	c.Hear("real: go!\n")
}

// again is a new connection on the same 4-tuple, with the next ISN that a host would
// take.
func again(l *linesBed, t *testing.T, old *scripted.End) *scripted.End {
	c := l.s.Client(t, old.Local.Port(), old.Remote)
	c.ISS = old.ISS + 100_000
	return c
}

func TestTheSameTupleAgain(t *testing.T) {
	l := newLines(t, linesConfig())
	l.run("right after both have closed", func(t *testing.T) {
		c := l.client(t, toKernel)
		for range 3 {
			talkAndSwitch(c)
			c.FIN()
			c.WantFIN()
			l.switched(t, c, "ok")
			c = again(l, t, c)
		}
	})
	l.run("right after S has reset it", func(t *testing.T) {
		c := l.client(t, toKernel)
		for range 3 {
			talkAndSwitch(c)
			c.RST()
			c = again(l, t, c)
		}
	})
	l.run("right after a reset while the decoy answered", func(t *testing.T) {
		c := l.client(t, toKernel)
		for range 3 {
			c.Open()
			c.Say("hello\n")
			c.Hear("hello\n")
			c.RST()
			c = again(l, t, c)
		}
		talkAndSwitch(c)
	})
	l.run("right after the backend has reset it", func(t *testing.T) {
		c := l.client(t, toScripted)
		for range 2 {
			c.Open()
			c.Say("go!\n")
			d := l.d2.Accept(t, toScripted)
			d.Hear("go!\n")
			d.Say("real\n")
			c.Hear("real\n")
			d.WantAck()
			d.RST()
			c.WantRST()
			c = again(l, t, c)
		}
	})
	l.wantSwitches(3+3+1+2, "ok")
	l.run("a live connection is not taken for an old one", func(t *testing.T) {
		c := l.client(t, toKernel)
		talkAndSwitch(c)
		o := again(l, t, c)
		o.Put(o.SYN())
		// RFC 5961, section 4: "the receiver MUST send an ACK (also referred to as challenge ACK)".
		c.Want("a challenge ACK", func(s *wire.Segment) bool { return s.Flags == wire.ACK && len(s.Payload) == 0 })
		c.Say("still here!\n")
		c.Hear("real: still here!\n")
	})
}
