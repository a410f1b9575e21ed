package redirect

import (
	"net/netip"
	"time"

	"sleight/redirect/flow"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// fromBackend takes a segment from a backends' door. A live leg's key says whose it
// is, also where a reload has taken the backend away. Of other segments only a
// backend's own addresses are accepted as source, the claimed ones where it keeps them.
func (w *worker) fromBackend(now time.Time, door int, seg *wire.Segment) {
	k := flow.Key{Leg: seg.Tuple(), Side: tcb.Serving, Door: uint8(door)}
	e, ok := w.g.flows.Lookup(k)
	if !ok {
		w.backendStranger(door, seg)
		return
	}
	w.lock(e)
	live := !e.gone && e.back != nil && e.back.node.Key == k
	if live {
		e.steer[tcb.Serving].came(w.queue)
		w.came(e, tcb.Serving, seg)
		w.fromServing(now, e, e.back, seg)
	}
	w.unlock(now, e)
	if !live {
		w.backendStranger(door, seg)
	}
}

// backendSource reports whether a backend behind this door has this address.
func (g *Gateway) backendSource(door int, a netip.Addr) bool {
	p := g.policy.Load()
	for i := range p.Backends {
		b := &p.Backends[i]
		if b.Door != door {
			continue
		}
		if b.Mode == Keep && contains(g.cfg.Claimed, a) || b.Mode != Keep && (a == b.V4 || a == b.V6) {
			return true
		}
	}
	return false
}

// backendStranger answers a backend's segment that belongs to no flow: with an
// exact RST, so that it forgets the connection. A SYN is a connection of its
// own, which nothing lets out. S sees nothing of it.
func (w *worker) backendStranger(door int, seg *wire.Segment) {
	if !w.g.backendSource(door, seg.Src.Addr()) {
		w.g.add(backendSource)
		return
	}
	if seg.Flags.Any(wire.SYN|wire.RST) && !seg.Flags.Has(wire.ACK|wire.SYN) || !seg.Flags.Has(wire.ACK) {
		w.g.add(outbound)
		return
	}
	w.g.add(backendMiss)
	if seg.Flags.Has(wire.RST) {
		return
	}
	// RFC 9293, section 3.10.7.1: SEQ=SEG.ACK.
	w.own = wire.Segment{Src: seg.Dst, Dst: seg.Src, TTL: 64, DF: true, Seq: seg.Ack, Flags: wire.RST}
	pkt := wire.Build(w.out[headroom:], &w.own)
	w.write(door, w.queue, w.out, headroom, len(pkt))
}
