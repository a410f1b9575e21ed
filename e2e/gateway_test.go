package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"sleight/e2e/bed"
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
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// gateway is a running `sleight run`.
type gateway struct {
	*testing.T
	cmd    *bed.Cmd
	mu     sync.Mutex
	events []evidence.Event
	grown  chan struct{}
	done   chan struct{}
	log    *os.File
}

// start runs the program in the bed's gateway and waits until it has started.
func start(t *testing.T, b *bed.Bed, config string) *gateway {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "sleight.yaml")
	config += fmt.Sprintf("\nstate: {dir: %s}\n", filepath.Join(dir, "state"))
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	g := &gateway{T: t, grown: make(chan struct{}, 1), done: make(chan struct{})}
	g.cmd = b.Gateway.Command(context.Background(), program, "run", "-c", file)
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if g.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	g.cmd.Stderr = g.log
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go g.read(bufio.NewScanner(out))
	t.Cleanup(g.stop)
	g.wait("gateway", func(e *evidence.Event) bool { return e.Gateway.State == "started" })
	return g
}

func (g *gateway) read(s *bufio.Scanner) {
	defer close(g.done)
	for s.Scan() {
		var e evidence.Event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			g.Errorf("an event that is not JSON: %s", s.Text())
			continue
		}
		g.mu.Lock()
		g.events = append(g.events, e)
		g.mu.Unlock()
		select {
		case g.grown <- struct{}{}:
		default:
		}
	}
}

// all returns the events of one type so far.
func (g *gateway) all(kind string) (es []evidence.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range g.events {
		if e.Type == kind {
			es = append(es, e)
		}
	}
	return es
}

// wait returns the first event of a type that is as wanted.
func (g *gateway) wait(kind string, wanted func(*evidence.Event) bool) *evidence.Event {
	g.Helper()
	late := time.After(20 * time.Second)
	for {
		for _, e := range g.all(kind) {
			if wanted(&e) {
				return &e
			}
		}
		select {
		case <-g.grown:
		case <-g.done:
			log, _ := os.ReadFile(g.log.Name())
			g.Fatalf("the gateway ended:\n%s", log)
		case <-late:
			log, _ := os.ReadFile(g.log.Name())
			g.Fatalf("no such %s event; there are %+v\n%s", kind, g.all(kind), log)
		}
	}
}

// wantSwitches checks how the switches so far ended.
func (g *gateway) wantSwitches(n int, result string) {
	g.Helper()
	g.wait("switch", func(*evidence.Event) bool { return len(g.all("switch")) >= n })
	for _, e := range g.all("switch") {
		if e.Switch.Result != result {
			g.Errorf("switch %+v, want %s", *e.Switch, result)
		}
	}
	if got := len(g.all("switch")); got != n {
		g.Errorf("%d switches, want %d", got, n)
	}
}

func (g *gateway) stop() {
	if g.cmd.Process == nil {
		return
	}
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	<-g.done
	err := g.cmd.Wait()
	g.cmd.Process = nil
	log, _ := os.ReadFile(g.log.Name())
	if err != nil || g.Failed() {
		g.Logf("gateway: %v\n%s", err, log)
	}
	if err != nil {
		g.Errorf("the gateway ended with %v", err)
	}
}

// buildArgs build the program with the race detector, but for the figures of the
// full run.
func buildArgs() []string {
	if full {
		return []string{"build"}
	}
	return []string{"build", "-race"}
}
