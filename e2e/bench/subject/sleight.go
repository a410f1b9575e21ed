package subject

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"sleight/e2e/bed"
)

// claimed is the address that nobody has.
func claimed() netip.Addr { return bed.Claimed4.Addr().Next() }

// sleight is the gateway itself; each connection starts at a decoy and is switched by
// its first line.
func sleight(name, what string, offload bool, kernel string) Subject {
	return Subject{
		Name: name, What: what, Decoy: true, host: claimed(),
		begin: func(r *Running) error { return r.beginSleight(offload, kernel) },
	}
}

// configuration has bounds far away: one client makes all connections.
const configuration = `version: 1
tun: {name: sl, offload: %t, kernel: %s}
routes: [%s]
decoys:
  - {name: switched, match: {ports: [%d]}, service: {type: silent}}
  - {name: swallows, match: {ports: [%d]}, service: {type: silent}}
backends:
  - {name: real, address: %s, mode: client}
rules:
  - {name: asks, match: {ports: [%d]}, when: 'stream contains "\n"', action: switch, backend: real}
limits: {flows: 1000000, flows_per_client: 1000000}
events: {file: %q}
debug: {pprof: true}
state: {dir: %q}
`

func (r *Running) beginSleight(offload bool, kernel string) error {
	server, _ := bed.BackendAddrs(0)
	text := fmt.Sprintf(configuration, offload, kernel, bed.Claimed4, Port, DecoyPort, server, Port, r.file("events"), r.file("state"))
	if err := os.WriteFile(r.file("sleight.yaml"), []byte(text), 0o600); err != nil {
		return err
	}
	c, err := r.run(r.env.Sleight, "run", "-c", r.file("sleight.yaml"))
	if err != nil {
		return err
	}
	r.stop = func() error {
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		return c.Wait()
	}
	return r.started()
}

// started waits for the gateway's first event.
func (r *Running) started() error {
	for range 200 {
		if n, err := r.count(`"state":"started"`); err == nil && n > 0 {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the gateway did not start: %s", r.logged())
}

// Profiles is the socket where the gateway gives profiles; empty: it gives none.
func (r *Running) Profiles() string {
	if !r.Decoy {
		return ""
	}
	return filepath.Join(r.file("state"), "pprof.sock")
}

func (r *Running) count(text string) (int, error) {
	b, err := os.ReadFile(r.file("events"))
	return bytes.Count(b, []byte(text)), err
}

// Switches is how many switches came off since the start, and how many did not. A
// subject that switches nothing has ok false.
func (r *Running) Switches() (done, failed int, ok bool, err error) {
	if !r.Decoy {
		return 0, 0, false, nil
	}
	all, err := r.count(`"event_type":"switch"`)
	if err != nil {
		return 0, 0, true, err
	}
	done, err = r.count(`"result":"ok"`)
	return done, all - done, true, err
}
