package sim

import (
	"flag"
	"testing"
)

var (
	seeds   = flag.Int("seeds", 300, "how many conversations are drawn")
	packets = flag.Bool("packets", false, "print every packet")
	first   = flag.Uint64("first", 1, "the first seed")
)

// Record, replay, splice and all between them, against simulated hosts over a
// wire that loses, repeats, reorders and damages packets.
func TestConversations(t *testing.T) {
	failed := 0
	for i := range uint64(*seeds) {
		seed := *first + i
		s := NewScenario(seed)
		if *packets {
			s.Trace = func(line string) { t.Log(line) }
		}
		if out := s.Run(); out.Problem != "" {
			t.Errorf("seed %d (go test ./redirect/sim -first %d -seeds 1):\n%s", seed, seed, out.Problem)
			if failed++; failed == 10 {
				t.Fatal("that is enough")
			}
		}
	}
}
