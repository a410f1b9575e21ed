package rules

import (
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sleight/internal/memory"
	"sleight/rules/suricata"
)

// keeps is a past with these rules.
func keeps(t *testing.T, rs ...Rule) *past {
	t.Helper()
	s, errs := Compile(rs)
	if errs != nil {
		t.Fatalf("%+v", errs)
	}
	p := &past{t, s, memory.New(memory.Config{}), noon, 80}
	s.SetMemory(p.mem)
	return p
}

// who has spoken, by the final verdict or by log, in a connection of one client.
func (p *past) who(src string, pieces ...string) string {
	p.Helper()
	return p.judge(&Flow{}, src, pieces...)
}

// judge lets a flow see pieces; an empty one is a tick without anything new.
func (p *past) judge(fl *Flow, src string, pieces ...string) string {
	p.Helper()
	f := Facts{Src: netip.AddrPortFrom(netip.MustParseAddr(src), 40000), Dst: netip.MustParseAddrPort("203.0.113.5:80"), Now: p.now}
	p.set.Start(fl, &f)
	var said []string
	for i, piece := range append([]string{""}, pieces...) {
		f.Stream = append(f.Stream, piece...)
		f.Last, f.Bytes = f.Stream, len(f.Stream)
		f.Age = time.Duration(i) * 100 * time.Millisecond
		v := p.set.Decide(fl, &f)
		for _, l := range v.Logged {
			said = append(said, l.Rule)
		}
		if v.Action != Wait {
			said = append(said, v.Rule)
			break
		}
	}
	fl.End(&f)
	return strings.Join(said, " ")
}

func (p *past) wantWho(got, want, why string) {
	p.Helper()
	if got != want {
		p.Errorf("%s: %q spoke, want %q", why, got, want)
	}
}

func TestRulesAreAskedOnTheirOccasion(t *testing.T) {
	p := keeps(t,
		Rule{Name: "open", Action: Log, On: OnOpen, When: `bytes >= 0`},
		Rule{Name: "data", Action: Log, On: OnData, When: `bytes >= 0`},
		Rule{Name: "idle", Action: Log, On: OnIdle, When: `bytes >= 0`},
		Rule{Name: "late", Action: Log, On: OnOpen, When: `bytes > 0`},
		Rule{Name: "aged", Action: Log, On: OnData, When: `age > duration("150ms")`},
	)
	p.wantWho(p.who(mallory), "open", "a handshake")
	p.wantWho(p.who(mallory, "x"), "open data", "and a word")
	p.wantWho(p.who(mallory, "x", ""), "open data idle", "and silence")
	p.wantWho(p.who(mallory, "", ""), "open idle", "silence only")
	p.wantWho(p.who(mallory, "x", "", "y"), "open data idle aged", "a word later on")
	for i, want := range []bool{false, false, true} {
		s, _ := Compile([]Rule{p.set.rules[i].Rule})
		var fl Flow
		f := facts()
		s.Start(&fl, &f)
		if s.Timed(&fl) != want {
			t.Errorf("%s is timed: %v", p.set.rules[i].Name, !want)
		}
	}
}

func TestAThresholdCountsConnections(t *testing.T) {
	p := keeps(t,
		Rule{Name: "third", Action: Switch, When: `stream contains "root"`, Threshold: Threshold{3, 10 * time.Minute}},
		Rule{Name: "rest", Action: Stay, When: `bytes > 9`},
	)
	p.wantWho(p.who(mallory, "root", " root", " root"), "rest", "the first, which says it thrice")
	p.wantWho(p.who(mallory, "toor"), "", "one that does not say it")
	p.wantWho(p.who(alice, "root"), "", "another client's first")
	p.wantWho(p.who(mallory, "root"), "", "the second")
	p.wantWho(p.who(mallory, "root"), "third", "the third")
	p.wantWho(p.who(mallory, "root"), "third", "the fourth")
	p.after(11 * time.Minute)
	p.wantWho(p.who(mallory, "root"), "", "the first of the next window")
}

func TestOncePerSuppressesAndTellsHowOften(t *testing.T) {
	p := keeps(t,
		Rule{Name: "note", Action: Log, When: `bytes > 0`, OncePer: time.Hour},
		Rule{Name: "go", Action: Switch, When: `bytes > 1`, OncePer: time.Hour},
		Rule{Name: "else", Action: Stay, When: `bytes > 1`},
	)
	kept := map[string]int{}
	p.set.SetSilent(func(rule string) { kept[rule]++ })
	p.wantWho(p.who(mallory, "x", "y"), "note go", "the first")
	p.wantWho(p.who(mallory, "xy"), "else", "the second")
	p.wantWho(p.who(mallory, "xy"), "else", "the third")
	p.wantWho(p.who(alice, "xy"), "note go", "another client")
	p.after(2 * time.Hour)
	f := Facts{Src: netip.MustParseAddrPort(mallory + ":1"), Dst: netip.MustParseAddrPort("203.0.113.5:80"), Now: p.now, Stream: []byte("xy"), Bytes: 2}
	var fl Flow
	p.set.Start(&fl, &f)
	v := p.set.Decide(&fl, &f)
	if v.Rule != "go" || v.Suppressed != 2 || len(v.Logged) != 1 || v.Logged[0].Suppressed != 2 {
		t.Errorf("later: %+v", v)
	}
	if want := map[string]int{"note": 2, "go": 2}; !maps.Equal(kept, want) {
		t.Errorf("kept silent: %v, want %v", kept, want)
	}
}

func TestOncePerHoldsForSuricatasRulesToo(t *testing.T) {
	p := keeps(t, Rule{Name: "alerts", Action: Log, Suricata: &suricata.Selector{}, OncePer: time.Hour, Tag: Tag{"noisy", time.Hour}})
	all, skipped := suricata.Parse("a.rules", `alert tcp any any -> any any (msg:"x"; content:"evil"; sid:1;)`, nil)
	if len(skipped) > 0 {
		t.Fatal(skipped)
	}
	p.set.UseSuricata(all, nil)
	p.wantWho(p.who(mallory, "evil"), "alerts", "the first")
	p.wantWho(p.who(mallory, "evil"), "", "the second")
	if !p.mem.Tagged(p.now, netip.MustParseAddr(mallory), "noisy") {
		t.Error("no tag")
	}
}

func TestARuleTagsItsClient(t *testing.T) {
	p := keeps(t,
		Rule{Name: "known", Action: Switch, When: `tagged(src, "scanner")`},
		Rule{Name: "scan", Action: Log, When: `stream contains "nmap"`, Tag: Tag{"scanner", time.Hour}},
	)
	p.wantWho(p.who(alice, "nmap"), "scan", "who says it, before anything more is said")
	p.wantWho(p.who(alice), "known", "and comes again")
	p.wantWho(p.who(mallory), "", "another client")
	p.after(time.Hour)
	p.wantWho(p.who(alice), "", "an hour later")
}

func TestSchedules(t *testing.T) {
	zone := time.FixedZone("", 2*3600)
	for _, c := range []struct {
		when, at string
		want     bool
	}{
		{`between("22:00", "06:00")`, "2026-11-26T22:00:00", true},
		{`between("22:00", "06:00")`, "2026-11-26T05:59:59", true},
		{`between("22:00", "06:00")`, "2026-11-26T06:00:00", false},
		{`between("09:00", "17:30")`, "2026-11-26T17:29:59", true},
		{`between("09:00", "17:30")`, "2026-11-26T17:30:00", false},
		{`between("09:00", "09:00")`, "2026-11-26T09:00:00", false},
		{`not between("09:00", "17:00")`, "2026-11-26T08:00:00", true},
		{`weekday == "thu"`, "2026-11-26T00:00:00", true},
		{`weekday in ["sat", "sun"]`, "2026-11-28T23:59:59", true},
		{`weekday in ["sat", "sun"]`, "2026-11-30T00:00:00", false},
	} {
		p := keeps(t, Rule{Name: "r", Action: Stay, When: c.when})
		at, err := time.ParseInLocation("2006-01-02T15:04:05", c.at, zone)
		if err != nil {
			t.Fatal(err)
		}
		p.now = at
		if got := p.who(mallory) == "r"; got != c.want {
			t.Errorf("%s at %s: %v", c.when, c.at, got)
		}
	}
	for when, want := range map[string]string{
		`between("22:00", "24:00")`: "no time of the day",
		`between("9:00", "17:00")`:  "no time of the day",
		`between("22:00", decoy)`:   "text in quotes",
		`between("22:00")`:          "not enough arguments",
	} {
		_, errs := Compile([]Rule{{When: when}})
		if len(errs) != 1 || !strings.Contains(errs[0].Msg, want) {
			t.Errorf("%s: %+v, want %q", when, errs, want)
		}
	}
}

// Without a memory a rule that counts speaks as if each connection were the first.
func TestWithoutAMemory(t *testing.T) {
	s, errs := Compile([]Rule{
		{Name: "a", Action: Log, When: `seen(src, "1h") or switched(src, "1h") or tagged(src, "x") or conns(src, "1h") > 0 or rate(src, "1h") > 0`},
		{Name: "b", Action: Log, When: `first_seen(src) == duration("0s")`, OncePer: time.Hour, Tag: Tag{"x", time.Hour}},
		{Name: "c", Action: Log, Threshold: Threshold{2, time.Hour}},
		{Name: "d", Action: Log, When: `novel(stream) and novel(http.uri)`},
	})
	if errs != nil {
		t.Fatalf("%+v", errs)
	}
	p := &past{t, s, nil, noon, 80}
	p.wantWho(p.who(mallory, "GET / HTTP/1.0\r\n\r\n"), "b d", "without a memory")
}
