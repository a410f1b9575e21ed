package redirect_test

import (
	"testing"

	"sleight/redirect"
	"sleight/redirect/sim"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// What joined flows share stays empty, whatever their peers do: here conversations
// that are drawn from seeds, and TestMain asks again after all other tests.
func TestJoinedFlowsShareNothingButEmptiness(t *testing.T) {
	joined := 0
	for seed := range uint64(200) {
		out := sim.NewScenario(seed).Run()
		if out.Problem != "" {
			t.Errorf("seed %d: %s", seed, out.Problem)
		}
		if out.Result == "ok" {
			joined++
		}
	}
	if joined < 50 {
		t.Errorf("only %d of 200 were joined", joined)
	}
	if !redirect.JoinedIsEmpty() {
		t.Error("what joined flows share was written to")
	}
}

// A FIN that came before the join counts after it: a flow that gave it up with the rest
// would wait for it until it is idle.
func TestAFINBeforeTheJoinIsRemembered(t *testing.T) {
	b := setup(t, nil)
	s := b.dial(40000)
	s.send(s.segment(wire.ACK|wire.PSH|wire.FIN, sim.Trigger))
	s.seq = s.seq.Add(tcb.Size(len(sim.Trigger))) + 1
	d := b.answers(nil)
	b.wantSwitch("ok")
	d.ack = s.seq
	fin := d.segment(wire.ACK|wire.FIN, "")
	d.send(fin)
	s.hears(b.last(0))
	if l, ok := b.g.Show(b.w.Now, b.all()[0].ID); !ok || l.Phase != "closing" {
		t.Errorf("%+v, want it to be closing", l)
	}
}

// What each end's FIN says is kept where the first one comes to a joined flow.
func TestAJoinedFlowCloses(t *testing.T) {
	for _, first := range []tcb.Side{tcb.Client, tcb.Serving} {
		b := setup(t, nil)
		s, d := b.spliced(nil)
		d.took()
		if first == tcb.Client {
			s.send(s.segment(wire.ACK|wire.FIN, ""))
			s.seq++
			d.acks(d.ack + 1)
			d.send(d.segment(wire.ACK|wire.FIN, ""))
			s.hears(b.last(0))
		} else {
			d.send(d.segment(wire.ACK|wire.FIN, ""))
			d.seq++
			s.hears(b.last(0))
			s.send(s.segment(wire.ACK|wire.FIN, ""))
			d.acks(d.ack + 1)
		}
		if l := b.all()[0]; l.Phase != "closing" {
			t.Errorf("%v first: %+v, want it to be closing", first, l)
		}
	}
}
