package redirect

import (
	"net/netip"
	"time"

	"sleight/redirect/splice"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Live is a flow as it stands.
type Live struct {
	FlowInfo
	Decoy, Phase                     string
	Backend                          string         // empty: none
	Addr                             netip.AddrPort // of the backend
	Decided                          bool           // the verdict is spoken
	Handed                           bool           // the carrier has it
	Age, Idle                        time.Duration  // since the SYN; since anything came from either peer
	BytesToServer, BytesToClient     uint64
	PacketsToServer, PacketsToClient uint64
}

// listAtOnce is how many flows are enough for one answer of List.
const listAtOnce = 1000

// List tells of the live flows, a thousand or the next part of the table at a time,
// beginning with part 0. next is the part to go on with; −1: these are the last. A
// flow's lock is held while that flow is looked at, and no other.
func (g *Gateway) List(now time.Time, part int) (ls []Live, next int) {
	for ; part >= 0 && part < g.flows.Parts(); part++ {
		if len(ls) >= listAtOnce {
			return ls, part
		}
		for _, e := range g.flows.Part(part) {
			if l, ok := g.look(now, e); ok {
				ls = append(ls, l)
			}
		}
	}
	return ls, -1
}

// Show tells of one flow, if it lives.
func (g *Gateway) Show(now time.Time, id uint64) (l Live, ok bool) {
	if e := g.find(id); e != nil {
		l, ok = g.look(now, e)
	}
	return l, ok
}

// Kill ends a flow with a RST to both of its peers, and reports whether it lived.
func (g *Gateway) Kill(now time.Time, id uint64) (lived bool) {
	e := g.find(id)
	if e == nil {
		return false
	}
	w := g.workers.Get().(*worker)
	defer g.workers.Put(w)
	w.with(now, e, func() {
		lived = true
		if e.phase != Closing {
			w.resetServing(e, e.back)
			w.sendReset(e, e.cli.SndNxt)
		}
		w.end(now, e, "killed")
	})
	return lived
}

// resetServing resets a backend's leg that has been joined; one that is not is
// reset by its own machine.
func (w *worker) resetServing(e *entry, l *leg) {
	if l == nil || l.open != nil {
		return
	}
	w.own = wire.Segment{Seq: l.Srv.SndNxt, Flags: wire.RST, DF: true}
	l.Serving(&e.cli, &w.own)
	w.toServing(l, &w.own)
}

// find is the flow with a number; nil: there is none. A flow's number never changes.
func (g *Gateway) find(id uint64) *entry {
	for part := range g.flows.Parts() {
		for _, e := range g.flows.Part(part) {
			if e.id == id {
				return e
			}
		}
	}
	return nil
}

// look tells of a flow; false: it is gone.
func (g *Gateway) look(now time.Time, e *entry) (l Live, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return l, false
	}
	l = Live{
		FlowInfo: e.info(), Decoy: e.decoy.Name, Phase: e.phase.String(), Decided: e.final,
		Age: now.Sub(g.time(e.started)), Idle: now.Sub(g.time(e.heard)),
		BytesToServer: e.bytes[tcb.Client], BytesToClient: e.bytes[tcb.Serving],
		PacketsToServer: e.pkts[tcb.Client], PacketsToClient: e.pkts[tcb.Serving],
	}
	if h := e.hand; h != nil && h.offered {
		var r splice.Handed
		if g.cfg.Carrier.Peek(h.flow, &r) {
			l.Handed = true
			l.BytesToServer += r.Bytes[tcb.Client]
			l.BytesToClient += r.Bytes[tcb.Serving]
			l.PacketsToServer += r.Pkts[tcb.Client]
			l.PacketsToClient += r.Pkts[tcb.Serving]
			l.Idle = min(l.Idle, now.Sub(g.time(instant(r.Heard))))
		}
	}
	if e.back != nil {
		l.Backend, l.Addr = e.back.b.Name, e.back.dst()
	}
	return l, true
}
