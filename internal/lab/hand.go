package lab

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
)

// byHand says how to go on, and stays where that was asked for.
func (l *lab) byHand(ctx context.Context) error {
	l.say("\nTo look at: s.pcapng, backend.pcapng, ladder.txt, ladder.svg, events.jsonl, real.log, gateway.log in %s", l.Dir)
	if !l.Shell && !l.Keep {
		l.say("To go on by hand: sleight lab --shell attacker (a shell on S), sleight lab --keep (leave it running)")
		return nil
	}
	l.say("On S, two requests of which the second is switched:")
	l.say("  curl -v http://%s/ --next -A '%s' http://%s/cgi-bin/id", web, exploit, web)
	if l.Shell {
		return l.shell()
	}
	l.say("Everything stays up until Enter or Ctrl-C.")
	entered := make(chan struct{})
	go waitEnter(entered)
	select {
	case <-entered:
	case <-ctx.Done():
	}
	return nil
}

func waitEnter(entered chan<- struct{}) {
	var b [1]byte
	_, _ = os.Stdin.Read(b[:])
	close(entered)
}

// shell runs the user's shell in the attacker's namespace. Its exit code is
// not the lab's.
func (l *lab) shell() error {
	sh := os.Getenv("SHELL")
	if sh == "" {
		sh = "/bin/sh"
	}
	l.say("A shell on S; leave it with exit.")
	signal.Ignore(os.Interrupt) // it is the shell's
	// Not a context of the lab's: SIGINT must not end the shell.
	c := l.bed.Attacker.Command(context.Background(), sh)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}
