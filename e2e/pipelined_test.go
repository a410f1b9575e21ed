package e2e

import (
	"testing"

	"sleight/e2e/scripted"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

func TestHoldAndReplay(t *testing.T) {
	l := newLines(t, linesConfig())
	l.run("a match split over two segments", func(t *testing.T) {
		c := l.client(t, toKernel)
		c.Open()
		c.Say("hello\n")
		c.Hear("hello\n")
		c.Say("() ")
		c.WantAck()
		c.Say("{\n")
		c.Hear("real: () {\n")
		l.switched(t, c, "ok")
	})
	l.run("six pipelined lines of which the first matches", func(t *testing.T) {
		c := l.client(t, toKernel)
		c.Open()
		for _, line := range []string{"1!\n", "2!\n", "3!\n", "4!\n", "5!\n", "6!\n"} {
			c.Say(line)
		}
		c.Hear("real: 1!\nreal: 2!\nreal: 3!\nreal: 4!\nreal: 5!\nreal: 6!\n")
		l.switched(t, c, "ok")
	})
	l.run("a backend that is down", func(t *testing.T) {
		c := l.client(t, toNobody)
		c.Open()
		c.Say("hello\n")
		c.Hear("hello\n")
		c.Say("go!\n")
		c.Hear("go!\n")
		l.switched(t, c, "refused")
		c.Say("again!\n")
		c.Hear("again!\n")
		c.FIN()
		c.WantFIN()
		c.WantNo("a RST after a roll-back", scripted.IsRST)
	})
	l.run("a backend that resets in the middle of the replay", func(t *testing.T) {
		c := l.client(t, toScripted)
		c.Open()
		c.Say("hello\n")
		c.Hear("hello\n")
		c.Say("go!\n")
		d := l.d2.Accept(t, toScripted)
		d.Hear("hello\n")
		d.RST()
		c.Hear("go!\n")
		l.switched(t, c, "reset")
	})
	l.run("one lost SYN in the replay", func(t *testing.T) {
		c := l.client(t, toScripted)
		c.Open()
		c.Say("go!\n")
		d, lost := l.d2.Server(t, toScripted)
		d.Want("the SYN again", func(s *wire.Segment) bool { return s.Flags == wire.SYN && s.Seq == lost.Seq })
		d.SYNACK()
		wantReal(c, d, "go!\n")
		l.switched(t, c, "ok")
	})
	// RFC 9293, section 3.10.7.3: an unacceptable ACK in SYN-SENT draws a RST at its
	// SEG.ACK; the SYN is then sent again.
	l.run("a challenge ACK of the backend in SYN-SENT", func(t *testing.T) {
		c := l.client(t, toScripted)
		c.Open()
		c.Say("go!\n")
		d, syn := l.d2.Server(t, toScripted)
		old := d.Segment(wire.ACK, 5000, "")
		old.Ack = syn.Seq + 777_777
		d.Put(old)
		d.Want("a RST at the ACK's number", func(s *wire.Segment) bool { return s.Flags.Has(wire.RST) && s.Seq == old.Ack })
		d.Want("the SYN again", func(s *wire.Segment) bool { return s.Flags == wire.SYN && s.Seq == syn.Seq })
		d.SYNACK()
		wantReal(c, d, "go!\n")
		l.switched(t, c, "ok")
	})
}

// wantReal is the backend's part once it is connected: it hears the record, says a
// word, and the client hears that.
func wantReal(c, d *scripted.End, record string) {
	c.Helper()
	d.Hear(record)
	d.Say("real\n")
	c.Hear("real\n")
	d.WantAck()
}

func TestWhatTheClientSendsOutOfOrder(t *testing.T) {
	l := newLines(t, linesConfig())
	l.run("a hole while the decoy answers", func(t *testing.T) {
		c := l.client(t, toKernel)
		c.Open()
		ahead := c.Segment(wire.ACK|wire.PSH, c.Sent+6, "world\n")
		c.Put(ahead)
		// RFC 5681, section 4.2: "an immediate duplicate ACK"; RFC 2018, section 4.
		dup := c.Want("a duplicate ACK", func(s *wire.Segment) bool { return s.Flags == wire.ACK && tcb.Diff(s.Ack, c.ISS) == 1 })
		if want := (wire.Block{Start: ahead.Seq, End: ahead.Seq + 6}); dup.Opts.NumSACK != 1 || dup.Opts.SACK[0] != want {
			t.Errorf("the duplicate ACK has %+v, want the block %v", dup.Opts, want)
		}
		c.Say("hello\n")
		c.Sent += 6
		c.Hear("hello\nworld\n")
		// Again, and what is ahead holds the trigger.
		c.Put(c.Segment(wire.ACK|wire.PSH, c.Sent+6, "go!\n"))
		c.Say("third\n")
		c.Sent += 4
		c.Hear("third\nreal: go!\n")
		l.switched(t, c, "ok")
	})
	// "First byte wins on overlaps, so what the rules read is what every serving leg
	// gets, byte for byte" (TCP.md, 2).
	l.run("overlapping held segments with other bytes", func(t *testing.T) {
		c := l.client(t, toScripted)
		c.Open()
		c.Say("hello\n")
		c.Hear("hello\n")
		c.Say("go!\n")
		d, _ := l.d2.Server(t, toScripted)
		c.Put(c.Segment(wire.ACK|wire.PSH, c.Sent-4, "no!\n"))
		c.Say("AAAA\n")
		c.Put(c.Segment(wire.ACK|wire.PSH, c.Sent-5, "ZZZZZBB\n"))
		c.Sent += 3
		d.SYNACK()
		d.Hear("hello\n")
		d.Say("hello\n")
		wantReal(c, d, "go!\nAAAA\nBB\n")
		// Sent once more, with yet other bytes, after the switch.
		c.Put(c.Segment(wire.ACK|wire.PSH, c.Sent-3, "QQ\n"))
		c.Say("end\n")
		d.Hear("end\n")
		l.switched(t, c, "ok")
	})
	l.run("urgent data before and after the switch", func(t *testing.T) {
		c := l.client(t, toScripted)
		c.Open()
		c.Put(urgent(c, "hello\n", 1))
		c.Hear("hello\n") // its byte stays in line
		c.Put(urgent(c, "go!\n", 2))
		d := l.d2.Accept(t, toScripted)
		first := d.Want("the record", scripted.HasData)
		if first.Flags.Has(wire.URG) {
			t.Error("URG was replayed")
		}
		d.Hear("hello\n")
		d.Say("hello\n")
		wantReal(c, d, "go!\n")
		c.Put(urgent(c, "after\n", 3))
		if s := d.Want("urgent data", scripted.HasData); !s.Flags.Has(wire.URG) || s.Urg != 3 {
			t.Errorf("after the switch: %v, urgent pointer %d", s.Flags, s.Urg)
		}
		d.Hear("after\n")
		d.Put(urgent(d, "back\n", 4))
		if s := c.Want("urgent data", scripted.HasData); !s.Flags.Has(wire.URG) || s.Urg != 4 {
			t.Errorf("to S: %v, urgent pointer %d", s.Flags, s.Urg)
		}
		c.Hear("back\n")
	})
}

// urgent is data behind all that was sent, with its urgent pointer.
func urgent(e *scripted.End, text string, at uint16) *wire.Segment {
	s := e.Segment(wire.ACK|wire.PSH|wire.URG, e.Sent, text)
	s.Urg = at
	e.Sent += len(text)
	return s
}
