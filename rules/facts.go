package rules

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"sleight/internal/spelling"
	"sleight/rules/proto"
)

// Facts of protocols. In a condition http.uri becomes a call that asks the flow's
// proto.Flow for the field, and each comparison that names such facts is guarded
// by the question whether they are known:
//
//	http.uri contains "x"           ·known(uri) and http.uri contains "x"
//	not (http.uri contains "x")     not (not ·known(uri) or http.uri contains "x")
//
// So what the client has not said yet makes neither a comparison nor its negation
// true, and the rule waits: three-valued logic, of which only "true" speaks.

// protoFact stands for the fact proto where a field is asked for.
const protoFact = proto.NoField

// errUnknown is what a fact is worth that is not known; the guards ask before.
var errUnknown = errors.New("not known yet")

// synFacts are those of the client's SYN, always known.
var synFacts = map[string]string{
	"ttl": "·syn_ttl", "window": "·syn_window", "options": "·syn_options", "ipid": "·syn_ipid", "seq": "·syn_seq",
	"mss": "·syn_mss",
}

// askers are the functions that ask for a field, by its kind.
var askers = [...]string{proto.Bytes: "·text", proto.Int: "·number", proto.Flag: "·flag"}

// asked are the types that they return.
var asked = [...]reflect.Type{
	proto.Bytes: reflect.TypeFor[string](), proto.Int: reflect.TypeFor[int](), proto.Flag: reflect.TypeFor[bool](),
}

// member puts a call in place of a fact like http.uri.
func (v *visitor) member(node *ast.Node, n *ast.MemberNode) {
	group, name, ok := memberName(n)
	switch {
	case !ok:
		v.fail(n, "only facts like http.uri have a dot or brackets")
	case group == "syn":
		v.syn(node, n, name)
	case v.headers[n]: // the call is replaced
	case (group == "http") && name == "header":
		v.fail(n, `http.header takes a name: http.header("X-Api-Version")`)
	default:
		v.field(node, n, group, name)
	}
}

// memberName splits http.uri.
func memberName(n *ast.MemberNode) (group, name string, ok bool) {
	id, isID := n.Node.(*ast.IdentifierNode)
	prop, isText := n.Property.(*ast.StringNode)
	if !isID || !isText || n.Optional {
		return "", "", false
	}
	return id.Value, prop.Value, true
}

func (v *visitor) field(node *ast.Node, n *ast.MemberNode, group, name string) {
	f, ok := proto.Lookup(group, name)
	switch {
	case ok:
		v.uses.fields = true
		v.ask(node, n, askers[f.Info().Kind], asked[f.Info().Kind], &ast.IntegerNode{Value: int(f)})
	case proto.Named(group):
		v.unknown(n, group, name, proto.Names(group))
	case slices.Contains(names, group):
		v.fail(n, "%s has no %s: only groups of facts, like http, have a dot", group, name)
	default:
		v.identifier(n.Node.(*ast.IdentifierNode))
	}
}

func (v *visitor) syn(node *ast.Node, n *ast.MemberNode, name string) {
	id, ok := synFacts[name]
	if !ok {
		names := make([]string, 0, len(synFacts))
		for k := range synFacts {
			names = append(names, k)
		}
		slices.Sort(names)
		v.unknown(n, "syn", name, names)
		return
	}
	ast.Patch(node, &ast.IdentifierNode{Value: id})
}

// unknown reports a fact that a group does not have.
func (v *visitor) unknown(n ast.Node, group, name string, names []string) {
	if near := spelling.Nearest(name, names); near != "" {
		v.fail(n, "%s has no %s; did you mean %s.%s?", group, name, group, near)
		return
	}
	v.fail(n, "%s has no %s; it has %s", group, name, strings.Join(names, ", "))
}

// ask patches a node into a call of one of env's functions.
func (v *visitor) ask(node *ast.Node, at ast.Node, function string, t reflect.Type, arg ast.Node) {
	c := &ast.CallNode{Callee: &ast.IdentifierNode{Value: function}, Arguments: []ast.Node{arg}}
	c.Callee.SetLocation(at.Location())
	arg.SetLocation(at.Location())
	ast.Patch(node, c)
	c.SetType(t)
}

// header patches http.header("Name").
func (v *visitor) header(node *ast.Node, n *ast.CallNode) {
	s, ok := (ast.Node)(nil), len(n.Arguments) == 1
	if ok {
		s = n.Arguments[0]
	}
	lit, isText := s.(*ast.StringNode)
	if !isText || lit.Value == "" {
		v.fail(n, `http.header takes one name in quotes: http.header("X-Api-Version")`)
		return
	}
	v.uses.fields = true
	v.cost++
	v.ask(node, n, "·header", asked[proto.Bytes], &ast.StringNode{Value: strings.ToLower(lit.Value)})
}

// isHeaderCall knows http.header(…).
func isHeaderCall(n *ast.CallNode) (*ast.MemberNode, bool) {
	m, ok := n.Callee.(*ast.MemberNode)
	if !ok {
		return nil, false
	}
	group, name, ok := memberName(m)
	return m, ok && group == "http" && name == "header"
}

// guards runs after visitor, and once the root is reached puts the guards in.
type guards struct{ *survey }

// Visit is ast.Visitor's.
func (g *guards) Visit(node *ast.Node) {
	if node == g.root {
		*node = guard(*node, true)
	}
}

// guard walks through and, or and not. positive is false below an odd number of
// negations.
func guard(n ast.Node, positive bool) ast.Node {
	switch n := n.(type) {
	case *ast.BinaryNode:
		switch n.Operator {
		case "and", "&&", "or", "||":
			n.Left, n.Right = guard(n.Left, positive), guard(n.Right, positive)
			return n
		}
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			n.Node = guard(n.Node, !positive)
			return n
		}
	}
	fields := fieldsOf(n)
	slices.Reverse(fields)
	for _, f := range fields {
		n = guarded(n, f, positive)
	}
	return n
}

func guarded(n ast.Node, f proto.Field, positive bool) ast.Node {
	var known ast.Node = &ast.CallNode{
		Callee: &ast.IdentifierNode{Value: "·known"}, Arguments: []ast.Node{&ast.IntegerNode{Value: int(f)}},
	}
	op := "and"
	if !positive {
		op, known = "or", &ast.UnaryNode{Operator: "not", Node: known}
	}
	g := &ast.BinaryNode{Operator: op, Left: known, Right: n}
	g.SetLocation(n.Location())
	return g
}

// fieldsOf lists the fields that a comparison asks for.
func fieldsOf(n ast.Node) []proto.Field {
	c := &collector{}
	ast.Walk(&n, c)
	return c.fields
}

type collector struct{ fields []proto.Field }

// Visit is ast.Visitor's.
func (c *collector) Visit(node *ast.Node) {
	f, ok := fieldAsked(*node)
	if ok && !slices.Contains(c.fields, f) {
		c.fields = append(c.fields, f)
	}
}

// fieldAsked is the field whose being known a node depends on.
func fieldAsked(n ast.Node) (proto.Field, bool) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return protoFact, n.Value == "proto"
	case *ast.CallNode:
		id, ok := n.Callee.(*ast.IdentifierNode)
		if !ok || len(n.Arguments) != 1 {
			return 0, false
		}
		if id.Value == "·header" {
			return proto.HTTPHeaders, true
		}
		i, isInt := n.Arguments[0].(*ast.IntegerNode)
		if isInt && (slices.Contains(askers[:], id.Value) || id.Value == "·novel") {
			return proto.Field(i.Value), true
		}
	}
	return 0, false
}

// needed lists fields without which a condition is not true, or below a negation not
// false: those of a conjunction's operands that say so.
func needed(n ast.Node, positive bool) []proto.Field {
	switch n := n.(type) {
	case *ast.UnaryNode:
		return needed(n.Node, !positive)
	case *ast.CallNode:
		if positive {
			return callNeeds(n)
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "and", "&&", "or", "||":
			if conjunction := n.Operator[0] == 'a' || n.Operator[0] == '&'; conjunction == positive {
				return append(needed(n.Left, positive), needed(n.Right, positive)...)
			}
		case "contains", "startsWith", "endsWith", "==", "in":
			f, isField := fieldAsked(n.Left)
			if positive && isField && f != protoFact && notEmpty(n.Right) {
				return []proto.Field{f}
			}
		}
	}
	return nil
}

// notEmpty knows a literal that the empty text neither equals nor contains.
func notEmpty(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value != ""
	case *ast.ArrayNode:
		return !slices.ContainsFunc(n.Nodes, func(e ast.Node) bool { return !notEmpty(e) })
	case *ast.ConstantNode: // what the compiler has made of a list of texts
		set, ok := n.Value.(map[string]struct{})
		_, empty := set[""]
		return ok && !empty
	}
	return false
}

func callNeeds(n *ast.CallNode) []proto.Field {
	id, ok := n.Callee.(*ast.IdentifierNode)
	if !ok || len(n.Arguments) == 0 {
		return nil
	}
	switch id.Value {
	case "·known": // of a number or a flag: it is known in its own protocol only
		i, isInt := n.Arguments[0].(*ast.IntegerNode)
		if isInt && i.Value != int(protoFact) && proto.Field(i.Value).Info().Kind != proto.Bytes {
			return []proto.Field{proto.Field(i.Value)}
		}
	case "·match":
		f, isField := fieldAsked(n.Arguments[0])
		if isField && f != protoFact && patternNeed(n) != "" {
			return []proto.Field{f}
		}
	}
	return nil
}

// need notes the protocol that a rule needs, and the field, if there is one, that
// makes it speak too late for a switch.
func (c *compiled) need(fields []proto.Field) {
	for _, f := range fields {
		c.needs = f.Info().Protocol
		if f.Info().Late {
			c.late = f
		}
	}
}

// Warnings names the rules that switch, but can only be true when it is too late for
// that: the client has answered then what the decoy chose.
func (s *Set) Warnings() (ws []Error) {
	for i := range s.rules {
		if r := &s.rules[i]; r.Action == Switch && r.late != proto.NoField {
			ws = append(ws, Error{Rule: i, Line: 1, Column: 1, Msg: fmt.Sprintf(
				"%s comes after %s's latest switch point: the switch will end as mismatch; see docs/protocols.md",
				r.late, r.late.Info().Protocol)})
		}
	}
	return ws
}

// verbatim reports whether what a node contains the stream contains.
func verbatim(n ast.Node) bool {
	if id, ok := n.(*ast.IdentifierNode); ok {
		return id.Value == "stream"
	}
	f, ok := fieldAsked(n)
	return ok && f != protoFact && f.Info().Verbatim
}
