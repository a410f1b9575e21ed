package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"sleight/internal/host"
)

const (
	defaultConfig = "/etc/sleight/sleight.yaml"
	defaultState  = "/run/sleight"
)

// configFlag is the flag that every command with a configuration has.
func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Aliases: []string{"c"}, Value: defaultConfig, Usage: "read the configuration from `FILE`"}
}

// downCommand is `sleight down`: takes back what a stopped or killed gateway
// left.
func downCommand(load planLoader) *cli.Command {
	return &cli.Command{
		Name:        "down",
		Usage:       "take back what a stopped or killed gateway left",
		UsageText:   "sleight down [-c FILE | --state-dir DIR]",
		Description: downHelp,
		Flags: []cli.Flag{
			configFlag(),
			&cli.StringFlag{Name: "state-dir", Usage: "the undo list is in `DIR`; the configuration is then not read"},
		},
		Action: func(c *cli.Context) error { return runDown(c, load) },
	}
}

func runDown(c *cli.Context, load planLoader) error {
	if c.Args().Present() {
		return cli.Exit(fmt.Sprintf("down: unexpected argument %q", c.Args().First()), 2)
	}
	dir, err := stateDir(c, load)
	if err != nil {
		return cli.Exit(err, 1)
	}
	done, err := host.Down(dir)
	for _, change := range done {
		fmt.Fprintf(c.App.Writer, "taken back: %s\n", change)
	}
	if err != nil {
		return cli.Exit(fmt.Errorf("down: %w", err), 1)
	}
	if len(done) == 0 {
		fmt.Fprintf(c.App.Writer, "nothing to take back: %s has no undo list\n", dir)
	}
	return nil
}

// stateDir is where the undo list is. Without any word from the operator, and
// without a configuration, it is the default: down should work on a machine from
// which the configuration is gone already.
func stateDir(c *cli.Context, load planLoader) (string, error) {
	if dir := c.String("state-dir"); dir != "" {
		return dir, nil
	}
	path := c.String("config")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && !c.IsSet("config") {
		return defaultState, nil
	}
	plan, err := load(path)
	return plan.StateDir, err
}
