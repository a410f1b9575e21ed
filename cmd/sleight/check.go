package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"sleight/internal/config"
	"sleight/rules"
	"sleight/stack"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "find every mistake in a configuration; exit 0 if there is none",
		Flags: []cli.Flag{configFlag(), &cli.BoolFlag{Name: "coverage", Usage: "also point out claimed prefixes that no decoy covers"}},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			cfg, set, err := load(c.String("config"))
			if err != nil {
				return cli.Exit(err, 1)
			}
			if c.Bool("coverage") {
				for _, gap := range coverage(cfg) {
					fmt.Fprintln(c.App.Writer, gap)
				}
			}
			_ = set
			fmt.Fprintf(c.App.Writer, "%s: ok: %d decoys, %d backends, %d rules\n", cfg.File, len(cfg.Decoys), len(cfg.Backends), len(cfg.Rules))
			return nil
		},
	}
}

// load reads a configuration and compiles what it holds, every mistake at once.
func load(path string) (*config.Config, *rules.Set, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, nil, err
	}
	set, err := compileRules(cfg)
	errs := []error{err}
	for i := range cfg.Decoys {
		if _, err := compileService(&cfg.Decoys[i]); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", cfg.File, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	return cfg, set, nil
}

// compileService makes a decoy's service; nil for those that never serve.
func compileService(d *config.Decoy) (*stack.Compiled, error) {
	s := service(&d.Service)
	if s.Kind == stack.Closed || s.Kind == stack.Filtered {
		return nil, nil
	}
	c, err := stack.Compile(s)
	if err != nil {
		return nil, fmt.Errorf("decoy %s: %w", d.Name, err)
	}
	return c, nil
}

// compileRules turns mistakes within an expression into ones in the file.
func compileRules(cfg *config.Config) (*rules.Set, error) {
	rs := make([]rules.Rule, len(cfg.Rules))
	for i, r := range cfg.Rules {
		action, err := rules.ParseAction(r.Action)
		if err != nil {
			return nil, err // the configuration's check has let it pass
		}
		rs[i] = rules.Rule{Name: r.Name, Match: match(r.Match), When: r.When, Action: action, Backend: r.Backend}
	}
	set, mistakes := rules.Compile(rs)
	var errs []error
	for _, m := range mistakes {
		r := cfg.Rules[m.Rule]
		at := config.Error{File: cfg.File, Line: r.Line + m.Line - 1, Column: m.Column, Msg: fmt.Sprintf("rule %s: %s", r.Name, m.Msg)}
		if m.Line == 1 {
			at.Column += r.Column - 1
		}
		errs = append(errs, &at)
	}
	return set, errors.Join(errs...)
}

// coverage names the claimed prefixes for which no decoy answers on any port.
func coverage(cfg *config.Config) (gaps []string) {
	for _, p := range cfg.Routes {
		covered := false
		for _, d := range cfg.Decoys {
			all := len(d.Match.Dst) == 0
			for _, q := range d.Match.Dst {
				all = all || q.Bits() <= p.Bits() && q.Contains(p.Addr())
			}
			covered = covered || all && len(d.Match.Ports) == 0 && len(d.Match.Src) == 0
		}
		if !covered {
			gaps = append(gaps, fmt.Sprintf("coverage: no decoy answers on every port of %s: what is left is default's", p))
		}
	}
	return gaps
}
