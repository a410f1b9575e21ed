package config

import (
	"strings"
	"testing"
)

// A mistake in an expression is found where it stands in the file, however YAML
// writes the expression: here always at its word HERE.
func TestAMistakeInAnExpressionHasItsPlaceInTheFile(t *testing.T) {
	for name, when := range map[string]string{
		"plain":            "when: x == HERE",
		"plain, folded":    "when: x ==\n      1 and\n\n      HERE",
		"single quotes":    "when: 'it''s == HERE'",
		"single, folded":   "when: 'x\n      and ''y''\n      HERE'",
		"double quotes":    `when: "a \"b\" \x41 \u00e9 é HERE"`,
		"double, joined":   "when: \"abc \\\n      HERE\"",
		"double, newline":  `when: "abc\n  HERE"`,
		"literal":          "when: |\n      x and\n      HERE",
		"literal, deep":    "when: |\n      x and\n        y and HERE and\n      z",
		"literal, blank":   "when: |\n\n      x and\n\n      HERE",
		"literal, header":  "when: |2- # why\n        x\n        HERE",
		"literal, keep":    "when: |+\n      HERE\n\n",
		"folded":           "when: >\n      x and\n      y and HERE",
		"folded, chomped":  "when: >-\n      x and\n\n      y and\n        HERE\n      z",
		"CRLF":             "when: |\r\n      x and\r\n      HERE\r\n",
		"beyond ASCII":     "when: 'é contains \"日本\" HERE'",
		"on the next line": "when:\n      x HERE",
	} {
		text := base + "rules:\n  - name: r\n    action: stay\n    " + when + "\n"
		c, err := parse(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, want := placeIn(c.Rules[0].When, &c.Rules[0]), placeOfWord(text); got != want {
			t.Errorf("%s: %v, want %v\n%s", name, got, want, text)
		}
	}
}

// placeIn is where a rule says that HERE is, by its line and column in the value.
func placeIn(value string, r *Rule) Place {
	before, _, _ := strings.Cut(value, "HERE")
	last := before[strings.LastIndex(before, "\n")+1:]
	return r.At(strings.Count(before, "\n")+1, len([]rune(last))+1)
}

func placeOfWord(text string) Place {
	for i, line := range strings.Split(text, "\n") {
		if before, _, ok := strings.Cut(line, "HERE"); ok {
			return Place{i + 1, len([]rune(before)) + 1}
		}
	}
	return Place{}
}

// A position beyond the expression, where something is missing, is behind its end.
func TestTheEndOfAnExpressionHasAPlace(t *testing.T) {
	c, err := parse(base + "rules: [{name: r, action: stay, when: 'a =='}]\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Rules[0].At(1, 5); got != (Place{3, 44}) {
		t.Errorf("%v, want 3:44", got)
	}
	if got := c.Rules[0].At(9, 9); got != (Place{3, 44}) {
		t.Errorf("%v: what is beyond it is behind its end too, 3:44", got)
	}
}
