package redirect_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"weak"

	"sleight/redirect"
	"sleight/redirect/sim"
	"sleight/rules"
	"sleight/stack/wire"
)

// under is a policy in which everything has the name of its number: the decoy, the
// rule, which switches at sim.Trigger, and the backend, whose address ends in it.
func under(k int) redirect.Policy {
	p := sim.GatewayConfig(redirect.ToBackend).Policy
	name := fmt.Sprint(k)
	set, errs := rules.Compile([]rules.Rule{{Name: name, When: `stream contains "` + sim.Trigger + `"`, Action: rules.Switch, Backend: name}})
	if errs != nil {
		panic(errs)
	}
	p.Rules, p.Decoys[0].Name = set, name
	p.Backends[0].Name, p.Backends[0].V4 = name, realOf(k)
	p.Refused = []netip.Prefix{netip.PrefixFrom(realOf(k), 32)}
	return p
}

func realOf(k int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 2, byte(k)}) }

func underOne(c *redirect.Config) { c.Policy = under(1) }

// wantAll: the flow was judged and switched under one policy.
func (b *bench) wantAll(k int) {
	b.Helper()
	name := fmt.Sprint(k)
	if n := len(b.ev.Decisions); n == 0 || b.ev.Decisions[n-1].Rule != name {
		b.Errorf("decisions %+v, want the last to be rule %s's", b.ev.Decisions, name)
	}
	if n := len(b.ev.Switches); n == 0 || b.ev.Switches[n-1].Backend != name || b.ev.Switches[n-1].Addr.Addr() != realOf(k) {
		b.Errorf("switches %+v, want the last to be to backend %s", b.ev.Switches, name)
	}
}

// "live flows keep the set under which they began"
func TestAFlowKeepsThePolicyUnderWhichItBegan(t *testing.T) {
	b := setup(t, underOne)
	old := b.dial(1)
	half := b.caller(2)
	half.send(half.syn())
	synack := b.one(0)
	b.g.Reload(b.w.Now, under(2))
	for _, c := range []struct {
		why  string
		of   *peer
		want int
		open func(*peer)
	}{
		{"it began before", old, 1, func(*peer) {}},
		{"its SYN came before", half, 1, func(p *peer) { p.seq++; p.ecr = synack.Opts.TSVal; p.acks(synack.Seq + 1) }},
		{"it began afterwards", b.caller(3), 2, (*peer).shake},
	} {
		c.open(c.of)
		b.wait(10 * time.Millisecond)
		b.doors[0].take()
		c.of.say(sim.Trigger)
		b.answers(nil)
		b.doors[1].take()
		t.Log(c.why)
		b.wantAll(c.want)
	}
}

// A client that was given a SYN-ACK has its connection, whatever a reload has done to
// the decoy; who comes later has not.
func TestAHandshakeOutlivesItsDecoy(t *testing.T) {
	for name, gone := range map[string]func(*redirect.Policy){
		"taken out": func(p *redirect.Policy) { p.Decoys = nil },
		"closed":    func(p *redirect.Policy) { p.Decoys[0].Kind = redirect.Closed },
		"filtered":  func(p *redirect.Policy) { p.Decoys[0].Kind = redirect.Filtered },
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, underOne)
			c := b.caller(1)
			c.send(c.syn())
			first := b.one(0)
			p := under(2)
			gone(&p)
			b.g.Reload(b.w.Now, p)
			c.send(c.syn()) // its SYN-ACK was lost
			if again := b.one(0); again.Flags != first.Flags || again.Seq != first.Seq {
				t.Fatalf("its SYN again: %+v", again)
			}
			late := b.caller(2)
			late.send(late.syn())
			if n := b.g.HalfOpen(); n != 1 {
				t.Errorf("%d half open, want the old one alone", n)
			}
			b.doors[0].take()
			c.seq, c.ecr = c.seq+1, first.Opts.TSVal
			c.acks(first.Seq + 1)
			b.wait(10 * time.Millisecond)
			c.say(sim.Trigger)
			b.answers(nil)
			b.wantAll(1)
		})
	}
}

// A backend that a reload takes away serves what it serves; from then on its other
// packets are those of a stranger.
func TestATakenAwayBackendServesWhatItServes(t *testing.T) {
	b := setup(t, underOne)
	s, d := b.spliced(nil)
	d.took()
	b.g.Reload(b.w.Now, under(2))
	s.say("still there")
	if got := b.one(1); string(got.Payload) != "still there" || got.Dst.Addr() != realOf(1) {
		t.Errorf("to the backend: %+v", got)
	}
	d.say("so am I")
	if got := b.last(0); string(got.Payload) != "so am I" || got.Src != decoyAddr {
		t.Errorf("to S: %+v", got)
	}
	b.wantCount("backend_source", 0)
	other := *d
	other.src = netip.AddrPortFrom(d.src.Addr(), 99)
	other.say("who am I?")
	b.wantCount("backend_source", 1)
	b.wantSilence(1)
}

// max_flows counts a backend's flows under every policy that names it.
func TestABackendsFlowsAreCountedOverAReload(t *testing.T) {
	limited := func() redirect.Policy {
		p := under(1)
		p.Backends[0].MaxFlows = 1
		return p
	}
	b := setup(t, func(c *redirect.Config) { c.Policy = limited() })
	s, d := b.spliced(nil)
	d.took()
	b.g.Reload(b.w.Now, under(2))
	b.g.Reload(b.w.Now, limited())
	b.dial(2).say(sim.Trigger)
	b.wantSwitch("refused")
	if n := b.g.BackendFlows(0); n != 1 {
		t.Errorf("%d flows are counted, want the spliced one", n)
	}
	s.send(s.segment(wire.RST, ""))
	b.wait(5 * time.Minute)
	if n := b.g.BackendFlows(0); n != 0 {
		t.Errorf("%d flows are counted after the end", n)
	}
	b.g.Reload(b.w.Now, under(2))
	b.g.Reload(b.w.Now, under(3))
	if n := b.g.BackendsCounted(); n != 1 {
		t.Errorf("flows of %d backends are counted, want those of the one that is left", n)
	}
}

// An old set is garbage as soon as no flow can be decided by it, long before a flow
// that it has switched ends; then its decoy is garbage too.
func TestAnOldSetIsGarbageOnceItsFlowsAreDecided(t *testing.T) {
	var set weak.Pointer[rules.Set]
	var service weak.Pointer[[]byte]
	b := setup(t, func(c *redirect.Config) {
		c.Policy = under(1)
		page := make([]byte, 1<<20)
		c.Decoys[0].Service = &page
		set, service = weak.Make(c.Rules), weak.Make(&page)
	})
	s := b.dial(1)
	half := b.caller(2)
	half.send(half.syn())
	b.doors[0].take()
	b.g.Reload(b.w.Now, under(2))
	if collect(); set.Value() == nil {
		t.Fatal("the set of a live flow is gone")
	}
	s.say(sim.Trigger)
	b.answers(nil).took()
	if collect(); set.Value() == nil {
		t.Fatal("the set of a handshake is gone")
	}
	b.wait(31 * time.Second) // the handshake has timed out
	if collect(); set.Value() != nil {
		t.Error("no flow can be decided by the old set any more, and it is still in memory")
	}
	if b.g.Flows() != 1 || service.Value() == nil {
		t.Errorf("%d flows, want the one that it has switched, with its decoy", b.g.Flows())
	}
	s.send(s.segment(wire.RST, ""))
	b.wait(5 * time.Minute)
	if collect(); b.g.Flows() != 0 || service.Value() != nil {
		t.Error("the last flow of the old policy has ended, and its decoy is still in memory")
	}
	runtime.KeepAlive(b)
}

// collect frees what nobody holds, workers in the pool included.
func collect() {
	for range 3 {
		runtime.GC()
	}
}
