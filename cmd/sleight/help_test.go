package main

import (
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"sleight/internal/config"
)

func TestEveryCommandTeaches(t *testing.T) {
	for _, c := range newApp().Commands {
		for _, want := range []string{"\nExample", "  sleight " + c.Name, "\nExit codes: 0 ", "2 wrong usage."} {
			if !strings.Contains(strings.ReplaceAll(c.Description, "sudo ", ""), want) {
				t.Errorf("the help of %s has no %q", c.Name, want)
			}
		}
		if !strings.HasPrefix(c.UsageText, "sleight "+c.Name) {
			t.Errorf("the usage of %s is %q", c.Name, c.UsageText)
		}
		for _, f := range c.VisibleFlags() {
			named(t, c, f)
		}
		fits(t, c.Description)
	}
	fits(t, sleightHelp)
}

// named wants a flag in the usage, and a word of the flag's own for its value.
func named(t *testing.T, c *cli.Command, f cli.Flag) {
	t.Helper()
	short := f.Names()[len(f.Names())-1]
	if f.Names()[0] != "help" && !strings.Contains(c.UsageText, "-"+short) {
		t.Errorf("the usage of %s has no -%s", c.Name, short)
	}
	if s, ok := f.(*cli.StringFlag); ok && strings.Count(s.Usage, "`") != 2 {
		t.Errorf("--%s of %s does not name its value", s.Name, c.Name)
	}
}

// fits wants lines that a terminal of 80 columns shows as they are, indented by 3.
func fits(t *testing.T, text string) {
	t.Helper()
	for _, line := range strings.Split(text, "\n") {
		if len(line) > 80-3 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
}

// The configuration in the help is one that check takes.
func TestTheLeastConfigurationIsRight(t *testing.T) {
	_, text, _ := strings.Cut(sleightHelp, "The least that a configuration has:\n")
	text, _, _ = strings.Cut(text, "\n\n")
	text = strings.ReplaceAll("\n"+text, "\n  ", "\n")
	if _, err := config.Parse("least.yaml", []byte(text), nil); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}
