package suricata

import (
	"net/netip"
	"strings"
	"testing"
)

// "What a rule uses that we lack: rule skipped, counted, listed with the reason."
func TestWhatIsLackingIsSkippedWithTheReason(t *testing.T) {
	for options, want := range map[string]string{
		`content:"a"; lua:x.lua;`:                                   "keyword lua",
		`content:"a"; flow:to_client;`:                              "flow: it is what a server says",
		`content:"200"; http_stat_code;`:                            "http_stat_code: it is what a server says",
		`tls.cert_subject; content:"a";`:                            "tls.cert_subject: it is what a server says",
		`content:"a"; pcre:"/a(?=b)/";`:                             "RE2 has no look-around",
		`content:"a"; pcre:"/(a)\1/";`:                              "RE2 has no back-references",
		`content:"a"; pcre:"/a++/";`:                                "RE2 has no possessive repetition",
		`content:"a"; pcre:"/a{20000}/";`:                           "more than 10000 times",
		`content:"a"; pcre:"/a/X";`:                                 "pcre: the flag X",
		`content:"a"; pcre:"a";`:                                    "between slashes",
		`content:"|0|";`:                                            "pairs of hexadecimal digits",
		`content:"|00";`:                                            "a bar is not closed",
		`content:"";`:                                               "it has 0 bytes",
		`content:abc;`:                                              "in quotes",
		`content:"abc"; depth:2;`:                                   "depth: it is shorter",
		`content:"a"; content:"abc"; within:2;`:                     "within: it is shorter",
		`content:"a"; offset:1; startswith;`:                        "startswith: it cannot be moved",
		`content:"a"; offset:len;`:                                  "offset: the variable len",
		`nocase;`:                                                   "nocase: there is no content before it",
		`bsize:3;`:                                                  "bsize: there is no buffer before it",
		`byte_test:4,~,1,0;`:                                        "the operator ~",
		`byte_test:9,>,1,0;`:                                        "does not lie between",
		`byte_jump:4,0,dce;`:                                        "the word dce",
		`content:"a"; threshold:type limit, count 1;`:               "it needs count and seconds",
		`content:"a"; threshold:type x, track by_src, count 1;`:     "the words type x",
		`flowbits:jump,x;`:                                          "the word jump",
		`http.uri; content:"a"; tls.sni; content:"b";`:              "it is about http and about tls",
		`content:"a"; flowbits:isset,never;`:                        "no rule that is used sets never",
		`content:"a"`:                                               "semicolon",
		strings.Repeat(`content:"a"; `, 65):                         "more than 64 conditions",
		`msg:"` + strings.Repeat("x", maxRule) + `"; content:"a"; `: "longer than",
	} {
		text := `alert tcp any any -> any any (sid:7; msg:"m"; ` + options + ")"
		vars, _ := NewVars(nil)
		rules, skipped := Parse("f.rules", "# a comment\n\n"+text, vars)
		_, later := Compile(rules)
		skipped = append(skipped, later...)
		if len(skipped) != 1 || !strings.Contains(skipped[0].Reason, want) || skipped[0].Line != 3 {
			t.Errorf("%.80s: %v, want %q", options, skipped, want)
		}
	}
}

func TestHeaders(t *testing.T) {
	outside, home := netip.MustParseAddrPort("198.51.100.7:40001"), netip.MustParseAddrPort("203.0.113.9:8080")
	for head, want := range map[string]bool{
		"tcp any any -> any any":                                             true,
		"tcp $EXTERNAL_NET any -> $HOME_NET any":                             true,
		"tcp $HOME_NET any -> $EXTERNAL_NET any":                             false,
		"tcp $HOME_NET any <> $EXTERNAL_NET any":                             true,
		"tcp any any -> any $HTTP_PORTS":                                     true,
		"tcp any any -> any !$HTTP_PORTS":                                    false,
		"tcp any any -> any [80,8000:8100,!8080]":                            false,
		"tcp any any -> any [80, 8000:8100]":                                 true,
		"tcp any :1024 -> any any":                                           false,
		"tcp any 1024: -> any any":                                           true,
		"tcp [198.51.100.0/24,!198.51.100.7] any -> any any":                 false,
		"tcp ![198.51.100.0/24,!198.51.100.7] any -> any any":                true,
		"tcp 198.51.100.1-198.51.100.9 any -> [203.0.113.9,2001:db8::1] any": true,
		"tcp ![198.51.100.0/25, 10.0.0.0/8] any -> any any":                  false,
		"ip [[198.51.100.0/24],[10.0.0.0/8,!10.1.0.0/16]] any -> any any":    true,
	} {
		vars, err := NewVars(map[string]string{"HOME_NET": "203.0.113.0/24", "HTTP_PORTS": "[80,8080]"})
		if err != nil {
			t.Fatal(err)
		}
		rules, skipped := Parse("f.rules", "alert "+head+" (sid:1;)", vars)
		if len(skipped) > 0 {
			t.Errorf("%v", skipped)
			continue
		}
		if got := rules[0].header.fits(outside, home); got != want {
			t.Errorf("%s: %v", head, got)
		}
	}
}

func TestBadHeadersAreSkipped(t *testing.T) {
	for head, want := range map[string]string{
		"alert udp any any -> any any":         "protocol udp",
		"pass tcp any any -> any any":          "the action pass",
		"alert tcp any any <- any any":         "the direction <-",
		"alert tcp any -> any any":             "not a rule",
		"alert tcp $NONE any -> any any":       "$NONE is not set",
		"alert tcp any $NONE -> any any":       "$NONE is not set",
		"alert tcp [10.0.0.0/8 any -> any any": "a bracket is not closed",
		"alert tcp 10.0.0.0/99 any -> any any": "is not an address",
		"alert tcp any 99999 -> any any":       "is not a port",
		"alert tcp any !any -> any any":        "is no port",
		"alert tcp !any any -> any any":        "!any is no address",
		"alert tcp " + strings.Repeat("[", 20) + "any" + strings.Repeat("]", 20) + " any -> any any": "brackets do not fit",
	} {
		vars, _ := NewVars(nil)
		if _, skipped := Parse("f.rules", head+" (sid:1;)", vars); len(skipped) != 1 || !strings.Contains(skipped[0].Reason, want) {
			t.Errorf("%s: %v, want %q", head, skipped, want)
		}
	}
	for name, text := range map[string]string{"HOME_NET": "$HOME_NET", "HTTP_PORTS": "[80,$OTHER]", "DC_SERVERS": "10.0.0.1/8/8"} {
		if _, err := NewVars(map[string]string{name: text}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %s: %v", name, text, err)
		}
	}
}

// What the parser knows of a rule is what its author wrote.
func TestWhatARuleSaysOfItself(t *testing.T) {
	vars, _ := NewVars(nil)
	rules, skipped := Parse("f.rules", "drop tcp any any -> any any \\\n  (msg:\"a \\\"b\\\"\\; c\"; gid:3; sid:5; rev:2; "+
		"classtype:web-application-attack; reference:cve, 2021-1; content:\"x\";)\r\n"+
		"alert tcp any any -> any any (priority:4; classtype:trojan-activity; content:\"x\"; sid:6;)\n"+
		"alert tcp any any -> any any (classtype:made-up; content:\"x\"; sid:7;)", vars)
	if len(skipped) > 0 || len(rules) != 3 {
		t.Fatal(skipped)
	}
	if r := rules[0]; r.Msg != `a "b"; c` || r.GID != 3 || r.SID != 5 || r.Rev != 2 || r.Priority != 1 ||
		r.Classtype != "web-application-attack" || len(r.References) != 1 || r.References[0] != "cve,2021-1" || r.Line != 1 {
		t.Errorf("%+v", r)
	}
	if rules[1].Priority != 4 || rules[1].Line != 3 || rules[2].Priority != 3 {
		t.Errorf("%+v, %+v", rules[1], rules[2])
	}
}
