package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"sleight/e2e/bench/load"
	"sleight/e2e/bench/report"
	"sleight/e2e/bench/subject"
)

// run is one run of the benchmark.
type run struct {
	option
	env      subject.Env
	subjects []*subject.Running
	missing  []string
	book     *report.Book
	begun    time.Time
}

func newRun(o option) *run {
	return &run{option: o, book: report.NewBook(), begun: time.Now()}
}

// start builds every subject that was asked for.
func (r *run) start(ctx context.Context, env subject.Env) error {
	r.env = env
	for _, s := range subject.All() {
		if len(r.option.subjects) > 0 && !slices.Contains(r.option.subjects, s.Name) {
			continue
		}
		if err := s.Missing(); err != nil {
			r.missing = append(r.missing, fmt.Sprintf("%s: %v", s.Name, err))
			continue
		}
		running, err := s.Start(ctx, env)
		if err != nil {
			return err
		}
		r.subjects = append(r.subjects, running)
	}
	if len(r.subjects) == 0 {
		return errors.New("there is no subject to measure")
	}
	return nil
}

func (r *run) close() (err error) {
	for _, s := range r.subjects {
		err = errors.Join(err, s.Close())
	}
	return err
}

// rounds measures everything once, then again: what changes on the machine meanwhile
// meets every subject.
func (r *run) rounds(ctx context.Context) error {
	var ms []measure
	for _, m := range measures() {
		if strings.Contains(m.do, r.only) {
			ms = append(ms, m)
		}
	}
	for round := range r.option.rounds {
		for i, m := range ms {
			progress("round %d of %d, measurement %d of %d: %s, %d streams", round+1, r.option.rounds, i+1, len(ms), m.do, m.streams)
			for _, s := range r.subjects {
				if m.only != nil && !slices.Contains(m.only, s.Name) {
					continue
				}
				if err := r.measure(ctx, m, s); err != nil {
					return fmt.Errorf("%s: %w", s.Name, err)
				}
			}
		}
	}
	return nil
}

// progress writes over the line before.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "\r\033[K"+format, args...)
}

// measure runs one client in the subject's bed.
func (r *run) measure(ctx context.Context, m measure, s *subject.Running) error {
	before, failed, switches, err := s.Switches()
	if err != nil {
		return err
	}
	recorded := r.profiler.during(ctx, m, s, r.span)
	result, err := r.client(ctx, s, m.job(s, r.span))
	if err = errors.Join(err, recorded()); err != nil {
		return err
	}
	for _, sample := range m.read(report.Key{Subject: s.Name, Streams: m.streams}, result) {
		r.book.Add(sample)
	}
	if !switches || m.port == subject.DecoyPort {
		return nil
	}
	return checkSwitches(s, before, failed, result.Opened)
}

// checkSwitches makes sure that what was measured was switched: a gateway whose decoy
// answers all would win every comparison. Events are written behind.
func checkSwitches(s *subject.Running, before, failedBefore, atLeast int) error {
	var done, failed int
	for range 100 {
		var err error
		if done, failed, _, err = s.Switches(); err != nil {
			return err
		}
		if done-before >= atLeast {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if failed > failedBefore {
		return fmt.Errorf("%d of %d switches failed", failed-failedBefore, done-before+failed-failedBefore)
	}
	if done-before < atLeast {
		return fmt.Errorf("only %d of %d connections were switched", done-before, atLeast)
	}
	return nil
}

func (r *run) client(ctx context.Context, s *subject.Running, j load.Job) (result load.Result, err error) {
	c := s.Bed.Attacker.Command(ctx, r.env.Self, "client")
	in, err := json.Marshal(j)
	if err != nil {
		return result, err
	}
	c.Stdin, c.Stderr = bytes.NewReader(in), os.Stderr
	out, err := c.Output()
	if err != nil {
		return result, fmt.Errorf("the client: %w", err)
	}
	return result, json.Unmarshal(out, &result)
}

// noise is the spread of a row's rounds beyond which a machine was not quiet.
const noise = 0.3

// report prints the table and writes the files.
func (r *run) report() error {
	rows := r.book.Rows(base)
	slices.SortStableFunc(rows, order(rows))
	if err := report.Table(os.Stdout, rows); err != nil {
		return err
	}
	for _, m := range r.missing {
		fmt.Println("\nnot measured:", m)
	}
	if bad := report.Noisy(rows, noise); len(bad) > 0 {
		fmt.Printf("\nThe machine was noisy: rounds of %d rows lie more than %.0f %% apart:\n  %s\n", len(bad), 100*noise, strings.Join(bad, "\n  "))
	}
	fmt.Println("\n" + r.circumstances())
	return errors.Join(r.write(rows), r.page(rows))
}

// circumstances say what the figures hold for.
func (r *run) circumstances() string {
	return fmt.Sprintf("%d rounds, %s, %d CPUs, %s, %s", r.option.rounds, time.Since(r.begun).Round(time.Second),
		runtime.NumCPU(), kernel(), runtime.Version())
}

// page writes the figures into the documentation, if that was asked for.
func (r *run) page(rows []report.Row) error {
	if r.docs == "" {
		return nil
	}
	old, err := os.ReadFile(r.docs)
	if err != nil {
		return err
	}
	page, err := report.Page(old, r.circumstances()+".\n\n"+report.Markdown(rows))
	if err != nil {
		return err
	}
	return os.WriteFile(r.docs, page, 0o644)
}

func (r *run) write(rows []report.Row) error {
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	b, err := report.JSON(rows)
	if err != nil {
		return err
	}
	chart := report.Chart(rows, "Ratio to the kernel's own DNAT (1.00), medians of one run")
	return errors.Join(
		os.WriteFile(filepath.Join(r.out, "latest.json"), b, 0o644),
		os.WriteFile(filepath.Join(r.out, "latest.svg"), chart, 0o644))
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown kernel"
	}
	return "Linux " + strings.TrimSpace(string(b))
}
