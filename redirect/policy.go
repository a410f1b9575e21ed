package redirect

import (
	"net/netip"
	"sync/atomic"
	"time"

	"sleight/redirect/front"
	"sleight/stack/wire"
)

// policy is a Policy in force. A packet without a flow reads it once; a handshake
// takes it with its SYN, since the SYN-ACK speaks for one of its decoys already, and a
// flow has it until its verdict is spoken. From then on a flow holds its decoy and
// its backend only: what rules take much room for is not kept for hours by a
// connection that no rule can decide on any more (docs/adr/0010).
type policy struct {
	Policy
	offers   []offer
	backends []backend
	// settled is when no handshake is left that began under another policy.
	settled time.Time
}

// offer is one decoy of a policy, as a handshake keeps it.
type offer struct {
	front.Host
	policy *policy
	decoy  *DecoyConfig
}

// backend is one real host of a policy, and how many flows it has under every
// policy that names it.
type backend struct {
	Backend
	flows *atomic.Int64
}

// Reload makes p the policy of every handshake that begins from now on. What began
// before goes on under its own: no flow ever sees two. It may be called while the
// gateway runs. Backends' doors have to be among those that it was made with.
func (g *Gateway) Reload(now time.Time, p Policy) {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	next := g.newPolicy(p)
	next.settled = now.Add(g.cfg.Timeouts.Handshake)
	g.policy.Store(next)
}

// newPolicy prepares a policy. The caller holds the lock of reloads.
func (g *Gateway) newPolicy(in Policy) *policy {
	p := &policy{Policy: in, offers: make([]offer, len(in.Decoys)), backends: make([]backend, len(in.Backends))}
	for i := range p.offers {
		o := &p.offers[i]
		d := in.Decoys[i] // by itself: a flow keeps one decoy, not all
		o.policy, o.decoy = p, &d
		o.Host = front.Host{Profile: o.decoy.Profile, Of: o}
	}
	named := map[string]bool{}
	for i := range p.backends {
		b := &p.backends[i]
		b.Backend = in.Backends[i]
		if g.onBackend[b.Name] == nil {
			g.onBackend[b.Name] = new(atomic.Int64)
		}
		b.flows, named[b.Name] = g.onBackend[b.Name], true
	}
	for name, n := range g.onBackend {
		if !named[name] && n.Load() == 0 {
			delete(g.onBackend, name)
		}
	}
	return p
}

// match finds the decoy that answers a segment; nil: none does.
func (p *policy) match(seg *wire.Segment) *offer {
	for i := range p.Decoys {
		if p.Decoys[i].Match.Fits(seg.Src, seg.Dst) {
			return &p.offers[i]
		}
	}
	return nil
}

// matchAddr finds the decoy for what has no port of TCP; nil: none.
func (p *policy) matchAddr(src, dst netip.Addr) *DecoyConfig {
	for i := range p.Decoys {
		if p.Decoys[i].Match.FitsAddr(src, dst) {
			return p.offers[i].decoy
		}
	}
	return nil
}

// backend finds a backend by its name; the configuration's check has made sure
// that there is one.
func (p *policy) backend(name string) *backend {
	for i := range p.backends {
		if p.backends[i].Name == name {
			return &p.backends[i]
		}
	}
	return &p.backends[0]
}

// keepDoor reports whether a door is one keep backend's own.
func (p *policy) keepDoor(door int) bool {
	for i := range p.Backends {
		if b := &p.Backends[i]; b.Mode == Keep && b.Door == door {
			return true
		}
	}
	return false
}

// host is the offer's, nil if there is none.
func (o *offer) host() *front.Host {
	if o == nil {
		return nil
	}
	return &o.Host
}
