package suricata

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// numeric is a number in the stream, as byte_test and byte_jump read it.
type numeric struct {
	size   int
	offset int
	little bool
	base   int // of digits in text; 0: bytes
	mask   uint64

	op    string // of byte_test
	value uint64

	multiply  int // of byte_jump, as all below
	align     bool
	beginning bool
	end       bool
	post      int
}

// at reads the number at a position; n is how many bytes it has there.
func (m *numeric) at(b []byte, at int) (v uint64, ok bool) {
	if at < 0 || at+m.size > len(b) {
		return 0, false
	}
	b = b[at : at+m.size]
	switch {
	case m.base > 0:
		v, ok = digits(b, m.base)
		return m.masked(v), ok
	case m.little:
		for i := len(b) - 1; i >= 0; i-- {
			v = v<<8 | uint64(b[i])
		}
	default:
		for _, c := range b {
			v = v<<8 | uint64(c)
		}
	}
	return m.masked(v), true
}

func (m *numeric) masked(v uint64) uint64 {
	if m.mask == 0 {
		return v
	}
	v &= m.mask
	for bit := m.mask; bit&1 == 0; bit >>= 1 {
		v >>= 1
	}
	return v
}

// digits reads a number in text, up to what is none.
func digits(b []byte, base int) (uint64, bool) {
	text := strings.TrimLeft(string(b), " ")
	if base == 16 {
		text = strings.TrimPrefix(strings.TrimPrefix(text, "0x"), "0X")
	}
	n := 0
	for n < len(text) {
		if _, err := strconv.ParseUint(text[n:n+1], base, 8); err != nil {
			break
		}
		n++
	}
	v, err := strconv.ParseUint(text[:n], base, 64)
	return v, err == nil
}

// holds reports whether the number compares as byte_test asks.
func (m *numeric) holds(v uint64) bool {
	switch m.op {
	case "<":
		return v < m.value
	case ">":
		return v > m.value
	case "<=":
		return v <= m.value
	case ">=":
		return v >= m.value
	case "&":
		return v&m.value != 0
	case "^":
		return v^m.value != 0
	}
	return v == m.value
}

// jump is where a byte_jump leads from the number at a position.
func (m *numeric) jump(v uint64, at, length int) (to int, ok bool) {
	if v > unbounded {
		return 0, false
	}
	n := int(v) * m.multiply
	if m.align {
		n = (n + 3) &^ 3
	}
	switch {
	case m.beginning:
		to = n
	case m.end:
		to = length + n
	default:
		to = at + m.size + n
	}
	to += m.post
	return to, to >= 0
}

var operators = []string{"<=", ">=", "<", ">", "=", "&", "^"}

// byteTest reads `byte_test:4,>,1000,20,relative`.
func (p *parser) byteTest(value string) (err error) {
	w := fieldsOf(value)
	if len(w) < 4 {
		return errors.New("it needs bytes, operator, value and offset")
	}
	m := matcher{kind: isByteTest, num: &numeric{}}
	op, negated := strings.CutPrefix(w[1], "!")
	if op == "" {
		op = "=" // ! alone is unequal
	}
	m.negated, m.num.op = negated, strings.TrimSpace(op)
	if !slices.Contains(operators, m.num.op) {
		return fmt.Errorf("the operator %s", w[1])
	}
	if m.num.value, err = strconv.ParseUint(w[2], 0, 64); err != nil {
		return fmt.Errorf("the variable %s", w[2])
	}
	return p.numeric(m, w[0], w[3], w[4:])
}

// byteJump reads `byte_jump:4,20,relative,align`.
func (p *parser) byteJump(value string) error {
	w := fieldsOf(value)
	if len(w) < 2 {
		return errors.New("it needs bytes and offset")
	}
	return p.numeric(matcher{kind: isByteJump, num: &numeric{multiply: 1}}, w[0], w[1], w[2:])
}

// fieldsOf splits at commas.
func fieldsOf(value string) []string {
	w := strings.Split(value, ",")
	for i := range w {
		w[i] = strings.TrimSpace(w[i])
	}
	return w
}

// numeric reads what both have, and adds the matcher.
func (p *parser) numeric(m matcher, size, offset string, words []string) (err error) {
	n := m.num
	if n.offset, err = number(offset, -1<<16, 1<<16); err != nil {
		return err
	}
	for _, word := range words {
		if err := n.word(&m, word); err != nil {
			return err
		}
	}
	most := 8
	if n.base > 0 {
		most = 23
	}
	if n.size, err = number(size, 0, most); err != nil {
		return err
	}
	if n.size == 0 && m.kind == isByteTest {
		return errors.New("it reads no byte")
	}
	p.add(m)
	return nil
}

// word reads one word after the numbers.
func (n *numeric) word(m *matcher, word string) (err error) {
	name, arg, _ := strings.Cut(word, " ")
	switch name {
	case "relative":
		m.relative = true
	case "big", "":
	case "little":
		n.little = true
	case "string":
		n.base = max(n.base, 10)
	case "hex":
		n.base = 16
	case "dec":
		n.base = 10
	case "oct":
		n.base = 8
	case "bitmask":
		n.mask, err = strconv.ParseUint(strings.TrimSpace(arg), 0, 64)
	case "multiplier":
		n.multiply, err = number(arg, 1, 1<<16)
	case "align":
		n.align = true
	case "from_beginning":
		n.beginning = true
	case "from_end":
		n.end = true
	case "post_offset":
		n.post, err = number(arg, -1<<16, 1<<16)
	default:
		return fmt.Errorf("the word %s", word)
	}
	return err
}
