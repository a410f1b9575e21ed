package redirect

import "testing"

func TestSteering(t *testing.T) {
	s := steeredTo(0)
	for i, step := range []struct {
		from int
		want uint8
		why  string
	}{
		{1, 0, "a SYN-ACK from within the SYN's write comes by the hash's queue"},
		{0, 0, "what follows comes by ours"},
		{1, 0, "one alone"},
		{1, 1, "the kernel has forgotten the connection, and goes by the hash"},
		{0, 1, "one alone"},
		{1, 1, "and back"},
	} {
		if s.came(step.from); s.queue != step.want {
			t.Errorf("step %d: queue %d, want %d: %s", i, s.queue, step.want, step.why)
		}
	}
}
