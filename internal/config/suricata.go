package config

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Suricata is where Suricata's rules are, and what their variables mean.
type Suricata struct {
	Files []Named // or patterns of names
	Vars  map[string]string
	Place // of vars
}

// Named is a name and where it stands.
type Named struct {
	Place
	Name string
}

// Selector picks Suricata's rules; what is empty picks any.
type Selector struct {
	Place
	Files      []Named
	SIDs       [][2]int // inclusive ranges
	Classtypes []string
	Priorities []int
}

func (d *decoder) suricataKeys(s *Suricata) keys {
	return keys{
		"files": {unit: "list of texts", read: func(what string, n *yaml.Node) { d.names(&s.Files, what, n) }},
		"vars":  {unit: "mapping of texts", read: func(what string, n *yaml.Node) { d.vars(s, what, n) }},
	}
}

func (d *decoder) selectorKeys(s *Selector) keys {
	const sids = 1<<32 - 1
	return keys{
		"files":      {unit: "list of texts", read: func(what string, n *yaml.Node) { d.names(&s.Files, what, n) }},
		"classtypes": {unit: "list of texts", read: func(what string, n *yaml.Node) { d.classtypes(s, what, n) }},
		"sids": {unit: "numbers", bound: "1 to 4294967295", read: func(what string, n *yaml.Node) {
			d.ranges(n, what, sids, func(first, last int) { s.SIDs = append(s.SIDs, [2]int{first, last}) })
		}},
		"priorities": {unit: "numbers", bound: "1 to 255", read: func(what string, n *yaml.Node) {
			d.ranges(n, what, 255, func(first, last int) {
				for p := first; p <= last; p++ {
					s.Priorities = append(s.Priorities, p)
				}
			})
		}},
	}
}

// selector reads a rule's suricata; with nothing in it, it picks every rule.
func (d *decoder) selector(r *Rule) key {
	return key{unit: "mapping", sub: func() keys { return d.selectorKeys(&Selector{}) }, read: func(what string, n *yaml.Node) {
		r.Suricata = &Selector{Place: placeOf(n)}
		d.object(n, what, d.selectorKeys(r.Suricata))
	}}
}

func (d *decoder) names(dst *[]Named, what string, n *yaml.Node) {
	d.list(n, what, func(c *yaml.Node) {
		s, ok := d.scalar(c, what)
		same := func(o Named) bool { return o.Name == s }
		switch {
		case !ok:
		case s == "":
			d.fail(c, "write the name of a file", "%s: a name is empty", what)
		case slices.ContainsFunc(*dst, same):
			d.fail(c, "keep one", "%s: %s stands twice", what, s)
		default:
			*dst = append(*dst, Named{placeOf(c), s})
		}
	})
}

func (d *decoder) classtypes(s *Selector, what string, n *yaml.Node) {
	d.list(n, what, func(c *yaml.Node) {
		if v, ok := d.scalar(c, what); ok {
			s.Classtypes = append(s.Classtypes, v)
		}
	})
}

// ranges reads numbers, and pairs of them with a dash.
func (d *decoder) ranges(n *yaml.Node, what string, most int, each func(first, last int)) {
	d.list(n, what, func(c *yaml.Node) {
		a, b, isRange := strings.Cut(c.Value, "-")
		if !isRange {
			b = a
		}
		first, err1 := strconv.Atoi(strings.TrimSpace(a))
		last, err2 := strconv.Atoi(strings.TrimSpace(b))
		if err1 != nil || err2 != nil || first < 1 || last > most || first > last {
			d.fail(c, "write one from 1 to "+strconv.Itoa(most)+`, or two as "1-3"`, "%s: %q is neither a number nor a range", what, c.Value)
			return
		}
		each(first, last)
	})
}

// vars reads what Suricata's variables mean, without their dollar.
func (d *decoder) vars(s *Suricata, what string, n *yaml.Node) {
	s.Place = placeOf(n)
	if n.Kind != yaml.MappingNode {
		d.fail(n, `write {HOME_NET: "203.0.113.0/24"}`, "%s has to be a mapping", what)
		return
	}
	s.Vars = map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, v := n.Content[i], n.Content[i+1]
		text, ok := d.scalar(v, what+"."+name.Value)
		if _, twice := s.Vars[name.Value]; twice {
			d.fail(name, "keep one", "%s: %s stands twice", what, name.Value)
		}
		if ok {
			s.Vars[strings.TrimPrefix(name.Value, "$")] = text
		}
	}
}
