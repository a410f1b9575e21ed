// Command sleight is a gateway that switches a live TCP connection from a decoy
// to a real host without its peer noticing.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"sleight/internal/config"
)

func main() {
	err := newApp().Run(os.Args)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, said(err))
	var code cli.ExitCoder
	if errors.As(err, &code) {
		os.Exit(code.ExitCode())
	}
	os.Exit(1)
}

// said is an error as the user is told it. What has a place in a file begins with
// it, so that an editor or a terminal makes a link of it.
func said(err error) string {
	var placed *config.Error
	if errors.As(err, &placed) {
		return err.Error()
	}
	return "sleight: " + err.Error()
}

func newApp() *cli.App {
	app := &cli.App{
		Name:            "sleight",
		Usage:           "move live TCP connections from a decoy to a real host",
		UsageText:       "sleight COMMAND [OPTION]...",
		Description:     sleightHelp,
		HideHelpCommand: true,
		HideVersion:     true,
		Commands: []*cli.Command{
			runCommand(), checkCommand(), labCommand(), doctorCommand(loadPlan), downCommand(loadPlan), rulesCommand(),
			reloadCommand(), statusCommand(), flowsCommand(), showCommand(), killCommand(),
			tagCommand(), memoryCommand(), versionCommand(),
		},
		OnUsageError:   usageError,
		Action:         unknownCommand,
		ExitErrHandler: func(*cli.Context, error) {}, // main prints and exits
	}
	for _, c := range app.Commands {
		c.OnUsageError = usageError
	}
	return app
}

// unknownCommand is what runs where no command does.
func unknownCommand(c *cli.Context) error {
	if c.Args().Present() {
		return cli.Exit(fmt.Sprintf("there is no command %q: see sleight --help", c.Args().First()), 2)
	}
	return cli.ShowAppHelp(c)
}

func usageError(_ *cli.Context, err error, _ bool) error {
	return cli.Exit(fmt.Sprintf("%v: see --help", err), 2)
}

// noArgs refuses words behind a command that takes none.
func noArgs(c *cli.Context) error {
	if c.Args().Present() {
		return cli.Exit(fmt.Sprintf("%s: unexpected argument %q", c.Command.Name, c.Args().First()), 2)
	}
	return nil
}
