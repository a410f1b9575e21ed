package rules

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
)

// Error is one mistake in a rule. Line and Column count from 1 within the
// expression.
type Error struct {
	Rule, Line, Column int
	Msg                string
}

// memoryBudget bounds what one evaluation may allocate, in expr's units.
const memoryBudget = 100_000

// later are the names that the language reserves.
var later = []string{
	"http", "tls", "ssh", "seen", "switched", "first_seen", "conns", "rate",
	"novel", "prepare", "tag", "tagged", "once_per", "lists",
}

// Compile checks and compiles rules, every mistake at once.
func Compile(rs []Rule) (*Set, []Error) {
	s, errs := &Set{}, []Error(nil)
	for i, r := range rs {
		c, err := compile(r)
		if err != nil {
			errs = append(errs, place(i, err))
			continue
		}
		s.rules = append(s.rules, c)
	}
	if errs != nil {
		return nil, errs
	}
	return s, nil
}

func compile(r Rule) (c compiled, err error) {
	c.Rule = r
	if strings.TrimSpace(r.When) == "" {
		return c, nil
	}
	v := &visitor{}
	c.program, err = expr.Compile(r.When,
		expr.Env(&env{}), expr.AsBool(), expr.Patch(v),
		expr.MaxNodes(2000), expr.DisableBuiltin("repeat"), expr.DisableBuiltin("now"),
		expr.DisableBuiltin("date"), expr.DisableBuiltin("duration"),
		expr.Function("duration", duration, parseDuration),
		expr.Function("in_net", inNet, new(func(string, string) bool)),
		expr.Function("hex", unhex, new(func(string) string)),
	)
	if v.err != nil {
		return c, v.err
	}
	if err != nil {
		return c, err
	}
	c.timed = v.timed
	c.literal = literal(c.program.Node())
	return c, nil
}

// visitor looks at every node: it puts byte-wise matching in place of `matches`
// and names what the language does not have yet.
type visitor struct {
	timed bool
	sites int
	err   error
}

// Visit is ast.Visitor's.
func (v *visitor) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		v.identifier(n)
	case *ast.BinaryNode:
		if n.Operator == "matches" {
			v.matches(node, n)
		}
	case *ast.CallNode:
		v.call(n)
	case *ast.BuiltinNode:
	}
}

func (v *visitor) identifier(n *ast.IdentifierNode) {
	if n.Value == "age" || n.Value == "idle" {
		v.timed = true
	}
	if v.err == nil && slices.Contains(later, n.Value) {
		v.fail(n, "%s is not yet supported", n.Value)
	}
}

// call checks constant arguments, and gives each chance a die of its own.
func (v *visitor) call(n *ast.CallNode) {
	id, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		return
	}
	switch id.Value {
	case "chance":
		v.sites++
		n.Arguments = append(n.Arguments, &ast.IntegerNode{Value: v.sites})
	case "in_net":
		if s, ok := text(n.Arguments, 1); ok {
			if _, err := prefix(s); err != nil {
				v.fail(n, "%v", err)
			}
		}
	case "hex":
		if s, ok := text(n.Arguments, 0); ok {
			if _, err := decodeHex(s); err != nil {
				v.fail(n, "hex(%q): %v", s, err)
			}
		}
	}
}

func text(args []ast.Node, i int) (string, bool) {
	if i >= len(args) {
		return "", false
	}
	s, ok := args[i].(*ast.StringNode)
	if !ok {
		return "", false
	}
	return s.Value, true
}

// matches replaces `x matches "re"` by a call that reads bytes: in the pattern
// \xff is the byte, and what is not ASCII stands for its bytes.
func (v *visitor) matches(node *ast.Node, n *ast.BinaryNode) {
	lit, ok := n.Right.(*ast.StringNode)
	if !ok {
		v.fail(n, "the pattern of matches has to be a literal")
		return
	}
	re, err := regexp.Compile(latin1(lit.Value))
	if err != nil {
		v.fail(n, "%v", err)
		return
	}
	ast.Patch(node, &ast.CallNode{
		Callee:    &ast.IdentifierNode{Value: "match_bytes"},
		Arguments: []ast.Node{n.Left, &ast.ConstantNode{Value: re}},
	})
}

func (v *visitor) fail(n ast.Node, format string, args ...any) {
	if v.err == nil {
		v.err = &file.Error{Location: n.Location(), Message: fmt.Sprintf(format, args...)}
	}
}

// literal finds a text that the stream must contain for the expression to be
// true: one operand of a conjunction that says so.
func literal(n ast.Node) string {
	b, ok := n.(*ast.BinaryNode)
	if !ok {
		return ""
	}
	switch b.Operator {
	case "and", "&&":
		return longer(literal(b.Left), literal(b.Right))
	case "contains":
		id, isID := b.Left.(*ast.IdentifierNode)
		lit, isLit := b.Right.(*ast.StringNode)
		if isID && isLit && id.Value == "stream" {
			return lit.Value
		}
	}
	return ""
}

func longer(a, b string) string {
	if len(b) > len(a) {
		return b
	}
	return a
}

// place turns an error of expr's into one with a position.
func place(rule int, err error) Error {
	var fe *file.Error
	if !errors.As(err, &fe) {
		return Error{Rule: rule, Line: 1, Column: 1, Msg: err.Error()}
	}
	msg := fe.Message
	if name, ok := strings.CutPrefix(msg, "unknown name "); ok {
		if slices.Contains(later, name) {
			msg = name + " is not yet supported"
		} else if near := nearest(name); near != "" {
			msg += fmt.Sprintf("; did you mean %s?", near)
		}
	}
	line, col := fe.Line, fe.Column+1
	if line == 0 {
		line, col = 1, fe.From+1
	}
	return Error{Rule: rule, Line: line, Column: col, Msg: msg}
}

// nearest is the known name that differs in the fewest letters, at most two.
func nearest(name string) (best string) {
	least := 3
	for _, k := range names {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
