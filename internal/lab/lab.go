// Package lab shows a switch on one machine: an attacker, a gateway and a real
// host in network namespaces, three conversations between them, and the proof
// of what happened in files that the reader can check.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"sleight/e2e/bed"
)

// Options say how the lab is run.
type Options struct {
	Config string // the gateway's configuration; empty: the lab's own
	Dir    string // where the run's files go; empty: a new temporary directory
	Keep   bool   // leave everything running until Enter or SIGINT
	Shell  bool   // open a shell in the attacker's namespace afterwards
	Out    io.Writer
}

// ErrFailed says that a check did not hold; which one has been printed.
var ErrFailed = errors.New("not every check held")

// settle is how long the last acknowledgements may take before the captures end.
const settle = 300 * time.Millisecond

// lab is a run.
type lab struct {
	Options
	bed      *bed.Bed
	real     *realHost
	gateway  *gateway
	client   *bed.Capture // at S
	backend  *bed.Capture
	switched []*talk // the connections that changed hands
	stayed   []*talk // those that did not
	delay    time.Duration
	hash     string // of what S downloaded
	failed   int
}

// Run runs the lab. bed.Enter must have been called.
func Run(ctx context.Context, o Options) (err error) {
	l := &lab{Options: o}
	if err := l.prepareDir(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if err := l.build(ctx); err != nil {
		return err
	}
	if err := l.converse(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, l.gateway.logTail())
	}
	if err := l.prove(ctx); err != nil {
		return err
	}
	if err := l.byHand(ctx); err != nil {
		return err
	}
	if l.failed > 0 {
		return ErrFailed
	}
	return nil
}

func (l *lab) prepareDir() (err error) {
	if l.Dir == "" {
		l.Dir, err = os.MkdirTemp("", "sleight-lab-")
		return err
	}
	if l.Dir, err = filepath.Abs(l.Dir); err != nil {
		return err
	}
	return os.MkdirAll(l.Dir, 0o700)
}

// file is the path of one of the run's files.
func (l *lab) file(name string) string { return filepath.Join(l.Dir, name) }

func (l *lab) say(format string, args ...any) { fmt.Fprintf(l.Out, format+"\n", args...) }

// build makes the machines and starts what runs on them.
func (l *lab) build(ctx context.Context) (err error) {
	l.say("sleight lab: three machines in network namespaces; nothing outside them is touched")
	l.say("")
	l.say("  S (attacker) %s ---- gateway (claims %s) ---- real host %s", bed.Attacker4, bed.Claimed4, realAddr())
	l.say("")
	l.say("  files of this run: %s", l.Dir)
	if l.bed, err = bed.New(bed.Config{}); err != nil {
		return err
	}
	if l.real, err = startReal(l.bed.Backends[0], l.file("real.log")); err != nil {
		return err
	}
	if l.gateway, err = startGateway(ctx, l.bed.Gateway, l.Dir, l.Config); err != nil {
		return err
	}
	if l.client, err = l.bed.Attacker.Capture(bed.AttackerDevice, l.file("s.pcapng")); err != nil {
		return err
	}
	l.backend, err = l.bed.Backends[0].Capture(bed.HostDevice, l.file("backend.pcapng"))
	return err
}

// endCaptures waits for the last segments and closes both files.
func (l *lab) endCaptures() error {
	time.Sleep(settle)
	return errors.Join(l.client.Stop(), l.backend.Stop())
}

// close takes down what build made, in the reverse order.
func (l *lab) close() error {
	var errs []error
	for _, c := range []*bed.Capture{l.client, l.backend} {
		if c != nil {
			errs = append(errs, c.Stop())
		}
	}
	if l.gateway != nil {
		errs = append(errs, l.gateway.stop())
	}
	if l.real != nil {
		errs = append(errs, l.real.close())
	}
	if l.bed != nil {
		errs = append(errs, l.bed.Close())
	}
	return errors.Join(errs...)
}
