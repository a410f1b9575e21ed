package rules

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser/lexer"

	"sleight/rules/proto"
)

// Condition is a name for an expression, for rules and for later conditions.
type Condition struct{ Name, When string }

// identifiers are names that the language can read.
var identifiers = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// words are the language's own.
var words = []string{
	"and", "or", "not", "in", "matches", "contains", "startsWith", "endsWith", "let", "if", "else",
	"true", "false", "nil", "div", "mod", "syn",
}

// checkName refuses what could not be told from something else.
func checkName(name string, taken []string) error {
	_, isBuiltin := builtin.Index[name]
	switch {
	case !identifiers.MatchString(name):
		return fmt.Errorf("%q cannot be the name of a condition; write letters, digits and _", name)
	case isBuiltin || slices.Contains(words, name) || slices.Contains(names, name) || slices.Contains(later, name) || proto.Named(name):
		return fmt.Errorf("%s has a meaning already; choose another name", name)
	case slices.Contains(taken, name):
		return fmt.Errorf("another condition is called %s; choose another name", name)
	}
	return nil
}

// expanded is an expression with each condition's expression in the place of its name.
type expanded struct {
	written []rune // as it stands in the file
	text    string
	at      []int // of each character of text and of its end: where it is written
}

// expand puts conditions in. The error says where the result becomes too long.
func expand(text string, conditions map[string]string) (x expanded, err *file.Error) {
	x.written = []rune(text)
	put := func(s string, at int, moves bool) {
		x.text += s
		for range []rune(s) {
			x.at = append(x.at, at)
			if moves {
				at++
			}
		}
	}
	from := 0
	for _, t := range named(text, conditions) {
		body := conditions[t.Value]
		if len(x.text)+len(body) > maxLength {
			e := &file.Error{Location: t.Location, Message: fmt.Sprintf("with its conditions written out this has more than %d bytes", maxLength)}
			return x, e.Bind(file.NewSource(text))
		}
		put(string(x.written[from:t.From]), from, true)
		put("("+body+")", t.From, false)
		from = t.To
	}
	put(string(x.written[from:]), from, true)
	x.at = append(x.at, len(x.written))
	return x, nil
}

// named are the places in a text that name a condition.
func named(text string, conditions map[string]string) (found []lexer.Token) {
	if len(conditions) == 0 {
		return nil
	}
	tokens, err := lexer.Lex(file.NewSource(text))
	if err != nil {
		return nil // the compiler will say so
	}
	for i, t := range tokens {
		_, ok := conditions[t.Value]
		field := i > 0 && tokens[i-1].Is(lexer.Operator, ".", "?.")
		called := i+1 < len(tokens) && tokens[i+1].Is(lexer.Bracket, "(")
		if ok && t.Is(lexer.Identifier) && !field && !called {
			found = append(found, t)
		}
	}
	return found
}

// back moves an error to where it is written.
func (x *expanded) back(e file.Error) file.Error {
	if len(x.written) == len(x.at)-1 || e.From >= len(x.at) {
		return e
	}
	e.From = x.at[e.From]
	e.Bind(file.NewSource(string(x.written)))
	return e
}

// compileConditions checks conditions, each by itself, and returns their expressions
// written out. One with a mistake counts as true, so that it is reported once.
func compileConditions(cs []Condition, lists map[string]*list) (all map[string]string, errs []Error) {
	all = map[string]string{}
	var taken []string
	for i, c := range cs {
		sites := 0
		var mistakes []file.Error
		if err := checkName(c.Name, taken); err != nil {
			mistakes = []file.Error{{Line: 1, Message: err.Error()}}
		}
		taken = append(taken, c.Name)
		_, more := compile(Rule{When: c.When}, all, lists, &sites)
		mistakes = append(mistakes, more...)
		for j := range mistakes {
			e := place(i, &mistakes[j])
			e.Condition = true
			errs = append(errs, e)
		}
		all[c.Name] = "true"
		if mistakes != nil {
			continue
		}
		x, _ := expand(c.When, all) // it was compiled: it is short enough
		all[c.Name] = x.text
	}
	return all, errs
}
