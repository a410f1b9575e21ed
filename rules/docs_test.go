package rules

import (
	"net/netip"
	"testing"
	"time"

	"sleight/internal/memory"
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
			on, err := ParseOccasion(e.On)
			if err != nil {
				t.Fatal(err)
			}
			r := Rule{
				Name: e.Name, When: e.When, Action: action, Backend: e.Backend,
				On: on, Threshold: Threshold(e.Threshold), OncePer: e.OncePer, Tag: Tag(e.Tag),
			}
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

// judge gives a set the first bytes of a conversation, and then pieces of n, with what
// was before it in its memory.
func judge(t *testing.T, s *Set, c *rulestest.Talk, first, n int) {
	t.Helper()
	now := noon.Truncate(24 * time.Hour).Add(24*time.Hour + c.At)
	m := memory.New(memory.Config{})
	s.SetMemory(m)
	for i := range c.Earlier {
		was := &c.Earlier[i]
		for range was.Times {
			at := now.Add(-was.Before)
			held(s, was, at, 0, max(1, len(was.Stream)))
			if was.Was {
				s.Switched(at, was.Src)
			}
		}
	}
	if c.Tagged != "" {
		if err := m.Tag(now, c.Src, c.Tagged, now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if spoke := held(s, c, now, first, n); spoke != c.Speaks {
		t.Fatalf("%.60q after %d bytes, then by %d: %v", c.Stream, first, n, spoke)
	}
}

// held holds a conversation, and reports whether the rule has spoken.
func held(s *Set, c *rulestest.Talk, now time.Time, first, n int) (spoke bool) {
	f := Facts{
		Src: netip.AddrPortFrom(c.Src, 40000), Dst: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.5"), c.Port),
		Decoy: "d", Now: now, Age: c.Age, Idle: c.Idle, SYN: SYN{Window: c.Window},
	}
	var fl Flow
	s.Start(&fl, &f)
	ask := func(said int) (v Verdict) {
		if n := min(said, len(c.Stream)); n > len(f.Stream) {
			f.Stream, f.Packets = []byte(c.Stream[:n]), f.Packets+1
		}
		f.Last, f.Bytes = f.Stream, len(f.Stream)
		v = s.Decide(&fl, &f)
		spoke = spoke || v.Action != Wait || len(v.Logged) > 0
		return v
	}
	v := ask(0) // the handshake
	for i := first; v.Action == Wait; i += n {
		v = ask(i)
		if i >= len(c.Stream) {
			break
		}
	}
	fl.End(&f)
	return spoke
}
