package config

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// "`check` points out an address or port of a claimed prefix that no decoy covers
// only when asked (`--coverage`)."
func TestGaps(t *testing.T) {
	for _, tt := range []struct {
		name, matches string
		want          []string
	}{
		{"everything", "{}", nil},
		{"no decoy", "", []string{"203.0.113.0/24, any port", "2001:db8::/64, any port"}},
		{"ports", "{ports: [80, '22-23']} {ports: [443, '80-90']}", []string{
			"203.0.113.0/24, ports 1-21, 24-79, 91-442, 444-65535", "2001:db8::/64, ports 1-21, 24-79, 91-442, 444-65535",
		}},
		{"a union of ports is every port", "{ports: ['1-1000']} {ports: ['900-65535']}", nil},
		{"a union of prefixes is the whole", "{dst: [203.0.113.0/25]} {dst: [203.0.113.128/25, '2001:db8::/65', '2001:db8::8000:0:0:0/65']}", nil},
		{"one half", "{dst: [203.0.113.0/25, '2001:db8::/64']}", []string{"203.0.113.128/25, any port"}},
		{"one address is missing", "{dst: [203.0.113.0, 203.0.113.2/31, 203.0.113.4/30, 203.0.113.8/29, 203.0.113.16/28, 203.0.113.32/27, 203.0.113.64/26, 203.0.113.128/25, '2001:db8::/64']}",
			[]string{"203.0.113.1/32, any port"}},
		{"around an address", "{dst: [203.0.113.7, '2001:db8::/64']}", []string{"203.0.113.0 to 203.0.113.6, any port", "203.0.113.8 to 203.0.113.255, any port"}},
		{"ports of a part", "{dst: [203.0.113.0/25], ports: [80]} {dst: [203.0.113.128/25]} {dst: ['2001:db8::/64']}", []string{"203.0.113.0/25, ports 1-79, 81-65535"}},
		{"for some clients only", "{src: [198.51.100.0/24]} {dst: ['2001:db8::/64']}", []string{"203.0.113.0/24, any port"}},
		{"more than is claimed", "{dst: [203.0.0.0/16, '::/0']}", nil},
		{"the last port", "{ports: ['1-65534']}", []string{"203.0.113.0/24, ports 65535", "2001:db8::/64, ports 65535"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := "version: 1\nroutes: [203.0.113.0/24, \"2001:db8::/64\"]\ndecoys:\n"
			if tt.matches == "" {
				text += "  []\n"
			}
			for i, m := range strings.SplitAfter(tt.matches, "} ") {
				if m != "" {
					text += "  - {name: d" + string(rune('a'+i)) + ", match: " + m + ", service: {type: silent}}\n"
				}
			}
			c, err := parse(text)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, g := range c.Gaps() {
				_, what, _ := strings.Cut(g.Msg, "no decoy answers at ")
				what, _, _ = strings.Cut(what, "; add one")
				got = append(got, what)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAGapHasItsPlace(t *testing.T) {
	c, err := parse("version: 1\nroutes: [203.0.113.0/24]\ndefault: {tcp: reset}\n")
	if err != nil {
		t.Fatal(err)
	}
	const want = "f.yaml:2:10: no decoy answers at 203.0.113.0/24, any port; add one, or leave it to default.tcp: reset"
	if g := c.Gaps(); len(g) != 1 || g[0].Error() != want {
		t.Errorf("%v, want %s", g, want)
	}
}

func TestLastOf(t *testing.T) {
	for p, want := range map[string]string{
		"203.0.113.0/24": "203.0.113.255", "203.0.113.8/29": "203.0.113.15", "10.0.0.0/7": "11.255.255.255",
		"203.0.113.7/32": "203.0.113.7", "2001:db8::/63": "2001:db8:0:1:ffff:ffff:ffff:ffff",
	} {
		if got := lastOf(netip.MustParsePrefix(p)); got != netip.MustParseAddr(want) {
			t.Errorf("%s: %s, want %s", p, got, want)
		}
	}
}
