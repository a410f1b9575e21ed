package redirect_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"sleight/redirect"
	"sleight/redirect/record"
	"sleight/redirect/sim"
	"sleight/rules"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// "Whatever an attacker can grow has a bound in Config and a test that reaches
// it." The bounds that drop a packet are in TestEveryReason as well.

func TestHalfOpenIsBounded(t *testing.T) {
	b := setup(t, func(c *redirect.Config) { c.Limits.HalfOpen = 3 })
	for port := range uint16(10) {
		b.caller(1 + port).syns()
	}
	b.wantCount("half_open_full", 7)
	if n := b.g.HalfOpen(); n != 3 {
		t.Errorf("%d half open, want 3", n)
	}
	b.wait(35 * time.Second)
	if n := b.g.HalfOpen(); n != 0 {
		t.Errorf("%d half open after the timeout", n)
	}
}

// A write to a door can be slow: SYN-ACKs are sent again without the lock that
// every handshake needs (door.Write looks), more than a batch of them.
func TestRepeatedSYNACKsAreWrittenWithoutTheLock(t *testing.T) {
	b := setup(t, func(c *redirect.Config) { c.Limits.HalfOpen = 200 })
	for port := range uint16(200) {
		c := b.caller(1 + port)
		c.send(c.syn())
	}
	first := b.doors[0].take()
	b.wait(1100 * time.Millisecond)
	again := b.doors[0].take()
	if len(first) != 200 || len(again) != 200 {
		t.Fatalf("%d SYN-ACKs, and %d again", len(first), len(again))
	}
	seen := map[netip.AddrPort]tcb.Seq{}
	for _, s := range first {
		seen[s.Dst] = s.Seq
	}
	for _, s := range again {
		if seen[s.Dst] != s.Seq || s.Flags != wire.SYN|wire.ACK {
			t.Fatalf("%+v is not what went to %v before", s, s.Dst)
		}
	}
}

func TestFlowsAreBoundedInAllAndPerClient(t *testing.T) {
	for reason, set := range map[string]func(*redirect.Config){
		"flows_full":       func(c *redirect.Config) { c.Limits.Flows = 2 },
		"flows_per_client": func(c *redirect.Config) { c.Limits.FlowsPerClient = 2 },
	} {
		t.Run(reason, func(t *testing.T) {
			b := setup(t, set)
			first := b.dial(1)
			for port := range uint16(4) {
				b.caller(2 + port).shake()
			}
			b.wantCount(reason, 3)
			if b.g.Flows() != 2 {
				t.Errorf("%d flows, want 2", b.g.Flows())
			}
			// A flow in Closing makes room, and is counted no more.
			rst := first.segment(wire.RST, "")
			first.send(rst)
			b.caller(9).shake()
			b.wantCount(reason, 3)
			if n := len(b.ev.Ends); b.g.Flows() != 2 || n != 1 || b.ev.Ends[0].Reason != "limit" {
				t.Errorf("%d flows, ends %+v", b.g.Flows(), b.ev.Ends)
			}
		})
	}
}

// A full table: a flow that has been silent makes room, what a backend serves never.
func TestASilentFlowMakesRoomASplicedOneNever(t *testing.T) {
	b := setup(t, func(c *redirect.Config) { c.Limits.Flows = 2 })
	s, d := b.spliced(nil)
	d.took()
	b.dial(2)
	b.wait(11 * time.Second)
	b.caller(3).shake()
	b.wantCount("flows_full", 0)
	if n := len(b.ev.Ends); b.g.Flows() != 2 || n != 1 || b.ev.Ends[0].Reason != "limit" || b.ev.Ends[0].Phase != "answering" {
		t.Errorf("%d flows, ends %+v", b.g.Flows(), b.ev.Ends)
	}
	b.caller(4).shake()
	b.wantCount("flows_full", 1) // flow 3 has just come
	b.doors[1].take()
	s.say("still there")
	if got := b.one(1); string(got.Payload) != "still there" {
		t.Errorf("%+v", got)
	}
}

// At limits.record the rules have read enough: the flow stays on the decoy.
func TestRecordIsBounded(t *testing.T) {
	b := setup(t, func(c *redirect.Config) { c.Limits.Record = 1000 })
	c := b.dial(1)
	c.say(strings.Repeat("x", 999))
	if n := len(b.ev.Decisions); n != 0 {
		t.Fatalf("decided %+v before the bound", b.ev.Decisions)
	}
	c.say("y")
	b.wantDecision("stay", "record")
	c.say(sim.Trigger)
	b.wait(time.Second)
	if len(b.ev.Switches) != 0 || b.g.Recorded() != 0 {
		t.Errorf("switches %+v, %d bytes still taken", b.ev.Switches, b.g.Recorded())
	}
}

// At limits.record_total a flow that grows stays on its decoy, and gives back
// what it had.
func TestRecordTotalIsBounded(t *testing.T) {
	b := setup(t, func(c *redirect.Config) { c.Limits.RecordTotal, c.Timeouts.Closing = 1000, time.Second })
	one, two := b.dial(1), b.dial(2)
	one.say(strings.Repeat("x", 700))
	if b.g.Recorded() != 700 {
		t.Errorf("%d bytes taken, want 700", b.g.Recorded())
	}
	two.say(strings.Repeat("y", 301))
	b.wantDecision("stay", "record_total")
	b.wait(time.Second)
	if b.g.Recorded() != 700 {
		t.Errorf("%d bytes taken, want the first flow's 700", b.g.Recorded())
	}
	two.say(sim.Trigger)
	if len(b.ev.Switches) > 0 {
		t.Errorf("switches: %+v", b.ev.Switches)
	}
	one.send(one.segment(wire.RST, ""))
	b.wait(2 * time.Second)
	if b.g.Recorded() != 0 {
		t.Errorf("%d bytes taken after the end", b.g.Recorded())
	}
}

// What is held counts too: a switch is off when it cannot be paid for.
func TestRecordTotalEndsASwitch(t *testing.T) {
	b := setup(t, func(c *redirect.Config) { c.Limits.RecordTotal = 1000 })
	c := b.dial(1)
	c.say(sim.Trigger)
	c.say(strings.Repeat("x", 1000))
	b.wantSwitch("overflow")
	b.wait(time.Second)
	if b.g.BackendFlows(0) != 0 || b.g.Recorded() != 0 {
		t.Errorf("%d flows on the backend, %d bytes taken", b.g.BackendFlows(0), b.g.Recorded())
	}
}

// Bytes ahead of a hole cost memory before the rules can read them: they are
// counted to limits.record_total, with what a piece costs. Beyond it they are
// dropped and not SACKed.
func TestBytesAheadOfAHoleCountTowardRecordTotal(t *testing.T) {
	const size = 1000
	b := setup(t, func(c *redirect.Config) {
		c.Limits.RecordTotal, c.Timeouts.Closing = 3*(size+record.PieceCost), time.Second
	})
	c := b.dial(1)
	for i := range 4 {
		s := c.segment(wire.ACK, strings.Repeat("x", size))
		s.Seq = s.Seq.Add(tcb.Size(1 + 2*size*i))
		c.send(s)
		b.wantCount("ahead_full", uint64(i/3))
	}
	acks := b.doors[0].take()
	if len(acks) != 3 || acks[2].Opts.NumSACK != 3 {
		t.Errorf("%d acknowledgements, the last %+v; want three with three blocks", len(acks), acks[len(acks)-1])
	}
	if n := b.g.Recorded(); n != 3*(size+record.PieceCost) {
		t.Errorf("%d bytes taken, want %d", n, 3*(size+record.PieceCost))
	}
	// The hole closes: the piece's cost is given back, its bytes are not.
	c.say("!")
	if n := b.g.Recorded(); n != 3*size+1+2*record.PieceCost {
		t.Errorf("%d bytes taken, want %d", n, 3*size+1+2*record.PieceCost)
	}
	c.seq--
	c.send(c.segment(wire.RST, "")) // inexact now: the record's end is exact
	c.seq = c.seq.Add(1 + size)
	c.send(c.segment(wire.RST, ""))
	b.wait(2 * time.Second)
	if b.g.Flows() != 0 || b.g.Recorded() != 0 {
		t.Errorf("%d flows, %d bytes taken at the end", b.g.Flows(), b.g.Recorded())
	}
}

// A segment ahead of a hole that the record refuses for another bound gives back
// what was reserved for it.
func TestWhatIsNotFiledIsNotTaken(t *testing.T) {
	b := setup(t, func(c *redirect.Config) { c.Limits.Held = 500 })
	c := b.dial(1)
	s := c.segment(wire.ACK, strings.Repeat("x", 501))
	s.Seq++
	c.send(s)
	b.wantCount("ahead_full", 1)
	if n := b.g.Recorded(); n != 0 {
		t.Errorf("%d bytes taken", n)
	}
}

// "Everything after it is held too, up to a bound; beyond the bound it is dropped
// and S resends", also what lies ahead of a hole.
func TestHeldIsBounded(t *testing.T) {
	b := setup(t, func(c *redirect.Config) { c.Limits.Held = 1000 })
	c := b.dial(1)
	c.say(sim.Trigger)
	c.say(strings.Repeat("x", 1000-len(sim.Trigger)))
	b.wantCount("held_full", 0)
	c.say("y")
	ahead := c.segment(wire.ACK, "z")
	ahead.Seq += 5
	c.send(ahead)
	b.wantCount("held_full", 2)
	d := b.answers(nil)
	var got strings.Builder
	for _, s := range b.doors[1].take() {
		got.Write(s.Payload)
	}
	if want := sim.Trigger + strings.Repeat("x", 1000-len(sim.Trigger)); got.String() != want {
		t.Errorf("the backend got %d bytes, want the %d that were held", got.Len(), len(want))
	}
	_ = d
	b.wantSwitch("ok")
	// S sends the dropped ones again.
	c.seq--
	c.say("yz")
	if s := b.one(1); string(s.Payload) != "yz" {
		t.Errorf("%+v, want what S sent again", s)
	}
}

// The gateway keeps no more of what lies beyond a backend's edge than a bound.
func TestKeptIsBounded(t *testing.T) {
	b := setup(t, nil)
	s, d := b.shut()
	chunk := strings.Repeat("k", 1400)
	for range redirect.KeepMax/len(chunk) + 3 {
		s.say(chunk)
	}
	b.wantCount("kept_full", 3)
	b.doors[1].take()
	d.wnd = 4000 // 512,000 bytes
	d.acks(d.ack)
	sent := 0
	for _, s := range b.doors[1].take() {
		sent += len(s.Payload)
	}
	if want := redirect.KeepMax / len(chunk) * len(chunk); sent != want {
		t.Errorf("%d bytes kept, want %d", sent, want)
	}
}

// However many clients pull the trigger at once, a backend gets so many connections; one
// more stays with the decoy, until a switch has ended, however it did.
func TestSwitchesUnderWayAreBounded(t *testing.T) {
	b := setup(t, func(c *redirect.Config) { c.Limits.Switching, c.Decoys[0].Timeout = 2, 3*time.Second })
	b.hosts.New = func(redirect.Conn) (sim.HostConfig, sim.Service) { return decoyHost, &echoes{} }
	for port := range uint16(5) {
		b.dial(1 + port).say(sim.Trigger)
	}
	over := b.dial(6)
	b.doors[0].take()
	over.say(sim.Trigger + "\n")
	b.wait(10 * time.Millisecond)
	b.wantCount("switching_full", 4)
	if syns := b.doors[1].take(); len(syns) != 2 {
		t.Errorf("the backend got %d segments, want two SYNs", len(syns))
	}
	if s := b.last(0); string(s.Payload) != sim.Trigger+"\n" {
		t.Errorf("%+v, want the decoy's answer", s)
	}
	for i, s := range b.ev.Switches {
		if s.Result != "overflow" {
			t.Errorf("switch %d ended %+v", i, s)
		}
	}
	b.wait(4 * time.Second)
	if n := b.g.Switching(); n != 0 {
		t.Errorf("%d switches under way after their time", n)
	}
	b.doors[1].take()
	s := b.dial(7)
	s.say(sim.Trigger)
	b.answers(nil)
	b.wait(10 * time.Millisecond)
	b.dial(8).say(sim.Trigger)
	s.send(s.segment(wire.RST, ""))
	b.wait(10 * time.Millisecond)
	if n := b.g.Switching(); n != 1 {
		t.Errorf("%d switches under way, want one", n)
	}
	b.wantCount("switching_full", 4)
}

func TestABackendsFlowsAreBounded(t *testing.T) {
	b := setup(t, func(c *redirect.Config) { c.Backends[0].MaxFlows = 1 })
	b.spliced(nil)
	two := b.dial(2)
	two.say(sim.Trigger)
	b.wantSwitch("refused")
	if b.g.BackendFlows(0) != 1 {
		t.Errorf("%d flows on the backend", b.g.BackendFlows(0))
	}
}

// "if a live flow holds it, the switch ends as `collision` and nothing is sent".
func TestABackendsKeyIsTakenOnce(t *testing.T) {
	b := setup(t, nil)
	b.spliced(nil)
	b.doors[1].take()
	two := b.caller(40000) // another decoy, the same port: the same pair on the backend
	two.dst = netip.MustParseAddrPort("203.0.113.6:23")
	two.shake()
	b.wait(10 * time.Millisecond)
	two.say(sim.Trigger)
	b.wantSwitch("collision")
	b.wantSilence(1)
	if b.g.BackendFlows(0) != 1 {
		t.Errorf("%d flows on the backend", b.g.BackendFlows(0))
	}
}

// A backend of another family refuses.
func TestABackendWithoutTheFamilyRefuses(t *testing.T) {
	b := setup(t, func(c *redirect.Config) { c.Backends[0].V4 = netip.Addr{} })
	b.dial(1).say(sim.Trigger)
	b.wantSwitch("refused")
	b.wantSilence(1)
}

// full is a decoy whose transcripts have reached their bound.
type full struct{ *sim.Decoy }

type fullGate struct{ redirect.Gate }

func (f full) Expect(c redirect.Conn) redirect.Gate { return fullGate{f.Decoy.Expect(c)} }
func (fullGate) Answered() ([]byte, []record.Mark, bool) {
	return nil, nil, true
}

// At limits.decoy_record no switch is possible.
func TestATranscriptAtItsBoundIsNotReplayed(t *testing.T) {
	b := setup(t, nil)
	b.make(nil, full{b.hosts})
	b.hosts.Attach(b.g, false)
	b.dial(1).say(sim.Trigger)
	b.wantSwitch("overflow")
	b.wantSilence(1)
}

// RFC 1812, section 4.3.2.8: a host limits its ICMP errors, Linux six at once and
// then one each second (250 ms in IPv6), for each client by itself.
func TestErrorsForDatagramsAreLimited(t *testing.T) {
	b := setup(t, nil)
	other := netip.MustParseAddrPort("198.51.100.8:1")
	probes := func(src netip.AddrPort, n int) (answers int) {
		for range n {
			b.packet(0, datagram(src, decoyAddr))
		}
		answers = len(b.doors[0].out)
		b.doors[0].take()
		return answers
	}
	if n := probes(clientAddr, 20); n != 6 {
		t.Errorf("%d at once, want 6", n)
	}
	if n := probes(other, 2); n != 2 {
		t.Errorf("%d to another client, want 2", n)
	}
	b.wait(time.Second)
	if n := probes(clientAddr, 3); n != 1 {
		t.Errorf("%d after a second, want 1", n)
	}
	b.wait(time.Minute)
	if n := probes(clientAddr, 20); n != 6 {
		t.Errorf("%d after a minute, want 6", n)
	}
	b.wantCount("icmp_rate", 14+2+14)
}

// A ping is no error and is not limited, as on Linux (icmp_ratemask).
func TestPingsAreNotLimited(t *testing.T) {
	b := setup(t, nil)
	echo := []byte{8, 0, 0, 0, 0, 1, 0, 1}
	s := ^sum(echo)
	echo[2], echo[3] = byte(s>>8), byte(s)
	for range 100 {
		b.packet(0, ipPacket(wire.ProtoICMP4, string(echo)))
	}
	if n := len(b.doors[0].out); n != 100 {
		t.Errorf("%d of 100 pings answered", n)
	}
}

// The table of clients does not grow: a flood from many sources is limited.
func TestTheErrorLimitIsOfOneSize(t *testing.T) {
	b := setup(t, nil)
	for i := range 8 * redirect.ErrorSlots {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), uint16(i>>16)+1)
		b.packet(0, datagram(src, decoyAddr))
	}
	if n := len(b.doors[0].out); n > 6*redirect.ErrorSlots {
		t.Errorf("%d errors from %d slots", n, redirect.ErrorSlots)
	}
	b.doors[0].out = nil
}

// Timeouts, each with the reason that it reports.
func TestTimeouts(t *testing.T) {
	for _, v := range []struct {
		name, reason string
		config       func(*redirect.Config)
		begin        func(*bench)
		wait         time.Duration
	}{
		{"established", "idle", func(c *redirect.Config) { c.Timeouts.Established = time.Minute; c.Rules = always(rules.Stay) },
			func(b *bench) { b.dial(1) }, 61 * time.Second},
		{"half closed", "idle", func(c *redirect.Config) { c.Timeouts.Closing = 10 * time.Second },
			func(b *bench) {
				s, d := b.spliced(nil)
				d.took()
				s.send(s.segment(wire.FIN|wire.ACK, ""))
				d.acks(d.ack + 1)
			}, 11 * time.Second},
		{"reset", "reset", func(c *redirect.Config) { c.Timeouts.Closing = 10 * time.Second },
			func(b *bench) { c := b.dial(1); c.send(c.segment(wire.RST, "")) }, 11 * time.Second},
	} {
		t.Run(v.name, func(t *testing.T) {
			b := setup(t, v.config)
			v.begin(b)
			if b.g.Flows() != 1 {
				t.Fatalf("%d flows", b.g.Flows())
			}
			b.wait(v.wait)
			if b.g.Flows() != 0 || len(b.ev.Ends) != 1 || b.ev.Ends[0].Reason != v.reason {
				t.Errorf("%d flows, ends %+v, want %s", b.g.Flows(), b.ev.Ends, v.reason)
			}
		})
	}
}

func TestAnsweringEndsAsStay(t *testing.T) {
	b := setup(t, func(c *redirect.Config) { c.Timeouts.Answering = 10 * time.Second })
	c := b.dial(1)
	b.wait(11 * time.Second)
	b.wantDecision("stay", "answering")
	c.say(sim.Trigger)
	if len(b.ev.Switches) > 0 {
		t.Errorf("switches: %+v", b.ev.Switches)
	}
}

// "replay.timeout ends in a roll-back": the backend says nothing.
func TestASwitchEndsInItsTime(t *testing.T) {
	b := setup(t, func(c *redirect.Config) { c.Decoys[0].Timeout = 3 * time.Second })
	c := b.dial(1)
	c.say(sim.Trigger)
	b.wait(4 * time.Second)
	b.wantSwitch("timeout")
	// The held bytes went to the decoy, which has acknowledged them.
	if a := b.last(0); a.Ack != c.seq {
		t.Errorf("%+v, want an acknowledgement of %d", a, c.seq)
	}
}

// "If S sends nothing for timeouts.drain, both legs get an exact RST".
func TestDrainEndsInItsTime(t *testing.T) {
	b := setup(t, func(c *redirect.Config) { c.Timeouts.Drain = 5 * time.Second })
	b.hosts.New = func(redirect.Conn) (sim.HostConfig, sim.Service) { return decoyHost, &echoes{} }
	s := b.dial(40000)
	s.say("hello\n")
	b.wait(10 * time.Millisecond)
	b.doors[0].take() // the decoy's answer, which S never acknowledges
	s.say(sim.Trigger)
	d := b.answers(nil)
	b.wait(time.Millisecond)
	d.acks(end(b.last(1))) // the record
	answer := d.segment(wire.ACK, "hello\n")
	d.send(answer)
	d.seq = answer.End()
	b.wantSwitch("ok")
	b.doors[0].take()
	nxt := end(b.last(1))
	b.wait(6 * time.Second)
	if len(b.ev.Ends) != 1 || b.ev.Ends[0].Reason != "drain" {
		t.Errorf("ends: %+v", b.ev.Ends)
	}
	if r := b.last(1); r.Flags&wire.RST == 0 || r.Seq.LessThan(nxt) {
		t.Errorf("%+v, want an exact RST to the backend", r)
	}
	if r := b.last(0); r.Flags&wire.RST == 0 {
		t.Errorf("%+v, want a RST to S", r)
	}
}
