package rules

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"

	"sleight/internal/spelling"
	"sleight/rules/pattern"
	"sleight/rules/proto"
)

// allowed are expr's own functions that a condition may use: no clock, and
// nothing whose result is larger than what it is given.
var allowed = []string{"len", "lower", "upper", "abs", "min", "max", "all", "any", "none", "one"}

// quantifiers run a condition for each entry of a list.
var quantifiers = []string{"all", "any", "none", "one"}

// patternCost is how many plain searches one regular expression counts as.
const patternCost = 16

// survey runs before visitor and notes what a node cannot know of its parent.
type survey struct {
	lets     []string
	patterns map[ast.Node]bool // literals that are regular expressions
	ranges   map[ast.Node]bool // ranges on the right of in
	bases    map[ast.Node]bool // what stands before a dot
	headers  map[ast.Node]bool // the http.header of a call
	root     *ast.Node
}

func newSurvey() *survey {
	return &survey{
		patterns: map[ast.Node]bool{}, ranges: map[ast.Node]bool{},
		bases: map[ast.Node]bool{}, headers: map[ast.Node]bool{},
	}
}

// uses says what a condition reads.
type uses struct {
	fields bool // of protocols, or proto
	bytes  bool // stream, last or answered
	memory bool // what other flows did
}

// Visit is ast.Visitor's.
func (s *survey) Visit(node *ast.Node) {
	s.root = node // the last one that is visited
	switch n := (*node).(type) {
	case *ast.MemberNode:
		s.bases[n.Node] = true
	case *ast.CallNode:
		if m, ok := isHeaderCall(n); ok {
			s.headers[m] = true
		}
	case *ast.VariableDeclaratorNode:
		s.lets = append(s.lets, n.Name)
	case *ast.BinaryNode:
		switch n.Operator {
		case "matches":
			s.patterns[n.Right] = true
		case "in":
			s.ranges[n.Right] = true
		}
	}
}

// visitor looks at every node: it puts byte-wise matching in place of `matches`,
// refuses what has no bound, and names what the language does not have.
type visitor struct {
	*survey
	src   string
	lists map[string]*list
	// conditions are for what a mistyped name may have meant.
	conditions map[string]string

	sites int // the next die
	timed bool
	// novelStream: it asks whether the stream is new.
	novelStream bool
	horizon     time.Duration // the longest time that it asks about

	cost    int // reads of the stream, at most
	longest int // entries of the longest list that is gone through
	uses    uses
	errs    []file.Error
}

// Visit is ast.Visitor's.
func (v *visitor) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if !v.bases[n] {
			v.identifier(n)
		}
	case *ast.MemberNode:
		v.member(node, n)
	case *ast.StringNode:
		v.text(n)
	case *ast.BinaryNode:
		v.binary(node, n)
	case *ast.CallNode:
		v.call(node, n)
	case *ast.BuiltinNode:
		v.builtin(n)
	case *ast.MapNode, *ast.SequenceNode, *ast.ChainNode, *ast.NilNode:
		v.fail(n, "maps, sequences, ?. and nil are not available in rules")
	}
}

func (v *visitor) identifier(n *ast.IdentifierNode) {
	switch n.Value {
	case "age", "idle":
		v.timed = true
	case "proto":
		v.uses.fields = true
	case "stream", "last", "answered":
		v.uses.bytes = true
	}
	switch name := n.Value; {
	case slices.Contains(names, name) || slices.Contains(v.lets, name) || strings.HasPrefix(name, "·"):
	case slices.Contains(later, name):
		v.fail(n, "%s is not yet supported", name)
	case proto.Named(name):
		v.fail(n, "%s is a group of facts: write one of %s.%s", name, name, strings.Join(proto.Names(name), ", "+name+"."))
	default:
		if _, ok := builtin.Index[name]; ok {
			v.fail(n, "%s is not available in rules", name)
		} else if near := spelling.Nearest(name, v.known()); near != "" {
			v.fail(n, "unknown name %s; did you mean %s?", name, near)
		} else {
			v.fail(n, "unknown name %s", name)
		}
	}
}

// known are the names that an expression may use.
func (v *visitor) known() []string {
	all := slices.Clone(names)
	for c := range v.conditions {
		all = append(all, c)
	}
	return all
}

// text refuses an escape that would not be the byte that it looks like.
func (v *visitor) text(n *ast.StringNode) {
	if !v.patterns[n] && highEscape(v.written(n)) {
		v.fail(n, `in text \x80 to \xff are characters, not bytes: write hex("ff")`)
	}
}

// written is a literal as it stands in the condition.
func (v *visitor) written(n ast.Node) string {
	src, at := []rune(v.src), n.Location()
	if at.To > len(src) || at.From > at.To {
		return ""
	}
	return string(src[at.From:at.To])
}

// highEscape reports whether a quoted literal has an escape for U+0080 to U+00FF.
func highEscape(lit string) bool {
	if strings.HasPrefix(lit, "`") {
		return false
	}
	for {
		i := strings.IndexByte(lit, '\\')
		if i < 0 || i+2 >= len(lit) {
			return false
		}
		high := lit[i+2] >= '8' && (lit[i+1] == 'x' || lit[i+1] == 'X')
		octal := lit[i+1] == '2' || lit[i+1] == '3'
		if high || octal {
			return true
		}
		lit = lit[i+2:]
	}
}

func (v *visitor) binary(node *ast.Node, n *ast.BinaryNode) {
	switch n.Operator {
	case "matches":
		v.matches(node, n)
	case "contains", "startsWith", "endsWith":
		v.cost++
	case "==", "!=":
		v.cost++
		v.address(n.Left, n.Right)
		v.address(n.Right, n.Left)
	case "in":
		v.in(node, n)
	case "..":
		if !v.ranges[n] {
			v.fail(n, "a range can only stand after in, as dport in 8000..8099")
		}
	case "+":
		if isText(n.Left) || isText(n.Right) {
			v.fail(n, "texts cannot be joined in rules")
		}
	case "??":
		v.fail(n, "?? is not available in rules")
	}
}

func isText(n ast.Node) bool {
	k := n.Type().Kind()
	return k == reflect.String || k == reflect.Interface
}

// in compares with a range's ends, and addresses with addresses.
func (v *visitor) in(node *ast.Node, n *ast.BinaryNode) {
	v.cost++
	switch right := n.Right.(type) {
	case *ast.ArrayNode:
		for _, entry := range right.Nodes {
			v.address(n.Left, entry)
		}
	case *ast.BinaryNode:
		if right.Operator != ".." {
			return
		}
		from := &ast.BinaryNode{Operator: ">=", Left: n.Left, Right: right.Left}
		to := &ast.BinaryNode{Operator: "<=", Left: n.Left, Right: right.Right}
		from.SetLocation(n.Location())
		to.SetLocation(n.Location())
		ast.Patch(node, &ast.BinaryNode{Operator: "and", Left: from, Right: to})
	}
}

// address brings the text of an address into the form that src and dst have.
func (v *visitor) address(fact, lit ast.Node) {
	id, isID := fact.(*ast.IdentifierNode)
	s, isText := lit.(*ast.StringNode)
	if !isID || !isText || id.Value != "src" && id.Value != "dst" {
		return
	}
	a, err := netip.ParseAddr(s.Value)
	if err != nil {
		v.fail(s, "%q is not an address; for a prefix: in_net(%s, …)", s.Value, id.Value)
		return
	}
	s.Value = a.Unmap().String()
}

// builtin lets pass what is bounded: the quantifiers over a list that stands in
// the condition, and not within each other.
func (v *visitor) builtin(n *ast.BuiltinNode) {
	if !slices.Contains(allowed, n.Name) {
		v.fail(n, "%s is not available in rules", n.Name)
		return
	}
	if !slices.Contains(quantifiers, n.Name) {
		v.cost++
		return
	}
	list, ok := n.Arguments[0].(*ast.ArrayNode)
	if !ok {
		v.fail(n, "%s goes through a list in brackets only", n.Name)
		return
	}
	v.longest = max(v.longest, len(list.Nodes))
	inner := &nested{}
	ast.Walk(&n.Arguments[1], inner)
	if inner.found {
		v.fail(n, "%s cannot stand around another of all, any, none and one", n.Name)
	}
}

type nested struct{ found bool }

// Visit is ast.Visitor's.
func (f *nested) Visit(node *ast.Node) {
	b, ok := (*node).(*ast.BuiltinNode)
	f.found = f.found || ok && slices.Contains(quantifiers, b.Name)
}

// call checks constant arguments, and gives each chance a die of its own.
func (v *visitor) call(node *ast.Node, n *ast.CallNode) {
	if _, ok := isHeaderCall(n); ok {
		v.header(node, n)
		return
	}
	id, ok := n.Callee.(*ast.IdentifierNode)
	if !ok {
		v.fail(n, "methods are not available in rules")
		return
	}
	if v.remember(node, n, id.Value) {
		return
	}
	switch id.Value {
	case "chance":
		if v.share(n, 0) {
			v.sites++
			n.Callee = &ast.IdentifierNode{Value: "·roll"}
			n.Callee.SetLocation(id.Location())
			n.Arguments = append(n.Arguments, &ast.IntegerNode{Value: v.sites})
		}
	case "sample":
		v.share(n, 1)
	case "between":
		v.between(node, n)
	case "in_list":
		v.inList(node, n)
	case "in_net":
		v.constant(n, 1, func(s string) error { _, err := prefix(s); return err })
	case "hex":
		v.constant(n, 0, func(s string) error { _, err := decodeHex(s); return err })
	case "duration":
		v.constant(n, 0, func(s string) error { _, err := time.ParseDuration(s); return err })
	}
}

// constant checks a literal argument; too few arguments are expr's to report.
func (v *visitor) constant(n *ast.CallNode, i int, check func(string) error) {
	name := n.Callee.(*ast.IdentifierNode).Value
	if i >= len(n.Arguments) {
		return
	}
	s, ok := n.Arguments[i].(*ast.StringNode)
	if !ok {
		v.fail(n, "%s takes its text in quotes", name)
		return
	}
	if err := check(s.Value); err != nil {
		v.fail(s, "%s: %v", name, err)
	}
}

// share checks a literal between 0 and 1.
func (v *visitor) share(n *ast.CallNode, i int) bool {
	if len(n.Arguments) != i+1 {
		return false
	}
	p := -1.0
	switch arg := n.Arguments[i].(type) {
	case *ast.FloatNode:
		p = arg.Value
	case *ast.IntegerNode:
		p = float64(arg.Value)
	}
	if p < 0 || p > 1 {
		v.fail(n, "%s takes a number from 0 to 1", n.Callee.(*ast.IdentifierNode).Value)
		return false
	}
	return true
}

// matches replaces `x matches "re"` by a call that reads bytes: in the pattern
// \xff is the byte, and what is not ASCII stands for its bytes.
func (v *visitor) matches(node *ast.Node, n *ast.BinaryNode) {
	v.cost += patternCost
	lit, ok := n.Right.(*ast.StringNode)
	if !ok {
		v.fail(n, "the pattern of matches has to be a literal")
		return
	}
	p, err := pattern.Compile(lit.Value, highEscape(v.written(lit)))
	if err != nil {
		v.fail(lit, "%v", err)
		return
	}
	c := &ast.CallNode{
		Callee:    &ast.IdentifierNode{Value: "·match"},
		Arguments: []ast.Node{n.Left, &ast.ConstantNode{Value: p}},
	}
	c.Callee.SetLocation(n.Location())
	ast.Patch(node, c)
}

func (v *visitor) fail(n ast.Node, format string, args ...any) {
	e := file.Error{Location: n.Location(), Message: fmt.Sprintf(format, args...)}
	e.Bind(file.NewSource(v.src))
	same := func(o file.Error) bool { return o.From == e.From && o.Message == e.Message }
	if !slices.ContainsFunc(v.errs, same) {
		v.errs = append(v.errs, e)
	}
}
