package rules

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
)

// on decides one condition for a stream.
func on(t *testing.T, when, stream string) bool {
	t.Helper()
	s, errs := Compile([]Rule{{When: when, Action: Stay}})
	if errs != nil {
		t.Fatalf("%s: %+v", when, errs)
	}
	f := facts()
	f.Stream = []byte(stream)
	var fl Flow
	s.Start(&fl, &f)
	return s.Decide(&fl, &f).Action == Stay
}

// "In a regular expression \xff is the byte."
func TestPatternsReadBytes(t *testing.T) {
	for _, c := range []struct {
		when, stream string
		want         bool
	}{
		{`stream matches "\\xff\\xfd"`, "a\xff\xfd", true},
		{`stream matches "\xff\xfd"`, "a\xff\xfd", true},
		{"stream matches `\\xff`", "\xff", true},
		{`stream matches "\\x{ff}"`, "\xff", true},
		{`stream matches "\\377"`, "\xff", true},
		{`stream matches "\\xff"`, "ÿ", false}, // U+00FF is c3 bf
		{`stream matches "^[\\x80-\\xff]{2}$"`, "\x80\xff", true},
		{`stream matches "^[^\\x80-\\xff]$"`, "\x9f", false},
		{`stream matches "^[^a]$"`, "\xff", true},
		{`stream matches "^.$"`, "\xff", true},
		{`stream matches "é"`, "caf\xc3\xa9", true},
		{`stream matches "é"`, "caf\xe9", false},
		{`stream matches "^€+$"`, "€€", true},
		{`stream matches "(?i)\\xe9"`, "\xc9", false}, // bytes have no case
		{`stream matches "(?i)HELLO \\xe9"`, "hello \xe9", true},
		{`stream matches "\\pL"`, "\xe9", false},
		{`stream matches "[]\\xff]"`, "\xff", true},
		{`stream matches "[[:alpha:]\\xff]"`, "\xff", true},
		{"stream matches `\\Qa.é\\E`", "a.é", true},
		{"stream matches `\\Qa.\\E`", "ab", false},
		{`stream matches "ab|cd"`, "xcd\xff", true},
		{`stream matches "(ab)+\\d"`, "\xffabab7", true},
		{`stream contains hex("ff fd")`, "a\xff\xfd", true},
	} {
		if got := on(t, c.when, c.stream); got != c.want {
			t.Errorf("%s on %q: %v", c.when, c.stream, got)
		}
	}
}

func TestWhatCannotBeMeantIsAnError(t *testing.T) {
	for when, want := range map[string]string{
		`stream contains "\xff"`:           `hex("ff")`,
		`stream == "a\x80"`:                `hex("ff")`,
		`stream matches "[é]"`:             "class",
		`chance(10)`:                       "from 0 to 1",
		`sample(src, 2.0)`:                 "from 0 to 1",
		`age > duration("2 seconds")`:      "duration",
		`src == "10.0.0.1/8"`:              "not an address",
		`dst in ["x"]`:                     "not an address",
		`in_net(src, decoy)`:               "in quotes",
		`fromJSON(stream)`:                 "not available",
		`len(map(1..9, #)) > 0`:            "not available",
		`any(1..9999, # == 1)`:             "in brackets",
		`any([1], any([2], # == 2))`:       "around another",
		`len($env) > 0`:                    "unknown name",
		`let a = stream + stream; a == ""`: "joined",
		`match_bytes(stream, "x")`:         "unknown name",
		strings.Repeat("(", 9000):          "at most",
	} {
		_, errs := Compile([]Rule{{When: when, Action: Stay}})
		if len(errs) == 0 || !strings.Contains(errs[0].Msg, want) {
			t.Errorf("%.60s: %+v, want %q", when, errs, want)
		}
	}
}

func TestEveryMistakeAtItsLine(t *testing.T) {
	_, errs := Compile([]Rule{{When: "foo and\n  prepare(src) and\n    stream matches \"(\"", Action: Stay}})
	var at []string
	for _, e := range errs {
		at = append(at, fmt.Sprintf("%d:%d", e.Line, e.Column))
	}
	if got := strings.Join(at, " "); got != "1:1 2:3 3:20" {
		t.Errorf("%s: %+v", got, errs)
	}
}

func TestAddressesCompareAsAddresses(t *testing.T) {
	s, errs := Compile([]Rule{{When: `src == "2001:DB8:0::1" and src in ["2001:db8:0:0::1"] and src != "::2"`, Action: Stay}})
	if errs != nil {
		t.Fatal(errs)
	}
	f := facts()
	f.Src = netip.MustParseAddrPort("[2001:db8::1]:1")
	var fl Flow
	s.Start(&fl, &f)
	if s.Decide(&fl, &f).Action != Stay {
		t.Error("one address in two forms differs")
	}
}

// "chance(0.1) rolls once per flow", and each place by itself.
func TestTwoRulesRollTwoDice(t *testing.T) {
	s, _ := Compile([]Rule{{Name: "a", When: `chance(0.5)`, Action: Log}, {Name: "b", When: `chance(0.5)`, Action: Stay}})
	same, f := 0, facts()
	for seed := range uint64(1000) {
		var fl Flow
		fl.Init(seed)
		s.Start(&fl, &f)
		if v := s.Decide(&fl, &f); (len(v.Logged) == 1) == (v.Action == Stay) {
			same++
		}
	}
	if same < 400 || same > 600 {
		t.Errorf("equal in %d of 1000 flows", same)
	}
}

// "sample(src, 0.1) is the same for a client every time"; a client is a prefix.
func TestSampleDrawsClients(t *testing.T) {
	s := sampler{ip4: 32, ip6: 64}
	hits, differ := 0, 0
	for i := range 1000 {
		a, _ := s.sample(fmt.Sprintf("2001:db8:%x::1", i), .5)
		b, _ := s.sample(fmt.Sprintf("2001:db8:%x::ffff:2", i), .5)
		if a != b {
			t.Fatal("two addresses of one client differ")
		}
		other := s
		other.key[0] = 1
		c, _ := other.sample(fmt.Sprintf("2001:db8:%x::1", i), .5)
		if a {
			hits++
		}
		if a != c {
			differ++
		}
	}
	if hits < 400 || hits > 600 || differ < 400 {
		t.Errorf("%d of 1000 drawn, %d differ with another key", hits, differ)
	}
}

func TestAFlowDoesNotKeepItsBytes(t *testing.T) {
	s, _ := Compile([]Rule{{When: `packets > 9`, Action: Stay}})
	var fl Flow
	f := facts()
	s.Start(&fl, &f)
	gone := make(chan struct{})
	func() {
		f.Stream = make([]byte, 1<<16)
		runtime.AddCleanup(&f.Stream[0], func(int) { close(gone) }, 0)
		s.Decide(&fl, &f)
		f.Stream = nil
	}()
	for range 20 {
		runtime.GC()
		select {
		case <-gone:
			return
		default:
			runtime.Gosched()
		}
	}
	t.Error("the flow keeps the stream alive")
	runtime.KeepAlive(&fl)
}

func TestAFlowKeepsTheSetThatItBeganWith(t *testing.T) {
	two, _ := Compile([]Rule{{When: "false", Action: Stay}, {Name: "second", When: "true", Action: Stay}})
	one, _ := Compile([]Rule{{When: "false", Action: Stay}})
	f := facts()
	var fl Flow
	two.Start(&fl, &f)
	if v := one.Decide(&fl, &f); v.Rule != "second" || one.Timed(&fl) {
		t.Errorf("%+v", v)
	}
}

// DESIGN 5: "64 KiB in one-byte segments must not cost 64 Ki evaluations of the
// whole stream."
func TestALiteralIsSearchedOnlyInWhatIsNew(t *testing.T) {
	for _, when := range []string{`stream contains "() {"`, `stream matches "\\(\\) \\{.*x"`} {
		s, _ := Compile([]Rule{{When: when, Action: Stay}})
		all := []byte(strings.Repeat("a", 1<<16-6) + "() {zx")
		f := facts()
		var fl Flow
		s.Start(&fl, &f)
		for i := 1; i <= len(all); i++ {
			f.Stream = all[:i]
			if v := s.Decide(&fl, &f); (v.Action == Stay) != (i == len(all) || i >= len(all)-2 && strings.Contains(when, "contains")) {
				t.Fatalf("%s at %d: %v", when, i, v.Action)
			}
		}
		if fl.Exhausted(8 << 20) {
			t.Errorf("%s: %d bytes read", when, fl.work)
		}
	}
}

// Compile never panics, whatever the condition.
func FuzzCompile(f *testing.F) {
	for _, when := range []string{`stream contains "x" and src == "::1"`, `chance(0.5) or dport in 1..9`, `any(["a"], stream contains #)`, `let a = u16(stream, 0); a > 1`, `not (http.uri == "/" or tls.alpn contains "x") and http.header("A") != syn.options`, `stream matches "\xff[é]"`, `1 < packets < 5`} {
		f.Add(when)
	}
	f.Fuzz(func(t *testing.T, when string) {
		s, errs := Compile([]Rule{{When: when, Action: Stay}})
		if errs == nil {
			ff := facts()
			var fl Flow
			s.Start(&fl, &ff)
			s.Decide(&fl, &ff)
		}
	})
}

// The literal is a shortcut only: the verdict is that of the condition, however
// the stream's growth is cut.
func FuzzLiteralIsAShortcut(f *testing.F) {
	s, errs := Compile([]Rule{
		{When: `stream contains "() {" and u16(stream, 1) > 3`, Action: Stay},
		{When: `stream matches "ab+\\xff" and not (stream contains "q")`, Action: Drop},
		{When: `stream endsWith "z" and stream contains "zz"`, Action: Reset},
		{When: `http.headers contains "A: b" and not (http.uri == "/")`, Action: Switch},
		{When: `redis.line matches "SET.+d" or smb.command == 5`, Action: Switch},
		{When: `not mysql.tls and not (ssh.software in ["a", ""])`, Action: Drop},
	})
	if errs != nil {
		f.Fatal(errs)
	}
	plain := &Set{client: s.client}
	for _, r := range s.rules {
		r.literal, r.needs = "", 0
		plain.rules = append(plain.rules, r)
	}
	f.Add([]byte("xx() {"), uint16(3))
	f.Add([]byte("abb\xffq"), uint16(2))
	f.Add([]byte("azz"), uint16(1))
	f.Add([]byte("GET /a HTTP/1.0\nA: b\n\nGET / HTTP/1.0\nA: b\n\n"), uint16(9))
	f.Add([]byte("SET d\nPING\n"), uint16(9))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		if len(b) > 512 {
			return // each of its beginnings is judged twice
		}
		ff := facts()
		var x, y Flow
		s.Start(&x, &ff)
		plain.Start(&y, &ff)
		step := 1 + int(cut)%8
		for i := 0; i < len(b)+step; i += step {
			ff.Stream = b[:min(i, len(b))]
			if got, want := s.Decide(&x, &ff), plain.Decide(&y, &ff); got.Action != want.Action {
				t.Fatalf("%q: %v, want %v", ff.Stream, got.Action, want.Action)
			}
		}
	})
}
