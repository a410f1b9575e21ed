// Command mutants takes one rule out of the program at a time and looks that the
// test of that rule fails, and for the right reason: a test that cannot fail proves
// nothing. The rules are the patches beside this file; each has a head:
//
//	Issue: what goes wrong without the rule, as it did in the field
//	Rule: what the patch takes out
//	Test: package, and name as go test's -run has it; -race behind it if needed
//	Fails: part of what the test then prints
//
// The tree itself is not touched: patches are applied to a copy.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	only := flag.String("run", "", "take only patches whose name matches this `expression`")
	docs := flag.Bool("docs", false, "only write the table of "+doc)
	verbose := flag.Bool("v", false, "print what each test prints")
	flag.Parse()
	if err := run(*only, *docs, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(only string, docs, verbose bool) error {
	ms, err := load(".")
	if err != nil {
		return err
	}
	if docs {
		return write(ms)
	}
	re, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sleight-mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := copyTree(dir); err != nil {
		return err
	}
	var taken []mutant
	for _, m := range ms {
		if re.MatchString(m.name) {
			taken = append(taken, m)
		}
	}
	if err := green(dir, taken); err != nil {
		return err
	}
	bad := 0
	for _, m := range taken {
		began := time.Now()
		what, err := m.try(dir, verbose)
		if err != nil {
			bad++
			what = "NOT AS WANTED: " + err.Error()
		}
		fmt.Printf("%-28s %5.1f s  %s %s: %s\n", m.name, time.Since(began).Seconds(), m.pkg, m.test, what)
	}
	fmt.Printf("%d rules taken out, %d tests failed as they should\n", len(taken), len(taken)-bad)
	if bad > 0 {
		return fmt.Errorf("%d of %d rules could be taken out", bad, len(taken))
	}
	return nil
}

func write(ms []mutant) error {
	b, err := os.ReadFile(doc)
	if err == nil {
		b, err = written(b, ms)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(doc, b, 0o644)
}

// copyTree copies the files that git knows or would add, as they are now.
func copyTree(dir string) error {
	out, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(out), "\x00"), "\x00") {
		info, err := os.Stat(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed, and not committed yet
		}
		var b []byte
		if err == nil {
			b, err = os.ReadFile(name)
		}
		to := filepath.Join(dir, name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(to), 0o755)
		}
		if err == nil {
			err = os.WriteFile(to, b, info.Mode())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// green runs the tests while every rule is in its place, those of a package together.
func green(dir string, ms []mutant) error {
	type run struct {
		pkg  string
		race bool
	}
	tests := map[run][]string{}
	for _, m := range ms {
		r := run{m.pkg, m.race}
		if name := anchored(m.test); !slices.Contains(tests[r], name) {
			tests[r] = append(tests[r], name)
		}
	}
	for r, names := range tests {
		if out, err := goTest(dir, r.pkg, strings.Join(names, "|"), r.race); err != nil {
			return fmt.Errorf("with every rule in its place: %w\n%s", err, out)
		}
		fmt.Printf("with every rule in its place %d tests of %s pass\n", len(names), r.pkg)
	}
	return nil
}

// try takes the rule out of the copy, runs the test and puts the rule back.
func (m *mutant) try(dir string, verbose bool) (what string, err error) {
	if err := m.apply(dir); err != nil {
		return "", err
	}
	out, failed := goTest(dir, m.pkg, anchored(m.test), m.race)
	if verbose {
		fmt.Printf("%s\n", out)
	}
	if err := m.apply(dir, "-R"); err != nil {
		return "", err
	}
	switch {
	case failed == nil && bytes.Contains(out, []byte("[no tests to run]")):
		return "", errors.New("there is no such test")
	case failed == nil:
		return "", errors.New("it stays green")
	case !bytes.Contains(out, []byte("--- FAIL: ")) && !bytes.Contains(out, []byte("panic: ")):
		return "", fmt.Errorf("it does not run: %w\n%s", failed, out)
	case !bytes.Contains(out, []byte(m.fails)):
		return "", fmt.Errorf("it fails without %q:\n%s", m.fails, out)
	}
	return "red, " + line(out, m.fails), nil
}

// line is the line of out that has text.
func line(out []byte, text string) string {
	for l := range bytes.Lines(out) {
		if bytes.Contains(l, []byte(text)) {
			return fmt.Sprintf("%.150s", bytes.TrimSpace(l))
		}
	}
	return text
}

// apply applies the patch to the tree in dir, and compiles C that it changes.
func (m *mutant) apply(dir string, options ...string) error {
	if err := apply(dir, m.file, options...); err != nil || m.made == "" {
		return err
	}
	c := exec.Command("go", "generate", m.made)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("go generate %s: %w: %s", m.made, err, bytes.TrimSpace(out))
	}
	return nil
}

// apply applies a patch to the tree in dir, with more options of git apply.
func apply(dir, patch string, options ...string) error {
	patch, err := filepath.Abs(patch)
	if err != nil {
		return err
	}
	c := exec.Command("git", append(append([]string{"apply", "-C1"}, options...), patch)...)
	c.Dir = dir
	// Where the tree lies in another repository git would look there for paths.
	c.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("the patch does not apply any more: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// goTest runs the tests of a package that match.
func goTest(dir, pkg, match string, race bool) (out []byte, err error) {
	args := []string{"test", "-count=1", "-timeout", "2m", "-run", match}
	if race {
		args = append(args, "-race")
	}
	c := exec.Command("go", append(args, pkg)...)
	c.Dir = dir
	return c.CombinedOutput()
}

// anchored makes each part of a test's name one that is wholly meant; a last part
// stands for every subtest that has it in its name.
func anchored(test string) string {
	name, sub, found := strings.Cut(test, "/")
	if !found {
		return "^" + name + "$"
	}
	return "^" + name + "$/" + sub
}
