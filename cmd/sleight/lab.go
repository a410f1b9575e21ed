package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"sleight/e2e/bed"
	"sleight/internal/lab"
)

func labCommand() *cli.Command {
	return &cli.Command{
		Name:        "lab",
		Usage:       "see a live connection change hands, in network namespaces of its own",
		UsageText:   "sleight lab [-c FILE] [--dir DIR] [--keep] [--shell attacker]",
		Description: labHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "the gateway's configuration `FILE`, in place of the lab's own"},
			&cli.BoolFlag{Name: "keep", DisableDefaultText: true, Usage: "leave everything running until Enter or Ctrl-C"},
			&cli.StringFlag{Name: "shell", Usage: "afterwards, open a shell on `MACHINE`: attacker"},
			&cli.StringFlag{Name: "dir", Usage: "put the run's files into `DIR` (default: a new temporary directory)"},
		},
		Action: runLab,
	}
}

func runLab(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	if s := c.String("shell"); s != "" && s != "attacker" {
		return cli.Exit(fmt.Sprintf("--shell %s: there is a shell on the attacker only", s), 2)
	}
	if err := bed.Enter(); err != nil {
		return cli.Exit(err, 1)
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, os.Interrupt)
	defer stop()
	err := lab.Run(ctx, lab.Options{
		Config: c.String("config"), Dir: c.String("dir"), Keep: c.Bool("keep"),
		Shell: c.String("shell") != "", Out: os.Stdout,
	})
	if err != nil {
		return cli.Exit(err, 1)
	}
	return nil
}
