package config

import (
	"strconv"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// source is the text of the file in the lines that the YAML reader counts. Each
// line ends in '\n'.
type source [][]rune

func lines(b []byte) (s source) {
	var line []rune
	text := []rune(string(b))
	for i, r := range text {
		switch r {
		case '\r':
			if i+1 < len(text) && text[i+1] == '\n' {
				continue
			}
			fallthrough
		case '\n', '\u0085', '\u2028', '\u2029':
			s, line = append(s, append(line, '\n')), nil
		default:
			line = append(line, r)
		}
	}
	return append(s, append(line, '\n'))
}

// cursor reads a scalar's own characters, from where it begins.
type cursor struct {
	text      source
	line, col int // from 0
	style     yaml.Style
}

// cursor stands at the first character of a scalar's text.
func (s source) cursor(n *yaml.Node) *cursor {
	c := &cursor{text: s, line: n.Line - 1, col: n.Column - 1, style: n.Style}
	switch {
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		c.col++
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		c.line, c.col = c.line+1, 0 // behind the header, | or >
	}
	return c
}

func (c *cursor) place() Place { return Place{c.line + 1, c.col + 1} }

// at is the raw character so many further on in this line; 0 beyond its end.
func (c *cursor) at(i int) rune {
	if c.line >= len(c.text) || c.col+i >= len(c.text[c.line]) {
		return 0
	}
	return c.text[c.line][c.col+i]
}

// skip goes on by so many characters of this line.
func (c *cursor) skip(n int) {
	c.col += n
	if c.line < len(c.text) && c.col >= len(c.text[c.line]) {
		c.line, c.col = c.line+1, 0
	}
}

// nothing is what a line break behind a backslash stands for.
const nothing rune = -1

// next is the character that stands here, and how many it is written with; 0: the
// text is at its end.
func (c *cursor) next() (r rune, width int) {
	switch r = c.at(0); {
	case r == '\'' && c.style&yaml.SingleQuotedStyle != 0:
		if c.at(1) != '\'' {
			return 0, 0
		}
		return r, 2
	case r == '"' && c.style&yaml.DoubleQuotedStyle != 0:
		return 0, 0
	case r == '\\' && c.style&yaml.DoubleQuotedStyle != 0:
		return c.escape()
	case r == 0:
		return 0, 0
	}
	return r, 1
}

var escapes = map[rune]rune{
	'0': 0, 'a': '\a', 'b': '\b', 't': '\t', 'n': '\n', 'v': '\v', 'f': '\f', 'r': '\r', 'e': 0x1b,
	'N': '\u0085', '_': '\u00a0', 'L': '\u2028', 'P': '\u2029', '\n': nothing,
}

// escape reads one of a text in double quotes.
func (c *cursor) escape() (rune, int) {
	e := c.at(1)
	digits, ok := map[rune]int{'x': 2, 'u': 4, 'U': 8}[e]
	if !ok {
		if r, named := escapes[e]; named {
			return r, 2
		}
		return e, 2
	}
	var hex []rune
	for i := range digits {
		hex = append(hex, c.at(2+i))
	}
	v, err := strconv.ParseUint(string(hex), 16, 32)
	if err != nil {
		return 0, 0 // the YAML reader has refused it
	}
	return rune(v), 2 + digits
}

// places tells where each character of a value stands, and what follows the last.
// Quotes, escapes and folding change a text on its way into the value, but folding
// touches white space only: all else comes in the same order. Nil: not found.
func (s source) places(n *yaml.Node) []Place {
	c := s.cursor(n)
	var all []Place
	for _, v := range n.Value {
		at, ok := c.find(v)
		if !ok {
			return nil
		}
		all = append(all, at)
	}
	return append(all, c.place())
}

// find goes to the next place where v stands, and past it. White space of the
// value may be folded, so any white space is taken for it.
func (c *cursor) find(v rune) (Place, bool) {
	for {
		r, width := c.next()
		at := c.place()
		switch {
		case r == 0 && width == 0:
			// What a block ends in is not in the text if the text ends before.
			return at, unicode.IsSpace(v)
		case r == v || unicode.IsSpace(v) && unicode.IsSpace(r):
			c.skip(width)
			return at, true
		case unicode.IsSpace(v) && r != nothing:
			return at, true // folded from what was already passed
		case r == nothing || unicode.IsSpace(r):
			c.skip(width)
		default:
			return at, false
		}
	}
}
