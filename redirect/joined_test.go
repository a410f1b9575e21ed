package redirect_test

import (
	"testing"

	"sleight/redirect"
	"sleight/redirect/sim"
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
