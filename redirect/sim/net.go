package sim

import (
	"fmt"
	"net/netip"
	"time"

	"sleight/redirect"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Net is S, the gateway and D2, with a wire on each side.
type Net struct {
	*World
	G      *redirect.Gateway
	Decoy  *Decoy
	Events Events
	Faults []string // of what the gateway wrote to its devices

	s        map[tcb.Tuple]*Host
	d2       map[tcb.Tuple]*server
	listen   func(*wire.Segment) (HostConfig, Service, bool)
	up, down [2]*Link // [0]: S's wire, [1]: D2's; up: toward the gateway
	merge    [2]*merger
	carrier  *carrier // nil: none
	odd      float64
}

type server struct {
	host *Host
	svc  Service
}

// Events keeps what the gateway reports.
type Events struct {
	Started, Ended int
	Decisions      []redirect.Decided
	Switches       []redirect.Switched
	Ends           []redirect.Ended
}

func (e *Events) FlowStart(time.Time, redirect.FlowInfo, redirect.Started) { e.Started++ }
func (e *Events) Decision(_ time.Time, _ redirect.FlowInfo, d redirect.Decided) {
	e.Decisions = append(e.Decisions, d)
}
func (e *Events) Switch(_ time.Time, _ redirect.FlowInfo, s redirect.Switched) {
	e.Switches = append(e.Switches, s)
}
func (e *Events) FlowEnd(_ time.Time, _ redirect.FlowInfo, d redirect.Ended) {
	e.Ended++
	e.Ends = append(e.Ends, d)
}

// simDoor is a gateway's door onto a wire.
type simDoor struct {
	net   *Net
	link  *Link
	super bool
}

func (d simDoor) Queues() int { return 1 }
func (d simDoor) Super() bool { return d.super }
func (d simDoor) Write(_ int, b []byte) (int, error) {
	pkts, err := segment(b)
	if err != nil {
		d.net.Faults = append(d.net.Faults, err.Error())
	}
	for _, p := range pkts {
		d.link.Send(p)
	}
	return len(b), nil
}

// Config is a network to make.
type Config struct {
	Seed      uint64
	Client    Fault // S's wire
	Backend   Fault // D2's wire
	Gateway   redirect.Config
	Carrier   *Fault  // of the queue between a carrier and the gateway; nil: none
	Odd       float64 // the chance that a segment of S's or D2's is not plain
	Offload   bool    // super-packets at the gateway's devices, and from the decoy
	NewDecoy  func(redirect.Conn) (HostConfig, Service)
	NewServer func(syn *wire.Segment) (HostConfig, Service, bool) // false: refuses
}

// NewNet makes S's and D2's networks around a gateway.
func NewNet(c Config) *Net {
	n := &Net{World: NewWorld(c.Seed), s: map[tcb.Tuple]*Host{}, d2: map[tcb.Tuple]*server{}, listen: c.NewServer, odd: c.Odd}
	n.Decoy = NewDecoy(n.World, c.NewDecoy)
	for i, f := range [...]Fault{c.Client, c.Backend} {
		n.up[i] = NewLink(n.World, f, func(p []byte) { n.gateway(i, p) })
		if c.Offload {
			n.merge[i] = &merger{w: n.World, deliver: func(p []byte, off wire.Offload) { n.egress(i, p, off) }}
		}
	}
	n.down[0] = NewLink(n.World, c.Client, n.toS)
	n.down[1] = NewLink(n.World, c.Backend, n.toD2)
	c.Gateway.Started = n.Now.Add(-time.Hour)
	if c.Carrier != nil {
		n.carrier = newCarrier(n, *c.Carrier, c.Gateway.Started)
		c.Gateway.Carrier = n.carrier
	}
	n.G = redirect.New(c.Gateway, []redirect.Door{simDoor{n, n.down[0], c.Offload}, simDoor{n, n.down[1], c.Offload}}, n.Decoy, &n.Events, func() time.Time { return n.Now })
	n.Decoy.Attach(n.G, c.Offload)
	n.Drive(5*time.Millisecond, n.advance)
	return n
}

func (n *Net) advance(now time.Time) {
	n.G.Tick(now)
	n.Decoy.Advance(now)
	for _, h := range n.s {
		h.Advance(now)
	}
	for _, s := range n.d2 {
		s.host.Advance(now)
		if s.host.cfg.Slow > 0 {
			s.play(now)
		}
	}
}

func (n *Net) gateway(door int, pkt []byte) {
	if m := n.merge[door]; m != nil {
		m.take(pkt)
		return
	}
	n.egress(door, pkt, wire.Offload{})
}

// egress is where a packet leaves the kernel for the gateway.
func (n *Net) egress(door int, pkt []byte, off wire.Offload) {
	if n.carrier != nil {
		n.carrier.egress(door, pkt, off)
		return
	}
	n.G.FromDoor(n.Now, door, header(pkt, off))
}

// emit is a host's way to its wire: now and then what it sends is not plain.
func (n *Net) emit(to *Link) func(*wire.Segment) {
	return func(s *wire.Segment) {
		if n.odd > 0 && s.Flags&wire.SYN == 0 && n.Rand.Float64() < n.odd {
			s.TOS |= 2 // ECT(0)
		}
		to.SendSegment(s)
	}
}

func (n *Net) toS(pkt []byte) {
	var s wire.Segment
	if wire.Parse(&s, pkt, wire.Offload{}) != wire.OK {
		return
	}
	if h := n.s[s.Tuple()]; h != nil {
		h.Segment(n.Now, &s)
	}
}

func (n *Net) toD2(pkt []byte) {
	var s wire.Segment
	if wire.Parse(&s, pkt, wire.Offload{}) != wire.OK {
		return
	}
	key := s.Tuple()
	srv := n.d2[key]
	if srv == nil || srv.host.Reset && s.Flags == wire.SYN {
		if s.Flags != wire.SYN {
			return
		}
		if srv = n.accept(&s); srv == nil {
			n.up[1].SendSegment(&wire.Segment{Src: s.Dst, Dst: s.Src, TTL: 64, Flags: wire.RST | wire.ACK, Ack: s.Seq + 1})
			return
		}
		n.d2[key] = srv
	}
	srv.host.Segment(n.Now, &s)
	srv.play(n.Now)
}

// play lets the service answer what it has read.
func (s *server) play(now time.Time) {
	h := s.host
	if !h.Open() {
		return
	}
	s.svc.Serve(h.Got, func(b []byte) { h.Write(now, b) }, func() { h.Close(now) })
	if h.PeerFIN && len(h.pending) == 0 {
		h.Close(now)
	}
}

func (n *Net) accept(syn *wire.Segment) *server {
	hc, svc, ok := n.listen(syn)
	if !ok {
		return nil
	}
	hc.Local, hc.Peer = syn.Dst, syn.Src
	return &server{host: NewHost(hc, n.emit(n.up[1])), svc: svc}
}

// Dial makes a connection of S's.
func (n *Net) Dial(src, dst netip.AddrPort, hc HostConfig) *Host {
	hc.Local, hc.Peer = src, dst
	h := NewHost(hc, n.emit(n.up[0]))
	n.s[tcb.TupleOf(dst, src)] = h
	h.Dial(n.Now)
	return h
}

// Server is D2's end of the connection whose client it sees as src; nil: none.
func (n *Net) Server(src, dst netip.AddrPort) *Host {
	if s := n.d2[tcb.TupleOf(src, dst)]; s != nil {
		return s.host
	}
	return nil
}

// Servers are all of D2's ends.
func (n *Net) Servers() (hs []*Host) {
	for _, s := range n.d2 {
		hs = append(hs, s.host)
	}
	return hs
}

// trace prints every packet on both wires.
func (n *Net) trace(print func(string)) {
	if print == nil {
		return
	}
	begun := n.Now
	for i, l := range [...]*Link{n.up[0], n.down[0], n.up[1], n.down[1]} {
		name := []string{"S  > gw", "S  < gw", "D2 > gw", "D2 < gw"}[i]
		l.Trace = func(now time.Time, pkt []byte) {
			var s wire.Segment
			if wire.Parse(&s, pkt, wire.Offload{}) == wire.OK {
				print(fmt.Sprintf("%9.3f %s %-3s seq %d ack %d len %d win %d ts %d/%d sack %v", float64(now.Sub(begun).Microseconds())/1000,
					name, s.Flags, s.Seq, s.Ack, len(s.Payload), s.Wnd, s.Opts.TSVal, s.Opts.TSEcr, s.Opts.Blocks()))
			}
		}
	}
}
