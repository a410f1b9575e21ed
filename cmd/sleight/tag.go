package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"sleight/internal/control"
	"sleight/internal/memory"
)

func tagCommand() *cli.Command {
	return &cli.Command{
		Name:        "tag",
		Usage:       "give a client a tag that rules ask for",
		UsageText:   "sleight tag [-c FILE | --socket PATH] SRC NAME [--for TIME]",
		Description: tagHelp,
		Flags:       askFlags(&cli.DurationFlag{Name: "for", Value: 24 * time.Hour, Usage: "`TIME` that it stays; 0s takes it away"}),
		Action: func(c *cli.Context) error {
			a, err := tagOf(c.Args().Slice(), c.Duration("for"))
			if err != nil {
				return cli.Exit("tag: "+err.Error(), 2)
			}
			return asking(c, func(ctx context.Context, g *control.Client) error { return g.Ask(ctx, doTag, a, nil) })
		},
	}
}

// tagOf reads the arguments of tag, behind which --for may stand too.
func tagOf(args []string, stays time.Duration) (a tagArgs, err error) {
	if n := len(args); n == 3 {
		if v, ok := strings.CutPrefix(args[2], "--for="); ok {
			args = []string{args[0], args[1], "--for", v}
		}
	}
	if len(args) == 4 && args[2] == "--for" {
		if stays, err = time.ParseDuration(args[3]); err != nil {
			return a, fmt.Errorf("--for: %q is no time; write one such as 24h", args[3])
		}
		args = args[:2]
	}
	if len(args) != 2 {
		return a, fmt.Errorf("name a client's address and a tag: see sleight tag --help")
	}
	a.Name, a.ForUS = args[1], stays.Microseconds()
	if a.Client, err = netip.ParseAddr(args[0]); err != nil {
		return a, fmt.Errorf("%q is no address", args[0])
	}
	return a, nil
}

func memoryCommand() *cli.Command {
	sub := []*cli.Command{
		{
			Name: "list", Usage: "the clients that are remembered, the latest first",
			UsageText: "sleight memory list [-c FILE | --socket PATH] [--most N] [--json] [PREFIX]",
			Flags:     askFlags(&cli.IntFlag{Name: "most", Value: 1000, Usage: "`N` clients at most; 0 is 100,000"}, jsonFlag("a JSON object in a line for each client")),
			Action:    listMemory,
		},
		{
			Name: "clear", Usage: "forget clients, or everything",
			UsageText: "sleight memory clear [-c FILE | --socket PATH] PREFIX | --all",
			Flags:     askFlags(&cli.BoolFlag{Name: "all", DisableDefaultText: true, Usage: "all clients, with their tags, and all payloads"}),
			Action:    clearMemory,
		},
	}
	for _, s := range sub {
		s.OnUsageError = usageError
	}
	return &cli.Command{
		Name:            "memory",
		Usage:           "list or clear what the rules of a running gateway remember",
		UsageText:       "sleight memory list|clear [OPTION]... [PREFIX]",
		Description:     memoryHelp,
		HideHelpCommand: true,
		Subcommands:     sub,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return cli.Exit(fmt.Sprintf("memory: there is no command %q: see sleight memory --help", c.Args().First()), 2)
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

// within reads a prefix or an address, the only argument; none is the zero prefix.
func within(c *cli.Context) (p netip.Prefix, err error) {
	switch c.NArg() {
	case 0:
		return p, nil
	case 1:
	default:
		return p, cli.Exit(fmt.Sprintf("memory %s takes one prefix; options stand before it", c.Command.Name), 2)
	}
	text := c.Args().First()
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	if p, err = netip.ParsePrefix(text); err != nil {
		return p, cli.Exit(fmt.Sprintf("memory %s: %q is neither an address nor a prefix", c.Command.Name, text), 2)
	}
	return p.Masked(), nil
}

func listMemory(c *cli.Context) error {
	p, err := within(c)
	if err != nil {
		return err
	}
	return asking(c, func(ctx context.Context, g *control.Client) error {
		var r remembered
		if err := g.Ask(ctx, doMemoryList, listArgs{p, c.Int("most")}, &r); err != nil {
			return err
		}
		if !c.Bool("json") {
			return r.print(c.App.Writer)
		}
		out := json.NewEncoder(c.App.Writer)
		for i := range r.Listed {
			if err := out.Encode(&r.Listed[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *remembered) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CLIENT\tFIRST\tLAST\tCONNECTIONS\tSWITCHED\tTAGS")
	for i := range r.Listed {
		c := &r.Listed[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", c.Client, stamped(c.First), stamped(c.Last), c.Conns, stamped(c.Switched), tags(c))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d of %d clients; %d beginnings of payloads are known\n", len(r.Listed), r.Clients, r.Payloads)
	return err
}

func stamped(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// tags are a client's with the time that each ends.
func tags(c *memory.Client) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(c.Tags)) {
		all = append(all, name+" until "+stamped(c.Tags[name]))
	}
	return strings.Join(all, ", ")
}

func clearMemory(c *cli.Context) error {
	p, err := within(c)
	switch {
	case err != nil:
		return err
	case p.IsValid() == c.Bool("all"):
		return cli.Exit("memory clear: name a prefix, or --all", 2)
	}
	return asking(c, func(ctx context.Context, g *control.Client) error {
		var n cleared
		if err := g.Ask(ctx, doMemoryClear, clearArgs{p}, &n); err != nil {
			return err
		}
		fmt.Fprintf(c.App.Writer, "%d clients are forgotten\n", n.Clients)
		return nil
	})
}
