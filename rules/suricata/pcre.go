package suricata

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"strings"

	"sleight/rules/pattern"
)

// pcre reads `pcre:"/…/flags"`.
func (p *parser) pcre(value string) error {
	text, negated, err := unquote(value)
	if err != nil {
		return err
	}
	end := strings.LastIndexByte(text, '/')
	if len(text) < 2 || text[0] != '/' || end == 0 {
		return errors.New("it has to stand between slashes")
	}
	m := &within{matcher{kind: isPattern, negated: negated}, p.current}
	flags, anchored, err := pcreFlags(m, text[end+1:])
	if err != nil {
		return err
	}
	re, err := toRE2(text[1:end])
	if err != nil {
		return err
	}
	if anchored {
		re = `\A(?:` + re + `)`
	}
	if flags != "" {
		re = "(?" + flags + ")" + re
	}
	m.re, err = pattern.Compile(re, true)
	if err != nil {
		return reason(err)
	}
	p.chain = append(p.chain, m)
	return nil
}

// pcreFlags reads what stands behind the second slash.
func pcreFlags(m *within, text string) (flags string, anchored bool, err error) {
	for i := range len(text) {
		c := text[i]
		if b, ok := pcreBuffers[c]; ok {
			if err := b.usable(); err != nil {
				return "", false, err
			}
			m.in = b
			continue
		}
		switch c {
		case 'i', 's', 'm':
			if strings.IndexByte(flags, c) < 0 {
				flags += string(rune(c))
			}
		case 'G':
			flags += "U"
		case 'A':
			anchored = true
		case 'R':
			m.relative = true
		case 'E', 'B', 'O', ' ':
		default:
			return "", false, fmt.Errorf("the flag %c", c)
		}
	}
	return flags, anchored, nil
}

// reason puts RE2's mistakes into words that tell what PCRE has and RE2 has not.
func reason(err error) error {
	var e *syntax.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case strings.HasPrefix(e.Expr, "(?"):
		return errors.New("RE2 has no look-around, atomic groups or conditions")
	case e.Code == syntax.ErrInvalidEscape && len(e.Expr) > 1 && e.Expr[1] >= '0' && e.Expr[1] <= '9':
		return errors.New("RE2 has no back-references")
	case e.Code == syntax.ErrInvalidRepeatOp:
		return errors.New("RE2 has no possessive repetition")
	case e.Code == syntax.ErrInvalidRepeatSize:
		return errors.New("RE2 repeats at most 1000 times")
	}
	return fmt.Errorf("%s: %s", e.Code, e.Expr)
}
