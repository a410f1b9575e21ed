package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"

	"sleight/rules/proto"
)

// Memory is what rules remember of all flows, and over a reload. Time is the caller's.
// It is asked while a flow is locked: it must be quick, and for any goroutine.
type Memory interface {
	// Secret is what hashes of payloads begin with.
	Secret() uint64
	// Begin notes a connection, End how many packets its client had sent when it was
	// judged and the hashes of what it said.
	Begin(now time.Time, src netip.Addr)
	End(now time.Time, src netip.Addr, packets int, payloads []uint64)
	// Conns counts a client's connections but the one that began then.
	Conns(now, began time.Time, src netip.Addr, window time.Duration) int
	// Packets counts what End has noted.
	Packets(now time.Time, src netip.Addr, window time.Duration) int
	// FirstSeen is how long ago the client's first connection began; 0: then.
	FirstSeen(now, began time.Time, src netip.Addr) time.Duration
	Switch(now time.Time, src netip.Addr)
	Switched(now time.Time, src netip.Addr, window time.Duration) bool
	Tagged(now time.Time, src netip.Addr, name string) bool
	Tag(now time.Time, src netip.Addr, name string, until time.Time) error
	// Count counts something of a client's, in the window that began with the first;
	// before is what was counted in the last one, where a new one begins.
	Count(now time.Time, src netip.Addr, what uint64, window time.Duration) (n, before int)
	// Known reports whether a hash was noted.
	Known(hash uint64) bool
}

// SetMemory gives the set what it remembers with. It is called before the first flow;
// a set that takes another's place takes its memory. Without one nothing is known of
// other flows.
func (s *Set) SetMemory(m Memory) { s.memory = m }

// Switched notes that a connection of a client was switched to a backend.
func (s *Set) Switched(now time.Time, src netip.Addr) {
	if s != nil && s.memory != nil {
		s.memory.Switch(now, src)
	}
}

// Functions that remember. Each becomes a call of one of env's: ·recall with the
// window, ·first, ·tagged, ·novel with the field.
const (
	recallConns = iota
	recallPackets
	recallSwitched
	recallNovel // whether the stream is new; without a window
)

// remembering lends the functions their types, until visitor has replaced them.
var remembering = []expr.Option{
	lend("seen", new(func(string, string) bool)),
	lend("switched", new(func(string, string) bool)),
	lend("conns", new(func(string, string) int)),
	lend("rate", new(func(string, string) int)),
	lend("first_seen", new(func(string) time.Duration)),
	lend("tagged", new(func(string, string) bool)),
	lend("novel", new(func(string) bool)),
	lend("between", new(func(string, string) bool)),
	lend("in_list", new(func(string, string) bool)),
}

func lend(name string, as any) expr.Option {
	return expr.Function(name, func(...any) (any, error) { return nil, errUnknown }, as)
}

// remember puts a call of env's in the place of a function that remembers; false: it
// is none.
func (v *visitor) remember(node *ast.Node, n *ast.CallNode, name string) bool {
	switch name {
	case "seen":
		v.window(node, n, recallConns, true)
	case "switched":
		v.window(node, n, recallSwitched, true)
	case "conns":
		v.window(node, n, recallConns, false)
	case "rate":
		v.window(node, n, recallPackets, false)
	case "first_seen":
		if v.ofClient(n) {
			v.timed = true
			v.become(node, n, "·first")
		}
	case "tagged":
		v.taggedCall(node, n)
	case "novel":
		v.novel(node, n)
	default:
		return false
	}
	v.uses.memory = true
	return true
}

// ofClient checks that a function is asked about src: nobody else is remembered.
func (v *visitor) ofClient(n *ast.CallNode) bool {
	name := n.Callee.(*ast.IdentifierNode).Value
	if len(n.Arguments) == 0 {
		return false // expr's to report
	}
	if id, ok := n.Arguments[0].(*ast.IdentifierNode); !ok || id.Value != "src" {
		v.fail(n.Arguments[0], "%s knows clients only: write %s(src%s)", name, name, map[bool]string{true: ", …"}[len(n.Arguments) > 1])
		return false
	}
	return true
}

// maxWindow is how far back a rule may ask.
const maxWindow = 366 * 24 * time.Hour

// window patches a function of src and a time; yes: whether there is any.
func (v *visitor) window(node *ast.Node, n *ast.CallNode, what int, yes bool) {
	if !v.ofClient(n) || len(n.Arguments) != 2 {
		return
	}
	var d time.Duration
	before := len(v.errs)
	v.constant(n, 1, func(s string) (err error) { d, err = windowOf(s); return err })
	if len(v.errs) > before {
		return
	}
	v.horizon = max(v.horizon, d)
	v.recall(node, n, what, d, yes)
}

// Beyond names the rules that ask about more than the memory keeps.
func (s *Set) Beyond(keep time.Duration) (ws []Error) {
	for i := range s.rules {
		if h := s.rules[i].horizon; h > keep {
			ws = append(ws, Error{Rule: i, Line: 1, Column: 1, Msg: fmt.Sprintf(
				"it asks about %v, but what is older than %v is forgotten: make memory.keep larger", h, keep)})
		}
	}
	return ws
}

// recall patches a call; yes: into the question whether the answer is above 0.
func (v *visitor) recall(node *ast.Node, n *ast.CallNode, what int, d time.Duration, yes bool) {
	call := v.become(node, n, "·recall", &ast.IntegerNode{Value: what}, &ast.IntegerNode{Value: int(d)})
	if !yes {
		return
	}
	more := &ast.BinaryNode{Operator: ">", Left: call, Right: &ast.IntegerNode{}}
	more.SetLocation(n.Location())
	ast.Patch(node, more)
}

// windowOf reads how far back a rule asks.
func windowOf(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf(`%q is no time; write one such as "24h"`, s)
	case d <= 0 || d > maxWindow:
		return 0, fmt.Errorf(`%q cannot be asked about; write "1ms" to "8784h"`, s)
	}
	return d, nil
}

// taggedCall patches tagged(src, "name").
func (v *visitor) taggedCall(node *ast.Node, n *ast.CallNode) {
	if !v.ofClient(n) || len(n.Arguments) != 2 {
		return
	}
	before := len(v.errs)
	v.constant(n, 1, checkTag)
	if len(v.errs) == before {
		v.timed = true
		v.become(node, n, "·tagged", n.Arguments[1])
	}
}

// novel patches novel(stream), and novel of a fact that is a text.
func (v *visitor) novel(node *ast.Node, n *ast.CallNode) {
	if len(n.Arguments) != 1 {
		return
	}
	switch arg := n.Arguments[0].(type) {
	case *ast.IdentifierNode:
		if arg.Value != "stream" {
			v.fail(arg, "novel takes stream, or a fact such as http.uri")
			return
		}
		v.novelStream = true
		v.cost++
		v.recall(node, n, recallNovel, 0, true)
	case *ast.CallNode:
		f, ok := fieldAsked(arg)
		if !ok || f == protoFact || f.Info().Kind != proto.Bytes || arg.Callee.(*ast.IdentifierNode).Value != "·text" {
			v.fail(arg, "novel takes stream, or a fact such as http.uri")
			return
		}
		v.become(node, n, "·novel", &ast.IntegerNode{Value: int(f)})
	default:
		v.fail(n, "novel takes stream, or a fact such as http.uri")
	}
}

// become replaces a call by one of env's functions.
func (v *visitor) become(node *ast.Node, n *ast.CallNode, function string, args ...ast.Node) *ast.CallNode {
	c := &ast.CallNode{Callee: &ast.IdentifierNode{Value: function}, Arguments: args}
	c.Callee.SetLocation(n.Location())
	c.SetLocation(n.Location())
	for _, a := range args {
		a.SetLocation(n.Location())
	}
	ast.Patch(node, c)
	return c
}

// recaller is how a flow's expressions ask the memory.
type recaller struct {
	memory Memory // nil: nothing is known
	fl     *Flow
	said   []byte
	src    netip.Addr
	now    time.Time
}

func (r *recaller) recall(what, window int) int {
	d := time.Duration(window)
	switch {
	case what == recallNovel:
		return asNumber(r.fl.novel(r.said))
	case r.memory == nil:
		return 0
	}
	switch what {
	case recallConns:
		return r.memory.Conns(r.now, time.Unix(0, r.fl.began), r.src, d)
	case recallPackets:
		return r.memory.Packets(r.now, r.src, d)
	}
	return asNumber(r.memory.Switched(r.now, r.src, d))
}

// asNumber is 1 for yes.
func asNumber(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func (r *recaller) first() time.Duration {
	if r.memory == nil {
		return 0
	}
	return r.memory.FirstSeen(r.now, time.Unix(0, r.fl.began), r.src)
}

func (r *recaller) tagged(name string) bool {
	return r.memory != nil && r.memory.Tagged(r.now, r.src, name)
}

// novel reports whether no other flow has said what a field is.
func (e *env) novel(field int) (bool, error) {
	text, st := e.flow.Bytes(e.said, proto.Field(field))
	switch {
	case st == proto.Absent:
		return false, nil
	case st != proto.Known:
		return false, errUnknown // the rest may come
	}
	return e.recaller.fl.novelField(proto.Field(field), text), nil
}

// begin notes a flow, which sees what others have done and not itself.
func (fl *Flow) begin(f *Facts) {
	fl.began, fl.dialled = f.Now.UnixNano(), f.Dst.Port()
	if fl.set.memory != nil {
		fl.set.memory.Begin(f.Now, f.Src.Addr())
	}
}

// End leaves to the memory what the flow has said until now. It is called once, when
// the verdict is spoken or the flow ends.
func (fl *Flow) End(f *Facts) {
	if fl.set == nil || fl.set.memory == nil {
		return
	}
	var hashes []uint64
	if fl.saying != nil {
		hashes = fl.saying.fields
	}
	if slices.ContainsFunc(fl.fits, func(i uint16) bool { return fl.set.rules[i].novelStream }) {
		p := payload{hash: fl.salt(proto.NoField)}
		p.learn(f.Stream, &hashes)
	}
	fl.set.memory.End(f.Now, f.Src.Addr(), f.Packets, hashes)
}

// maxTag bounds a tag's name, in bytes.
const maxTag = 64

func checkTag(name string) error {
	if name == "" || len(name) > maxTag {
		return fmt.Errorf("a tag's name has 1 to %d bytes", maxTag)
	}
	return nil
}
