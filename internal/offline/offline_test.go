package offline

import (
	"net/netip"
	"testing"
	"time"

	"sleight/rules"
	"sleight/rules/suricata"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

var (
	client = netip.MustParseAddrPort("198.51.100.7:40001")
	server = netip.MustParseAddrPort("203.0.113.9:80")
	began  = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
)

// capture is a capture that is being written.
type capture struct {
	t    *testing.T
	j    *Judge
	n    int
	said []Verdict
}

func newCapture(t *testing.T, max int, rs ...rules.Rule) *capture {
	t.Helper()
	set, errs := rules.Compile(rs)
	if errs != nil {
		t.Fatalf("%+v", errs)
	}
	vars, err := suricata.NewVars(map[string]string{"HOME_NET": "203.0.113.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	all, skipped := suricata.Parse("own.rules", `alert tcp any any -> $HOME_NET 80 (msg:"m"; content:"evil"; depth:8; sid:7;)`, vars)
	if skipped = append(skipped, set.UseSuricata(all, nil)...); len(skipped) > 0 {
		t.Fatal(skipped)
	}
	c := &capture{t: t}
	c.j = New(Config{
		Set: set, Record: 1 << 16, Answering: 2 * time.Minute, MaxFlows: max,
		Decoy: func(_, dialled netip.AddrPort) (string, bool) { return "web", dialled.Port() == 80 },
	}, func(v Verdict) { c.said = append(c.said, v) })
	return c
}

// give adds a packet with a wrong checksum, as captures of offloading hosts have them.
func (c *capture) give(from, to netip.AddrPort, flags wire.Flags, seq, ack uint32, payload string) {
	c.n++
	buf := make([]byte, 4096)
	for i := range buf {
		buf[i] = 0xa5
	}
	pkt := wire.Build(buf, &wire.Segment{
		Src: from, Dst: to, TTL: 64, Flags: flags, Seq: tcb.Seq(seq), Ack: tcb.Seq(ack), Payload: []byte(payload),
	})
	pkt[len(pkt)-len(payload)-4] ^= 0xff // of the checksum
	c.j.Packet(began.Add(time.Duration(c.n)*time.Second), c.n, pkt)
}

// open makes a handshake.
func (c *capture) open(client netip.AddrPort, isn uint32) {
	c.give(client, server, wire.SYN, isn, 0, "")
	c.give(server, client, wire.SYN|wire.ACK, 7000, isn+1, "")
	c.give(client, server, wire.ACK, isn+1, 7001, "")
}

var switches = []rules.Rule{{Name: "evil", Action: rules.Switch, Backend: "b", Suricata: &suricata.Selector{}}}

// want checks the only verdict.
func (c *capture) want(why string, action rules.Action, packet int) Verdict {
	c.t.Helper()
	c.j.Close()
	if len(c.said) != 1 || c.said[0].Action != action || c.said[0].Packet != packet {
		c.t.Fatalf("%s: %+v", why, c.said)
	}
	return c.said[0]
}

func TestAVerdictAtItsPacket(t *testing.T) {
	for _, isn := range []uint32{1000, 0x7fffff00, 0xffffff00} {
		c := newCapture(t, 0, switches...)
		c.open(client, isn)
		c.give(client, server, wire.ACK, isn+4, 7001, "il!") // ahead of a hole
		c.give(client, server, wire.ACK, isn+1, 7001, "a ev")
		c.give(client, server, wire.ACK, isn+1, 7001, "OTHER")
		v := c.want("what came ahead of the hole came first: a eil!", rules.Stay, 0)
		if v.Bytes != 6 {
			t.Errorf("the client has said %d bytes", v.Bytes)
		}
		c = newCapture(t, 0, switches...)
		c.open(client, isn)
		c.give(client, server, wire.ACK, isn+4, 7001, "vil")
		c.give(client, server, wire.ACK, isn+1, 7001, "a e")
		if v := c.want("the fifth packet completes it", rules.Switch, 5); v.Alert == nil || v.Alert.SID != 7 || v.Decoy != "web" {
			t.Errorf("%+v", v)
		}
	}
}

// A message begins where the client speaks again after an answer.
func TestTurnsAreTheServers(t *testing.T) {
	c := newCapture(t, 0, switches...)
	c.open(client, 1000)
	c.give(client, server, wire.ACK, 1001, 7001, "a long greeting ")
	c.give(server, client, wire.ACK, 7001, 1017, "yes?")
	c.give(client, server, wire.ACK, 1017, 7005, "evil")
	c.want("evil begins the second turn", rules.Switch, 6)
}

func TestACaptureThatBeginsLate(t *testing.T) {
	c := newCapture(t, 0, switches...)
	c.give(server, client, wire.ACK, 7001, 1001, "hello")
	c.give(client, server, wire.ACK, 1001, 7006, "evil")
	c.want("the lower port is the server's", rules.Switch, 2)
}

func TestThePortIsReused(t *testing.T) {
	c := newCapture(t, 0, switches...)
	c.open(client, 1000)
	c.open(client, 900000)
	c.give(client, server, wire.ACK, 900001, 7001, "evil")
	c.j.Close()
	if len(c.said) != 2 || c.said[0].Action != rules.Stay || c.said[1].Action != rules.Switch {
		t.Errorf("%+v", c.said)
	}
}

// "Whatever an attacker can grow has a bound": the connection that was silent for the
// longest makes room.
func TestConnectionsHaveABound(t *testing.T) {
	c := newCapture(t, 10, switches...)
	for i := range 100 {
		c.open(netip.AddrPortFrom(client.Addr(), uint16(1000+i)), 5000)
	}
	if len(c.j.flows) != 10 || c.j.recent.Len() != 10 || len(c.said) != 90 {
		t.Errorf("%d flows, %d verdicts", len(c.j.flows), len(c.said))
	}
}

func TestNoDecoyNoVerdict(t *testing.T) {
	c := newCapture(t, 0, switches...)
	other := netip.MustParseAddrPort("203.0.113.9:81")
	c.give(client, other, wire.SYN, 1000, 0, "")
	c.give(client, other, wire.ACK, 1001, 1, "evil")
	c.j.Packet(began, 9, []byte{0x45})
	if c.j.Close(); len(c.said) != 0 || c.j.Flows != 0 {
		t.Errorf("%+v", c.said)
	}
}
