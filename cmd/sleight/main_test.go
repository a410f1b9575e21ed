package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
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
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status},
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
