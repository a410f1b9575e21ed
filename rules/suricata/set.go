package suricata

import (
	"fmt"
	"slices"
	"strings"

	"sleight/rules/proto"
)

// Set is compiled rules. It never changes, and flows share it.
type Set struct {
	rules   []*Rule
	find    *automaton
	of      [][]int // rules by text
	always  []int   // rules without a text
	heads   []*header
	headOf  []int // of each rule
	bits    int
	uses    [numBuffers]bool
	readers bool   // a rule needs a protocol's parser
	costs   []Cost // by rule; nil: not asked for
}

// Cost is what a rule has cost.
type Cost struct {
	Asked, Held int // evaluations, and those in which it held
	Steps       int // a byte that a pattern looks at, or some that a search passes over
}

func (c *Cost) add(steps int, held bool) {
	c.Asked++
	c.Steps += steps
	if held {
		c.Held++
	}
}

// Account makes the set count what its rules cost, for one goroutine at a time.
func (s *Set) Account() { s.costs = make([]Cost, len(s.rules)) }

// Costs is what Account has counted, in the order of Rules.
func (s *Set) Costs() []Cost { return s.costs }

// Compile puts rules together. Those that ask for a flowbit which none of them sets
// can never hold, and are returned as skipped.
func Compile(rules []*Rule) (*Set, []Skipped) {
	rules, skipped := withBits(rules)
	s := &Set{rules: rules}
	s.find, s.of, s.always = prefilter(rules)
	heads := map[*header]int{}
	ids := map[string]int{}
	for _, r := range rules {
		if _, ok := heads[r.header]; !ok {
			heads[r.header] = len(s.heads)
			s.heads = append(s.heads, r.header)
		}
		s.headOf = append(s.headOf, heads[r.header])
		s.readers = s.readers || r.app != "" || r.notApp != ""
		for _, p := range r.parts {
			s.uses[p.in] = true
		}
		for i := range r.bits {
			r.bits[i].number(ids)
		}
	}
	s.bits = len(ids)
	return s, skipped
}

// number gives the bits' names numbers.
func (b *flowbit) number(ids map[string]int) {
	b.ids = b.ids[:0]
	for _, name := range b.names {
		if _, ok := ids[name]; !ok {
			ids[name] = len(ids)
		}
		b.ids = append(b.ids, ids[name])
	}
}

// withBits leaves out rules that wait for bits which no other rule sets.
func withBits(rules []*Rule) (left []*Rule, skipped []Skipped) {
	for {
		set := map[string]bool{}
		for _, r := range rules {
			for _, b := range r.bits {
				for _, name := range b.names {
					set[name] = set[name] || b.op == bitSet || b.op == bitToggle
				}
			}
		}
		left = nil
		for _, r := range rules {
			if missing := r.missing(set); missing != "" {
				s := r.asSkipped(fmt.Sprintf("flowbits: no rule that is used sets %s", missing))
				skipped = append(skipped, s)
				continue
			}
			left = append(left, r)
		}
		if len(left) == len(rules) {
			return left, skipped
		}
		rules = left
	}
}

// missing names bits that the rule waits for in vain.
func (r *Rule) missing(set map[string]bool) string {
	for _, b := range r.bits {
		if b.op == bitIsSet && !slices.ContainsFunc(b.names, func(n string) bool { return set[n] }) {
			return strings.Join(b.names, " or ")
		}
	}
	return ""
}

func (r *Rule) asSkipped(reason string) Skipped {
	return Skipped{
		File: r.File, Line: r.Line, SID: r.SID, Msg: r.Msg, Protocol: r.Protocol,
		Content: r.hasContent(), Reason: reason,
	}
}

func (r *Rule) hasContent() bool {
	for i := range r.parts {
		if slices.ContainsFunc(r.parts[i].ms, func(m matcher) bool { return m.kind == isContent }) {
			return true
		}
	}
	return false
}

// Rules are those in the set.
func (s *Set) Rules() []*Rule {
	if s == nil {
		return nil
	}
	return s.rules
}

// Len is how many rules there are.
func (s *Set) Len() int { return len(s.Rules()) }

// asked reports whether the flow's protocol is the one that the rule is about.
func (r *Rule) asked(p proto.Protocol, st proto.Status) bool {
	if r.app != "" && (st != proto.Known || p.String() != r.app) {
		return false
	}
	return r.notApp == "" || st == proto.Absent || st == proto.Known && p.String() != r.notApp
}
