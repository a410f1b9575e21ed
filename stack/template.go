package stack

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// template is text with named groups: each piece is its text, then a group.
type template []piece

type piece struct {
	text  []byte
	group int // of the match; 0: none
}

// parseTemplate splits text at ${name}; $${ stands for ${.
func parseTemplate(text []byte, names []string) (template, error) {
	var t template
	var lit []byte
	var errs []error
	for len(text) > 0 {
		switch {
		case bytes.HasPrefix(text, []byte("$${")):
			lit = append(lit, "${"...)
			text = text[3:]
		case bytes.HasPrefix(text, []byte("${")):
			name, rest, ok := bytes.Cut(text[2:], []byte("}"))
			if !ok {
				return nil, errors.Join(append(errs, errors.New("${ without }; write $${ for a plain ${"))...)
			}
			group := groupOf(names, string(name))
			if group == 0 {
				errs = append(errs, fmt.Errorf("${%s}: expect has no group of this name", name))
			}
			t = append(t, piece{lit, group})
			lit, text = nil, rest
		default:
			lit = append(lit, text[0])
			text = text[1:]
		}
	}
	return append(t, piece{text: lit}), errors.Join(errs...)
}

func groupOf(names []string, name string) int {
	if name == "" {
		return 0
	}
	return max(slices.Index(names, name), 0)
}

func (t template) expand(groups [][]byte) []byte {
	var b []byte
	for _, p := range t {
		b = append(b, p.text...)
		if p.group > 0 && p.group < len(groups) {
			b = append(b, groups[p.group]...)
		}
	}
	return b
}
