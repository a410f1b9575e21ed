package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Place is a position in the file, from 1; columns count characters.
type Place struct{ Line, Column int }

func placeOf(n *yaml.Node) Place { return Place{n.Line, n.Column} }

// Error is one mistake: what is wrong, and behind a semicolon what to do.
type Error struct {
	File string
	Place
	Msg string
}

// Error is one line, in the form that editors and terminals make a link of.
func (e *Error) Error() string { return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg) }

// oneLine writes out what would break a line or move a terminal's cursor.
func oneLine(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// fail notes a mistake at a value. fix says what to do.
func (d *decoder) fail(n *yaml.Node, fix, format string, args ...any) {
	d.failAt(placeOf(n), fix, format, args...)
}

func (d *decoder) failAt(at Place, fix, format string, args ...any) {
	d.errs = append(d.errs, &Error{Place: at, Msg: fmt.Sprintf(format, args...) + "; " + fix})
}

// joined puts mistakes in the order of the file, each in one line.
func joined(file string, errs []*Error) error {
	slices.SortStableFunc(errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	all := make([]error, len(errs))
	for i, e := range errs {
		e.File, e.Msg = file, oneLine(e.Msg)
		all[i] = e
	}
	return errors.Join(all...)
}
