package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// mutant is one rule taken out: a patch whose head says which, and what must then fail.
type mutant struct {
	name  string
	file  string // of the patch, absolute
	issue string // the mistake that the rule is against, as the field has made it
	rule  string // what is taken out
	pkg   string // of the test
	test  string // as go test's -run has it
	fails string // part of what the test prints when it fails
	race  bool   // the race detector has to see it
	made  string // package whose C has to be compiled anew; empty: none
}

// where patches and the documentation are, from the root of the tree.
const (
	folder = "e2e/mutants"
	doc    = "docs/testing.md"
)

// load reads every patch of the tree at root, in order of their names.
func load(root string) (ms []mutant, err error) {
	files, err := filepath.Glob(filepath.Join(root, folder, "*.patch"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		m, err := parse(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		m.file, m.name = f, strings.TrimSuffix(filepath.Base(f), ".patch")
		ms = append(ms, m)
	}
	if len(ms) == 0 {
		return nil, fmt.Errorf("no patch below %s", filepath.Join(root, folder))
	}
	return ms, nil
}

// parse reads a patch's head: lines "Key: value" up to the first that has none.
func parse(b []byte) (m mutant, err error) {
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			break
		}
		switch key {
		case "Issue":
			m.issue = value
		case "Rule":
			m.rule = value
		case "Test":
			m.pkg, m.test, _ = strings.Cut(value, " ")
			m.test, m.race = strings.CutSuffix(m.test, " -race")
		case "Fails":
			m.fails = value
		default:
			return m, fmt.Errorf("a head has Issue, Rule, Test and Fails, not %q", key)
		}
	}
	switch {
	case m.issue == "" || m.rule == "" || m.test == "" || m.fails == "":
		return m, fmt.Errorf("the head lacks one of Issue, Rule, Test and Fails: %+v", m)
	case !bytes.Contains(b, []byte("\ndiff --git ")):
		return m, fmt.Errorf("there is no diff")
	}
	if c := ofC.FindSubmatch(b); c != nil {
		m.made = "./" + string(c[1])
	}
	return m, nil
}

// ofC is the folder of a C file that a patch changes.
var ofC = regexp.MustCompile(`(?m)^\+\+\+ b/(.*)/[^/]*\.c$`)

var marks = [2]string{"<!-- mutants -->\n", "<!-- end of mutants -->\n"}

var between = regexp.MustCompile(`(?s)` + marks[0] + `.*?` + marks[1])

// written is the documentation with the table as the heads have it.
func written(text []byte, ms []mutant) ([]byte, error) {
	if !between.Match(text) {
		return nil, fmt.Errorf("%s has no place for the table: %q", doc, marks)
	}
	return between.ReplaceAllLiteral(text, []byte(marks[0]+table(ms)+marks[1])), nil
}

func table(ms []mutant) string {
	var b strings.Builder
	b.WriteString("| mistake | rule taken out | test that fails |\n|---|---|---|\n")
	for _, m := range ms {
		fmt.Fprintf(&b, "| %s | %s | `%s` `%s` |\n", m.issue, m.rule, m.pkg, m.test)
	}
	return b.String()
}
