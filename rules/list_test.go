package rules

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func source(when string) *Source {
	return &Source{
		Lists: []List{
			{Name: "research", Addresses: []netip.Prefix{
				netip.MustParsePrefix("198.51.100.0/25"), netip.MustParsePrefix("198.51.100.64/26"), netip.MustParsePrefix("198.51.100.200/32"),
				netip.MustParsePrefix("2001:db8:1::/48"), netip.MustParsePrefix("10.0.0.0/8"),
			}},
			{Name: "nobody", Addresses: []netip.Prefix{}},
			{Name: "agents", Words: []string{"zgrab", "masscan"}},
		},
		Conditions: []Condition{
			{"scans", `syn.window == 1024 or
  http.user_agent contains "scan"`},
			{"bad", `scans and not in_list(src, "research")`},
		},
		Rules: []Rule{{Name: "r", When: when, Action: Stay}},
	}
}

func holdsFor(t *testing.T, when, src, stream string) bool {
	t.Helper()
	s, errs := source(when).Compile()
	if errs != nil {
		t.Fatalf("%s: %+v", when, errs)
	}
	f := facts()
	f.Src, f.Stream = netip.AddrPortFrom(netip.MustParseAddr(src), 1), []byte(stream)
	var fl Flow
	s.Start(&fl, &f)
	return s.Decide(&fl, &f).Action == Stay
}

func TestLists(t *testing.T) {
	for src, want := range map[string]bool{
		"198.51.100.0": true, "198.51.100.127": true, "198.51.100.128": false, "198.51.100.199": false, "198.51.100.200": true,
		"198.51.99.255": false, "2001:db8:1::": true, "2001:db8:1:ffff::1": true, "2001:db8:2::": false,
		"10.0.0.0": true, "10.255.255.255": true, "11.0.0.0": false, "9.255.255.255": false, "::ffff:10.1.1.1": true,
	} {
		if got := holdsFor(t, `in_list(src, "research")`, src, ""); got != want {
			t.Errorf("%s: %v", src, got)
		}
		if holdsFor(t, `in_list(src, "nobody")`, src, "") {
			t.Errorf("%s is in an empty list", src)
		}
	}
	const head = "GET / HTTP/1.1\r\nUser-Agent: "
	for when, want := range map[string]bool{
		`in_list(http.user_agent, "agents")`:         true,
		`not in_list(http.user_agent, "agents")`:     false,
		`in_list(lower(decoy), "agents")`:            false,
		`in_list(ssh.banner, "agents")`:              false,
		`not (in_list(http.user_agent, "agents"))`:   false,
		`in_list(http.user_agent, "agents") == true`: true,
	} {
		if got := holdsFor(t, when, mallory, head+"zgrab\r\n\r\n"); got != want {
			t.Errorf("%s: %v", when, got)
		}
	}
	for _, when := range []string{`in_list(http.user_agent, "agents")`, `not in_list(http.user_agent, "agents")`} {
		if holdsFor(t, when, mallory, head+"zgr") {
			t.Errorf("%s holds before the field is whole", when)
		}
	}
}

func TestAListOfManyAddresses(t *testing.T) {
	var ps []netip.Prefix
	for i := range 100_000 {
		ps = append(ps, netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(i >> 15), byte(i >> 7), byte(i << 1)}), 32))
	}
	l := &list{ranges: spans(ps)}
	for i := range 1000 {
		in, _ := l.hasAddress(fmt.Sprintf("100.%d.%d.%d", i*97>>15&255, i*97>>7&255, i*97<<1&255))
		out, _ := l.hasAddress(fmt.Sprintf("100.%d.%d.%d", i*97>>15&255, i*97>>7&255, i*97<<1&255|1))
		if !in || out {
			t.Fatalf("%d: %v, %v", i, in, out)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = l.hasAddress("100.1.2.3") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConditions(t *testing.T) {
	for _, c := range []struct {
		when, src, stream string
		want              bool
	}{
		{`scans`, mallory, "GET / HTTP/1.1\r\nUser-Agent: masscan\r\n\r\n", true},
		{`scans`, mallory, "GET / HTTP/1.1\r\nUser-Agent: curl\r\n\r\n", false},
		{`bad`, mallory, "GET / HTTP/1.1\r\nUser-Agent: masscan\r\n\r\n", false},
		{`bad`, "192.0.2.1", "GET / HTTP/1.1\r\nUser-Agent: masscan\r\n\r\n", true},
		{`not scans and dport == 80`, mallory, "GET / HTTP/1.1\r\nUser-Agent: curl\r\n\r\n", true},
		{`not scans`, mallory, "GET / HTTP/1.1\r\nUser-Ag", false}, // not known yet
		{`bytes > 99 or bad or dport == 81`, "192.0.2.1", "GET / HTTP/1.1\r\nUser-Agent: a scan\r\n\r\n", true},
	} {
		if got := holdsFor(t, c.when, c.src, c.stream); got != c.want {
			t.Errorf("%s of %q: %v", c.when, c.stream, got)
		}
	}
}

func TestMistakesInAndAroundConditions(t *testing.T) {
	for when, want := range map[string]string{
		"bad and\n  dprt == 1":                   "2:3 unknown name dprt; did you mean dport?",
		"bad == 1":                               "1:5 invalid operation: == (mismatched types bool and int)",
		`scan`:                                   "1:1 unknown name scan; did you mean scans?",
		`scans and in_list(src, "agents")`:       "1:11 in_list: a list of addresses",
		`scans and in_list(dport, "agents")`:     "1:19 cannot use int",
		`scans and in_list(decoy, "agent")`:      `1:26 in_list: there is no list "agent"; did you mean "agents"?`,
		`in_list(decoy, "research") and scans`:   "1:1 in_list: a list of addresses",
		`scans and stream matches "("`:           "1:26",
		`scans and stream contains "\xff"`:       `1:27 in text \x80 to \xff`,
		strings.Repeat("scans or ", 300) + "bad": "has more than 8192 bytes",
	} {
		_, errs := source(when).Compile()
		if len(errs) != 1 || errs[0].Condition {
			t.Errorf("%.40q: %+v", when, errs)
			continue
		}
		if got := fmt.Sprintf("%d:%d %s", errs[0].Line, errs[0].Column, errs[0].Msg); !strings.HasPrefix(got, want) && !strings.HasSuffix(got, want) {
			t.Errorf("%.40q: %s, want %s", when, got, want)
		}
	}
	for _, c := range []struct {
		conditions []Condition
		want       string // condition, place and message of the first
	}{
		{[]Condition{{"a", `stream contains`}, {"b", `a and a`}}, "0 1:"},
		{[]Condition{{"a", `b`}, {"b", `true`}}, "0 1:1 unknown name b"},
		{[]Condition{{"a", `a`}}, "0 1:1 unknown name a"},
		{[]Condition{{"a", `true`}, {"a", `true`}}, "1 1:1 another condition is called a"},
		{[]Condition{{"src", `true`}}, "0 1:1 src has a meaning already"},
		{[]Condition{{"http", `true`}}, "0 1:1 http has a meaning already"},
		{[]Condition{{"not", `true`}}, "0 1:1 not has a meaning already"},
		{[]Condition{{"len", `true`}}, "0 1:1 len has a meaning already"},
		{[]Condition{{"a-b", `true`}}, `0 1:1 "a-b" cannot be the name`},
		{[]Condition{{"a", `dport`}}, "0 1:1 expected bool"},
	} {
		src := &Source{Conditions: c.conditions, Rules: []Rule{{When: `true`}}}
		_, errs := src.Compile()
		if len(errs) != 1 || !errs[0].Condition {
			t.Errorf("%v: %+v", c.conditions, errs)
			continue
		}
		if got := fmt.Sprintf("%d %d:%d %s", errs[0].Rule, errs[0].Line, errs[0].Column, errs[0].Msg); !strings.HasPrefix(got, c.want) {
			t.Errorf("%v: %s, want %s", c.conditions, got, c.want)
		}
	}
}

// Conditions that name each other twice would grow without end.
func TestConditionsHaveABound(t *testing.T) {
	src := &Source{}
	last := "true"
	for i := range 40 {
		src.Conditions = append(src.Conditions, Condition{fmt.Sprintf("c%d", i), last + " and " + last})
		last = fmt.Sprintf("c%d", i)
	}
	_, errs := src.Compile()
	if len(errs) == 0 || !strings.Contains(errs[0].Msg, "more than 8192 bytes") {
		t.Errorf("%+v", errs)
	}
}
