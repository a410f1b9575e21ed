package rules

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/expr-lang/expr/ast"

	"sleight/internal/spelling"
)

// List is addresses or words that rules ask for by in_list.
type List struct {
	Name      string
	Addresses []netip.Prefix
	Words     []string // nil: it is of addresses
}

// list is a compiled List.
type list struct {
	ranges []span // of addresses; apart from each other, in order
	words  map[string]struct{}
}

// span is addresses from one to another, both inclusive.
type span struct{ first, last netip.Addr }

func compileLists(ls []List) map[string]*list {
	all := map[string]*list{}
	for _, l := range ls {
		c := &list{}
		if l.Words != nil {
			c.words = make(map[string]struct{}, len(l.Words))
			for _, w := range l.Words {
				c.words[w] = struct{}{}
			}
		} else {
			c.ranges = spans(l.Addresses)
		}
		all[l.Name] = c
	}
	return all
}

// spans are prefixes in order, those that overlap as one.
func spans(ps []netip.Prefix) (out []span) {
	all := make([]span, 0, len(ps))
	for _, p := range ps {
		all = append(all, span{p.Masked().Addr().Unmap(), last(p).Unmap()})
	}
	slices.SortFunc(all, func(a, b span) int { return cmp.Or(a.first.Compare(b.first), a.last.Compare(b.last)) })
	for _, s := range all {
		if n := len(out); n > 0 && s.first.Compare(out[n-1].last) <= 0 {
			if out[n-1].last.Less(s.last) {
				out[n-1].last = s.last
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// last is a prefix's last address.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As16()
	for i := 128 - p.Addr().BitLen() + p.Bits(); i < 128; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a := netip.AddrFrom16(b)
	if p.Addr().Is4() {
		return a.Unmap()
	}
	return a
}

// hasAddress reports whether an address, as src and dst have it, is in the list.
func (l *list) hasAddress(text string) (bool, error) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return false, err
	}
	i, exact := slices.BinarySearchFunc(l.ranges, a, func(s span, a netip.Addr) int { return s.first.Compare(a) })
	return exact || i > 0 && a.Compare(l.ranges[i-1].last) <= 0, nil
}

// listed is in_list, whose name is a *list since the rule was compiled.
func listed(text string, l *list) (bool, error) {
	if l.words == nil {
		return l.hasAddress(text)
	}
	_, ok := l.words[text]
	return ok, nil
}

// inList patches in_list(src, "name").
func (v *visitor) inList(node *ast.Node, n *ast.CallNode) {
	if len(n.Arguments) != 2 {
		return
	}
	var l *list
	before := len(v.errs)
	v.constant(n, 1, func(name string) (err error) { l, err = v.list(name); return err })
	if len(v.errs) > before {
		return
	}
	id, isID := n.Arguments[0].(*ast.IdentifierNode)
	if ofAddress := isID && (id.Value == "src" || id.Value == "dst"); ofAddress != (l.words == nil) {
		v.fail(n, "in_list: a list of addresses is for src and dst, one of words for other texts")
		return
	}
	v.cost++
	at := n.Arguments[0].Location()
	v.become(node, n, "·listed", n.Arguments[0], &ast.ConstantNode{Value: l}).Arguments[0].SetLocation(at)
}

func (v *visitor) list(name string) (*list, error) {
	if l := v.lists[name]; l != nil {
		return l, nil
	}
	all := make([]string, 0, len(v.lists))
	for k := range v.lists {
		all = append(all, k)
	}
	slices.Sort(all)
	if near := spelling.Nearest(name, all); near != "" {
		return nil, fmt.Errorf("there is no list %q; did you mean %q?", name, near)
	}
	return nil, fmt.Errorf("there is no list %q; write it in lists", name)
}
