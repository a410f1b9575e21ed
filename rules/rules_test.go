package rules

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func facts() Facts {
	return Facts{
		Src: netip.MustParseAddrPort("198.51.100.7:40000"), Dst: netip.MustParseAddrPort("203.0.113.5:80"),
		Decoy: "web", Stream: []byte("GET /\xff\xfd () { :; }\r\n"), Last: []byte("\x01\x02\x03\x04"),
		Answered: []byte("220 hi"), Packets: 2, Bytes: 20, Turns: 1, Age: 3 * time.Second, Idle: time.Second,
		SYN: SYN{TTL: 64, Window: 64240, MSS: 1460, IPID: 54321, Seq: 7, Options: SYNOptions(true, true, true, true)},
	}
}

func decide(t *testing.T, when string) Verdict {
	t.Helper()
	s, errs := Compile([]Rule{{Name: "r", When: when, Action: Switch, Backend: "b"}})
	if errs != nil {
		t.Fatalf("%s: %+v", when, errs)
	}
	f := facts()
	var fl Flow
	fl.Init(1)
	s.Start(&fl, &f)
	return s.Decide(&fl, &f)
}

func TestFactsAndFunctions(t *testing.T) {
	for when, want := range map[string]bool{
		``:                                              true,
		`stream contains "() {"`:                        true,
		`stream contains "() ["`:                        false,
		`stream startsWith "GET "`:                      true,
		`last == "\x01\x02\x03\x04"`:                    true,
		`answered endsWith "hi"`:                        true,
		`src == "198.51.100.7"`:                         true,
		`in_net(src, "198.51.0.0/16")`:                  true,
		`in_net(src, "2001:db8::/32")`:                  false,
		`in_net(dst, "203.0.113.5")`:                    true,
		`sport == 40000 and dport in [80, 81]`:          true,
		`dport in 1..79`:                                false,
		`ip_version == 4`:                               true,
		`decoy == "web" and packets == 2`:               true,
		`bytes > 10 && turns == 1`:                      true,
		`age > duration("2s")`:                          true,
		`idle > duration("2s")`:                         false,
		`proto == "http"`:                               true,
		`byte(last, 0) == 1`:                            true,
		`u16(last, 1) == 0x0203`:                        true,
		`u32(last, 0) == 0x01020304`:                    true,
		`u32(last, 1) == 1`:                             false, // beyond the end
		`last == hex("01 02 0304")`:                     true,
		`stream matches "\\xff\\xfd \\(\\)"`:            true, // \xff is the byte
		`stream matches "\xff\xfd"`:                     true,
		`stream matches "^GET"`:                         true,
		`stream matches "^POST"`:                        false,
		`not (stream contains "nope") or dport == 1`:    true,
		`stream contains "GET" and stream contains ":"`: true,
		`chance(1.0)`:                                   true,
		`chance(0.0)`:                                   false,
		`sample(src, 1.0)`:                              true,
		`len(stream) == 19`:                             true,
	} {
		if got := decide(t, when).Action == Switch; got != want {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
}

func TestMistakesTellWhereAndWhat(t *testing.T) {
	for when, want := range map[string]string{
		`strem contains "x"`:       "did you mean stream?",
		`stream contains`:          "unexpected token",
		`dport + 1`:                "bool",
		`prepare(src)`:             "not yet supported",
		`stream matches "("`:       "missing closing )",
		`stream matches decoy`:     "literal",
		`in_net(src, "10.0.0/8")`:  "neither an address nor a prefix",
		`hex("9") == stream`:       "odd length",
		`repeat("a", 9) == stream`: "repeat",
		`dport == "80"`:            "mismatched types",
	} {
		_, errs := Compile([]Rule{{When: "true"}, {When: when}})
		if len(errs) != 1 || errs[0].Rule != 1 || !strings.Contains(errs[0].Msg, want) || errs[0].Line != 1 || errs[0].Column < 1 {
			t.Errorf("%s: %+v, want %q", when, errs, want)
		}
	}
}

// "At each evaluation the first true rule in file order speaks; its verdict is
// final (log speaks and goes on)."
func TestFirstTrueRuleSpeaksAndLogGoesOn(t *testing.T) {
	s, errs := Compile([]Rule{
		{Name: "note", Action: Log, When: `stream contains "GET"`},
		{Name: "elsewhere", Action: Drop, Match: Match{Ports: []PortRange{{81, 90}}}},
		{Name: "first", Action: Stay, When: `bytes > 1`},
		{Name: "second", Action: Switch, When: `true`},
	})
	if errs != nil {
		t.Fatal(errs)
	}
	f := facts()
	var fl Flow
	fl.Init(1)
	s.Start(&fl, &f)
	v := s.Decide(&fl, &f)
	if v.Rule != "first" || v.Action != Stay || len(v.Logged) != 1 || v.Logged[0].Rule != "note" {
		t.Errorf("%+v", v)
	}
	if again := s.Decide(&fl, &f); len(again.Logged) != 0 {
		t.Error("a log rule spoke twice")
	}
}

func TestChanceRollsOncePerFlow(t *testing.T) {
	s, _ := Compile([]Rule{{When: `chance(0.5)`, Action: Stay}})
	f, yes := facts(), 0
	for seed := range uint64(200) {
		var fl Flow
		fl.Init(seed)
		s.Start(&fl, &f)
		first := s.Decide(&fl, &f).Action
		for range 5 {
			if s.Decide(&fl, &f).Action != first {
				t.Fatal("the die was rolled again")
			}
		}
		if first == Stay {
			yes++
		}
	}
	if yes < 60 || yes > 140 {
		t.Errorf("%d of 200", yes)
	}
}

func TestTimedAndWork(t *testing.T) {
	s, _ := Compile([]Rule{{When: `age > duration("1h")`, Action: Stay}})
	f := facts()
	var fl Flow
	s.Start(&fl, &f)
	if !s.Timed(&fl) {
		t.Error("a rule that names age is not timed")
	}
	for range 10 {
		s.Decide(&fl, &f)
	}
	if !fl.Exhausted(10*len(f.Stream)-1) || fl.Exhausted(10*len(f.Stream)) {
		t.Error("work is not what evaluations have read")
	}
}

func TestNothingMatchesWithoutAllocating(t *testing.T) {
	s, _ := Compile([]Rule{{When: `dport == 80 and stream contains "no such text"`, Action: Stay}})
	f := facts()
	var fl Flow
	s.Start(&fl, &f)
	if n := testing.AllocsPerRun(100, func() { s.Decide(&fl, &f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecide(f *testing.F) {
	s, errs := Compile([]Rule{
		{Name: "a", When: `stream contains "() {"`, Action: Switch},
		{Name: "b", When: `stream matches "\\xff[\\x00-\\x10]+" and u16(stream, 3) > 7`, Action: Stay},
	})
	if errs != nil {
		f.Fatal(errs)
	}
	f.Add([]byte("GET / () { x"), 3)
	f.Add([]byte("\xff\x01\x02\x03\x04"), 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		ff := facts()
		var whole, parts Flow
		s.Start(&whole, &ff)
		s.Start(&parts, &ff)
		ff.Stream = b
		want := s.Decide(&whole, &ff)
		ff.Stream = b[:min(len(b), max(0, cut))]
		s.Decide(&parts, &ff)
		ff.Stream = b
		if got := s.Decide(&parts, &ff); got.Rule != want.Rule {
			t.Fatalf("cut at %d: %q, whole: %q", cut, got.Rule, want.Rule)
		}
	})
}
