package e2e

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sleight/e2e/bed"
)

// output is what a program prints, to be looked at while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// labRun is a running `sleight lab`.
type labRun struct {
	*testing.T
	cmd *bed.Cmd
	out *output
	in  io.WriteCloser
}

func startLab(t *testing.T, args ...string) *labRun {
	t.Helper()
	ns, err := bed.NewNamespace("lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	l := &labRun{T: t, cmd: ns.Command(t.Context(), program, append([]string{"lab"}, args...)...), out: &output{}}
	l.cmd.Stdout, l.cmd.Stderr = l.out, l.out
	l.cmd.Env = append(os.Environ(), "SHELL=/bin/sh")
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return l
}

// says waits until the lab has printed something; its end ends the wait too.
func (l *labRun) says(what string) {
	l.Helper()
	for late := time.Now().Add(2 * time.Minute); !strings.Contains(l.out.String(), what); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(late) || strings.Contains(l.out.String(), "sleight: ") {
			l.Fatalf("the lab did not say %q:\n%s", what, l.out)
		}
	}
}

// ends wants the lab's end with exit code 0.
func (l *labRun) ends() {
	l.Helper()
	if err := l.cmd.Wait(); err != nil {
		l.Errorf("the lab: %v\n%s", err, l.out)
	}
	if s := l.out.String(); strings.Contains(s, "FAILED") || strings.Count(s, "\n  ok ") < 8 {
		l.Errorf("the proof:\n%s", s)
	}
}

// "--keep: leaves it open" (CONTRACT.md, 4): the gateway runs until Enter, and is
// stopped in its own order then.
func TestLabKeep(t *testing.T) {
	dir := t.TempDir()
	l := startLab(t, "--keep", "--dir", dir)
	l.says("Everything stays up until Enter or Ctrl-C.")
	events := func() string {
		b, err := os.ReadFile(filepath.Join(dir, "events.jsonl"))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	if s := events(); !strings.Contains(s, `"started"`) || strings.Contains(s, `"stopped"`) {
		t.Errorf("the gateway does not run:\n%s", s)
	}
	if _, err := l.in.Write([]byte("\n")); err != nil {
		t.Error(err)
	}
	l.ends()
	if s := events(); !strings.Contains(s, `"stopped"`) {
		t.Errorf("the gateway was not stopped:\n%s", s)
	}
	for _, name := range []string{"s.pcapng", "backend.pcapng", "ladder.txt", "real.log", "gateway.log"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// "-c FILE: with your configuration; --shell attacker: a shell in it": the shell is
// S's, and its exit code is not the lab's.
func TestLabShellWithAConfiguration(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "mine.yaml")
	text := strings.Replace(httpConfig("client"), `tun: {name: sl}`, `tun: {name: mine}`, 1) + "state: {dir: " + filepath.Join(dir, "state") + "}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l := startLab(t, "--shell", "attacker", "-c", config, "--dir", dir)
	l.says("no answer, as of a port behind a filter") // this configuration does not refuse
	l.says("A shell on S; leave it with exit.")
	if _, err := l.in.Write([]byte("grep -c 198.51.100.2 /proc/net/fib_trie && echo I am S; exit 3\n")); err != nil {
		t.Error(err)
	}
	l.ends()
	if !strings.Contains(l.out.String(), "\nI am S\n") {
		t.Errorf("the shell was somewhere else:\n%s", l.out)
	}
	log, err := os.ReadFile(filepath.Join(dir, "gateway.log"))
	if err != nil || !strings.Contains(string(log), "mine0") {
		t.Errorf("the gateway did not read the configuration: %v\n%s", err, log)
	}
}

// A configuration that does not do what the lab shows fails it, with the reason.
func TestLabFailsWhereNothingIsSwitched(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "mine.yaml")
	text := strings.Replace(httpConfig("client"), "version: 1", "version: 1\nmode: observe", 1) + "state: {dir: " + filepath.Join(dir, "state") + "}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l := startLab(t, "-c", config, "--dir", dir)
	if err := l.cmd.Wait(); err == nil || l.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(l.out.String(), `answered, want "real-host"`) {
		t.Errorf("%v\n%s", err, l.out)
	}
}
