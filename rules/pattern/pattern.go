// Package pattern is regular expressions on bytes, in RE2's syntax.
//
// Go's engine reads UTF-8, in which a byte from 0x80 on is no character of its own.
// So such a byte b is given to it as the character high+b, from a private area that
// no class, range of letters or folding of case knows, and \x80 to \xff in the
// pattern become the same characters. Any other character of the pattern beyond
// ASCII becomes its bytes in UTF-8. The bytes are never copied: the engine reads
// them through a RuneReader, and directly where they are all ASCII.
package pattern

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"
)

// high is where the characters begin that stand for bytes.
const high = 0x10f000

// Pattern is a regular expression on bytes.
type Pattern struct {
	re   *regexp.Regexp // nil: the pattern is the literal in need, no more
	need string         // see Need
	cost int            // see Cost
}

// Compile reads a regular expression. raw says that characters from
// U+0080 to U+00FF in it were written as \x80 to \xff, and mean these bytes.
func Compile(text string, raw bool) (*Pattern, error) {
	if _, err := syntax.Parse(text, syntax.Perl); err != nil {
		return nil, err // in the words that the operator wrote
	}
	mapped, err := mapPattern(text, raw)
	if err != nil {
		return nil, err
	}
	tree, err := syntax.Parse(mapped, syntax.Perl)
	if err != nil {
		return nil, err
	}
	p := &Pattern{need: required(tree), cost: 1}
	if tree.Op == syntax.OpLiteral && p.need != "" {
		return p, nil
	}
	if prog, err := syntax.Compile(tree.Simplify()); err == nil {
		p.cost = plainCost + len(prog.Inst)/instsPerByte
	}
	p.re, err = regexp.Compile(mapped)
	return p, err
}

// What a byte costs, against a byte of a plain search: the engine's own work, and
// what it has to do for each of so many instructions.
const (
	plainCost    = 8
	instsPerByte = 8
)

// Need is a text that occurs wherever the pattern matches; empty: none is known.
func (p *Pattern) Need() string { return p.need }

// Cost is how many bytes of a plain search one byte of this pattern's counts as.
func (p *Pattern) Cost() int { return p.cost }

// Match reports whether the pattern matches somewhere in s.
func (p *Pattern) Match(s string) bool {
	switch {
	case p.need != "" && !strings.Contains(s, p.need):
		return false
	case p.re == nil:
		return true
	case ascii(s):
		return p.re.MatchString(s)
	default:
		return p.re.MatchReader(&byteReader{s: s})
	}
}

// Find is where the first match in s begins and ends; −1: there is none.
func (p *Pattern) Find(s string) (from, to int) {
	var at []int
	switch {
	case p.re == nil:
		if from = strings.Index(s, p.need); from < 0 {
			return -1, -1
		}
		return from, from + len(p.need)
	case p.need != "" && !strings.Contains(s, p.need):
	case ascii(s):
		at = p.re.FindStringIndex(s)
	default:
		at = p.re.FindReaderIndex(&byteReader{s: s})
	}
	if at == nil {
		return -1, -1
	}
	return at[0], at[1]
}

// byteReader reads bytes as the characters that stand for them in a pattern.
type byteReader struct {
	s string
	i int
}

// ReadRune is io.RuneReader's.
func (r *byteReader) ReadRune() (rune, int, error) {
	if r.i == len(r.s) {
		return 0, 0, io.EOF
	}
	c := r.s[r.i]
	r.i++
	return stand(c), 1, nil
}

// stand is the character that stands for a byte.
func stand(c byte) rune {
	if c < utf8.RuneSelf {
		return rune(c)
	}
	return high + rune(c)
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// required is a text that occurs wherever the tree matches; empty: none known.
func required(t *syntax.Regexp) string {
	switch t.Op {
	case syntax.OpLiteral:
		return requiredLiteral(t)
	case syntax.OpCapture, syntax.OpPlus:
		return required(t.Sub[0])
	case syntax.OpRepeat:
		if t.Min > 0 {
			return required(t.Sub[0])
		}
	case syntax.OpConcat:
		lit := ""
		for _, sub := range t.Sub {
			if more := required(sub); len(more) > len(lit) {
				lit = more
			}
		}
		return lit
	}
	return ""
}

func requiredLiteral(t *syntax.Regexp) string {
	if t.Flags&syntax.FoldCase != 0 {
		return ""
	}
	lit := make([]byte, len(t.Rune))
	for i, r := range t.Rune {
		if r >= high {
			r -= high
		}
		if r > 0xff {
			return ""
		}
		lit[i] = byte(r)
	}
	return string(lit)
}

var errClass = errors.New("a character beyond ASCII is several bytes and cannot stand in a class; write the alternatives with |, or bytes as \\xff")

// mapper rewrites a pattern that is known to be well-formed.
type mapper struct {
	in    string
	out   strings.Builder
	raw   bool
	class bool // within [ ]
	err   error
}

// mapPattern writes bytes from 0x80 on as the characters that stand for them.
func mapPattern(text string, raw bool) (string, error) {
	m := &mapper{in: text, raw: raw}
	for len(m.in) > 0 && m.err == nil {
		m.step()
	}
	return m.out.String(), m.err
}

func (m *mapper) step() {
	switch {
	case !m.class && strings.HasPrefix(m.in, `\Q`):
		m.quoted()
	case m.in[0] == '\\':
		m.escape()
	case m.class && strings.HasPrefix(m.in, "[:"):
		m.copy(max(2, strings.Index(m.in, ":]")+2))
	case m.class && m.in[0] == ']':
		m.class = false
		m.copy(1)
	case !m.class && m.in[0] == '[':
		m.open()
	default:
		r, n := utf8.DecodeRuneInString(m.in)
		m.in = m.in[n:]
		m.char(r, m.raw)
	}
}

func (m *mapper) copy(n int) {
	m.out.WriteString(m.in[:n])
	m.in = m.in[n:]
}

// open begins a class; a bracket right after its beginning is a character.
func (m *mapper) open() {
	m.class = true
	m.copy(1)
	if strings.HasPrefix(m.in, "^") {
		m.copy(1)
	}
	if strings.HasPrefix(m.in, "]") {
		m.copy(1)
	}
}

// quoted rewrites \Q…\E character by character.
func (m *mapper) quoted() {
	text, rest, _ := strings.Cut(m.in[2:], `\E`)
	m.in = rest
	for _, r := range text {
		if r < utf8.RuneSelf {
			m.out.WriteString(regexp.QuoteMeta(string(r)))
		} else {
			m.char(r, m.raw)
		}
	}
}

// escape rewrites \xff, \x{ff} and \377; it leaves the others alone.
func (m *mapper) escape() {
	rest := m.in[1:]
	digits, n, base := "", 0, 16
	switch {
	case strings.HasPrefix(rest, "x{"):
		end := strings.IndexByte(rest, '}')
		digits, n = rest[2:end], end+2
	case rest[0] == 'x':
		digits, n = rest[1:3], 4
	case '0' <= rest[0] && rest[0] <= '7':
		digits, base = octal(rest), 8
		n = 1 + len(digits)
	}
	v, err := strconv.ParseUint(digits, base, 32)
	if n == 0 || err != nil || v < utf8.RuneSelf {
		_, size := utf8.DecodeRuneInString(rest)
		m.copy(max(n, 1+size))
		return
	}
	m.in = m.in[n:]
	m.char(rune(v), true)
}

func octal(s string) string {
	n := 1
	for n < 3 && n < len(s) && '0' <= s[n] && s[n] <= '7' {
		n++
	}
	return s[:n]
}

// char writes one character; byteLike says that one up to U+00FF is a byte.
func (m *mapper) char(r rune, byteLike bool) {
	switch {
	case r < utf8.RuneSelf:
		m.out.WriteRune(r)
	case byteLike && r <= 0xff:
		m.out.WriteRune(high + r)
	case m.class:
		m.err = errClass
	default:
		m.out.WriteString("(?:")
		for _, c := range []byte(string(r)) {
			fmt.Fprintf(&m.out, `\x{%x}`, stand(c))
		}
		m.out.WriteByte(')')
	}
}
