package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"sleight/e2e/bed"
	"sleight/internal/evidence"
)

const (
	eventTimeout = 20 * time.Second
	logShown     = 4096 // bytes of the gateway's log in an error
)

// labConfig is the configuration that the lab writes; its verb is the state directory.
const labConfig = `version: 1
tun: {name: sleight}
routes: [203.0.113.0/24]
default: {tcp: reset}
decoys:
  - name: web
    match: {ports: [80]}
    service: {type: http, server: nginx/1.22.1, pages: [{path: /, body: "It works (the decoy's page)\n"}]}
backends:
  - {name: real, addresses: [10.0.2.2], mode: client}
rules:
  - {name: shellshock, when: 'stream contains "() {"', action: switch, backend: real}
state: {dir: %q}
`

// gateway is a running `sleight run`.
type gateway struct {
	cmd    *bed.Cmd
	log    *os.File
	copy   *os.File // the events as they came
	events *evidence.Reader
}

// startGateway runs this program as the gateway and waits until it has started.
func startGateway(ctx context.Context, ns *bed.Namespace, dir, config string) (*gateway, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if config == "" {
		config = filepath.Join(dir, "sleight.yaml")
		text := fmt.Sprintf(labConfig, filepath.Join(dir, "state"))
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	g := &gateway{}
	// Not ctx: the gateway ends by SIGTERM, in its own order. Its own process
	// group, so that a terminal's SIGINT is the lab's alone.
	g.cmd = ns.Command(context.WithoutCancel(ctx), self, "run", "-c", config)
	g.cmd.SysProcAttr.Setpgid = true
	if err := g.start(dir); err != nil {
		return nil, err
	}
	started := func(e *evidence.Event) bool { return e.Gateway.State == "started" }
	if err := g.wait(ctx, "gateway", started); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, g.logTail()), g.stop())
	}
	return g, nil
}

func (g *gateway) start(dir string) (err error) {
	if g.log, err = os.Create(filepath.Join(dir, "gateway.log")); err != nil {
		return err
	}
	if g.copy, err = os.Create(filepath.Join(dir, "events.jsonl")); err != nil {
		return err
	}
	g.cmd.Stderr = g.log
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := g.cmd.Start(); err != nil {
		return fmt.Errorf("start the gateway: %w", err)
	}
	g.events = evidence.NewReader(io.TeeReader(out, g.copy))
	return nil
}

// wait returns when there is an event of a type that is as wanted.
func (g *gateway) wait(ctx context.Context, kind string, wanted func(*evidence.Event) bool) error {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	_, err := g.events.Wait(ctx, kind, wanted)
	if errors.Is(err, evidence.ErrEnded) {
		return errors.New("the gateway has ended")
	}
	return err
}

// logTail is the end of the gateway's log.
func (g *gateway) logTail() string {
	b, err := os.ReadFile(g.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-logShown):])
}

// stop ends the gateway and waits until it has cleaned up.
func (g *gateway) stop() error {
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	<-g.events.Done()
	err := g.cmd.Wait()
	if err != nil {
		err = fmt.Errorf("the gateway: %w (its log: %s)", err, g.log.Name())
	}
	return errors.Join(err, g.events.Err(), g.log.Close(), g.copy.Close())
}
