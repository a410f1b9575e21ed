package pattern

import (
	"regexp"
	"strings"
	"testing"
)

// Bytes beyond ASCII are found where they stand.
func TestFindCountsBytes(t *testing.T) {
	for _, c := range []struct {
		re, in   string
		from, to int
	}{
		{`b+`, "\xff\xffbbb\xff", 2, 5},
		{`\xfe.`, "aa\xfe\xffz", 2, 4},
		{`bc`, "abcd", 1, 3},
		{`b`, "\xffac", -1, -1},
	} {
		p, err := Compile(c.re, true)
		if err != nil {
			t.Fatal(err)
		}
		if from, to := p.Find(c.in); from != c.from || to != c.to {
			t.Errorf("%s in %q: [%d, %d)", c.re, c.in, from, to)
		}
	}
}

// A byte-wise pattern finds what RE2 finds where both read the same.
func FuzzPattern(f *testing.F) {
	for _, re := range []string{"a+b", "[^x]\\d", "(?i)ab|cd", "^\\Qa.b\\E$", "[]a-]", "[[:digit:]]x?", "\\bfoo\\b", "(a|b){2,3}"} {
		f.Add(re, "xxaab1 foo a.b")
	}
	f.Fuzz(func(t *testing.T, re, text string) {
		p, err := Compile(re, false)
		want, wantErr := regexp.Compile(re)
		if wantErr != nil && err == nil {
			t.Fatalf("%q is accepted", re)
		}
		if err != nil || !ascii(text) || !ascii(re) || strings.Contains(re, "x") || strings.ContainsAny(re, "\\") {
			return
		}
		if got := p.Match(text); got != want.MatchString(text) {
			t.Fatalf("%q on %q: %v", re, text, got)
		}
		at := want.FindStringIndex(text)
		if from, to := p.Find(text); at == nil && from >= 0 || at != nil && (from != at[0] || to != at[1]) {
			t.Fatalf("%q on %q: found [%d, %d), not %v", re, text, from, to, at)
		}
	})
}
