package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"

	"sleight/rules/pattern"
)

// Error is one mistake in a rule. Line and Column count from 1 within the
// expression.
type Error struct {
	Rule, Line, Column int
	Msg                string
	Condition          bool // Rule counts the conditions
}

// Source is what a set is compiled from.
type Source struct {
	Rules      []Rule
	Conditions []Condition
	Lists      []List
}

// memoryBudget bounds what one evaluation may allocate, in expr's units.
const memoryBudget = 100_000

// later are the names that the language reserves.
var later = []string{"prepare"}

// maxLength bounds a condition, and so how deep its brackets go, in bytes.
const maxLength = 8 << 10

// Compile checks and compiles rules that need nothing else.
func Compile(rs []Rule) (*Set, []Error) { return (&Source{Rules: rs}).Compile() }

// Compile checks and compiles rules, every mistake at once.
func (src *Source) Compile() (*Set, []Error) {
	s := &Set{client: sampler{ip4: 32, ip6: 64}}
	lists := compileLists(src.Lists)
	conditions, errs := compileConditions(src.Conditions, lists)
	sites := 0
	for i, r := range src.Rules {
		c, mistakes := compile(r, conditions, lists, &sites)
		for j := range mistakes {
			errs = append(errs, place(i, &mistakes[j]))
		}
		s.rules = append(s.rules, c)
	}
	if errs != nil {
		return nil, errs
	}
	return s, nil
}

// compile numbers the rule's dice after sites: each chance has its own.
func compile(r Rule, conditions map[string]string, lists map[string]*list, sites *int) (c compiled, errs []file.Error) {
	c.Rule = r
	c.thresholdKey, c.onceKey = countKey("threshold", r.Name), countKey("once_per", r.Name)
	c.timed = r.On == OnIdle
	if strings.TrimSpace(r.When) == "" {
		return c, nil
	}
	if len(r.When) > maxLength {
		return c, []file.Error{{Message: fmt.Sprintf("a condition has at most %d bytes", maxLength)}}
	}
	x, tooLong := expand(r.When, conditions)
	if tooLong != nil {
		return c, []file.Error{*tooLong}
	}
	v := &visitor{survey: newSurvey(), src: x.text, lists: lists, conditions: conditions, sites: *sites}
	program, err := expr.Compile(x.text, append(slices.Clone(remembering),
		expr.Env(&env{}), expr.AsBool(), expr.WarnOnAny(), expr.Patch(v.survey), expr.Patch(v), expr.Patch(&guards{v.survey}),
		expr.MaxNodes(2000), expr.DisableBuiltin("duration"),
		expr.Function("duration", duration, parseDuration),
		expr.Function("in_net", inNet, new(func(string, string) bool)),
		expr.Function("hex", unhex, new(func(string) string)),
	)...)
	*sites = v.sites
	slices.SortStableFunc(v.errs, func(a, b file.Error) int { return a.From - b.From })
	var fe *file.Error
	switch {
	case len(v.errs) > 0:
		for i := range v.errs {
			v.errs[i] = x.back(v.errs[i])
		}
		return c, v.errs
	case errors.As(err, &fe):
		return c, []file.Error{x.back(*fe)}
	case err != nil:
		return c, []file.Error{{Line: 1, Message: err.Error()}}
	}
	c.program, c.novelStream, c.horizon = program, v.novelStream, v.horizon
	c.timed = c.timed || v.timed && r.On == 0
	c.cost = max(1, v.cost*max(1, v.longest))
	c.uses, c.literal = v.uses, literal(program.Node())
	c.need(needed(program.Node(), true))
	return c, nil
}

// literal finds a text that the stream must contain for the expression to be
// true: one operand of a conjunction that says so.
func literal(n ast.Node) string {
	if call, ok := n.(*ast.CallNode); ok {
		return patternLiteral(call)
	}
	b, ok := n.(*ast.BinaryNode)
	if !ok {
		return ""
	}
	switch b.Operator {
	case "and", "&&":
		return longer(literal(b.Left), literal(b.Right))
	case "contains", "startsWith", "endsWith", "==":
		lit, isLit := b.Right.(*ast.StringNode)
		if isLit && verbatim(b.Left) {
			return lit.Value
		}
	}
	return ""
}

// patternLiteral is literal for a pattern on the stream.
func patternLiteral(n *ast.CallNode) string {
	if len(n.Arguments) != 2 || !verbatim(n.Arguments[0]) {
		return ""
	}
	return patternNeed(n)
}

// patternNeed is a text that occurs wherever a call's pattern matches.
func patternNeed(n *ast.CallNode) string {
	if len(n.Arguments) != 2 {
		return ""
	}
	c, ok := n.Arguments[1].(*ast.ConstantNode)
	if !ok {
		return ""
	}
	p, ok := c.Value.(*pattern.Pattern)
	if !ok {
		return ""
	}
	return p.Need()
}

func longer(a, b string) string {
	if len(b) > len(a) {
		return b
	}
	return a
}

// place gives an error its position, from 1.
func place(rule int, e *file.Error) Error {
	return Error{Rule: rule, Line: max(1, e.Line), Column: e.Column + 1, Msg: e.Message}
}
