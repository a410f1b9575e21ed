package redirect

import (
	"net/netip"
	"slices"
	"time"

	"sleight/redirect/flow"
	"sleight/redirect/front"
	"sleight/stack/profile"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// FromDoor takes one packet, with its virtio_net_hdr, as a door gave it.
func (g *Gateway) FromDoor(now time.Time, door int, b []byte) {
	w := g.workers.Get().(*worker)
	n := copy(w.buf[headroom-VnetHeader:], b)
	w.fromDoor(now, door, n)
	g.workers.Put(w)
}

// fromDoor carries the packet in the worker's buffer; n counts its
// virtio_net_hdr.
func (w *worker) fromDoor(now time.Time, door, n int) {
	if n < VnetHeader {
		w.g.add(malformed)
		return
	}
	off := readOffload(w.buf[headroom-VnetHeader:])
	pkt := w.buf[headroom : headroom+n-VnetHeader]
	if r := wire.ParseIP(&w.ip, pkt); r != wire.OK {
		w.g.add(parsed(r))
		return
	}
	if w.ip.Proto != 6 {
		w.notTCP(now, door, pkt, off)
		return
	}
	if r := wire.ParseTCP(&w.seg, &w.ip, off); r != wire.OK {
		w.g.add(parsed(r))
		return
	}
	w.quirks(&w.seg)
	if door == 0 {
		w.fromClient(now, &w.seg)
	} else {
		w.fromBackend(now, door, &w.seg)
	}
}

func (w *worker) quirks(seg *wire.Segment) {
	if seg.Quirks.IPOptions {
		w.g.add(ipOptions)
	}
	if seg.Quirks.BadOptions {
		w.g.add(badOptions)
	}
}

// fromClient takes a segment from the clients' side. A live flow's key has passed
// what stranger asks of an address.
func (w *worker) fromClient(now time.Time, seg *wire.Segment) {
	e, ok := w.g.flows.Lookup(clientKey(seg))
	if !ok {
		w.stranger(now, seg)
		return
	}
	w.lock(e)
	if e.gone {
		w.unlock(now, e)
		w.stranger(now, seg)
		return
	}
	e.steer[tcb.Client].came(w.queue)
	w.came(e, tcb.Client, seg)
	again := w.client(now, e, seg)
	w.unlock(now, e)
	if again {
		w.stranger(now, seg)
	}
}

func clientKey(seg *wire.Segment) flow.Key {
	return flow.Key{Leg: seg.Tuple(), Side: tcb.Client}
}

// possibleClient refuses sources that no client has (RFC 9293, MUST-57 and
// MUST-63): our own, the decoys', the backends', and what is no unicast address.
func (g *Gateway) possibleClient(a netip.Addr) bool {
	if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == broadcast {
		return false
	}
	return !contains(g.cfg.Claimed, a) && !contains(g.policy.Load().Refused, a)
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func contains(ps []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
}

// stranger takes a client's segment that belongs to no flow.
func (w *worker) stranger(now time.Time, seg *wire.Segment) {
	switch {
	case !w.g.possibleClient(seg.Src.Addr()):
		w.g.add(impossibleSource)
		return
	case !contains(w.g.cfg.Claimed, seg.Dst.Addr()):
		w.g.add(notOurs)
		return
	}
	p := w.g.policy.Load()
	o := p.match(seg)
	if o != nil && o.decoy.Kind == Serve {
		w.handshake(now, seg, o)
		return
	}
	// A handshake that began before a reload goes on as it began.
	if now.Before(p.settled) && w.handshake(now, seg, nil) {
		return
	}
	switch {
	case o == nil:
		w.g.add(noDecoy)
		if p.Default == Reset {
			w.refuse(seg, profile.Linux)
		}
	case o.decoy.Kind == Filtered:
		w.g.add(filtered)
	default:
		w.refuse(seg, o.decoy.Profile)
	}
}

// refuse answers as a closed port does (RFC 9293, section 3.10.7.1).
func (w *worker) refuse(seg *wire.Segment, p *profile.Profile) {
	if p.RST(&w.own, seg) {
		pkt := wire.Build(w.out[headroom:], &w.own)
		w.write(0, w.queue, w.out, headroom, len(pkt))
	}
}

// handshake gives a segment to the half-open records. The acknowledgement that
// completes one makes a flow, and may carry data. Without an offer it takes no more
// than what belongs to a handshake under way, and reports whether it does.
func (w *worker) handshake(now time.Time, seg *wire.Segment, o *offer) (taken bool) {
	g := w.g
	g.frontMu.Lock()
	if o == nil && !g.front.Knows(seg) {
		g.frontMu.Unlock()
		return false
	}
	var res front.Result
	var half front.HalfOpen
	// Either may be the first that the record sees of the other.
	if seg.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN {
		res = g.front.SYN(now, seg, o.host(), &w.own)
	} else {
		res, half = g.front.Segment(now, seg, &w.own)
	}
	g.frontMu.Unlock()
	switch res {
	case front.Reply:
		pkt := wire.Build(w.out[headroom:], &w.own)
		w.write(0, w.queue, w.out, headroom, len(pkt))
	case front.Ignored:
		g.add(unacceptable)
	case front.Full:
		g.add(halfOpenFull)
	case front.None:
		g.add(noFlow)
		w.refuse(seg, o.decoy.Profile)
	case front.Complete:
		w.accept(now, seg, &half)
	}
	return true
}
