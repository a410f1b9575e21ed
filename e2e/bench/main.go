// Command bench compares Sleight with what else carries connections through a gateway,
// side by side in one run: see docs/benchmarks.md. `make bench` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sleight/e2e/bed"
	"sleight/e2e/bench/load"
	"sleight/e2e/bench/subject"
)

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// command is the benchmark, or one of the processes that it starts: this program again.
func command(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if len(args) > 0 {
		switch args[0] {
		case "serve":
			return serve(args[1])
		case "client":
			return load.Client(os.Stdin, os.Stdout)
		case "crowd":
			return crowded(args[1:])
		case "lookup":
			return lookedUp(args[1:])
		case "handover":
			return handedOver(args[1])
		case "pass":
			return subject.Pass(ctx, args[1])
		}
	}
	o, err := options(args)
	if err != nil {
		return err
	}
	if err := bed.Enter(); err != nil {
		return err
	}
	return bench(ctx, o)
}

func serve(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return load.Serve(l)
}

// option is what the command line says.
type option struct {
	span
	crowds   crowds
	profiler profiler
	rounds   int
	subjects []string // nil: all
	only     string   // of the measures' names
	out      string
	sleight  string
	docs     string // the page that gets the figures; empty: none
}

func options(args []string) (o option, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := f.Bool("quick", false, "fewer and shorter rounds: about two minutes")
	rounds := f.Int("rounds", 0, "rounds; 0: as many as the mode has")
	names := f.String("subjects", "", "subjects, with commas; empty: all")
	f.StringVar(&o.only, "only", "", "only measures with this in their name (crowd, lookup, handover, up, down, swallow, rate, echo, first, whole)")
	f.StringVar(&o.out, "out", "e2e/bench/out", "directory of the results")
	f.StringVar(&o.sleight, "sleight", "bin/sleight", "the gateway's program")
	f.StringVar(&o.docs, "docs", "", "write the figures into this page, too")
	f.StringVar(&o.profiler.dir, "profile", "", "directory for CPU profiles of the gateway, one for each measurement; figures suffer a little")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("no argument is wanted: %v", f.Args())
	}
	o.rounds, o.span = 5, span{300 * time.Millisecond, 1200 * time.Millisecond}
	o.crowds = crowds{spliced: []int{10_000, 100_000, 1_000_000}, answering: []int{10_000, 100_000}, lookup: []int{1000, 10_000, 100_000, 1_000_000}}
	if *quick {
		o.rounds, o.span = 3, span{100 * time.Millisecond, 400 * time.Millisecond}
		o.crowds = crowds{spliced: []int{10_000, 100_000}, answering: []int{10_000}, lookup: []int{1000, 1_000_000}}
	}
	if *rounds > 0 {
		o.rounds = *rounds
	}
	if *names != "" {
		o.subjects = strings.Split(*names, ",")
	}
	o.sleight, err = filepath.Abs(o.sleight)
	return o, err
}

// bench starts the subjects, measures, and reports.
func bench(ctx context.Context, o option) (err error) {
	dir, err := os.MkdirTemp("", "sleight-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	r := newRun(o)
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.start(ctx, subject.Env{Self: self, Sleight: o.sleight, Dir: dir}); err != nil {
		return err
	}
	if err := r.rounds(ctx); err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		f    func(context.Context) error
	}{{"handover", r.handovers}, {"lookup", r.lookups}, {"crowd", r.crowds}} {
		if o.only != "" && o.only != part.name {
			continue
		}
		if err := part.f(ctx); err != nil {
			return err
		}
	}
	progress("")
	return r.report()
}
