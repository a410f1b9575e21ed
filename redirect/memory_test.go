package redirect_test

import (
	"testing"
	"time"

	"sleight/internal/memory"
	"sleight/redirect"
	"sleight/redirect/sim"
	"sleight/rules"
	"sleight/stack/wire"
)

// remembers is a gateway whose rules remember, and switch at sim.Trigger.
func remembers(t *testing.T) (*bench, *memory.Memory) {
	m := memory.New(memory.Config{})
	b := setup(t, func(c *redirect.Config) {
		set, errs := rules.Compile([]rules.Rule{
			{Name: "known", When: `switched(src, "1h") and bytes > 0`, Action: rules.Stay},
			{Name: "go", When: `stream contains "` + sim.Trigger + `" or rate(src, "1h") > 99`, Action: rules.Switch, Backend: "real"},
			{Name: "note", When: `not novel(stream) and bytes > 0`, Action: rules.Log},
		})
		if errs != nil {
			t.Fatal(errs)
		}
		set.SetMemory(m)
		c.Rules = set
		c.Timeouts.Answering, c.Timeouts.Closing = time.Second, time.Second
	})
	return b, m
}

// However a flow ends, what its client had said by then is remembered, and once.
func TestEveryFlowIsRememberedOnce(t *testing.T) {
	for name, end := range map[string]func(*bench, *peer){
		"by a reset":           func(_ *bench, p *peer) { p.send(p.segment(wire.RST, "")) },
		"in silence":           func(b *bench, _ *peer) { b.wait(2 * time.Second) },
		"by the gateway's end": func(b *bench, _ *peer) { b.g.Shutdown(b.w.Now) },
		"by a verdict":         func(_ *bench, p *peer) { p.say(sim.Trigger) },
	} {
		t.Run(name, func(t *testing.T) {
			b, m := remembers(t)
			p := b.dial(1)
			p.say("one")
			p.say("two")
			began := b.w.Now
			if n := m.Conns(began, began.Add(-time.Hour), clientAddr.Addr(), time.Minute); n != 1 {
				t.Errorf("%d connections have begun", n)
			}
			if n := m.Packets(began, clientAddr.Addr(), time.Hour); n != 0 {
				t.Errorf("%d packets are remembered of a flow that is judged", n)
			}
			want := 2
			if name == "by a verdict" {
				want = 3
			}
			end(b, p)
			for range 2 { // and not again, when its entry is swept
				if n := m.Packets(b.w.Now, clientAddr.Addr(), time.Hour); n != want {
					t.Errorf("%d packets are remembered, want %d", n, want)
				}
				b.wait(2 * time.Second)
			}
			again := b.dial(2)
			again.say("onetwo")
			if n := len(b.ev.Decisions); n == 0 || b.ev.Decisions[n-1].Rule != "note" {
				t.Errorf("what it said is not known: %+v", b.ev.Decisions)
			}
		})
	}
}

// Only a switch that has come to its end counts as one.
func TestASwitchIsRememberedOnceItIsOne(t *testing.T) {
	b, m := remembers(t)
	b.dial(1).say(sim.Trigger)
	d := b.one(1)
	if m.Switched(b.w.Now, clientAddr.Addr(), time.Hour) {
		t.Error("a switch under way")
	}
	refused := wire.Segment{Src: d.Dst, Dst: d.Src, TTL: 64, Ack: d.Seq + 1, Flags: wire.RST | wire.ACK}
	b.packet(1, built(&refused))
	b.wantSwitch("refused")
	if m.Switched(b.w.Now, clientAddr.Addr(), time.Hour) {
		t.Error("a switch that was refused")
	}
	b.doors[0].take()
	b.dial(2).say(sim.Trigger)
	b.answers(nil)
	b.wantSwitch("ok")
	if !m.Switched(b.w.Now, clientAddr.Addr(), time.Hour) {
		t.Error("a switch that is done")
	}
	b.dial(3).say("x")
	b.wantDecision("stay", "rule")
}
