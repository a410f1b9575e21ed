package redirect

import (
	"math"
	"net/netip"
	"time"

	"sleight/redirect/flow"
	"sleight/redirect/front"
	"sleight/redirect/record"
	"sleight/redirect/replay"
	"sleight/rules"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// accept makes a flow of a completed handshake. seg is the acknowledgement that
// completed it, data included.
func (w *worker) accept(now time.Time, seg *wire.Segment, h *front.HalfOpen) {
	g := w.g
	o := h.Host.Of.(*offer)
	e := g.newEntry(now, seg, h, o)
	e.steer[tcb.Client] = steeredTo(w.queue)
	if err := g.flows.Insert(&e.node); err != nil && !w.makeRoom(now, e, err) {
		w.sendReset(e, e.cli.SndNxt)
		return
	}
	g.live.Add(1)
	g.seen.FlowStart(now, e.info(), Started{e.decoy.Name, e.srtt})
	w.lock(e)
	w.openVerdict(now, e)
	if !e.gone && e.phase != Closing {
		w.client(now, e, seg)
	}
	w.unlock(now, e)
}

// makeRoom evicts the flow that can be spared most, of the same client where that
// is what is full, and tries again.
func (w *worker) makeRoom(now time.Time, e *entry, err error) bool {
	g := w.g
	reason, rank := flowsFull, g.spare
	if err == flow.ErrClientFull {
		reason, rank = clientFull, g.spareClosing
	}
	old, ok := g.flows.Evict(e.node.Key, err == flow.ErrClientFull, func(c *entry) int {
		if !c.mu.TryLock() {
			return flow.Never // somebody is at work on it
		}
		defer c.mu.Unlock()
		return rank(now, c)
	})
	if ok {
		w.with(now, old, func() { w.end(now, old, "limit") })
		ok = g.flows.Insert(&e.node) == nil
	}
	if !ok {
		g.add(reason)
	}
	return ok
}

// spareAfter is how long an answering flow must have been silent before it makes
// room for another: a client that only connects must not end the others' flows.
const spareAfter = 10 * time.Second

// spare ranks flows by how well they can be spared where the table is full: those in
// Closing, then answering ones, the longest silent first; what a backend serves never.
func (g *Gateway) spare(now time.Time, e *entry) int {
	if idle := now.Sub(g.time(e.heard)); e.phase == Answering && idle >= spareAfter {
		return max(1, math.MaxInt32-int(idle/time.Second))
	}
	return g.spareClosing(now, e)
}

// spareClosing is spare where a client has too many flows: its live ones are its own.
func (g *Gateway) spareClosing(_ time.Time, e *entry) int {
	if e.phase == Closing {
		return 0
	}
	return flow.Never
}

func (g *Gateway) newEntry(now time.Time, seg *wire.Segment, h *front.HalfOpen, o *offer) *entry {
	e := &entry{
		id:      g.newID(),
		decoy:   o.decoy,
		started: g.at(h.Started), heard: g.at(now), paws: h.TSRecent,
		aside: newAside(),
	}
	e.spoke, e.judged = e.heard, h.IRS+1
	e.node.Key, e.node.Of = clientKey(seg), e
	e.cli.ID = uint16(g.hash(e.node.Key, 1))
	e.cli.TTL, e.cli.TSOffset, e.cli.FlowLabel = o.decoy.Profile.TTL, h.TSOffset, g.label(e)
	n := &h.Negotiated
	e.scaled = n.Scaled
	e.cli.Leg = tcb.Leg{
		SndShift: n.SndShift, RcvShift: n.RcvShift, SACK: n.SACK, TS: n.TS, MSS: n.SndMSS,
		ISS: h.ISS, SndUna: h.ISS + 1, SndNxt: h.ISS + 1,
		SndEdge: seg.Ack.Add(tcb.Size(seg.Wnd) << n.SndShift),
		IRS:     h.IRS, RcvNxt: h.IRS + 1, RcvMax: h.IRS + 1, RcvEdge: (h.IRS + 1).Add(tcb.Size(n.Wnd)),
		TSFirst: h.TSRecent, TSRecent: h.TSRecent, TSSent: h.TSSent,
	}
	e.cli.TSEchoed = h.TSRecent
	if h.RTT > 0 {
		e.srtt, e.rttvar = h.RTT, h.RTT/2
	}
	e.handshakeTSEcr = seg.Opts.TSEcr
	e.rec = record.New(record.Config{
		Limit: g.cfg.Limits.Record + g.cfg.Limits.Held, Ahead: g.cfg.Limits.Held,
	}, h.IRS+1)
	e.rules.syn, e.rules.policy = synFacts(h), o.policy
	e.rules.Init(g.hash(e.node.Key, 2))
	return e
}

// synFacts is what the rules may know of the client's SYN.
func synFacts(h *front.HalfOpen) rules.SYN {
	s := &h.SYN
	return rules.SYN{
		TTL: s.TTL, Window: s.Wnd, MSS: s.MSS, IPID: s.ID, Seq: uint32(h.IRS),
		Options: rules.SYNOptions(s.MSS > 0, s.SACK, s.TS, s.Scaled),
	}
}

// newID is a flow's number: below 2^53, so that JSON readers keep it whole, and
// not a count that tells S of others.
func (g *Gateway) newID() uint64 {
	const mask = 1<<53 - 1
	// An odd multiplier permutes the numbers modulo 2^53.
	return (g.ids.Add(1)*0x9e3779b97f4a7c15 ^ g.hash(flow.Key{}, 3)) & mask
}

// hash is a keyed number of a flow for one use.
func (g *Gateway) hash(k flow.Key, use byte) uint64 {
	return uint64(front.Hash(g.cfg.Secret, k.Leg, use))<<32 | uint64(front.Hash(g.cfg.Secret, k.Leg, use+128))
}

// label is the IPv6 flow label toward S: the half-open record used it already.
func (g *Gateway) label(e *entry) uint32 {
	return front.Hash(g.cfg.Secret, e.node.Key.Leg, 5) & 0xfffff
}

// clock is the client leg's timestamp at a time (RFC 7323, section 5.4: 1 ms).
func (g *Gateway) clock(e *entry, now time.Time) uint32 {
	return uint32(now.Sub(g.cfg.Started).Milliseconds()) + e.cli.TSOffset
}

// prepare makes l a serving leg: a splice that already can speak to S in the
// server's name, before the server has said anything.
func (w *worker) prepare(l *leg, e *entry, door uint8, src, dst netip.AddrPort) {
	g := w.g
	*l = leg{node: flow.Node[*entry]{Of: e}}
	l.Cut = e.cli.ISS + 1
	l.Srv.SndEdge, l.Srv.SndUna, l.Srv.SndNxt = e.cli.RcvNxt, e.cli.RcvNxt, e.cli.RcvNxt
	l.node.Key = flow.Key{Leg: tcb.TupleOf(dst, src), Side: tcb.Serving, Door: door}
	l.FlowLabel = uint32(g.hash(e.node.Key, 4)) & 0xfffff
	l.Echo.Init(e.srtt, e.rttvar, e.handshakeTSEcr)
	l.own.Init(e.cli.IRS + 1)
}

// offer is the SYN toward a serving leg: the client's own, restricted to what
// the client leg has agreed to.
func (e *entry) offer(mss uint16) wire.Options {
	o := wire.Options{MSS: mss, HasMSS: true, SACKPermitted: e.cli.SACK, HasTS: e.cli.TS}
	o.HasWndShift, o.WndShift = e.scaled, e.cli.SndShift
	return o
}

// openDecoy opens the flow's leg to the decoy.
func (w *worker) openDecoy(now time.Time, e *entry) {
	g := w.g
	src, dst := g.decoyPair(e.dialled().Addr().Is4())
	l := e.room
	w.prepare(l, e, decoyDoor, src, dst)
	l.Echo.Distrust()
	if !g.flows.Bind(&l.node) {
		return // the numbers have come round to a live flow: S will try again
	}
	e.dec = l
	e.gate = g.decoy.Expect(Conn{
		Leg: tcb.TupleOf(src, dst), Client: e.client(), Dialled: e.dialled(), Service: e.decoy.Service,
		Record: g.cfg.Limits.DecoyRecord, Budget: g.record,
	})
	l.open = replay.New(replay.Config{
		Src: src, Dst: dst, ISS: e.cli.IRS, Offer: e.offer(decoyMSS(e.cli.MSS, e.cli.TS, e.cli.SACK)),
		TSVal: e.cli.TSRecent, TTL: 64, Room: tcb.Diff(e.cli.SndEdge, e.cli.ISS+1),
	}, func(seg *wire.Segment) { e.w.toServing(l, seg) })
	l.open.Start(now)
}

// decoyMSS is the MSS for the netstack. Of each segment it keeps room for SACK
// blocks that a Linux host only takes when it sends them, and S should see a
// Linux host's segments.
func decoyMSS(mss uint16, ts, sack bool) uint16 {
	switch {
	case !sack:
		return mss
	case ts:
		return mss + 28
	}
	return mss + 36
}

// decoyPair invents the addresses of a decoy's leg: one pair for each flow, so
// that a reused client port never meets the netstack's TIME-WAIT.
func (g *Gateway) decoyPair(is4 bool) (src, dst netip.AddrPort) {
	n := g.legs.Add(1)
	port := uint16(n%60000) + 1024
	n /= 60000
	if is4 {
		// 198.18.0.0/15 is for benchmarks (RFC 2544): no real client has it.
		a := netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)})
		return netip.AddrPortFrom(a, port), netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 19, 0, 1}), 1)
	}
	// 2001:2::/48 is IPv6's (RFC 5180).
	a := [16]byte{0: 0x20, 1: 0x01, 3: 0x02, 13: 1, 14: byte(n >> 8), 15: byte(n)}
	b := [16]byte{0: 0x20, 1: 0x01, 3: 0x02, 13: 2, 15: 1}
	return netip.AddrPortFrom(netip.AddrFrom16(a), port), netip.AddrPortFrom(netip.AddrFrom16(b), 1)
}

// decoyReady begins to translate: the netstack has answered the SYN.
func (w *worker) decoyReady(now time.Time, e *entry) {
	l := e.dec
	m := l.open
	l.open = nil
	l.Srv = m.Leg
	l.Srv.SndEdge = tcb.Min(l.Srv.SndEdge, e.cli.RcvEdge)
	l.SeqDelta = uint32(e.cli.ISS - l.Srv.IRS)
	l.TSDelta = w.g.clock(e, now) - l.Srv.TSRecent
	w.feed(now, e)
}
