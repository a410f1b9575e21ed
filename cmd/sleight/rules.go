package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"sleight/rules"
	"sleight/rules/suricata"
)

func rulesCommand() *cli.Command {
	pcap := &cli.StringFlag{Name: "pcap", Usage: "`PATH` of a capture (pcap or pcapng), or of a directory with captures"}
	sub := []*cli.Command{
		{
			Name: "list", Usage: "the rules that are used, or those that are not", UsageText: "sleight rules list [-c FILE] [--skipped]",
			Flags:  []cli.Flag{configFlag(), &cli.BoolFlag{Name: "skipped", DisableDefaultText: true, Usage: "rules of Suricata's that cannot be used, each with the reason"}},
			Action: listRules,
		},
		{
			Name: "explain", Usage: "what one rule needs", UsageText: "sleight rules explain [-c FILE] RULE",
			Flags: []cli.Flag{configFlag()}, Action: explainRule,
		},
		{
			Name: "test", Usage: "which connections of a capture would be switched, when and why",
			UsageText: "sleight rules test [-c FILE] --pcap PATH [--json]",
			Flags:     []cli.Flag{configFlag(), pcap, &cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "verdicts as JSON lines, in the words of EVE"}},
			Action:    testRules,
		},
		{
			Name: "bench", Usage: "what each rule costs on a capture", UsageText: "sleight rules bench [-c FILE] --pcap PATH",
			Flags: []cli.Flag{configFlag(), pcap}, Action: benchRules,
		},
	}
	for _, s := range sub {
		s.OnUsageError = usageError
	}
	return &cli.Command{
		Name:            "rules",
		Usage:           "list, explain and try rules, without a network",
		UsageText:       "sleight rules list|explain|test|bench [-c FILE] [OPTION]...",
		Description:     rulesHelp,
		HideHelpCommand: true,
		Subcommands:     sub,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return cli.Exit(fmt.Sprintf("rules: there is no command %q: see sleight rules --help", c.Args().First()), 2)
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

func listRules(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	l, err := loadRules(c.String("config"))
	if err != nil {
		return cli.Exit(err, 1)
	}
	if c.Bool("skipped") {
		listSkipped(c.App.Writer, l.suricata.skipped)
		return nil
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 8, 2, ' ', 0)
	for _, r := range l.cfg.Rules {
		fmt.Fprintf(w, "%s\t%s %s\t%s:%d\n", r.Name, r.Action, r.Backend, l.cfg.File, r.Line)
	}
	for _, a := range l.set.Suricata().Rules() {
		fmt.Fprintf(w, "%d\tpriority %d %s\t%s:%d\t%s\n", a.SID, a.Priority, a.Classtype, a.File, a.Line, a.Msg)
	}
	if n := len(l.suricata.skipped); n > 0 {
		fmt.Fprintf(w, "skipped\t%d of %d of Suricata's rules: sleight rules list --skipped\n", n, l.suricata.total)
	}
	return w.Flush()
}

// listSkipped prints the reasons with their counts, and then each rule.
func listSkipped(out io.Writer, skipped []suricata.Skipped) {
	counts := map[string]int{}
	for _, s := range skipped {
		counts[s.Reason]++
	}
	reasons := make([]string, 0, len(counts))
	for r := range counts {
		reasons = append(reasons, r)
	}
	slices.SortFunc(reasons, func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for _, r := range reasons {
		fmt.Fprintf(out, "%6d  %s\n", counts[r], r)
	}
	for _, s := range skipped {
		fmt.Fprintf(out, "%s (%s)\n", s, s.Msg)
	}
}

func explainRule(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return cli.Exit("rules explain: name one rule, or the sid of one of Suricata's", 2)
	}
	l, err := loadRules(c.String("config"))
	if err != nil {
		return cli.Exit(err, 1)
	}
	name := c.Args().First()
	if lines, ok := l.set.Explain(name); ok {
		for _, line := range lines {
			fmt.Fprintln(c.App.Writer, line)
		}
		return nil
	}
	if sid, err := strconv.Atoi(name); err == nil && explainSID(c.App.Writer, &l, sid) {
		return nil
	}
	return cli.Exit(fmt.Sprintf("there is no rule %q; see sleight rules list, and sleight rules list --skipped", name), 1)
}

// explainSID explains one of Suricata's rules.
func explainSID(out io.Writer, l *loaded, sid int) (found bool) {
	for _, a := range l.set.Suricata().Rules() {
		if a.SID != sid {
			continue
		}
		found = true
		fmt.Fprintf(out, "%s:%d: %s\n%s\n", a.File, a.Line, a.Msg, a.Text)
		for _, line := range a.Explain() {
			fmt.Fprintln(out, line)
		}
		for i := range l.cfg.Rules {
			if s := selector(l.cfg.Rules[i].Suricata); s != nil && s.Picks(a) {
				fmt.Fprintf(out, "picked by: %s, %s %s\n", l.cfg.Rules[i].Name, l.cfg.Rules[i].Action, l.cfg.Rules[i].Backend)
			}
		}
	}
	for _, s := range l.suricata.skipped {
		if s.SID == sid {
			found = true
			fmt.Fprintln(out, "skipped:", s)
		}
	}
	return found
}

// costs prints what rules cost, the dearest first.
func costs(out io.Writer, set *rules.Set) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "work\tasked\theld\t  rule")
	for _, c := range set.Costs() {
		fmt.Fprintf(w, "%d\t%d\t%d\t  %s\n", c.Read, c.Asked, c.Held, c.Rule)
	}
	type line struct {
		suricata.Cost
		rule *suricata.Rule
	}
	var lines []line
	for i, c := range set.Suricata().Costs() {
		if c.Asked > 0 {
			lines = append(lines, line{c, set.Suricata().Rules()[i]})
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(b.Steps, a.Steps) })
	for _, l := range lines[:min(len(lines), 50)] {
		fmt.Fprintf(w, "%d\t%d\t%d\t  %d %s\n", l.Steps, l.Asked, l.Held, l.rule.SID, l.rule.Msg)
	}
	return w.Flush()
}
