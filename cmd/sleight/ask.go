package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"sleight/internal/config"
	"sleight/internal/control"
)

// patience is how long a gateway may take to answer: a reload compiles all rules.
const patience = 2 * time.Minute

// askFlags are those of every command that asks a running gateway.
func askFlags(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Value: defaultConfig, Usage: "the gateway is the one that was started with `FILE`"},
		&cli.StringFlag{Name: "socket", Usage: "it listens at `PATH`; the configuration is then not read"},
	}, more...)
}

func jsonFlag(usage string) cli.Flag {
	return &cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: usage}
}

// socket is where the gateway listens that is meant. Its configuration may have
// mistakes: that is when one asks.
func socket(c *cli.Context) (string, error) {
	if s := c.String("socket"); s != "" {
		return s, nil
	}
	file := c.String("config")
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) && !c.IsSet("config") {
		return filepath.Join(defaultState, "control.sock"), nil
	}
	return config.FindSocket(file)
}

// asking connects a command with the gateway that is meant.
func asking(c *cli.Context, f func(context.Context, *control.Client) error) error {
	path, err := socket(c)
	if err != nil {
		return cli.Exit(err, 1)
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	g, err := control.Dial(ctx, path)
	if err != nil {
		return cli.Exit(err, 1)
	}
	defer g.Close()
	if err := f(ctx, g); err != nil {
		return cli.Exit(err, 1)
	}
	return nil
}

func reloadCommand() *cli.Command {
	return &cli.Command{
		Name:        "reload",
		Usage:       "make a running gateway read its configuration anew",
		UsageText:   "sleight reload [-c FILE | --socket PATH]",
		Description: reloadHelp,
		Flags:       askFlags(),
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			return asking(c, func(ctx context.Context, g *control.Client) error {
				var changed string
				if err := g.Ask(ctx, "reload", control.None{}, &changed); err != nil {
					fmt.Fprintln(c.App.ErrWriter, err) // each mistake is a line that begins with its place
					return errors.New("not reloaded: the gateway goes on with the configuration that it has")
				}
				fmt.Fprintf(c.App.Writer, "reloaded: %s\n", changed)
				return nil
			})
		},
	}
}

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:        "status",
		Usage:       "how a running gateway stands",
		UsageText:   "sleight status [-c FILE | --socket PATH] [--json]",
		Description: statusHelp,
		Flags:       askFlags(jsonFlag("as one JSON object")),
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			return asking(c, func(ctx context.Context, g *control.Client) error {
				var s standing
				if err := g.Ask(ctx, "status", control.None{}, &s); err != nil {
					return err
				}
				if c.Bool("json") {
					return json.NewEncoder(c.App.Writer).Encode(s)
				}
				s.print(c.App.Writer)
				return nil
			})
		},
	}
}

func (s *standing) print(out io.Writer) {
	fmt.Fprintf(out, "sleight %s, process %d, since %s\n", s.Version, s.PID, s.Started.Format(time.RFC3339))
	fmt.Fprintf(out, "%s: %d decoys, %d backends, %d rules\n", s.File, s.Decoys, s.Backends, s.Rules)
	fmt.Fprintf(out, "%d flows\n", s.Flows)
	if k := s.Kernel; k != nil {
		fmt.Fprintf(out, "the kernel carries %d of them; it has carried %d bytes in %d hand-downs that have ended\n", k.Carried, k.Bytes, k.HandDowns)
	}
	fmt.Fprintf(out, "%d reloads, %d that failed\n", s.Reloads.Done, s.Reloads.Failed)
	if !s.Reloads.Last.IsZero() {
		fmt.Fprintf(out, "the last one, %s: %s\n", s.Reloads.Last.Format(time.RFC3339), s.Reloads.Said)
	}
}

func flowsCommand() *cli.Command {
	return &cli.Command{
		Name:        "flows",
		Usage:       "list the live flows of a running gateway",
		UsageText:   "sleight flows [-c FILE | --socket PATH] [--json]",
		Description: flowsHelp,
		Flags:       askFlags(jsonFlag("a JSON object in a line for each flow")),
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			return asking(c, func(ctx context.Context, g *control.Client) error {
				print := tableOf(c.App.Writer)
				if c.Bool("json") {
					print = linesOf(c.App.Writer)
				}
				return eachPart(ctx, g, print)
			})
		},
	}
}

// eachPart asks for one part of the flows after the other.
func eachPart(ctx context.Context, g *control.Client, print func([]liveFlow) error) error {
	for next := 0; next >= 0; {
		var p flowsPart
		if err := g.Ask(ctx, "flows", part{next}, &p); err != nil {
			return err
		}
		if err := print(p.Flows); err != nil {
			return err
		}
		if next >= p.Next && p.Next >= 0 {
			return fmt.Errorf("after part %d of the flows the gateway named %d", next, p.Next)
		}
		next = p.Next
	}
	return nil
}

func linesOf(out io.Writer) func([]liveFlow) error {
	return func(fs []liveFlow) error {
		for i := range fs {
			if err := json.NewEncoder(out).Encode(&fs[i]); err != nil {
				return err
			}
		}
		return nil
	}
}

func tableOf(out io.Writer) func([]liveFlow) error {
	head := "FLOW\tPHASE\tCLIENT\tDIALLED\tDECOY\tBACKEND\tAGE\tIDLE\tTO SERVER\tTO CLIENT\n"
	return func(fs []liveFlow) error {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprint(w, head)
		head = ""
		for i := range fs {
			f := &fs[i]
			backend := f.Backend
			if backend == "" {
				backend = "-"
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", f.ID, f.Phase, f.client(), f.dialled(), f.Decoy, backend,
				seconds(f.AgeUS), seconds(f.IdleUS), f.BytesToServer, f.BytesToClient)
		}
		return w.Flush()
	}
}

// seconds are microseconds as an operator reads them.
func seconds(us int64) string {
	return (time.Duration(us) * time.Microsecond).Round(time.Millisecond).String()
}

func showCommand() *cli.Command {
	return &cli.Command{
		Name:        "show",
		Usage:       "tell all of one live flow",
		UsageText:   "sleight show [-c FILE | --socket PATH] ID",
		Description: showHelp,
		Flags:       askFlags(),
		Action: func(c *cli.Context) error {
			id, err := oneID(c)
			if err != nil {
				return err
			}
			return asking(c, func(ctx context.Context, g *control.Client) error {
				var f json.RawMessage
				if err := g.Ask(ctx, "show", id, &f); err != nil {
					return err
				}
				out := json.NewEncoder(c.App.Writer)
				out.SetIndent("", "  ")
				return out.Encode(f)
			})
		},
	}
}

func killCommand() *cli.Command {
	return &cli.Command{
		Name:        "kill",
		Usage:       "end a live flow with a reset to both of its ends",
		UsageText:   "sleight kill [-c FILE | --socket PATH] ID",
		Description: killHelp,
		Flags:       askFlags(),
		Action: func(c *cli.Context) error {
			id, err := oneID(c)
			if err != nil {
				return err
			}
			return asking(c, func(ctx context.Context, g *control.Client) error { return g.Ask(ctx, "kill", id, nil) })
		},
	}
}

// oneID reads the one argument of a command about one flow.
func oneID(c *cli.Context) (flowID, error) {
	if c.NArg() != 1 {
		return flowID{}, cli.Exit(fmt.Sprintf("%s takes one flow's number; options stand before it: see sleight %s --help", c.Command.Name, c.Command.Name), 2)
	}
	id, err := strconv.ParseUint(strings.TrimSpace(c.Args().First()), 10, 53)
	if err != nil {
		return flowID{}, cli.Exit(fmt.Sprintf("%s: %q is no flow's number: it is the flow_id of events and of sleight flows", c.Command.Name, c.Args().First()), 2)
	}
	return flowID{id}, nil
}
