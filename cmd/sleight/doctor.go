package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"sleight/internal/host"
	"sleight/tun/kernel"
)

// planLoader reads a configuration and says what the machine should do for it.
type planLoader func(path string) (host.Plan, error)

// doctorCommand is `sleight doctor`: what on this machine would keep the gateway
// from working, and the command that mends it.
func doctorCommand(load planLoader) *cli.Command {
	return &cli.Command{
		Name:        "doctor",
		Usage:       "find what on this machine would keep the gateway from working, and what mends it",
		UsageText:   "sleight doctor [-c FILE] [--json]",
		Description: doctorHelp,
		Flags: []cli.Flag{
			configFlag(),
			&cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "print the findings as a JSON list"},
		},
		Action: func(c *cli.Context) error { return runDoctor(c, load) },
	}
}

func runDoctor(c *cli.Context, load planLoader) error {
	if c.Args().Present() {
		return cli.Exit(fmt.Sprintf("doctor: unexpected argument %q", c.Args().First()), 2)
	}
	plan, err := load(c.String("config"))
	if err != nil {
		return cli.Exit(err, 1)
	}
	findings := host.Doctor(plan)
	if plan.Kernel {
		findings = append(findings, carries(kernel.Probe()))
	}
	print := printFindings
	if c.Bool("json") {
		print = printJSON
	}
	if err := print(c.App.Writer, findings); err != nil {
		return err
	}
	if n := problems(findings); n > 0 {
		return cli.Exit(fmt.Sprintf("doctor: %d of %d findings are problems", n, len(findings)), 1)
	}
	return nil
}

// carries says whether the kernel can carry plain flows: where it cannot, the gateway does.
func carries(why error) host.Finding {
	f := host.Finding{Name: "tun.kernel", OK: true, Detail: "this kernel carries the bulk of spliced flows"}
	if why != nil {
		f.Detail = fmt.Sprintf("the gateway carries all bulk itself, at half the speed: %v", why)
	}
	return f
}

func problems(findings []host.Finding) int {
	n := 0
	for _, f := range findings {
		if !f.OK {
			n++
		}
	}
	return n
}

func printJSON(w io.Writer, findings []host.Finding) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // commands are to be copied
	enc.SetIndent("", "  ")
	return enc.Encode(findings)
}

func printFindings(w io.Writer, findings []host.Finding) error {
	for _, f := range findings {
		state := "problem"
		if f.OK {
			state = "ok"
		}
		if _, err := fmt.Fprintf(w, "%-8s %s: %s\n", state, f.Name, f.Detail); err != nil {
			return err
		}
		if f.Fix == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%-8s   mend: %s\n", "", f.Fix); err != nil {
			return err
		}
	}
	return nil
}
