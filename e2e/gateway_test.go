package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sleight/e2e/bed"
	"sleight/e2e/servers"
	"sleight/internal/evidence"
)

var program string

func TestMain(m *testing.M) {
	if err := bed.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "sleight-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "sleight")
	if out, err := exec.Command("go", append(buildArgs(), "-o", program, "sleight/cmd/sleight")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	summary()
	_ = os.RemoveAll(dir)
	if err := servers.RemoveTemplates(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// gateway is a running `sleight run`.
type gateway struct {
	*testing.T
	*evidence.Reader
	cmd *bed.Cmd
	log *os.File
	dir string // of its files: sleight.yaml, log, and state with its state
}

// start runs the program in the bed's gateway and waits until it has started.
func start(t *testing.T, b *bed.Bed, config string) *gateway {
	t.Helper()
	g := launch(t, b, t.TempDir(), config)
	g.started()
	return g
}

// launch runs the program, with its files in dir, and does not wait for it.
func launch(t *testing.T, b *bed.Bed, dir, config string) *gateway {
	t.Helper()
	g := &gateway{T: t, dir: dir}
	g.configure(config)
	g.cmd = b.Gateway.Command(context.Background(), program, "run", "-c", g.file("sleight.yaml"))
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if g.log, err = os.Create(g.file("log")); err != nil {
		t.Fatal(err)
	}
	g.cmd.Stderr = g.log
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g.Reader = evidence.NewReader(out)
	t.Cleanup(g.stop)
	return g
}

// configure writes the gateway's configuration, with its own state directory.
func (g *gateway) configure(config string) {
	g.Helper()
	config += fmt.Sprintf("\nstate: {dir: %s}\n", g.file("state"))
	if os.Getenv("SLEIGHT_OFFLOAD") == "off" {
		config = withoutOffload(config)
	}
	if os.Getenv("SLEIGHT_KERNEL") == "off" {
		config = strings.Replace(config, "tun: {name: sl", "tun: {name: sl, kernel: off", 1)
	}
	if err := os.WriteFile(g.file("sleight.yaml"), []byte(config), 0o600); err != nil {
		g.Fatal(err)
	}
}

// withoutOffload makes the gateway of a configuration of ours one that takes no
// super-packets.
func withoutOffload(config string) string {
	if strings.Contains(config, "offload: ") {
		return config
	}
	return strings.Replace(config, "tun: {name: sl", "tun: {name: sl, offload: false", 1)
}

// file is the path of one of the gateway's files.
func (g *gateway) file(name string) string { return filepath.Join(g.dir, name) }

func (g *gateway) started() {
	g.Helper()
	g.wait("gateway", func(e *evidence.Event) bool { return e.Gateway.State == "started" })
}

// patience is how long an event may take on a busy machine.
const patience = 30 * time.Second

// wait returns the first event of a type that is as wanted.
func (g *gateway) wait(kind string, wanted func(*evidence.Event) bool) *evidence.Event {
	g.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e, err := g.Wait(ctx, kind, wanted)
	if err != nil {
		g.Fatalf("%v; there are %+v\n%s", err, g.All(kind), g.logged())
	}
	return e
}

// logged is the gateway's log so far.
func (g *gateway) logged() string {
	b, err := os.ReadFile(g.log.Name())
	if err != nil {
		g.Error(err)
	}
	return string(b)
}

// wantSwitches checks how the switches so far ended.
func (g *gateway) wantSwitches(n int, result string) {
	g.Helper()
	g.wait("switch", func(*evidence.Event) bool { return len(g.All("switch")) >= n })
	for _, e := range g.All("switch") {
		if e.Switch.Result != result {
			g.Errorf("switch %+v, want %s", *e.Switch, result)
		}
	}
	if got := len(g.All("switch")); got != n {
		g.Errorf("%d switches, want %d", got, n)
	}
}

// ended waits for the program's end and returns its exit code; -1: by a signal.
func (g *gateway) ended() int {
	g.Helper()
	<-g.Done()
	err := g.cmd.Wait()
	code := g.cmd.ProcessState.ExitCode()
	g.cmd.Process = nil
	if code != 0 || g.Failed() {
		g.Logf("gateway: %v\n%s", err, g.logged())
	}
	if err := g.Err(); err != nil {
		g.Error(err)
	}
	return code
}

// kill ends the program as a crash does.
func (g *gateway) kill() {
	g.Helper()
	_ = g.cmd.Process.Kill()
	g.ended()
}

func (g *gateway) stop() {
	if g.cmd.Process == nil {
		return
	}
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	if code := g.ended(); code != 0 {
		g.Errorf("the gateway ended with code %d", code)
	}
}

// sleight runs the program to its end; the code is that of its exit.
func sleight(t *testing.T, ns *bed.Namespace, args ...string) (out string, code int) {
	t.Helper()
	c := ns.Command(t.Context(), program, args...)
	b, err := c.CombinedOutput()
	if c.ProcessState == nil {
		t.Fatal(err)
	}
	return string(b), c.ProcessState.ExitCode()
}

// buildArgs build the program with the race detector, but for the figures of the
// full run.
func buildArgs() []string {
	if full {
		return []string{"build"}
	}
	return []string{"build", "-race"}
}

// until waits for something that no event tells of.
func (g *gateway) until(what string, holds func() bool) {
	g.Helper()
	for late := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			g.Fatalf("waited in vain until %s\n%s", what, g.logged())
		}
	}
}
