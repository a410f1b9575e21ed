package redirect_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sleight/redirect"
	"sleight/redirect/sim"
	"sleight/rules"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// "The data plane returns an outcome with a counted reason": each reason is
// reached once, and what the peers hear of it is what is claimed.
func TestEveryReason(t *testing.T) {
	var names []string
	for _, r := range reasons {
		names = append(names, r.reason)
		t.Run(r.reason, func(t *testing.T) {
			b := setup(t, r.config)
			r.reach(b)
			b.wantCount(r.reason, 1)
			if b.doors[0].fail {
				return
			}
			b.wantSilence(0)
			b.wantSilence(1)
		})
	}
	for _, name := range redirect.Reasons() {
		if !slices.Contains(names, name) {
			t.Errorf("no test reaches %q", name)
		}
	}
}

// reasons are ways to draw each reason once; they take what was written.
var reasons = []struct {
	reason string
	config func(*redirect.Config)
	reach  func(*bench)
}{
	{"bad_checksum", nil, func(b *bench) {
		s := b.caller(1).syn()
		pkt := built(&s)
		pkt[35] ^= 1
		b.packet(0, pkt)
	}},
	{"fragment", nil, func(b *bench) {
		s := b.caller(1).syn()
		pkt := built(&s)
		pkt[6] |= 0x20 // more fragments
		sumIP(pkt)
		b.packet(0, pkt)
	}},
	{"malformed", nil, func(b *bench) { b.packet(0, []byte{0x45, 0, 0}) }},
	{"not_tcp", nil, func(b *bench) { b.packet(0, ipPacket(132, "sctp")) }},
	{"impossible_source", nil, func(b *bench) {
		c := b.caller(1)
		c.src = netip.MustParseAddrPort("203.0.113.9:1") // claimed: a decoy's
		c.send(c.syn())
	}},
	{"not_ours", nil, func(b *bench) {
		c := b.caller(1)
		c.dst = netip.MustParseAddrPort("192.0.2.1:23")
		c.send(c.syn())
	}},
	{"no_flow", nil, func(b *bench) {
		c := b.caller(1)
		c.ack = 77
		c.say("who is there?")
		if s := b.one(0); !s.Flags.Has(wire.RST) || s.Seq != 77 {
			b.Errorf("%+v, want <SEQ=SEG.ACK><CTL=RST>", s)
		}
	}},
	{"filtered", func(c *redirect.Config) { c.Decoys[0].Kind = redirect.Filtered }, func(b *bench) {
		c := b.caller(1)
		c.send(c.syn())
	}},
	{"no_decoy", func(c *redirect.Config) { c.Decoys[0].Match.Ports = []rules.PortRange{{First: 80, Last: 80}} }, func(b *bench) {
		c := b.caller(1)
		c.send(c.syn())
	}},
	{"switching_full", func(c *redirect.Config) { c.Limits.Switching = 1 }, func(b *bench) {
		b.dial(1).say(sim.Trigger)
		two := b.dial(2)
		b.doors[0].take()
		b.doors[1].take() // the first one's SYN
		two.say(sim.Trigger)
		b.wait(10 * time.Millisecond)
		b.doors[0].take() // the decoy acknowledges it
	}},
	{"half_open_full", func(c *redirect.Config) { c.Limits.HalfOpen = 1 }, func(b *bench) {
		b.caller(1).syns()
		c := b.caller(2)
		c.send(c.syn())
	}},
	{"flows_full", func(c *redirect.Config) { c.Limits.Flows = 1 }, func(b *bench) {
		b.dial(1)
		b.caller(2).shake()
		if s := b.one(0); s.Flags != wire.RST {
			b.Errorf("%+v, want a RST", s)
		}
	}},
	{"flows_per_client", func(c *redirect.Config) { c.Limits.FlowsPerClient = 1 }, func(b *bench) {
		b.dial(1)
		b.caller(2).shake()
		if s := b.one(0); s.Flags != wire.RST {
			b.Errorf("%+v, want a RST", s)
		}
	}},
	{"unacceptable", nil, func(b *bench) {
		c := b.dial(1)
		s := c.segment(wire.ACK, "x")
		s.Seq += 70000 // RFC 9293, section 3.10.7.4: beyond the window
		c.send(s)
		if s := b.one(0); s.Ack != c.seq || s.Flags != wire.ACK {
			b.Errorf("%+v, want the last acknowledgement", s)
		}
	}},
	{"held_full", func(c *redirect.Config) { c.Limits.Held = 1000 }, func(b *bench) {
		c := b.dial(1)
		c.say(sim.Trigger)
		c.say(strings.Repeat("x", 900))
		c.say(strings.Repeat("y", 200))
		if s := b.one(1); s.Flags != wire.SYN {
			b.Errorf("%+v, want the backend's SYN", s)
		}
	}},
	{"ahead_full", func(c *redirect.Config) { c.Limits.Held = 1000 }, func(b *bench) {
		c := b.dial(1)
		s := c.segment(wire.ACK, strings.Repeat("x", 1001))
		s.Seq++
		c.send(s)
	}},
	{"ip_options", nil, func(b *bench) {
		s := b.caller(1).syn()
		s.Flags = wire.RST // which draws nothing
		pkt := slices.Insert(built(&s), 20, 1, 1, 1, 1)
		pkt[0]++
		binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
		sumIP(pkt)
		b.packet(0, pkt)
	}},
	{"bad_options", nil, func(b *bench) {
		s := b.caller(1).syn()
		s.Flags, s.Opts = wire.RST, wire.Options{HasTS: true}
		pkt := built(&s)
		pkt[43] = 0 // the length of an option
		pkt[36], pkt[37] = 0, 0
		b.g.FromDoor(b.w.Now, 0, append([]byte{2, 9: 0}, pkt...)) // DATA_VALID
	}},
	{"suppressed", nil, func(b *bench) {
		b.Helper()
		_, d := b.spliced(nil)
		d.took()
		s := d.segment(wire.ACK, "answer")
		d.send(s)
		d.send(s)
		if s := b.one(0); string(s.Payload) != "answer" {
			b.Errorf("%+v, want the answer once", s)
		}
	}},
	{"swallowed", nil, func(b *bench) {
		s, d := b.spliced(nil)
		d.took()
		answer := d.segment(wire.ACK, "answer")
		d.send(answer)
		s.hears(b.one(0))
		if a := b.one(1); a.Ack != d.seq.Add(6) {
			b.Errorf("%+v, want S's acknowledgement", a)
		}
		d.send(answer) // S's acknowledgement was lost
		if a := b.one(1); a.Ack != d.seq.Add(6) || len(a.Payload) > 0 {
			b.Errorf("%+v, want the acknowledgement again", a)
		}
	}},
	{"invalid_serving", nil, func(b *bench) {
		_, d := b.spliced(nil)
		d.took()
		d.acks(d.ack + 5000) // of what was never sent
	}},
	{"kept_full", nil, func(b *bench) {
		s, _ := b.shut()
		s.say("beyond the edge")
		s.seq = s.seq.Add(100)
		s.say("and behind a hole: the gateway keeps one run")
		b.doors[1].take()
	}},
	{"true_window", nil, func(b *bench) {
		s, _ := b.shut()
		s.say("beyond the edge")
		b.doors[1].take()
		s.seq -= 15
		s.say("beyond the edge")
		// RFC 9293, MUST-34: S learns that the window is closed.
		if a := b.one(0); a.Wnd != 0 || a.Ack != s.seq-15 {
			b.Errorf("%+v, want an empty window", a)
		}
		b.doors[1].take()
	}},
	{"decoy_miss", nil, func(b *bench) {
		s := b.caller(1).syn()
		b.g.FromDecoy(b.w.Now, built(&s), wire.Offload{})
	}},
	{"backend_miss", nil, func(b *bench) {
		d := &peer{b: b, door: 1, src: realAddr, dst: clientAddr, seq: 5, ack: 88}
		d.say("is anybody there?")
		if s := b.one(1); s.Flags != wire.RST || s.Seq != 88 {
			b.Errorf("%+v, want <SEQ=SEG.ACK><CTL=RST>", s)
		}
	}},
	{"backend_source", nil, func(b *bench) {
		d := &peer{b: b, door: 1, src: netip.MustParseAddrPort("10.0.2.3:23"), dst: clientAddr}
		d.say("I am another")
	}},
	{"outbound", nil, func(b *bench) {
		d := &peer{b: b, door: 1, src: realAddr, dst: clientAddr}
		d.send(d.segment(wire.SYN, ""))
	}},
	{"icmp", nil, func(b *bench) { b.packet(0, unreachable(clientAddr, decoyAddr, 1)) }},
	{"write_failed", nil, func(b *bench) {
		b.doors[0].fail = true
		b.caller(1).syns()
	}},
	{"rule_drop", drops, func(b *bench) {
		c := b.dial(1)
		c.say(sim.Trigger)
		c.say("more")
	}},
	{"icmp_rate", nil, func(b *bench) {
		for range 7 {
			b.packet(0, datagram(clientAddr, decoyAddr))
		}
		if n := len(b.doors[0].out); n != 6 {
			b.Errorf("%d errors, want 6", n)
		}
		b.doors[0].take()
	}},
}

// syns sends a SYN and takes its answer.
func (p *peer) syns() {
	p.send(p.syn())
	p.b.doors[0].take()
}

// drops makes the rule's verdict drop.
func drops(c *redirect.Config) { c.Rules = always(rules.Drop) }

// always is one rule that acts at sim.Trigger.
func always(a rules.Action) *rules.Set {
	set, errs := rules.Compile([]rules.Rule{{Name: "r", When: `stream contains "` + sim.Trigger + `"`, Action: a, Backend: "real"}})
	if errs != nil {
		panic(errs)
	}
	return set
}

// sumIP sets the checksum of an IPv4 header.
func sumIP(pkt []byte) {
	pkt[10], pkt[11] = 0, 0
	binary.BigEndian.PutUint16(pkt[10:], ^sum(pkt[:int(pkt[0]&15)*4]))
}

// sum is RFC 1071's.
func sum(b []byte) uint16 {
	var s uint32
	for i, c := range b {
		s += uint32(c) << (8 * uint(1-i%2))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// ipPacket is an IPv4 packet of S's to D1 with any payload.
func ipPacket(proto byte, payload string) []byte {
	pkt := append(make([]byte, 20), payload...)
	pkt[0], pkt[8], pkt[9] = 0x45, 60, proto
	binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
	src, dst := clientAddr.Addr().As4(), decoyAddr.Addr().As4()
	copy(pkt[12:], src[:])
	copy(pkt[16:], dst[:])
	sumIP(pkt)
	return pkt
}

// datagram is a UDP datagram without checksum.
func datagram(src, dst netip.AddrPort) []byte {
	udp := binary.BigEndian.AppendUint16(nil, src.Port())
	udp = binary.BigEndian.AppendUint16(udp, dst.Port())
	udp = append(udp, 0, 12, 0, 0, 'p', 'i', 'n', 'g')
	pkt := ipPacket(wire.ProtoUDP, string(udp))
	a := src.Addr().As4()
	copy(pkt[12:], a[:])
	sumIP(pkt)
	return pkt
}

// unreachable is a router's word that a segment from quoted has not reached to.
func unreachable(to, quoted netip.AddrPort, seq tcb.Seq) []byte {
	s := wire.Segment{Src: quoted, Dst: to, TTL: 60, Seq: seq, Flags: wire.ACK}
	icmp := append([]byte{wire.Unreachable4, 1, 0, 0, 0, 0, 0, 0}, built(&s)[:28]...)
	binary.BigEndian.PutUint16(icmp[2:], ^sum(icmp))
	return ipPacket(wire.ProtoICMP4, string(icmp))
}

// shut is a flow whose backend has taken the trigger and closed its window.
func (b *bench) shut() (s, d *peer) {
	b.Helper()
	s, d = b.spliced(func(syn *wire.Segment) { syn.Wnd = uint16(len(sim.Trigger)) })
	d.wnd = 0
	d.took()
	return s, d
}
