package suricata

import (
	"fmt"
	"strconv"
	"strings"
)

// spellings are escapes of PCRE's that RE2 writes otherwise; the second is for
// within brackets, empty where they mean nothing there.
var spellings = map[byte][2]string{
	'h': {`[\t ]`, `\t `}, 'e': {`\x1b`, `\x1b`}, 'Z': {`\n?\z`, ""}, 'R': {`(?:\r\n|\n|\r)`, ""},
}

// converter rewrites a pattern of PCRE's: what the two spell differently, bytes from
// 0x80 on, which are bytes in a rule file, and what is repeated more often than RE2
// does it at once.
type converter struct {
	in     string
	out    []byte
	class  bool
	atom   int   // where in out the last thing begins that can be repeated
	groups []int // where open brackets stand
}

func toRE2(text string) (string, error) {
	c := &converter{in: text}
	for c.in != "" {
		if err := c.step(); err != nil {
			return "", err
		}
	}
	return string(c.out), nil
}

func (c *converter) step() error {
	switch b := c.in[0]; {
	case b == '\\' && len(c.in) > 1:
		return c.escape()
	case c.class:
		c.inClass()
	case b == '[':
		c.class, c.atom = true, len(c.out)
		c.copy(classStart(c.in))
	case b == '(':
		c.groups = append(c.groups, len(c.out))
		c.copy(1)
	case b == ')' && len(c.groups) > 0:
		c.atom = c.groups[len(c.groups)-1]
		c.groups = c.groups[:len(c.groups)-1]
		c.copy(1)
	case b == '{':
		return c.repeat()
	case strings.IndexByte("*+?|^$", b) >= 0:
		c.copy(1)
	default:
		c.atom = len(c.out)
		c.char()
	}
	return nil
}

// copy takes over n bytes as they are.
func (c *converter) copy(n int) {
	c.out = append(c.out, c.in[:n]...)
	c.in = c.in[n:]
}

// char takes over one byte.
func (c *converter) char() {
	if c.in[0] < 0x80 {
		c.copy(1)
		return
	}
	c.out = fmt.Appendf(c.out, `\x%02x`, c.in[0])
	c.in = c.in[1:]
}

// inClass reads on between brackets.
func (c *converter) inClass() {
	switch b := c.in[0]; {
	case b == '[' && strings.HasPrefix(c.in, "[:") && strings.Contains(c.in, ":]"):
		c.copy(strings.Index(c.in, ":]") + 2)
	case b == '[':
		c.out = append(c.out, '\\')
		c.copy(1)
	default:
		c.class = b != ']'
		c.char()
	}
}

// classStart measures a class's beginning: a bracket right behind it is a character.
func classStart(text string) int {
	n := 1
	if strings.HasPrefix(text[n:], "^") {
		n++
	}
	if strings.HasPrefix(text[n:], "]") {
		n++
	}
	return n
}

// escape rewrites a backslash and what stands behind it.
func (c *converter) escape() error {
	s, n, err := escape(c.in[1:], c.class)
	if err != nil {
		return err
	}
	if !c.class {
		c.atom = len(c.out)
	}
	c.out = append(c.out, s...)
	c.in = c.in[1+n:]
	return nil
}

// escape rewrites what stands behind a backslash, n bytes of it.
func escape(text string, class bool) (out string, n int, err error) {
	c := text[0]
	s, ok := spellings[c]
	switch {
	case ok && !class:
		return s[0], 1, nil
	case ok && s[1] != "":
		return s[1], 1, nil
	case c == 'b' && class:
		return `\x08`, 1, nil
	case c == 'x':
		s, n := hexEscape(text)
		return s, n, nil
	case c >= 0x80:
		return fmt.Sprintf(`\x%02x`, c), 1, nil
	case c == 'c' && len(text) > 1:
		return fmt.Sprintf(`\x%02x`, text[1]&0x1f), 2, nil
	case c == '0':
		n = 1
		for n < 3 && n < len(text) && '0' <= text[n] && text[n] <= '7' {
			n++
		}
		return `\` + text[:n], n, nil
	case strings.IndexByte("YymMiqpIJjO_", c) >= 0:
		return string(rune(c)), 1, nil // a letter that means nothing is itself
	case strings.IndexByte("lLuUgGNkKoX", c) >= 0:
		return "", 0, fmt.Errorf(`RE2 has no \%c`, c)
	}
	return `\` + string(rune(c)), 1, nil
}

// hexEscape reads \x with none, one or two digits.
func hexEscape(text string) (string, int) {
	if strings.HasPrefix(text, "x{") {
		return `\x`, 1
	}
	n := 1
	for n < 3 && n < len(text) && strings.IndexByte("0123456789abcdefABCDEF", text[n]) >= 0 {
		n++
	}
	return `\x` + strings.Repeat("0", 3-n) + text[1:n], n
}

// RE2 repeats at most atOnce times; more are written one after the other, up to
// mostTimes and mostText bytes.
const (
	atOnce    = 1000
	mostTimes = 10_000
	mostText  = 16 << 10
)

// repeat reads {n}, {n,} and {n,m}.
func (c *converter) repeat() error {
	end := strings.IndexByte(c.in, '}')
	if end < 0 {
		c.copy(1)
		return nil
	}
	lo, hi, open := strings.Cut(c.in[1:end], ",")
	n, err := strconv.Atoi(lo)
	m := n
	if open && hi != "" && err == nil {
		m, err = strconv.Atoi(hi)
	}
	if err != nil || max(n, m) <= atOnce || n < 0 || m < n {
		c.copy(end + 1)
		return nil
	}
	if max(n, m) > mostTimes {
		return fmt.Errorf("it repeats more than %d times", mostTimes)
	}
	atom := string(c.out[c.atom:])
	c.out = append(c.out[:c.atom], "(?:"...)
	c.times(atom, n, "{%d}")
	switch {
	case open && hi == "":
		c.out = append(c.out, atom+"*"...)
	case m > n:
		c.times(atom, m-n, "{0,%d}")
	}
	c.out = append(c.out, ')')
	c.in = c.in[end+1:]
	if len(c.out) > mostText {
		return fmt.Errorf("it is longer than %d bytes", mostText)
	}
	return nil
}

// times writes an atom n times.
func (c *converter) times(atom string, n int, form string) {
	for ; n > 0; n -= atOnce {
		c.out = append(c.out, atom...)
		c.out = fmt.Appendf(c.out, form, min(n, atOnce))
	}
}
