package report

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Markdown writes the rows as a table: a line for each figure, a column for each subject.
func Markdown(rows []Row) string {
	var b strings.Builder
	b.WriteString("| figure | unit | " + strings.Join(subjects(rows), " | ") + " |\n|---|---|" + strings.Repeat("---|", len(subjects(rows))) + "\n")
	for i := 0; i < len(rows); {
		first, cells := rows[i], map[string]string{}
		for ; i < len(rows) && heading(rows[i]) == heading(first); i++ {
			cells[rows[i].Subject] = cell(rows[i])
		}
		fmt.Fprintf(&b, "| %s | %s |", heading(first), first.Unit)
		for _, s := range subjects(rows) {
			b.WriteString(" " + cells[s] + " |")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// cell is a median with its ratio.
func cell(r Row) string {
	if r.Ratio == nil {
		return number(r.Median)
	}
	return fmt.Sprintf("%s (%.2f)", number(r.Median), *r.Ratio)
}

func subjects(rows []Row) (names []string) {
	seen := map[string]bool{}
	for _, r := range rows {
		if !seen[r.Subject] {
			seen[r.Subject] = true
			names = append(names, r.Subject)
		}
	}
	return names
}

// The marks between which a page has the figures of one run.
const (
	pageBegin = "<!-- figures: written by make bench-docs -->\n"
	pageEnd   = "<!-- end of figures -->\n"
)

// Page puts a text into a page in place of the one that stands there.
func Page(page []byte, text string) ([]byte, error) {
	head, rest, ok := bytes.Cut(page, []byte(pageBegin))
	_, tail, ok2 := bytes.Cut(rest, []byte(pageEnd))
	if !ok || !ok2 {
		return nil, errors.New("the page has no marks for the figures")
	}
	return bytes.Join([][]byte{head, []byte(pageBegin), []byte("\n" + text + "\n"), []byte(pageEnd), tail}, nil), nil
}
