package redirect_test

import (
	"testing"
	"time"

	"sleight/redirect"
	"sleight/redirect/sim"
	"sleight/stack/wire"
)

// all walks the whole table.
func (b *bench) all() (ls []redirect.Live) {
	for part := 0; part >= 0; {
		var some []redirect.Live
		some, part = b.g.List(b.w.Now, part)
		ls = append(ls, some...)
	}
	return ls
}

func TestListTellsOfEachFlowOnce(t *testing.T) {
	const flows = 2500
	b := setup(t, func(c *redirect.Config) { c.Limits.Flows, c.Limits.FlowsPerClient = flows, flows })
	for port := range uint16(flows) {
		b.caller(1 + port).shake()
	}
	first, next := b.g.List(b.w.Now, 0)
	if len(first) < 1000 || len(first) > 1100 || next <= 0 {
		t.Errorf("the first answer has %d flows, and the next part is %d", len(first), next)
	}
	seen := map[uint64]bool{}
	for _, l := range b.all() {
		if seen[l.ID] || l.Decoy != "lines" || l.Phase != "answering" || l.Decided {
			t.Fatalf("%+v", l)
		}
		seen[l.ID] = true
	}
	if len(seen) != flows {
		t.Errorf("%d flows, want %d", len(seen), flows)
	}
	for _, part := range []int{-1, 1 << 20} {
		if ls, next := b.g.List(b.w.Now, part); ls != nil || next != -1 {
			t.Errorf("part %d: %d flows, next %d", part, len(ls), next)
		}
	}
}

func TestShowTellsWhereAFlowStands(t *testing.T) {
	b := setup(t, nil)
	s, d := b.spliced(nil)
	d.took()
	b.wait(3 * time.Second)
	want := b.all()[0]
	l, ok := b.g.Show(b.w.Now, want.ID)
	if !ok || l != want || l.Phase != "spliced" || !l.Decided || l.Backend != "real" || l.Addr != realAddr || l.Client != s.src || l.Dialled != s.dst ||
		l.BytesToServer != uint64(len(sim.Trigger)) || l.Age < 3*time.Second || l.Idle < 3*time.Second {
		t.Errorf("%+v, %v", l, ok)
	}
	if _, ok := b.g.Show(b.w.Now, want.ID+1); ok {
		t.Error("a flow that does not live was found")
	}
}

// kill: both peers are reset, exactly; the event says who did it.
func TestKill(t *testing.T) {
	b := setup(t, nil)
	s, d := b.spliced(nil)
	d.took()
	id := b.all()[0].ID
	if b.g.Kill(b.w.Now, id+1) || !b.g.Kill(b.w.Now, id) || b.g.Kill(b.w.Now, id) {
		t.Error("it was to be killed once")
	}
	if r := b.one(0); r.Flags != wire.RST || r.Seq != s.ack || r.Src != s.dst {
		t.Errorf("to S: %+v, want its RCV.NXT %v", r, s.ack)
	}
	if r := b.one(1); r.Flags != wire.RST || r.Seq != d.ack || r.Dst != d.src {
		t.Errorf("to the backend: %+v, want its RCV.NXT %v", r, d.ack)
	}
	if n := len(b.ev.Ends); n != 1 || b.ev.Ends[0].Reason != "killed" || b.ev.Ends[0].Phase != "spliced" || b.g.Flows() != 0 || b.g.BackendFlows(0) != 0 {
		t.Errorf("ends %+v, %d flows", b.ev.Ends, b.g.Flows())
	}
}

// A switch under way is cancelled by it.
func TestKillInAReplay(t *testing.T) {
	b := setup(t, nil)
	s := b.dial(1)
	s.say(sim.Trigger)
	if syn := b.one(1); syn.Flags != wire.SYN {
		t.Fatalf("%+v", syn)
	}
	b.doors[0].take()
	b.g.Kill(b.w.Now, b.all()[0].ID)
	b.wantSwitch("cancelled")
	if r := b.last(0); r.Flags != wire.RST {
		t.Errorf("to S: %+v", r)
	}
	if b.hosts.Live != 0 {
		t.Errorf("%d decoys live", b.hosts.Live)
	}
}

func TestKillWhileTheDecoyAnswers(t *testing.T) {
	b := setup(t, nil)
	s := b.dial(1)
	s.say("hello")
	b.doors[0].take()
	b.g.Kill(b.w.Now, b.all()[0].ID)
	if r := b.last(0); r.Flags != wire.RST || r.Seq != s.ack {
		t.Errorf("to S: %+v", r)
	}
	b.wantSilence(1)
	if b.hosts.Live != 0 || b.g.Recorded() != 0 {
		t.Errorf("%d decoys live, %d bytes are taken", b.hosts.Live, b.g.Recorded())
	}
}
