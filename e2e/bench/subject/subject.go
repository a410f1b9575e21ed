// Package subject is what the benchmark compares: ways from a client to a server
// through a gateway, each in a bed of its own so that all can stand side by side.
package subject

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"sleight/e2e/bed"
)

// Ports: what comes to Port is switched to the server, what comes to DecoyPort stays
// with a decoy that swallows it.
const (
	Port      = 5000
	DecoyPort = 5001
)

// Subject is one way through the gateway.
type Subject struct {
	Name  string
	What  string // for the reader of the report
	Decoy bool   // has a decoy at DecoyPort
	// Needs is a program that must be there, and Package the Debian package that has it.
	Needs, Package string

	host  netip.Addr
	begin func(*Running) error
}

// Env is what all subjects share.
type Env struct {
	Self    string // the bench program, which is also server and client
	Sleight string
	Dir     string // for files of the run
}

// Running is a subject at work.
type Running struct {
	Subject
	Bed  *bed.Bed
	PIDs []int // of the gateway's own processes; empty: the kernel alone
	env  Env
	dir  string
	// stop ends the gateway in its own order.
	stop func() error
}

// Missing reports what keeps the subject from being run, or nil.
func (s Subject) Missing() error {
	if s.Needs == "" {
		return nil
	}
	if _, err := exec.LookPath(s.Needs); err != nil {
		return fmt.Errorf("%s is not installed (Debian: %s; make bench-packages installs it)", s.Needs, s.Package)
	}
	return nil
}

// Start builds a bed with the subject in it and a server behind it.
func (s Subject) Start(ctx context.Context, env Env) (*Running, error) {
	b, err := bed.New(bed.Config{Offloads: true})
	if err != nil {
		return nil, err
	}
	r := &Running{Subject: s, Bed: b, env: env, dir: filepath.Join(env.Dir, s.Name)}
	err = os.MkdirAll(r.dir, 0o755)
	for _, step := range []func() error{r.tune, func() error { return r.serve(ctx) }, func() error { return s.begin(r) }, r.ready} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", s.Name, err), r.Close())
	}
	return r, nil
}

// Close ends the subject.
func (r *Running) Close() error {
	var err error
	if r.stop != nil {
		err = r.stop()
	}
	return errors.Join(err, r.Bed.Close())
}

// To is what a client dials.
func (r *Running) To(port int) string {
	return netip.AddrPortFrom(r.host, uint16(port)).String()
}

// tune makes the three kernels alike on every machine: the one congestion control that
// each of them has, ports enough, and no address that is tried in vain.
func (r *Running) tune() error {
	for _, ns := range []*bed.Namespace{r.Bed.Attacker, r.Bed.Gateway, r.Bed.Backends[0]} {
		err := errors.Join(
			ns.Sysctl("net/ipv4/tcp_congestion_control", "reno"),
			ns.Sysctl("net/ipv4/ip_local_port_range", "1024 65535"),
			ns.Sysctl("net/ipv4/tcp_no_metrics_save", "1"))
		if err != nil {
			return err
		}
	}
	return nil
}

// serve starts the server.
func (r *Running) serve(ctx context.Context) error {
	c := r.Bed.Backends[0].Command(ctx, r.env.Self, "serve", fmt.Sprintf(":%d", Port))
	c.Stderr = os.Stderr
	return c.Start()
}

// ready waits until the way is open.
func (r *Running) ready() (err error) {
	for range 100 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		c, derr := r.Bed.Attacker.DialContext(ctx, "tcp", r.To(Port))
		cancel()
		if err = derr; err == nil {
			return c.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the server cannot be reached: %w; the gateway says: %s", err, r.logged())
}

// logged is what the gateway's program has printed.
func (r *Running) logged() []byte {
	b, err := os.ReadFile(r.file("log"))
	if err != nil {
		return nil // a kernel prints nothing
	}
	return b
}

// run starts a program of the gateway, with its output in a file.
func (r *Running) run(name string, args ...string) (*bed.Cmd, error) {
	c := r.Bed.Gateway.Command(context.Background(), name, args...)
	log, err := os.Create(r.file("log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		return nil, err
	}
	r.PIDs = append(r.PIDs, c.Process.Pid)
	return c, nil
}

func (r *Running) file(name string) string { return filepath.Join(r.dir, name) }
