package rules

import (
	"net/netip"
	"testing"

	"sleight/rules/rulestest"
)

// Each example of docs/rules.md speaks where it says so, and only there, however
// the conversation is cut in two, and byte by byte.
func TestTheDocumentsExamples(t *testing.T) {
	all := rulestest.Examples(t, "..")
	if len(all) < 20 {
		t.Fatalf("%d examples", len(all))
	}
	for _, e := range all {
		t.Run(e.Name, func(t *testing.T) {
			action, err := ParseAction(e.Action)
			if err != nil {
				t.Fatal(err)
			}
			r := Rule{Name: e.Name, When: e.When, Action: action, Backend: e.Backend}
			for _, p := range e.Match.Ports {
				r.Match.Ports = append(r.Match.Ports, PortRange{p, p})
			}
			s, errs := Compile([]Rule{r})
			if errs != nil {
				t.Fatalf("%+v", errs)
			}
			if ws := s.Warnings(); len(ws) > 0 {
				t.Errorf("%+v", ws)
			}
			if len(e.Talks) == 0 {
				t.Error("no conversation")
			}
			for _, c := range e.Talks {
				for cut := range len(c.Stream) {
					judge(t, s, &c, cut, len(c.Stream))
				}
				judge(t, s, &c, 0, 1)
			}
		})
	}
}

// judge gives a set the first bytes of a conversation, and then pieces of n.
func judge(t *testing.T, s *Set, c *rulestest.Talk, first, n int) {
	t.Helper()
	f := Facts{
		Src: netip.AddrPortFrom(c.Src, 40000), Dst: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.5"), c.Port),
		Decoy: "d", Age: c.Age, Idle: c.Idle, SYN: SYN{Window: c.Window},
	}
	var fl Flow
	var v Verdict
	spoke := false
	s.Start(&fl, &f)
	for i := first; v.Action == Wait; i += n {
		f.Stream = []byte(c.Stream[:min(i, len(c.Stream))])
		f.Last, f.Bytes = f.Stream, len(f.Stream)
		v = s.Decide(&fl, &f)
		spoke = spoke || v.Action != Wait || len(v.Logged) > 0
		if i >= len(c.Stream) {
			break
		}
	}
	if spoke != c.Speaks {
		t.Fatalf("%.60q after %d bytes, then by %d: %v", c.Stream, first, n, spoke)
	}
}
