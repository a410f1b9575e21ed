// Package rulestest reads the worked examples of docs/rules.md: rules, with the
// conversations in which they speak and in which they do not.
package rulestest

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// Example is one rule.
type Example struct {
	Name, When, Action, Backend string
	Match                       struct{ Ports []uint16 }
	On                          string
	Threshold                   struct {
		Count int
		In    time.Duration
	}
	OncePer time.Duration `yaml:"once_per"`
	Tag     struct {
		Name string
		For  time.Duration
	}
	Talks []Talk
}

// Talk is one conversation: what the client says, and whether the rule speaks.
type Talk struct {
	Stream string
	Speaks bool
	Port   uint16
	Bare   bool // the stream alone decides; what follows is not set

	Src       netip.Addr
	Age, Idle time.Duration
	Window    uint16        // of the SYN
	At        time.Duration // time of the day

	// Earlier took place before it, in memory's sight.
	Earlier []Talk
	Before  time.Duration // so long
	Times   int           // one after the other
	Was     bool          // it was switched
	Tagged  string        // the client is
}

var fences = regexp.MustCompile("(?ms)^```(\\S+)([^\n]*)\n(.*?)^```$")

// Examples reads the document: a block of yaml with one rule, then blocks `client`,
// whose lines are joined as the strings of Go, without their ends. root is the way
// to the module's directory.
func Examples(t testing.TB, root string) (out []Example) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "docs/rules.md"))
	if err != nil {
		t.Fatal(err)
	}
	var earlier []Talk
	for _, m := range fences.FindAllStringSubmatch(string(b), -1) {
		switch m[1] {
		case "yaml":
			var es []Example
			if err := yaml.Unmarshal([]byte(m[3]), &es); err != nil {
				t.Fatalf("%s: %v", m[3], err)
			}
			out = append(out, es...)
		case "client":
			e := &out[len(out)-1]
			talk := readTalk(t, root, e, m[2], m[3])
			if talk.Before > 0 {
				earlier = append(earlier, talk)
				continue
			}
			talk.Earlier, talk.Bare = earlier, talk.Bare && earlier == nil
			e.Talks, earlier = append(e.Talks, talk), nil
		}
	}
	return out
}

// readTalk reads a block: of words behind `client`, `stays` says that the rule does
// not speak, file=NAME where the bytes are, before=TIME that this took place so long
// before the next conversation, times=N so often, `switched` that it was switched, the
// others are facts.
func readTalk(t testing.TB, root string, e *Example, words, text string) Talk {
	t.Helper()
	c := Talk{Speaks: true, Port: 80, Bare: true, Times: 1, Src: netip.MustParseAddr("198.51.100.7")}
	if len(e.Match.Ports) > 0 {
		c.Port = e.Match.Ports[0]
	}
	for _, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		s, err := strconv.Unquote(`"` + strings.ReplaceAll(l, `"`, `\"`) + `"`)
		if err != nil {
			t.Fatalf("%s: %q: %v", e.Name, l, err)
		}
		c.Stream += s
	}
	for _, w := range strings.Fields(words) {
		if err := c.word(root, w); err != nil {
			t.Fatalf("%s: %q: %v", e.Name, w, err)
		}
	}
	return c
}

// word takes one of the words behind `client`.
func (c *Talk) word(root, w string) (err error) {
	key, v, _ := strings.Cut(w, "=")
	switch key {
	case "stays":
		c.Speaks = false
		return nil
	case "file":
		b, err := os.ReadFile(filepath.Join(root, v))
		c.Stream = string(b)
		return err
	}
	c.Bare = false
	switch key {
	case "before":
		c.Before, err = time.ParseDuration(v)
	case "times":
		c.Times, err = strconv.Atoi(v)
	case "switched":
		c.Was = true
	case "tagged":
		c.Tagged = v
	case "at":
		c.At, err = time.ParseDuration(v)
	case "age":
		c.Age, err = time.ParseDuration(v)
	case "idle":
		c.Idle, err = time.ParseDuration(v)
	case "src":
		c.Src, err = netip.ParseAddr(v)
	case "window":
		var n uint64
		n, err = strconv.ParseUint(v, 10, 16)
		c.Window = uint16(n)
	default:
		err = strconv.ErrSyntax
	}
	return err
}
