package e2e

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"

	"sleight/e2e/bed"
	"sleight/e2e/scripted"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// The ports of decoys that a host's answers are compared with, beside toKernel.
const (
	toBye    = 10 // says a word and closes
	toClosed = 99
)

// probe is one connection that a stimulus plays on, and what it was answered. Numbers
// are relative to where the connection stood at mark; times are counted in segments.
type probe struct {
	*scripted.End
	l        *linesBed
	quiet    time.Duration // silence that ends an answer
	clock    uint32
	snd, rcv tcb.Seq
	marked   uint32
	answers  []string
}

// put sends a segment with the next time of the probe's own clock.
func (p *probe) put(s *wire.Segment) {
	p.Helper()
	if s.Opts.HasTS {
		p.clock += 10
		s.Opts.TSVal = p.clock
	}
	p.Put(s)
}

// at sends a segment rel bytes from what is next.
func (p *probe) at(flags wire.Flags, rel int, payload string) {
	p.Helper()
	p.put(p.Segment(flags, p.Sent+rel, payload))
}

// aged sends one whose time is ms behind the newest.
func (p *probe) aged(flags wire.Flags, rel int, payload string, ms uint32) {
	p.Helper()
	s := p.Segment(flags, p.Sent+rel, payload)
	s.Opts.TSVal = p.clock - ms
	p.Put(s)
}

// acking sends one whose acknowledgement is off.
func (p *probe) acking(flags wire.Flags, payload string, off int) {
	p.Helper()
	s := p.Segment(flags, p.Sent, payload)
	s.Ack += tcb.Seq(off)
	p.put(s)
}

// syn sends another SYN, rel bytes from what is next.
func (p *probe) syn(rel int) {
	p.Helper()
	s := p.Segment(wire.SYN, p.Sent+rel, "")
	s.Opts, s.Wnd = p.Opts, p.SYNWnd
	p.put(s)
}

// half opens a connection by half.
func (p *probe) half() {
	p.Helper()
	p.put(p.SYN())
	p.WantSYNACK()
	p.mark()
}

// talk is a connection with a word and its answer.
func (p *probe) talk(say, hear string) {
	p.Helper()
	p.at(wire.ACK|wire.PSH, 0, say)
	p.Sent += len(say)
	p.HearQuietly(hear)
	p.Unsaid = 0
	p.at(wire.ACK, 0, "")
}

// open is a connection in which both have spoken.
func (p *probe) open() {
	p.Helper()
	p.half()
	p.at(wire.ACK, 0, "")
	p.talk("hello\n", "hello\n")
	p.mark()
}

// over is a connection that S has closed first.
func (p *probe) over() {
	p.Helper()
	p.open()
	p.at(wire.ACK|wire.FIN, 0, "")
	p.Sent++
	p.Want("a FIN", func(s *wire.Segment) bool { return s.Flags.Has(wire.FIN) })
	p.at(wire.ACK, 0, "")
	p.mark()
}

// wait is a connection that the host has closed first.
func (p *probe) wait() {
	p.Helper()
	p.half()
	p.at(wire.ACK, 0, "")
	p.Want("a FIN", func(s *wire.Segment) bool { return s.Flags.Has(wire.FIN) })
	p.at(wire.ACK, 0, "")
	p.at(wire.ACK|wire.FIN, 0, "")
	p.Sent++
	p.mark()
}

// mark forgets what has come so far.
func (p *probe) mark() {
	p.Heard(p.quiet)
	p.snd, p.rcv, p.marked = p.ISS+tcb.Seq(p.Sent), p.IRS+tcb.Seq(p.Got), p.clock
}

// hear notes what comes until there is silence.
func (p *probe) hear() {
	last := uint16(0)
	for _, s := range p.Heard(p.quiet) {
		seq := s.Seq
		if s.Flags&(wire.RST|wire.ACK) != wire.RST|wire.ACK {
			seq -= p.rcv
		}
		a := fmt.Sprintf("%v %d:%d", s.Flags, int32(seq), len(s.Payload))
		if s.Flags.Has(wire.ACK) {
			a += fmt.Sprintf(" ack %d", tcb.Diff(s.Ack, p.snd))
		}
		a += fmt.Sprintf(" win %d ttl %d df %t tos %d", s.Wnd, s.TTL, s.DF, s.TOS)
		if s.Opts.HasTS {
			a += fmt.Sprintf(" ecr %d", int32(s.Opts.TSEcr-p.marked))
		}
		for _, b := range s.Opts.Blocks() {
			a += fmt.Sprintf(" sack %d:%d", tcb.Diff(b.Start, p.snd), tcb.Diff(b.End, p.snd))
		}
		switch {
		case s.ID == 0:
			a += " no id"
		case last != 0:
			a += fmt.Sprintf(" id +%d", s.ID-last)
		}
		last = s.ID
		p.answers = append(p.answers, a)
	}
	for _, k := range p.l.s.ICMP() {
		if p.Remote.Addr() == k.Src && len(k.L4) > 1 {
			p.answers = append(p.answers, fmt.Sprintf("protocol %d: %d %d of %d bytes, ttl %d df %t tos %#x", k.Proto, k.L4[0], k.L4[1], len(k.L4), k.TTL, k.DF, k.TOS))
		}
	}
}

// packet sends an IPv4 packet of another protocol.
func (p *probe) packet(proto byte, body []byte) {
	p.Helper()
	pkt := append([]byte{0x45, 0, 0, byte(20 + len(body)), 0, 9, 0, 0, 64, proto, 0, 0}, p.Local.Addr().AsSlice()...)
	pkt = append(append(pkt, p.Remote.Addr().AsSlice()...), body...)
	p.l.s.Inject(p.Remote.Addr(), pkt)
}

// icmp4 is an ICMP message with its checksum.
func icmp4(b ...byte) []byte {
	binary.BigEndian.PutUint16(b[2:], ^checksum.Checksum(b, 0))
	return b
}

// lone is a segment to a port that has no such connection.
func lone(flags wire.Flags) func(*probe) {
	return func(p *probe) {
		p.Got, p.IRS, p.Wnd = 5000, 0, 1024
		p.snd = p.ISS
		p.at(flags, 0, "")
	}
}

// stimulus is something that scanners and careful attackers send to find out what
// answers them.
type stimulus struct {
	name string
	port uint16
	play func(*probe)
	// joined: it is played on a connection that was switched as well.
	joined bool
}

func thrice(f func(*probe)) func(*probe) {
	return func(p *probe) {
		for range 3 {
			f(p)
		}
	}
}

// after begins with a connection.
func after(state func(*probe), f func(*probe)) func(*probe) {
	return func(p *probe) {
		state(p)
		f(p)
	}
}

// established is a stimulus on an open connection, switched or not.
func established(name string, f func(*probe)) stimulus {
	return stimulus{name, toKernel, f, true}
}

func stimuli() (all []stimulus) {
	for _, flags := range []wire.Flags{
		0, wire.FIN, wire.FIN | wire.URG | wire.PSH, wire.ACK, wire.FIN | wire.ACK, wire.SYN | wire.ACK, wire.RST,
		wire.SYN | wire.FIN | wire.URG | wire.PSH,
	} {
		all = append(all,
			stimulus{fmt.Sprintf("%v to an open port", flags), toKernel, lone(flags), false},
			stimulus{fmt.Sprintf("%v to a closed port", flags), toClosed, lone(flags), false})
	}
	const ack, psh, rst, fin = wire.ACK, wire.ACK | wire.PSH, wire.RST, wire.ACK | wire.FIN
	decoy := func(name string, port uint16, f func(*probe)) {
		all = append(all, stimulus{name, port, f, false})
	}
	decoy("half open: a SYN before the window", toKernel, after((*probe).half, func(p *probe) { p.syn(-700) }))
	decoy("half open: a SYN in the window", toKernel, after((*probe).half, func(p *probe) { p.syn(700); p.at(ack, 0, "") }))
	decoy("half open: a SYN-ACK", toKernel, after((*probe).half, func(p *probe) { p.at(wire.SYN|wire.ACK, 0, "") }))
	decoy("half open: another ACK", toKernel, after((*probe).half, func(p *probe) { p.acking(ack, "", 1) }))
	decoy("half open: data beyond the window", toKernel, after((*probe).half, func(p *probe) { p.at(ack, 70_000, "x") }))
	all = append(all,
		established("a RST in the window, thrice", thrice(func(p *probe) { p.at(rst, 10, "") })),
		established("a RST a byte before", func(p *probe) { p.at(rst, -1, "") }),
		established("a RST beyond the window", func(p *probe) { p.at(rst, 100_000, "") }),
		established("a SYN in the window, thrice", thrice(func(p *probe) { p.syn(10) })),
		established("a SYN-ACK", func(p *probe) { p.at(wire.SYN|wire.ACK, 0, "") }),
		established("an ACK of the future, thrice", thrice(func(p *probe) { p.acking(ack, "", 1000) })),
		established("data that acknowledges the future", func(p *probe) { p.acking(psh, "x", 1000) }),
		established("data that acknowledges what is long past", func(p *probe) { p.acking(psh, "x\n", -1<<26) }),
		established("no flag", func(p *probe) { p.at(0, 0, "") }),
		established("a keep-alive, thrice", thrice(func(p *probe) { p.at(ack, -1, "") })),
		established("a keep-alive with a byte, thrice", thrice(func(p *probe) { p.at(ack, -1, "\n") })),
		established("an ACK beyond the window", func(p *probe) { p.at(ack, 1<<20, "") }),
		established("data that came before, thrice", thrice(func(p *probe) { p.at(psh, -3, "lo\n") })),
		established("data from before the connection", func(p *probe) { p.at(psh, -5000, "x") }),
		established("a FIN that came before", func(p *probe) { p.at(fin, -1, "") }),
		established("data ahead of a hole", func(p *probe) { p.at(psh, 6, "world\n") }),
		established("data ahead of a hole, thrice", thrice(func(p *probe) { p.at(psh, 6, "world\n") })),
		established("data ahead of a hole, and more of it", func(p *probe) { p.at(psh, 6, "world\n"); p.at(psh, 4, "o\nworld\nand so on") }),
		established("data of long ago, thrice", thrice(func(p *probe) { p.aged(psh, 0, "hello\n", 500) })),
		// Linux lets one pass that is younger than 1.2 times its retransmission timeout, which
		// grows with S's patience.
		established("an ACK of long ago", func(p *probe) { p.aged(ack, 0, "", 5000) }),
		established("an ACK that was overtaken", func(p *probe) { p.aged(ack, 0, "", 1) }),
		established("a FIN of long ago", func(p *probe) { p.aged(fin, 0, "", 500) }),
		established("an ACK after a RST", func(p *probe) { p.at(rst, 0, ""); p.at(ack, 0, "") }),
		established("a word, and its answer", func(p *probe) { p.at(psh, 0, "again\n") }),
		established("half a word, and the rest", func(p *probe) { p.at(psh, 0, "ag"); p.at(psh, 2, "ain\n") }),
		established("half a word", func(p *probe) { p.at(psh, 0, "ag") }),
		established("half a word, again", func(p *probe) { p.at(psh, 0, "ag"); time.Sleep(p.quiet / 2); p.at(psh, 0, "ag") }),
		established("a FIN", func(p *probe) { p.at(fin, 0, "") }),
		established("a word and a FIN", func(p *probe) { p.at(psh|fin, 0, "again\n") }),
		established("a FIN without ACK after a RST", func(p *probe) { p.at(rst, 0, ""); p.at(wire.FIN, 0, "") }),
	)
	decoy("data beyond the window, thrice", toKernel, after((*probe).open, thrice(func(p *probe) { p.at(psh, 70_000, "x") })))
	decoy("a SYN-ACK after a RST", toKernel, after((*probe).open, func(p *probe) { p.at(rst, 0, ""); p.at(wire.SYN|wire.ACK, 0, "") }))
	for name, f := range map[string]func(*probe){
		"an ACK": func(p *probe) { p.at(ack, 0, "") }, "data": func(p *probe) { p.at(psh, 0, "hello\n") },
		"the FIN again": func(p *probe) { p.at(fin, -1, "") }, "no flag": func(p *probe) { p.at(0, 0, "") },
		"old data, thrice": thrice(func(p *probe) { p.at(psh, -3, "lo\n") }),
		"a RST and an ACK": func(p *probe) { p.at(rst, 0, ""); p.at(ack, 0, "") },
		"an old SYN":       func(p *probe) { p.Opts = wire.Options{}; p.syn(-1000) },
		"long ago":         func(p *probe) { p.aged(ack, 0, "", 500) },
	} {
		if name != "an old SYN" { // the host's ISN differs
			decoy("S has closed: "+name, toKernel, after((*probe).over, f))
		}
		decoy("the host has closed: "+name, toBye, after((*probe).wait, f))
	}
	decoy("a question for the time", toKernel, func(p *probe) {
		p.packet(wire.ProtoICMP4, icmp4(13, 0, 0, 0, 1, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
	})
	decoy("a ping", toKernel, func(p *probe) { p.packet(wire.ProtoICMP4, icmp4(8, 9, 0, 0, 1, 2, 0, 1, 3)) })
	decoy("a protocol that nobody has", toKernel, func(p *probe) { p.packet(143, []byte("who is there?")) })
	decoy("a datagram", toKernel, func(p *probe) { p.packet(wire.ProtoUDP, []byte{3, 231, 3, 231, 0, 12, 0, 0, 1, 2, 3, 4}) })
	return all
}

// What a real Linux host answers, a decoy answers, and so does a connection that was
// switched: each stimulus is put to all three, the host reached by plain forwarding.
// What differs all the same is in docs/limits.md.
func TestAnswersAreALinuxHosts(t *testing.T) {
	b := newBed(t, bed.Config{Backends: 2})
	config := strings.Replace(linesConfig(), "decoys:\n", `decoys:
  - {name: bye, match: {ports: [10]}, service: {type: banner, banner: "bye\n", close: true}}
  - {name: closed, match: {ports: [99]}, service: {type: closed}}
`, 1)
	l := &linesBed{T: t, Bed: b, ports: 20000}
	l.hosts[0].s = scripted.New(t, scriptedClient[0], bed.End{Namespace: b.Attacker, Device: bed.AttackerDevice}, bed.End{Namespace: b.Gateway, Device: bed.ClientsDevice})
	l.in(0)
	for _, ns := range b.Backends {
		// The profile's window scale is that of this limit (stack/profile).
		if err := ns.Sysctl("net/ipv4/tcp_rmem", "4096 131072 6291456"); err != nil {
			t.Fatal(err)
		}
		serveLines(t, ns)
		serveBye(t, ns)
	}
	l.gateway = start(t, b, config)
	real, _ := bed.BackendAddrs(1)
	for _, s := range stimuli() {
		t.Run(s.name, func(t *testing.T) { l.alike(t, s, real) })
	}
}

// alike asks the host and the gateway the same. Where they differ somebody may have
// been late, so it asks again with more patience.
func (l *linesBed) alike(t *testing.T, s stimulus, real netip.Addr) {
	var want, got []string
	asks := []bool{false}
	if s.joined {
		asks = append(asks, true)
	}
	for _, joined := range asks {
		for _, quiet := range []time.Duration{20 * time.Millisecond, 200 * time.Millisecond, time.Second} {
			want, got = l.ask(t, s, real, false, quiet), l.ask(t, s, claimed[0], joined, quiet)
			if slices.Equal(want, got) {
				break
			}
		}
		if !slices.Equal(want, got) {
			t.Errorf("switched: %t\nhost    %q\ngateway %q", joined, want, got)
		}
	}
}

func (l *linesBed) ask(t *testing.T, s stimulus, at netip.Addr, joined bool, quiet time.Duration) []string {
	t.Helper()
	l.ports++
	p := &probe{l: l, End: l.s.Client(t, l.ports, netip.AddrPortFrom(at, s.port)), quiet: quiet, clock: 1000}
	if s.joined {
		p.open()
		if joined {
			p.talk("go!\n", "real: go!\n")
			p.mark()
		}
	}
	s.play(p)
	p.hear()
	p.RST()
	return p.answers
}

// serveBye says a word and closes.
func serveBye(t *testing.T, ns *bed.Namespace) {
	t.Helper()
	l, err := ns.Listen("tcp", fmt.Sprintf(":%d", toBye))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go sayBye(l)
}

func sayBye(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "bye\n")
		_ = c.Close()
	}
}
