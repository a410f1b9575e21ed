package e2e

import (
	"encoding/binary"
	"testing"

	"sleight/e2e/scripted"
	"sleight/stack/wire"
)

func TestUnusualSYNs(t *testing.T) {
	l := newLines(t, linesConfig())
	l.run("again before the SYN-ACK has come", func(t *testing.T) {
		c := l.client(t, toKernel)
		syn := c.SYN()
		c.Put(syn)
		c.Put(syn)
		first := c.WantSYNACK()
		c.Put(syn)
		again := c.Want("the SYN-ACK again", func(s *wire.Segment) bool {
			if s.Flags == wire.ACK {
				t.Error("the same SYN draws a challenge ACK")
			}
			return s.Flags == wire.SYN|wire.ACK
		})
		if again.Seq != first.Seq {
			t.Errorf("the SYN-ACK has ISN %d, and then %d", first.Seq, again.Seq)
		}
		c.Ack()
		wantSwitch(c)
	})
	l.run("with IP options", func(t *testing.T) {
		c := l.client(t, toKernel)
		l.s.Inject(c.Remote.Addr(), withIPOptions(scripted.Packet(c.SYN())))
		c.WantSYNACK()
		l.s.Inject(c.Remote.Addr(), withIPOptions(scripted.Packet(c.Segment(wire.ACK, c.Sent, ""))))
		wantSwitch(c)
	})
	l.run("of 40 bytes, without any TCP option", func(t *testing.T) {
		c := l.client(t, toKernel)
		c.Opts = wire.Options{}
		syn := c.SYN()
		if n := len(scripted.Packet(syn)); n != 40 {
			t.Fatalf("the SYN has %d bytes", n)
		}
		c.Put(syn)
		// RFC 7323, sections 2.2 and 3.2, RFC 2018, section 2: only what the SYN had.
		if o := c.WantSYNACK().Opts; o.HasTS || o.HasWndShift || o.SACKPermitted {
			t.Errorf("the SYN-ACK has %+v", o)
		}
		c.Wnd = 64240
		c.Ack()
		wantSwitch(c)
	})
}

// wantSwitch is the rest of a connection up to the real host's word.
func wantSwitch(c *scripted.End) {
	c.Helper()
	c.Say("hello\n")
	c.Hear("hello\n")
	c.Say("go!\n")
	c.Hear("real: go!\n")
}

// withIPOptions puts three no-operations and an end of list (RFC 791, section 3.1)
// into an IPv4 packet.
func withIPOptions(pkt []byte) []byte {
	b := append(append(append([]byte(nil), pkt[:20]...), 1, 1, 1, 0), pkt[20:]...)
	b[0]++ // IHL
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	// The kernel fills in the header's checksum.
	return b
}

// A switch may be faster than the netstack makes its endpoint: the trigger comes
// with the handshake's own ACK (TCP.md, 6).
func TestTheTriggerComesWithTheHandshakesACK(t *testing.T) {
	l := newLines(t, linesConfig())
	const n = 200
	clients := make([]*scripted.End, n)
	for i := range clients {
		clients[i] = l.client(t, toKernel)
		clients[i].Put(clients[i].SYN())
		if i%2 == 0 { // half of them at once, half one after another
			clients[i].WantSYNACK()
			clients[i].Say("go!\n")
		}
	}
	for i, c := range clients {
		if i%2 != 0 {
			c.WantSYNACK()
			c.Say("go!\n")
		}
	}
	for _, c := range clients {
		c.Hear("real: go!\n")
	}
	l.wantSwitches(n, "ok")
	for _, c := range clients {
		c.Say("still here!\n")
	}
	for _, c := range clients {
		c.Hear("real: still here!\n")
	}
}
