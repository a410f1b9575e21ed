package sim

import (
	"flag"
	"testing"

	"sleight/redirect"
)

var (
	seeds   = flag.Int("seeds", 300, "how many conversations are drawn")
	packets = flag.Bool("packets", false, "print every packet")
	first   = flag.Uint64("first", 1, "the first seed")
)

// kind is what hand-downs are counted by.
type kind struct {
	mode redirect.Mode
	six  bool
}

// Record, replay, splice, hand-over and all between them, against simulated hosts over a
// wire that loses, repeats, reorders and damages packets.
func TestConversations(t *testing.T) {
	failed, with := 0, 0
	handed := map[kind]redirect.HandDowns{}
	for i := range uint64(*seeds) {
		seed := *first + i
		s := NewScenario(seed)
		if *packets {
			s.Trace = func(line string) { t.Log(line) }
		}
		out := s.Run()
		if s.carrier != nil && s.switches && !s.refuse {
			with++
		}
		k := kind{s.mode, seed%2 == 1}
		h := handed[k]
		handed[k] = redirect.HandDowns{Ended: h.Ended + out.Handed.Ended, Bytes: h.Bytes + out.Handed.Bytes}
		if out.Problem != "" {
			t.Errorf("seed %d (go test ./redirect/sim -first %d -seeds 1):\n%s", seed, seed, out.Problem)
			if failed++; failed == 10 {
				t.Fatal("that is enough")
			}
		}
	}
	wantHandDowns(t, with, handed)
}

// wantHandDowns: conversations beside a carrier really were handed down, in each mode and
// family.
func wantHandDowns(t *testing.T, with int, handed map[kind]redirect.HandDowns) {
	t.Helper()
	ended := uint64(0)
	for k, h := range handed {
		t.Logf("mode %v, IPv6 %v: %d hand-downs, %d bytes", k.mode, k.six, h.Ended, h.Bytes)
		ended += h.Ended
		if *seeds >= 2000 && (h.Ended < 5 || h.Bytes == 0) {
			t.Errorf("mode %v, IPv6 %v: %d hand-downs, too few to say anything", k.mode, k.six, h.Ended)
		}
	}
	if *seeds >= 2000 && ended < uint64(with) {
		t.Errorf("%d conversations were spliced beside a carrier, it had %d", with, ended)
	}
}
