package suricata

import "slices"

// Selector picks rules; what is empty picks any.
type Selector struct {
	Files      []string // as Parse was given them
	SIDs       []Range
	Classtypes []string
	Priorities []int
}

// Range is inclusive.
type Range struct{ First, Last int }

// Picks reports whether the selector is about the rule.
func (s *Selector) Picks(r *Rule) bool {
	return (len(s.Files) == 0 || slices.Contains(s.Files, r.File)) &&
		(len(s.Classtypes) == 0 || slices.Contains(s.Classtypes, r.Classtype)) &&
		(len(s.Priorities) == 0 || slices.Contains(s.Priorities, r.Priority)) &&
		(len(s.SIDs) == 0 || slices.ContainsFunc(s.SIDs, func(g Range) bool { return g.First <= r.SID && r.SID <= g.Last }))
}

// Needed is the rules that are picked, and those which change the flowbits that they
// ask for, in their order.
func Needed(all []*Rule, picked func(*Rule) bool) (needed []*Rule) {
	in := make([]bool, len(all))
	asked := map[string]bool{}
	for more := true; more; {
		more = false
		for i, r := range all {
			if in[i] || !picked(r) && !r.changes(asked) {
				continue
			}
			in[i], more = true, true
			for _, b := range r.bits {
				for _, name := range b.names {
					asked[name] = asked[name] || b.op.asks()
				}
			}
		}
	}
	for i, r := range all {
		if in[i] {
			needed = append(needed, r)
		}
	}
	return needed
}

// changes reports whether the rule changes one of these bits.
func (r *Rule) changes(bits map[string]bool) bool {
	return slices.ContainsFunc(r.bits, func(b flowbit) bool {
		return !b.op.asks() && slices.ContainsFunc(b.names, func(n string) bool { return bits[n] })
	})
}
