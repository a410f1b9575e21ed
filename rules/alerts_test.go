package rules

import (
	"testing"

	"sleight/rules/suricata"
)

// listening compiles rules together with Suricata's.
func listening(t *testing.T, text string, rs ...Rule) *Set {
	t.Helper()
	s, errs := Compile(rs)
	if errs != nil {
		t.Fatalf("%+v", errs)
	}
	vars, err := suricata.NewVars(map[string]string{"HOME_NET": "any"})
	if err != nil {
		t.Fatal(err)
	}
	all, skipped := suricata.Parse("a.rules", text, vars)
	if skipped = append(skipped, s.UseSuricata(all, nil)...); len(skipped) > 0 {
		t.Fatalf("%v", skipped)
	}
	return s
}

const twoRules = `alert tcp any any -> any any (msg:"one"; content:"one"; sid:1; priority:1; classtype:trojan-activity;)
alert tcp any any -> any any (msg:"two"; content:"two"; sid:2; priority:2; classtype:misc-attack;)
`

// "A `rules` entry maps what matches (by sid, classtype, priority, file) to an action
// and a backend."
func TestAnAlertIsPicked(t *testing.T) {
	for name, c := range map[string]struct {
		sel  suricata.Selector
		said string
		sid  int
	}{
		"any":                       {suricata.Selector{}, "a two", 2},
		"the most urgent":           {suricata.Selector{}, "two one", 1},
		"by sid":                    {suricata.Selector{SIDs: []suricata.Range{{First: 2, Last: 9}}}, "one two", 2},
		"by class":                  {suricata.Selector{Classtypes: []string{"misc-attack"}}, "one two", 2},
		"by priority":               {suricata.Selector{Priorities: []int{1}}, "two one", 1},
		"by file":                   {suricata.Selector{Files: []string{"a.rules"}}, "one", 1},
		"of another file":           {suricata.Selector{Files: []string{"b.rules"}}, "one", 0},
		"of another class and file": {suricata.Selector{Classtypes: []string{"x"}}, "one two", 0},
	} {
		s := listening(t, twoRules, Rule{Name: "r", Action: Switch, Backend: "b", Suricata: &c.sel})
		f := facts()
		f.Stream = []byte(c.said)
		f.Last = f.Stream
		var fl Flow
		s.Start(&fl, &f)
		v := s.Decide(&fl, &f)
		switch {
		case c.sid == 0 && v.Action != Wait:
			t.Errorf("%s: %+v", name, v)
		case c.sid > 0 && (v.Action != Switch || v.Backend != "b" || v.Alert == nil || v.Alert.SID != c.sid):
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// A rule speaks once for each alert by `log`, and goes on; with `when`, both have to
// hold, be it at different times.
func TestAlertsAreLoggedAndKept(t *testing.T) {
	s := listening(t, twoRules,
		Rule{Name: "note", Action: Log, Suricata: &suricata.Selector{}},
		Rule{Name: "both", Action: Stay, When: `stream contains "later"`, Suricata: &suricata.Selector{Priorities: []int{1}}},
	)
	f := facts()
	var fl Flow
	f.Stream, f.Last = nil, nil
	s.Start(&fl, &f)
	logged := 0
	for _, said := range []string{"one ", "two ", "one two ", "later"} {
		f.Stream = append(f.Stream, said...)
		f.Last = f.Stream
		v := s.Decide(&fl, &f)
		logged += len(v.Logged)
		if (v.Action == Stay) != (said == "later") {
			t.Errorf("%q: %+v", f.Stream, v)
		}
	}
	if logged != 2 {
		t.Errorf("%d alerts were logged, not 2", logged)
	}
}

// Nothing is allocated while no rule's text occurs.
func TestListeningAllocatesNothing(t *testing.T) {
	s := listening(t, twoRules, Rule{Name: "r", Action: Switch, Backend: "b", Suricata: &suricata.Selector{}})
	f := facts()
	all := make([]byte, 1<<16)
	var fl Flow
	f.Stream, f.Last = nil, nil
	s.Start(&fl, &f)
	n := 0
	if allocs := testing.AllocsPerRun(100, func() {
		n += 100
		f.Stream, f.Last = all[:n], all[:n]
		s.Decide(&fl, &f)
	}); allocs != 0 {
		t.Errorf("%v allocations for each segment", allocs)
	}
}
