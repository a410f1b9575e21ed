// Package stack plays the decoy: a gVisor netstack, and on it the services that
// answer in place of a host. It is the only importer of the netstack.
//
// Each flow is announced by Expect before its SYN is injected, and has a pair
// of internal addresses of its own. What a flow's service says passes through
// the flow's gate:
//
//	Inject ─► netstack ─► endpoint ─► Gate.read  ─┐
//	                                              service (one goroutine while it talks)
//	Next ◄─ ring ◄─ netstack ◄─ endpoint ◄─ Gate ─┘
//
// decoy.go is the netstack, link.go and ring.go its egress; accept.go takes the
// SYNs; gate.go keeps the books and can
// be frozen, conn.go is what a service sees; listen.go is what is left of one that has
// nothing more to say; one file for each service.
package stack

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

const (
	nic = 1
	// sendBuffer bounds what a service may have written ahead of its client: 181
	// segments of 1,448 bytes, so that a full buffer does not end in a short one.
	sendBuffer = 181 * 1448
	// inFlight bounds half-open connections; the gateway owns S's handshake
	// and opens no more than it has flows.
	inFlight = 1 << 20
)

// Config is what a decoy is made of.
type Config struct {
	// RingBytes bounds what the netstack has emitted and nobody has fetched, in
	// bytes; 0 means 64 MiB. Beyond it packets are dropped and counted.
	RingBytes int
	// MTU of the netstack's link in bytes; 0 means 4096. It must leave room for
	// the 68 bytes of headers and kept option space around the MSS of the
	// largest segment (see SegmentReserve); from 3,340 on the first window is
	// not limited by it.
	MTU uint32
	// Super lets the netstack emit super-packets of up to 64 KiB whose checksums
	// are still to be filled in, as Next then says.
	Super bool
	// GrowAfter is how many bytes a client says before its window may grow. It has
	// to be as many as a flow may say and still be switched: until then no edge is
	// announced that a backend might not have. 0: from the first byte on.
	GrowAfter uint64
	// GrowTotal bounds how much all receive buffers together grow, in bytes; 0
	// means 256 MiB. Beyond it flows keep the window that they have.
	GrowTotal int64
}

func (c Config) withDefaults() Config {
	if c.RingBytes == 0 {
		c.RingBytes = 64 << 20
	}
	if c.MTU == 0 {
		c.MTU = 4096
	}
	if c.GrowTotal == 0 {
		c.GrowTotal = 256 << 20
	}
	return c
}

// SegmentReserve is how many bytes the netstack takes from the MSS of a SYN for
// options that its data segments may carry, beyond the 12 of timestamps that a
// Linux host takes. A SYN whose MSS is raised by it draws segments of a Linux
// host's length.
func SegmentReserve(timestamps, sack bool) uint16 {
	switch {
	case !sack:
		return 0 // timestamps: 12, as Linux
	case timestamps:
		return 28 // 40 − 12
	}
	return 36
}

// Decoy is one running netstack.
type Decoy struct {
	cfg    Config
	stack  *stack.Stack
	link   *link
	growth growth

	mu     sync.Mutex
	gates  map[tcb.Tuple]*Gate
	closed bool

	running  sync.WaitGroup
	routines atomic.Int64
	open     atomic.Int64
	unknown  atomic.Uint64
}

// New starts a netstack that takes every address and port, and speaks only to
// flows that were announced.
func New(cfg Config) (*Decoy, error) {
	cfg = cfg.withDefaults()
	d := &Decoy{cfg: cfg, gates: make(map[tcb.Tuple]*Gate)}
	d.growth.max = cfg.GrowTotal
	d.link = newLink(cfg.MTU, cfg.RingBytes, cfg.Super)
	d.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocolCUBIC},
		HandleLocal:        false,
	})
	if err := configure(d.stack, d.link); err != nil {
		d.stack.Destroy()
		return nil, err
	}
	f := tcp.NewForwarder(d.stack, receiveBuffer, inFlight, d.accept)
	d.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
		d.request(f, id, pkt)
		return true // a segment that nobody expects draws no RST
	})
	return d, nil
}

// configure brings up the one interface and sets the transport's options.
func configure(s *stack.Stack, l *link) error {
	if err := s.CreateNIC(nic, l); err != nil {
		return fmt.Errorf("create the netstack's interface: %s", err)
	}
	if err := s.SetPromiscuousMode(nic, true); err != nil {
		return fmt.Errorf("set promiscuous mode: %s", err)
	}
	if err := s.SetSpoofing(nic, true); err != nil {
		return fmt.Errorf("set spoofing: %s", err)
	}
	s.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nic},
		{Destination: header.IPv6EmptySubnet, NIC: nic},
	})
	sack := tcpip.TCPSACKEnabled(true)
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4096, Default: sendBuffer, Max: sendBuffer}
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: receiveBuffer, Max: receiveMax}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &send, &receive} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("set %T: %s", o, err)
		}
	}
	return nil
}

// Close ends every flow and the netstack, and waits for its goroutines.
func (d *Decoy) Close() {
	d.mu.Lock()
	d.closed = true
	gates := make([]*Gate, 0, len(d.gates))
	for _, g := range d.gates {
		gates = append(gates, g)
	}
	d.mu.Unlock()
	for _, g := range gates {
		g.Forget()
	}
	d.running.Wait()
	d.link.Close()
	d.stack.Destroy()
}

// Inject gives the netstack one whole IP packet, of which it copies what it
// keeps. Checksums are the caller's business: they are not looked at again.
// It may be called under a flow's lock: it never blocks and never calls back.
func (d *Decoy) Inject(pkt []byte) {
	proto := header.IPv4ProtocolNumber
	switch header.IPVersion(pkt) {
	case header.IPv4Version:
	case header.IPv6Version:
		proto = header.IPv6ProtocolNumber
	default:
		d.unknown.Add(1)
		return
	}
	pb := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(pkt)})
	d.link.deliver(proto, pb)
	pb.DecRef()
}

// Next blocks for the next packet that the netstack has emitted, copies it to
// buf and returns its length, and what is still to be done to it. After Close it
// returns os.ErrClosed.
func (d *Decoy) Next(buf []byte) (n int, off wire.Offload, err error) {
	n, off, ok := d.link.ring.next(buf)
	if !ok {
		return 0, off, os.ErrClosed
	}
	return n, off, nil
}

// Stats are counts of what lives and what was dropped.
type Stats struct {
	Flows      int    // announced and not forgotten
	Goroutines int    // of flows
	Endpoints  int    // of flows that were not forgotten
	Registered int    // that the netstack still knows, in TIME-WAIT too
	RingBytes  int    // emitted and not fetched
	RingDrops  uint64 // packets dropped because the ring was full
	Unknown    uint64 // packets for a flow that was not announced
	Grown      int64  // by how much receive buffers have grown, in bytes
	Ungrown    uint64 // times that one could not
}

// Stats returns the counts of this moment. It walks the netstack's table and is
// not for the way of a packet.
func (d *Decoy) Stats() Stats {
	d.mu.Lock()
	flows := len(d.gates)
	d.mu.Unlock()
	bytes, drops := d.link.ring.stats()
	return Stats{
		Flows:      flows,
		Goroutines: int(d.routines.Load()),
		Endpoints:  int(d.open.Load()),
		Registered: len(d.stack.RegisteredEndpoints()),
		RingBytes:  bytes,
		RingDrops:  drops,
		Unknown:    d.unknown.Load(),
		Grown:      d.growth.used.Load(),
		Ungrown:    d.growth.refused.Load(),
	}
}
