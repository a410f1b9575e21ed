package rules

import (
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// example is a rule of docs/rules.md with the conversations below it.
type example struct {
	Name, When, Action, Backend string
	Match                       struct{ Ports []uint16 }
	talks                       []talk
}

// talk is one conversation: what the client says, and whether the rule speaks.
type talk struct {
	stream string
	speaks bool
	facts  Facts
}

var fences = regexp.MustCompile("(?ms)^```(\\S+)([^\n]*)\n(.*?)^```$")

// examples reads the document: a block of yaml with one rule, then blocks `client`,
// whose lines are joined as the strings of Go, without their ends.
func examples(t *testing.T) (out []example) {
	t.Helper()
	b, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range fences.FindAllStringSubmatch(string(b), -1) {
		switch m[1] {
		case "yaml":
			var es []example
			if err := yaml.Unmarshal([]byte(m[3]), &es); err != nil {
				t.Fatalf("%s: %v", m[3], err)
			}
			out = append(out, es...)
		case "client":
			e := &out[len(out)-1]
			e.talks = append(e.talks, readTalk(t, e, m[2], m[3]))
		}
	}
	return out
}

// readTalk reads a block: of words behind `client`, `stays` says that the rule does
// not speak, file=NAME where the bytes are, the others are facts.
func readTalk(t *testing.T, e *example, words, text string) talk {
	t.Helper()
	c := talk{speaks: true, facts: Facts{Src: netip.MustParseAddrPort("198.51.100.7:40000"), Decoy: "d"}}
	port := uint16(80)
	if len(e.Match.Ports) > 0 {
		port = e.Match.Ports[0]
	}
	for _, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		s, err := strconv.Unquote(`"` + strings.ReplaceAll(l, `"`, `\"`) + `"`)
		if err != nil {
			t.Fatalf("%s: %q: %v", e.Name, l, err)
		}
		c.stream += s
	}
	for _, w := range strings.Fields(words) {
		key, v, _ := strings.Cut(w, "=")
		switch key {
		case "stays":
			c.speaks = false
		case "file":
			b, err := os.ReadFile("../" + v)
			if err != nil {
				t.Fatal(err)
			}
			c.stream = string(b)
		case "port":
			n, _ := strconv.Atoi(v)
			port = uint16(n)
		case "age":
			c.facts.Age, _ = time.ParseDuration(v)
		case "idle":
			c.facts.Idle, _ = time.ParseDuration(v)
		case "src":
			c.facts.Src = netip.AddrPortFrom(netip.MustParseAddr(v), 40000)
		case "answered":
			c.facts.Answered = []byte(v)
		case "window":
			n, _ := strconv.Atoi(v)
			c.facts.SYN.Window = uint16(n)
		default:
			t.Fatalf("%s: what is %q?", e.Name, w)
		}
	}
	c.facts.Dst = netip.AddrPortFrom(netip.MustParseAddr("203.0.113.5"), port)
	return c
}

// Each example of docs/rules.md speaks where it says so, and only there, however
// the conversation is cut in two, and byte by byte.
func TestTheDocumentsExamples(t *testing.T) {
	all := examples(t)
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
			if len(e.talks) == 0 {
				t.Error("no conversation")
			}
			for _, c := range e.talks {
				for cut := range len(c.stream) {
					c.judge(t, s, cut, len(c.stream))
				}
				c.judge(t, s, 0, 1)
			}
		})
	}
}

// judge gives a set the first bytes of a conversation, and then pieces of n.
func (c *talk) judge(t *testing.T, s *Set, first, n int) {
	t.Helper()
	var fl Flow
	var v Verdict
	spoke := false
	f := c.facts
	s.Start(&fl, &f)
	for i := first; v.Action == Wait; i += n {
		f.Stream = []byte(c.stream[:min(i, len(c.stream))])
		f.Last, f.Bytes = f.Stream, len(f.Stream)
		v = s.Decide(&fl, &f)
		spoke = spoke || v.Action != Wait || len(v.Logged) > 0
		if i >= len(c.stream) {
			break
		}
	}
	if spoke != c.speaks {
		t.Fatalf("%.60q after %d bytes, then by %d: %v", c.stream, first, n, spoke)
	}
}
