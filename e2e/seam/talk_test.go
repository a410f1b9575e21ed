package seam

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sleight/internal/pcap"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// step is one segment of a synthetic capture at S.
type step struct {
	name       string
	at         time.Duration
	fromServer bool
	wire.Segment
	raw []func([]byte) []byte // what is done to the packet's bytes at last
}

// talk writes a conversation as two Linux hosts would have it, 20 ms apart.
type talk struct {
	steps          []step
	v6             bool
	now            time.Duration
	client, server end
}

// end is one host's half of a talk.
type end struct {
	addr  netip.AddrPort
	nxt   tcb.Seq // its next sequence number
	wnd   uint16
	clock uint32 // TSval at time 0
	seen  uint32 // the peer's newest TSval
	id    uint16
	ttl   uint8
	label uint32
}

const (
	rtt       = 20 * time.Millisecond
	fullSize  = 1448
	fullSize6 = 1428
)

var epoch = time.Date(2026, 11, 26, 1, 0, 0, 0, time.UTC)

func newTalk(v6 bool, isn tcb.Seq) *talk {
	t := &talk{
		v6:     v6,
		client: end{addr: netip.MustParseAddrPort("198.51.100.2:40001"), nxt: isn, wnd: 502, clock: 0xffffff00, id: 7, ttl: 64},
		server: end{addr: netip.MustParseAddrPort("203.0.113.9:80"), nxt: isn ^ 0x00ff00ff, wnd: 509, clock: 0xfffffff0, id: 0xfffe, ttl: 61},
	}
	if v6 {
		t.client.addr = netip.MustParseAddrPort("[2001:db8:51::2]:40001")
		t.server.addr = netip.MustParseAddrPort("[2001:db8:113::9]:80")
		t.client.label, t.server.label = 0x11111, 0x22222
	}
	return t
}

func (t *talk) full() int {
	if t.v6 {
		return fullSize6
	}
	return fullSize
}

// say adds a segment.
func (t *talk) say(name string, fromServer bool, flags wire.Flags, payload []byte) *step {
	from, to := &t.client, &t.server
	if fromServer {
		from, to = to, from
	}
	s := wire.Segment{
		Src: from.addr, Dst: to.addr, TTL: from.ttl, DF: !t.v6, FlowLabel: from.label,
		Seq: from.nxt, Flags: flags, Wnd: from.wnd, Payload: payload,
	}
	if !t.v6 && (!flags.Has(wire.SYN) || !fromServer) {
		s.ID = from.id
		from.id++
	}
	if flags.Has(wire.ACK) {
		s.Ack = to.nxt
	}
	tick := from.clock + uint32(t.now.Milliseconds())
	s.Opts.HasTS, s.Opts.TSVal, s.Opts.TSEcr = true, tick, from.seen
	to.seen = tick
	if flags.Has(wire.SYN) {
		s.Opts.HasMSS, s.Opts.MSS, s.Opts.SACKPermitted = true, uint16(t.full()+12), true
		s.Opts.HasWndShift, s.Opts.WndShift, s.Wnd = true, 7, 64240
	}
	from.nxt = s.End()
	t.steps = append(t.steps, step{name: name, at: t.now, fromServer: fromServer, Segment: s})
	return &t.steps[len(t.steps)-1]
}

func (t *talk) c(name string, flags wire.Flags, payload []byte) *step {
	t.now += 100 * time.Microsecond
	return t.say(name, false, flags, payload)
}

// s adds a segment that the server sends as soon as it has heard of the last one.
func (t *talk) s(name string, flags wire.Flags, payload []byte) *step {
	if n := len(t.steps); n > 0 && !t.steps[n-1].fromServer {
		t.now += rtt
	} else {
		t.now += 10 * time.Microsecond
	}
	return t.say(name, true, flags, payload)
}

const (
	syn    = wire.SYN
	ack    = wire.ACK
	synack = wire.SYN | wire.ACK
	psh    = wire.PSH | wire.ACK
	fin    = wire.FIN | wire.ACK
)

// open adds the handshake.
func (t *talk) open() {
	t.c("syn", syn, nil)
	t.s("synack", synack, nil)
	t.c("handshake", ack, nil)
}

// exchange is the conversation that every planted anomaly starts from.
func (t *talk) exchange() {
	t.open()
	t.c("A", psh, text(100, 'A'))
	t.s("ack A", ack, nil)
	t.s("a1", ack, text(t.full(), 'a'))
	t.s("a2", ack, text(t.full(), 'b'))
	t.s("a3", psh, text(500, 'c'))
	t.c("ack a", ack, nil)
	t.c("B", psh, text(200, 'B'))
	t.s("b", psh, text(300, 'd'))
	t.c("ack b", ack, nil)
	t.s("b2", psh, text(300, 'e'))
	t.c("ack b2", ack, nil)
	t.now += 60 * time.Second
	probe := t.s("keepalive", ack, nil)
	probe.Seq--
	t.c("alive", ack, nil)
	t.c("fin", fin, nil)
	t.s("finack", fin, nil)
	t.c("last", ack, nil)
}

func text(n int, of byte) []byte { return bytes.Repeat([]byte{of}, n) }

// at returns a named step.
func (t *talk) at(name string) *step {
	i := t.index(name)
	return &t.steps[i]
}

func (t *talk) index(name string) int {
	i := slices.IndexFunc(t.steps, func(s step) bool { return s.name == name })
	if i < 0 {
		panic("no step " + name)
	}
	return i
}

// after returns the server's steps from a named one on.
func (t *talk) after(name string) (all []*step) {
	for i := t.index(name); i < len(t.steps); i++ {
		if t.steps[i].fromServer {
			all = append(all, &t.steps[i])
		}
	}
	return all
}

// insert puts a copy of a step behind another one, a little later.
func (t *talk) insert(behind, of string) *step {
	i := t.index(behind)
	s := *t.at(of)
	s.name, s.at, s.raw = "planted", t.steps[i].at+5*time.Microsecond, nil
	t.steps = slices.Insert(t.steps, i+1, s)
	return &t.steps[i+1]
}

// bare inserts a bare ACK that the server might have sent there, in the series of
// its IDs.
func (t *talk) bare(behind string) *step {
	i := t.index(behind)
	s := t.insert(behind, behind)
	s.Flags, s.Payload = ack, nil
	s.Seq = t.steps[i].End()
	s.ID++
	for j := i + 2; j < len(t.steps); j++ {
		if t.steps[j].fromServer {
			t.steps[j].ID++
		}
	}
	return s
}

func (t *talk) remove(name string) { i := t.index(name); t.steps = slices.Delete(t.steps, i, i+1) }

// packets are the talk as a capture holds it.
func (t *talk) packets() (all []pcap.Packet) {
	for i := range t.steps {
		s := &t.steps[i]
		buf := bytes.Repeat([]byte{0xa5}, wire.MaxHeader+len(s.Payload)+64)
		b := wire.Build(buf, &s.Segment)
		for _, f := range s.raw {
			b = f(b)
		}
		all = append(all, pcap.Packet{Number: i + 1, Time: epoch.Add(s.at), Data: b})
	}
	return all
}

func claimed() func(netip.Addr) bool {
	return In(netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:113::/64"))
}

func (t *talk) check(o Options) *Report {
	if o.Server == nil {
		o.Server = claimed()
	}
	return Check(slices.Values(t.packets()), o)
}

// each runs a test for both families and for sequence numbers that wrap.
func eachTalk(t *testing.T, f func(t *testing.T, talk func() *talk)) {
	for _, v6 := range []bool{false, true} {
		for _, isn := range []tcb.Seq{1000, 0x7fffff00, 0xffffff00} {
			name := "IPv4"
			if v6 {
				name = "IPv6"
			}
			t.Run(name+"/"+binaryName(isn), func(t *testing.T) {
				f(t, func() *talk { return newTalk(v6, isn) })
			})
		}
	}
}

func binaryName(isn tcb.Seq) string {
	const digits = "0123456789abcdef"
	var b []byte
	for i := 28; i >= 0; i -= 4 {
		b = append(b, digits[isn>>i&0xf])
	}
	return string(b)
}

// option puts an option of a multiple of four bytes behind those that are there.
func option(opt ...byte) func([]byte) []byte {
	return func(b []byte) []byte {
		at := tcpAt(b)
		end := at + int(b[at+12]>>4)*4
		b = slices.Insert(b, end, opt...)
		b[at+12] += byte(len(opt)/4) << 4
		return sealed(b)
	}
}

func tcpAt(b []byte) int {
	if b[0]>>4 == 4 {
		return 20
	}
	return 40
}

// flip changes one byte and leaves the checksums as they are.
func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[at] ^= 0x10
		return b
	}
}

// set changes one byte of the TCP header and mends the checksum.
func set(at int, v byte) func([]byte) []byte {
	return func(b []byte) []byte {
		b[tcpAt(b)+at] = v
		return sealed(b)
	}
}

// sealed mends lengths and checksums after a packet was changed. It does the sums
// in its own way, so that it agrees with wire only where both are right.
func sealed(b []byte) []byte {
	at := tcpAt(b)
	var addrs []byte
	if at == 20 {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], sum(b[:20]))
		addrs = b[12:20]
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		addrs = b[8:40]
	}
	tcp := b[at:]
	tcp[16], tcp[17] = 0, 0
	pseudo := slices.Concat(addrs, []byte{0, 6, byte(len(tcp) >> 8), byte(len(tcp))}, tcp)
	binary.BigEndian.PutUint16(tcp[16:], sum(pseudo))
	return b
}

func sum(b []byte) uint16 {
	n := uint64(0)
	for i, v := range b {
		n += uint64(v) << (8 * (1 - i%2))
	}
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return ^uint16(n)
}
