package suricata

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Whatever a rule file and a client say: no panic, no end of work, and the same
// verdicts however the stream is cut.
func FuzzRules(f *testing.F) {
	b, err := os.ReadFile("testdata/keywords.rules")
	if err != nil {
		f.Fatal(err)
	}
	for _, rule := range strings.Split(string(b), "\n") {
		if !strings.HasPrefix(rule, "alert") {
			continue
		}
		f.Add(rule, "GET /cgi/x?y=%2e%2e HTTP/1.1\r\nHost: A.example\r\nCookie: a=b\r\n\r\n", uint8(1))
		f.Add(rule, "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", uint8(3))
	}
	f.Add("alert tcp [!10.0.0.0/8,$HOME_NET] ![80,443:] <> any any (content:\"|00 01|\"; byte_jump:4,0,relative,align; sid:1;)", "\x00\x01\x00\x00\x00\x01abcdef", uint8(2))
	f.Fuzz(func(t *testing.T, text, stream string, segment uint8) {
		vars, err := NewVars(map[string]string{"HOME_NET": "any"})
		if err != nil {
			t.Fatal(err)
		}
		rules, _ := Parse("f.rules", text, vars)
		set, _ := Compile(rules)
		for _, r := range set.Rules() {
			r.Explain()
		}
		if len(stream) > 4<<10 || strings.Contains(text, "pcre") {
			hear(set, []string{stream}, 1460) // where ^, $ and \b are is the pattern's own affair
			return
		}
		whole, cut := hear(set, []string{stream}, len(stream)+1), hear(set, []string{stream}, int(segment)+1)
		slices.Sort(whole)
		slices.Sort(cut)
		if !slices.Equal(whole, cut) {
			t.Fatalf("in one piece %v, in pieces of %d %v", whole, int(segment)+1, cut)
		}
	})
}
