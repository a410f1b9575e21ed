package stack

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"sleight/stack/tcb"
)

// Expect announces a flow. It must precede the flow's SYN; the flow stays known
// until Forget.
func (d *Decoy) Expect(c Conn) *Gate {
	g := newGate(d, c)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.gates[c.Leg] = g
	}
	return g
}

func (d *Decoy) forget(g *Gate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gates[g.conn.Leg] == g {
		delete(d.gates, g.conn.Leg)
	}
}

// tupleOf is the leg as the client's packets carry it.
func tupleOf(id stack.TransportEndpointID) tcb.Tuple {
	client, _ := netip.AddrFromSlice(id.RemoteAddress.AsSlice())
	decoy, _ := netip.AddrFromSlice(id.LocalAddress.AsSlice())
	return tcb.TupleOf(netip.AddrPortFrom(client, id.RemotePort), netip.AddrPortFrom(decoy, id.LocalPort))
}

// abort ends the endpoint that has a leg, if there is one, in whatever state it is.
func (d *Decoy) abort(leg tcb.Tuple) {
	client, decoy := leg.Source(), leg.Dest()
	proto := header.IPv4ProtocolNumber
	if !client.Addr().Is4() {
		proto = header.IPv6ProtocolNumber
	}
	ep := d.stack.FindTransportEndpoint(proto, tcp.ProtocolNumber, stack.TransportEndpointID{
		LocalPort: decoy.Port(), LocalAddress: tcpip.AddrFromSlice(decoy.Addr().AsSlice()),
		RemotePort: client.Port(), RemoteAddress: tcpip.AddrFromSlice(client.Addr().AsSlice()),
	}, nic)
	if ep, ok := ep.(tcpip.Endpoint); ok {
		ep.Abort()
	}
}

func (d *Decoy) expected(id stack.TransportEndpointID) *Gate {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	return d.gates[tupleOf(id)]
}

// request takes a segment that no endpoint owns. Only the SYN of an announced
// flow makes one.
func (d *Decoy) request(f *tcp.Forwarder, id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	if d.expected(id) == nil {
		d.unknown.Add(1)
		return
	}
	f.HandlePacket(id, pkt)
}

// accept makes the flow's endpoint and plays its service until that has nothing more
// to say. It is the goroutine of one flow.
func (d *Decoy) accept(r *tcp.ForwarderRequest) {
	g := d.start(r.ID())
	if g == nil {
		r.Complete(false)
		return
	}
	defer d.finish()
	// The handshake blocks until the client has acknowledged the SYN-ACK or the
	// flow is forgotten (Gate.endHandshake).
	ep, err := r.CreateEndpoint(g.queue)
	r.Complete(false)
	if err != nil {
		g.failed()
		return
	}
	g.serve(ep)
}

// start claims the flow of a SYN for the calling goroutine.
func (d *Decoy) start(id stack.TransportEndpointID) *Gate {
	g := d.expected(id)
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.queue != nil || g.phase == forgotten {
		return nil // an endpoint's number is taken once
	}
	if !d.begin() {
		return nil
	}
	g.queue = new(waiter.Queue)
	return g
}

// begin counts a goroutine of a flow, which ends with finish; false: the decoy ends.
// It may be called under a gate's and an endpoint's lock.
func (d *Decoy) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.running.Add(1)
	d.routines.Add(1)
	return true
}

func (d *Decoy) finish() {
	d.routines.Add(-1)
	d.running.Done()
}

// failed notes that the handshake came to nothing; another SYN may come.
func (g *Gate) failed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue = nil
}

// serve plays the service on an endpoint. The endpoint outlives it: after a
// switch it still resends what S has not acknowledged; Forget ends it.
func (g *Gate) serve(ep tcpip.Endpoint) {
	if !g.attach(ep) {
		ep.Abort() // the switch was faster than the endpoint's creation
		return
	}
	ep.SocketOptions().SetDelayOption(false)
	if s := g.conn.Service; s.play != nil {
		g.play(ep, s)
	}
	g.listen(Peer{gate: g, ep: ep})
}

// play lets the service talk. One that listens to the end does so without a goroutine.
func (g *Gate) play(ep tcpip.Endpoint, s *Compiled) {
	c := newConnEvents(g.queue)
	defer c.unregister()
	p := &Peer{gate: g, ep: ep, events: c}
	s.play(p)
	if !s.listens {
		p.Close()
	}
}

// attach hands the endpoint to the gate; false: there is nothing to serve.
func (g *Gate) attach(ep tcpip.Endpoint) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.phase >= discarded {
		g.queue = nil
		return false
	}
	g.ep = ep
	g.decoy.open.Add(1)
	return true
}
