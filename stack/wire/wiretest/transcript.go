package wiretest

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the dialogues of .txtar files anew")

// Transcript runs the script of a .txtar file and compares the dialogue that
// comes of it with the one that the file holds:
//
//	Prose: what is shown, and which sentence it proves.
//	-- script --
//	client  < S 1000:1000(0) win 65535
//	# a comment
//	-- dialogue --
//	client  < S 1000:1000(0) win 65535
//	client  > S. 7000:7000(0) ack 1001 win 65160
//
// With -update the dialogue is written into the file, for a reviewer to read.
func Transcript(t *testing.T, file string, run func(script []Line) (dialogue []Line)) {
	t.Helper()
	arc, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	script, err := ParseAll(string(section(arc, "script").Data))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	got, want := FormatAll(run(script)), section(arc, "dialogue")
	if got == string(want.Data) {
		return
	}
	if !*update {
		t.Errorf("%s: the dialogue is\n%s\nwant\n%s\n%s", file, got, want.Data, firstDifference(got, string(want.Data)))
		return
	}
	want.Data = []byte(got)
	if err := os.WriteFile(file, txtar.Format(arc), 0o644); err != nil {
		t.Fatal(err)
	}
}

// section returns the named section, a new one if there is none.
func section(arc *txtar.Archive, name string) *txtar.File {
	for i := range arc.Files {
		if arc.Files[i].Name == name {
			return &arc.Files[i]
		}
	}
	arc.Files = append(arc.Files, txtar.File{Name: name})
	return &arc.Files[len(arc.Files)-1]
}

// ParseAll reads lines; empty ones and those that begin with '#' are passed over.
func ParseAll(text string) (all []Line, err error) {
	n := 0
	for s := range strings.Lines(text) {
		n++
		if s = strings.TrimSpace(s); s == "" || s[0] == '#' {
			continue
		}
		l, err := Parse(s)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		all = append(all, l)
	}
	return all, nil
}

// FormatAll writes lines, each with its end.
func FormatAll(all []Line) string {
	var b strings.Builder
	for _, l := range all {
		b.WriteString(l.String())
		b.WriteByte('\n')
	}
	return b.String()
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("first difference, line %d:\n  got  %s\n  want %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g)-1, len(w)-1)
}
