package rules

import (
	"fmt"
	"slices"

	"sleight/rules/proto"
)

// Cost is what a rule has cost.
type Cost struct {
	Rule        string
	Asked, Held int // evaluations, and those in which it held
	Read        int // bytes
}

func (c *Cost) add(read int, held bool) {
	c.Asked++
	c.Read += read
	if held {
		c.Held++
	}
}

// Account makes the set count what its rules cost, for one goroutine at a time.
func (s *Set) Account() {
	for i := range s.rules {
		s.rules[i].account = &Cost{Rule: s.rules[i].Name}
	}
	if s.heard != nil {
		s.heard.Account()
	}
}

// Costs is what Account has counted, in file order.
func (s *Set) Costs() (costs []Cost) {
	for i := range s.rules {
		costs = append(costs, *s.rules[i].account)
	}
	return costs
}

// Explain says what a rule needs, a line each; false: there is none of this name.
func (s *Set) Explain(name string) (lines []string, ok bool) {
	i := slices.IndexFunc(s.rules, func(r compiled) bool { return r.Name == name })
	if i < 0 {
		return nil, false
	}
	r := &s.rules[i]
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	say("action: %s %s", r.Action, r.Backend)
	if r.When != "" {
		say("when: %s", r.When)
	}
	switch {
	case r.literal != "":
		say("prefilter: evaluated once %q has occurred", r.literal)
	case r.When != "":
		say("prefilter: none; it is evaluated whenever the client has said more")
	}
	if r.needs != proto.None {
		say("protocol: %s has to be recognised", r.needs)
	}
	if r.On != 0 {
		say("on: %s only", r.On)
	}
	if r.timed {
		say("time: it names age, idle, first_seen or tagged, or is asked on idle, and is evaluated every 100 ms")
	}
	if r.uses.memory {
		say("memory: it asks what other connections did")
	}
	if r.Threshold.Count > 0 {
		say("threshold: from the client's connection number %d within %v in which it holds", r.Threshold.Count, r.Threshold.In)
	}
	if r.OncePer > 0 {
		say("once_per: once in %v for a client", r.OncePer)
	}
	if r.Tag.Name != "" {
		say("tag: the client is tagged %s for %v", r.Tag.Name, r.Tag.For)
	}
	if r.When != "" {
		say("cost: an evaluation reads what was said %d times at most", r.cost)
	}
	if r.Suricata != nil {
		say("picks: %d of Suricata's rules", s.picked(r))
	}
	return lines, true
}

// picked counts the rules of Suricata's that a rule picks.
func (s *Set) picked(r *compiled) (n int) {
	for _, a := range s.heard.Rules() {
		if r.Suricata.Picks(a) {
			n++
		}
	}
	return n
}
