package tcb_test

import (
	"testing"
	"time"

	"sleight/stack/tcb"
)

// A FIN takes a place in the sequence space, and waits for the edge as bytes do (RFC
// 9293, section 3.4): at the edge itself it may probe, beyond it nothing is sent.
func TestAFINWaitsForTheEdge(t *testing.T) {
	for name, c := range map[string]struct {
		bytes     string
		edge      tcb.Seq
		wantBytes string
		wantFIN   bool
	}{
		"alone, beyond the edge":       {"", 900, "", false},
		"alone, at the edge":           {"", 1000, "", true},
		"behind bytes that do not fit": {"abcd", 1002, "ab", false},
		"behind bytes that fill it":    {"abcd", 1004, "abcd", true},
		"behind bytes beyond the edge": {"abcd", 900, "", false},
		"behind bytes, with room left": {"abcd", 2000, "abcd", true},
		"an edge before the wrap":      {"abcd", 1<<32 - 1, "", false},
	} {
		var s tcb.Sender
		s.Init(1000)
		s.Append([]byte(c.bytes))
		s.AppendFIN()
		_, got, fin, ok := s.Next(time.Unix(1, 0), c.edge, 1460)
		if string(got) != c.wantBytes || fin != c.wantFIN || ok != (c.wantBytes != "" || c.wantFIN) {
			t.Errorf("%s: %q, FIN %v, %v; want %q, %v", name, got, fin, ok, c.wantBytes, c.wantFIN)
		}
		if s.Deadline().IsZero() {
			t.Errorf("%s: nothing will be tried again", name)
		}
	}
}
