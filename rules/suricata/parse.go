package suricata

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxRule bounds one rule's text, in bytes.
const maxRule = 64 << 10

// Parse reads the text of a rule file. Comments, and rules that are switched off by
// one, are left out.
func Parse(file, text string, vars *Vars) (rules []*Rule, skipped []Skipped) {
	p := &parser{vars: vars, headers: map[string]*header{}}
	for line := 1; text != ""; {
		logical, rest, lines := cutLine(text)
		logical = strings.TrimSpace(logical)
		if logical != "" && logical[0] != '#' {
			r, err := p.rule(logical)
			r.File, r.Line = file, line
			if err != nil {
				skipped = append(skipped, p.skipped(err))
			} else {
				rules = append(rules, r)
			}
		}
		text = rest
		line += lines
	}
	return rules, skipped
}

// cutLine takes one line off a text; a backslash at its end joins it with the next.
func cutLine(text string) (line, rest string, lines int) {
	for {
		part, after, _ := strings.Cut(text, "\n")
		lines++
		part = strings.TrimSuffix(part, "\r")
		joined := strings.HasSuffix(part, "\\")
		line += strings.TrimSuffix(part, "\\")
		if !joined || after == "" {
			return line, after, lines
		}
		text = after
	}
}

// parser reads one rule at a time.
type parser struct {
	vars    *Vars
	headers map[string]*header // by their text

	r       *Rule
	current buffer    // sticky
	chain   []*within // in order of their writing
	content bool
	urgent  bool // it names its priority
}

// within is a matcher and the buffer that it looks in.
type within struct {
	matcher
	in buffer
}

func (p *parser) skipped(err error) Skipped {
	r := p.r
	return Skipped{File: r.File, Line: r.Line, SID: r.SID, Msg: r.Msg, Protocol: r.Protocol, Content: p.content, Reason: err.Error()}
}

// rule reads one rule. On an error the rule still has what could be read of it.
func (p *parser) rule(text string) (*Rule, error) {
	p.r = &Rule{GID: 1, Priority: 3, Text: text}
	p.current, p.chain, p.content, p.urgent = payload, nil, false, false
	if len(text) > maxRule {
		return p.r, fmt.Errorf("longer than %d bytes", maxRule)
	}
	head, body, ok := strings.Cut(text, "(")
	if !ok || !strings.HasSuffix(body, ")") {
		return p.r, errors.New("not a rule: its options have to stand in brackets")
	}
	herr := p.head(head)
	oerr := p.body(strings.TrimSuffix(body, ")"))
	if herr != nil {
		return p.r, herr
	}
	if oerr != nil {
		return p.r, oerr
	}
	if p.r.SID == 0 {
		return p.r, errors.New("it has no sid")
	}
	return p.r, p.finish()
}

// body reads the options; the first mistake counts, but the names in the rule are
// read to its end.
func (p *parser) body(text string) (first error) {
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		option, rest, ok := cutOption(text)
		if !ok {
			return errors.Join(first, errors.New("an option does not end with a semicolon"))
		}
		text = rest
		name, value, _ := strings.Cut(option, ":")
		if err := p.option(strings.TrimSpace(name), strings.TrimSpace(value)); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// cutOption takes one option off a rule's body: up to a semicolon without a
// backslash before it.
func cutOption(text string) (option, rest string, ok bool) {
	for i := range len(text) {
		if text[i] == ';' && (i == 0 || text[i-1] != '\\') {
			return text[:i], text[i+1:], true
		}
	}
	return "", "", false
}

func (p *parser) option(name, value string) error {
	if name == "content" || name == "uricontent" {
		p.content = true
	}
	if b, ok := stickies[name]; ok {
		return p.sticky(name, b)
	}
	if b, ok := modifiers[name]; ok {
		return p.modify(name, b)
	}
	read, ok := keywords[name]
	if !ok {
		return fmt.Errorf("keyword %s", name)
	}
	if err := read(p, value); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// sticky makes a buffer the one that the following keywords look in.
func (p *parser) sticky(name string, b buffer) error {
	if err := b.usable(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.current = b
	return nil
}

// modify moves the content before it into a buffer.
func (p *parser) modify(name string, b buffer) error {
	if err := b.usable(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c, err := p.last()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c.in = b
	return nil
}

// last is the content that a modifier is about.
func (p *parser) last() (*within, error) {
	for i := len(p.chain) - 1; i >= 0; i-- {
		if p.chain[i].kind == isContent {
			return p.chain[i], nil
		}
	}
	return nil, errors.New("there is no content before it")
}

func (p *parser) add(m matcher) { p.chain = append(p.chain, &within{m, p.current}) }

// unquote takes the quotes off a value, and the exclamation mark before them.
func unquote(value string) (text string, negated bool, err error) {
	if strings.HasPrefix(value, "!") {
		negated, value = true, strings.TrimSpace(value[1:])
	}
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return "", false, errors.New("its text has to stand in quotes")
	}
	return value[1 : len(value)-1], negated, nil
}

// plain takes the backslashes off a text.
func plain(text string) string {
	if !strings.Contains(text, "\\") {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// number reads a whole number within bounds.
func number(text string, least, most int) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		if strings.TrimSpace(text) != "" && !strings.ContainsAny(text[:1], "0123456789-+") {
			return 0, fmt.Errorf("the variable %s", text)
		}
		return 0, fmt.Errorf("%q is not a number", text)
	}
	if n < least || n > most {
		return 0, fmt.Errorf("%d does not lie between %d and %d", n, least, most)
	}
	return n, nil
}

// bounds reads N, <N, >N, <=N, >=N, N<>M and N-M.
func bounds(text string) (span, error) {
	text = strings.ReplaceAll(text, " ", "")
	lo, hi, ranged := strings.Cut(text, "<>")
	if !ranged {
		lo, hi, ranged = strings.Cut(text, "-")
		if ranged && lo != "" {
			a, err1 := number(lo, 0, 1<<24)
			b, err2 := number(hi, 0, 1<<24)
			return span{a - 1, b + 1}, errors.Join(err1, err2)
		}
	}
	if ranged {
		a, err1 := number(lo, 0, 1<<24)
		b, err2 := number(hi, 0, 1<<24)
		return span{a, b}, errors.Join(err1, err2)
	}
	op := text[:len(text)-len(strings.TrimLeft(text, "<>="))]
	n, err := number(text[len(op):], 0, 1<<24)
	switch op {
	case "":
		return span{n - 1, n + 1}, err
	case "<":
		return span{-1, n}, err
	case ">":
		return span{n, unbounded}, err
	case "<=":
		return span{-1, n + 1}, err
	case ">=":
		return span{n - 1, unbounded}, err
	}
	return span{}, fmt.Errorf("the comparison %s", op)
}
