package redirect

import (
	"time"

	"sleight/redirect/flow"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// minMTU6 is the least MTU of an IPv6 link (RFC 8200, section 5).
const minMTU6 = 1280

// notTCP takes a packet of another protocol: ICMP errors that quote a flow are
// translated; pings and UDP get what the decoy's profile says.
func (w *worker) notTCP(now time.Time, door int, pkt []byte, off wire.Offload) {
	if wire.ParseICMPError(&w.icmp, &w.ip) {
		if !w.icmpError(now, door, &w.icmp) {
			w.g.add(icmpDropped)
		}
		return
	}
	if door != 0 {
		w.g.add(outbound)
		return
	}
	if !w.g.possibleClient(w.ip.Src) {
		w.g.add(impossibleSource)
		return
	}
	w.g.add(notTCP)
	w.probe(now, pkt, off)
}

// icmpError translates an error that quotes a flow's segment (RFC 5508, section
// 4). None ends or refreshes a flow, and none names D2 to S or, behind NAT, S to
// D2: the quoted addresses are the other leg's, the source is the peer's.
func (w *worker) icmpError(now time.Time, door int, ic *wire.ICMPError) bool {
	// The quoted packet went the other way: what it carries as destination is
	// the leg's peer.
	k := flow.Key{Leg: tcb.TupleOf(ic.QuoteDst, ic.QuoteSrc), Side: tcb.Client}
	if door != 0 {
		k.Side, k.Door = tcb.Serving, uint8(door)
	}
	e, k, ok := w.g.quoted(door, k)
	if !ok {
		return false
	}
	done := false
	w.with(now, e, func() {
		if door == 0 {
			done = w.icmpFromClient(e, ic)
		} else if e.back != nil && e.back.node.Key == k {
			done = w.icmpFromBackend(now, e, ic)
		}
	})
	return done
}

// icmpFromClient passes on an error that came from S's side: it quotes a
// segment that the serving leg believes to have sent.
func (w *worker) icmpFromClient(e *entry, ic *wire.ICMPError) bool {
	l := e.serving()
	if l == nil || l.open != nil || !inFlight(&e.cli.Leg, ic.QuoteSeq) {
		return false
	}
	if ic.TooBig() && !w.clampMTU(e, ic) {
		return false
	}
	ic.QuoteSrc, ic.QuoteDst = l.dst(), l.src()
	ic.QuoteSeq -= tcb.Seq(l.SeqDelta)
	ic.Dst = l.dst().Addr()
	// A router's own address stays where it says nothing of S.
	if l != e.dec && l.b.Mode == NAT && ic.Src == e.client().Addr() || l == e.dec {
		ic.Src = l.src().Addr()
	}
	pkt := wire.BuildICMPError(w.out[headroom:], ic, 64)
	w.writeLeg(l, w.out, headroom, len(pkt))
	return true
}

// quoted finds the flow of a quoted segment. A router before a keep backend has
// an address of its own, so its errors come through the door of the other
// backends, where nothing is said about whose segment it was.
func (g *Gateway) quoted(door int, k flow.Key) (*entry, flow.Key, bool) {
	e, ok := g.flows.Lookup(k)
	p := g.policy.Load()
	if ok || door == 0 || p.keepDoor(door) {
		return e, k, ok
	}
	for i := range p.Backends {
		if b := &p.Backends[i]; b.Mode == Keep {
			k.Door = uint8(b.Door)
			if e, ok = g.flows.Lookup(k); ok {
				return e, k, true
			}
		}
	}
	return nil, k, false
}

// clampMTU notes a path MTU of S's and refuses one that no path has.
func (w *worker) clampMTU(e *entry, ic *wire.ICMPError) bool {
	mss, ok := pathMSS(ic)
	if ok {
		e.cli.MSS = min(e.cli.MSS, mss)
	}
	return ok
}

// pathMSS is the MSS of an error's path MTU, in bytes, which is never below what
// every path has.
func pathMSS(ic *wire.ICMPError) (mss uint16, ok bool) {
	head := 40
	if !ic.Is4() {
		head = 60
		ic.MTU = max(ic.MTU, minMTU6)
	}
	if int(ic.MTU) < head+minSegment {
		return 0, false
	}
	return uint16(min(int(ic.MTU)-head, 0xffff)), true
}

// minSegment is the least payload and options that a path MTU must leave, in
// bytes (Linux: min_pmtu of 552 less headers).
const minSegment = 512

// icmpFromBackend takes an error from a backend's side: a hard one ends a replay
// that still dials; afterwards S hears of what its host would hear, from D1.
func (w *worker) icmpFromBackend(now time.Time, e *entry, ic *wire.ICMPError) bool {
	l := e.back
	if l.open != nil {
		switch {
		case ic.Hard() && ic.QuoteSeq == l.open.Leg.ISS:
			l.open.Unreachable()
			w.opened(now, e, l)
		case ic.TooBig() && inFlight(&l.open.Leg, ic.QuoteSeq):
			if mss, ok := pathMSS(ic); ok {
				l.open.TooBig(now, mss)
			}
		}
		return true
	}
	if !inFlight(&l.Srv, ic.QuoteSeq) {
		return false
	}
	if mss, ok := pathMSS(ic); ok && ic.TooBig() && mss < l.Srv.MSS {
		// The gateway cuts to the way's size itself; S's own path is as it was.
		l.Srv.MSS = mss
		l.own.Again(ic.QuoteSeq)
		w.pump(now, e, l, false)
	}
	return true
}

// inFlight reports whether a quoted segment is one that the leg's peer has not
// acknowledged (RFC 5927, section 4.1).
func inFlight(l *tcb.Leg, seq tcb.Seq) bool {
	return !seq.LessThan(l.SndUna) && seq.LessThan(l.SndNxt)
}

// probe answers a ping, a UDP datagram or another protocol as the profile's host
// does, where a decoy matches the address.
func (w *worker) probe(now time.Time, pkt []byte, off wire.Offload) {
	d := w.g.policy.Load().matchAddr(w.ip.Src, w.ip.Dst)
	if d == nil || d.Kind == Filtered {
		return
	}
	p := d.Profile
	n := p.Probe(w.out[headroom:], &w.ip, pkt, off, uint16(w.g.probes.Add(1)), now)
	if n == 0 {
		return
	}
	// A host limits its errors; an answer to a ping is none.
	ping := w.ip.Proto == wire.ProtoICMP4 && w.ip.Src.Is4() || w.ip.Proto == wire.ProtoICMP6 && !w.ip.Src.Is4()
	if !ping && !w.g.errors.allow(now, w.ip.Dst, w.ip.Src, &p.Limits) {
		w.g.add(icmpRate)
		return
	}
	w.write(0, w.queue, w.out, headroom, n)
}
