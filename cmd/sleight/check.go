package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"sleight/internal/config"
	"sleight/rules"
	"sleight/stack"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:        "check",
		Usage:       "find every mistake in a configuration; exit 0 if there is none",
		UsageText:   "sleight check [-c FILE] [--coverage]",
		Description: checkHelp,
		Flags:       []cli.Flag{configFlag(), &cli.BoolFlag{Name: "coverage", DisableDefaultText: true, Usage: "also name addresses and ports that no decoy answers for"}},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			l, err := loadRules(c.String("config"))
			if err != nil {
				return cli.Exit(err, 1)
			}
			cfg := l.cfg
			for _, w := range append(l.set.Warnings(), l.set.Beyond(cfg.Memory.Keep)...) {
				r := &cfg.Rules[w.Rule]
				fmt.Fprintln(c.App.ErrWriter, &config.Error{File: cfg.File, Place: r.Place, Msg: fmt.Sprintf("warning: rule %s: %s", r.Name, w.Msg)})
			}
			if c.Bool("coverage") {
				for _, gap := range cfg.Gaps() {
					fmt.Fprintln(c.App.Writer, gap)
				}
			}
			fmt.Fprintf(c.App.Writer, "%s: ok: %d decoys, %d backends, %d rules\n", cfg.File, len(cfg.Decoys), len(cfg.Backends), len(cfg.Rules))
			if len(cfg.Suricata.Files) > 0 {
				fmt.Fprintf(c.App.Writer, "%s: of Suricata's rules %d are used, %d skipped: see sleight rules list\n", cfg.File, l.set.Suricata().Len(), len(l.suricata.skipped))
			}
			return nil
		},
	}
}

// load reads a configuration and compiles what it holds, every mistake at once.
func load(path string) (*config.Config, *rules.Set, error) {
	l, err := loadRules(path)
	return l.cfg, l.set, err
}

// loaded is a configuration and its rules.
type loaded struct {
	cfg      *config.Config
	set      *rules.Set
	suricata suricataRules
}

func loadRules(path string) (l loaded, err error) {
	l.cfg, err = config.Load(path, checkServices, func(c *config.Config) (mistakes []*config.Error) {
		l.set, mistakes = compileRules(c)
		var unread []*config.Error
		l.suricata, unread = readSuricata(c)
		mistakes = append(mistakes, unread...)
		if unread == nil {
			mistakes = append(mistakes, l.suricata.use(c, l.set)...)
		}
		return mistakes
	})
	return l, err
}

// checkServices makes each decoy's service, to see that it can be made. Turns are
// made one by one: their errors do not say where they are.
func checkServices(cfg *config.Config) (mistakes []*config.Error) {
	for i := range cfg.Decoys {
		d := cfg.Decoys[i]
		turns := d.Service.Turns
		for _, t := range turns {
			d.Service.Turns = []config.Turn{t}
			mistakes = append(mistakes, mistakesOf(&d, t.Sent)...)
		}
		if len(turns) == 0 {
			mistakes = append(mistakes, mistakesOf(&d, d.Service.Place)...)
		}
	}
	return mistakes
}

// mistakesOf is what keeps a service from being made, as one mistake in the file.
func mistakesOf(d *config.Decoy, at config.Place) []*config.Error {
	_, err := compileService(d)
	if err == nil {
		return nil
	}
	what := strings.Replace(err.Error(), "turns[0]: ", "", 1)
	return []*config.Error{{Place: at, Msg: what + "; see docs/configuration.md for what a service takes"}}
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
func compileRules(cfg *config.Config) (*rules.Set, []*config.Error) {
	rs := make([]rules.Rule, len(cfg.Rules))
	for i, r := range cfg.Rules {
		action, err := rules.ParseAction(r.Action)
		if err != nil {
			action = rules.Stay // the configuration's own check has found it
		}
		on, _ := rules.ParseOccasion(r.On) // the configuration has checked it
		rs[i] = rules.Rule{
			Name: r.Name, Match: match(r.Match), When: r.When, Action: action, Backend: r.Backend, Suricata: selector(r.Suricata),
			On: on, Tag: rules.Tag(r.Tag), Threshold: rules.Threshold(r.Threshold), OncePer: r.OncePer,
		}
	}
	src := rules.Source{Rules: rs}
	for _, c := range cfg.Conditions {
		src.Conditions = append(src.Conditions, rules.Condition{Name: c.Name, When: c.When})
	}
	for _, l := range cfg.Lists {
		src.Lists = append(src.Lists, rules.List{Name: l.Name, Addresses: l.Addresses, Words: l.Words})
	}
	set, found := src.Compile()
	var mistakes []*config.Error
	for _, m := range found {
		what, x := expressionOf(cfg, &m)
		mistakes = append(mistakes, &config.Error{Place: x.At(m.Line, m.Column), Msg: what + ": " + advised(m.Msg)})
	}
	return set, mistakes
}

// expressionOf is what a mistake is in: its name, and where it stands.
func expressionOf(cfg *config.Config, m *rules.Error) (string, *config.Expression) {
	if m.Condition {
		c := &cfg.Conditions[m.Rule]
		return "condition " + c.Name, &c.Expression
	}
	r := &cfg.Rules[m.Rule]
	return "rule " + r.Name, &r.Expression
}

// advised is what is wrong with an expression, and where to read what to do if that
// is not said.
func advised(msg string) string {
	if strings.Contains(msg, ";") || strings.Contains(msg, ": write ") {
		return msg
	}
	return msg + "; see docs/rules.md"
}
