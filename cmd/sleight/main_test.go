package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	testscript.Main(tight{m}, map[string]func(){"sleight": main})
}

// tight fails if a test has left a goroutine behind.
type tight struct{ *testing.M }

// Run is what testscript calls where it is not one of the programs itself.
func (m tight) Run() int {
	code := m.M.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "refused": refused, "capture": capture, "gateway": gateway, "flow": flow},
	})
}

// status runs a program and wants its exit code: status CODE PROGRAM ARG….
func status(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if ok := asExit(err, &exit); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// refused gives every YAML file of the script to check and to run, and wants of both
// the one line that stands at the end of the file as a comment.
func refused(ts *testscript.TestScript, _ bool, _ []string) {
	files, err := filepath.Glob(ts.MkAbs("*.yaml"))
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("there is no YAML file")
	}
	for _, f := range files {
		name := filepath.Base(f)
		text := strings.TrimSpace(ts.ReadFile(name))
		_, want, ok := strings.Cut(text[strings.LastIndex(text, "\n")+1:], "#")
		if !ok {
			ts.Fatalf("%s does not say what is wanted", name)
		}
		for _, command := range []string{"check", "run"} {
			err := ts.Exec("sleight", command, "-c", name)
			var exit *exec.ExitError
			if !asExit(err, &exit) || exit.ExitCode() != 1 {
				ts.Fatalf("%s %s: %v, want exit code 1", command, name, err)
			}
			if got := ts.ReadFile("stderr"); got != name+want+"\n" {
				ts.Fatalf("%s %s:\n got %swant %s", command, name, got, name+want)
			}
			if out := ts.ReadFile("stdout"); out != "" {
				ts.Fatalf("%s %s: standard output has %q", command, name, out)
			}
		}
	}
}

func asExit(err error, exit **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError)
	*exit = e
	return ok
}

func TestTheExampleIsRight(t *testing.T) {
	cfg, _, err := load("../../deploy/sleight.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if gaps := cfg.Gaps(); len(gaps) > 0 {
		t.Errorf("it leaves gaps: %v", gaps)
	}
}
