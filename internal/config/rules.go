package config

import (
	"time"

	"go.yaml.in/yaml/v3"
)

func (d *decoder) ruleKeys(r *Rule) keys {
	return keys{
		"name":    d.word(&r.Name),
		"match":   d.mapping(func() keys { return d.matchKeys(&r.Match) }),
		"when":    {unit: "expression", read: func(what string, n *yaml.Node) { d.when(&r.Expression, what, n) }},
		"action":  d.oneOf(&r.Action, "switch", "stay", "drop", "reset", "log"),
		"backend": d.word(&r.Backend),

		"suricata": d.selector(r),
		"on":       d.oneOf(&r.On, "open", "data", "idle"),
		"tag": d.mapping(func() keys {
			return keys{"name": d.tagName(&r.Tag.Name), "for": d.duration(&r.Tag.For, leastWindow, mostWindow)}
		}),
		"threshold": d.mapping(func() keys {
			return keys{
				"count": d.needs(d.number(&r.Threshold.Count, 2, 1<<20)),
				"in":    d.duration(&r.Threshold.In, leastWindow, mostWindow),
			}
		}),
		"once_per": d.needs(d.duration(&r.OncePer, leastWindow, mostWindow)),
		"prepare":  d.later(),
	}
}

// How far back rules count, and how long a tag stays.
const (
	leastWindow = time.Second
	mostWindow  = 366 * 24 * time.Hour
	day         = 24 * time.Hour
)

// newRule has the defaults of a rule's keys.
func newRule() Rule { return Rule{Tag: Tag{For: day}, Threshold: Threshold{In: day}} }

// tagName reads a tag's name.
func (d *decoder) tagName(dst *string) key {
	const most = 64 // bytes, as internal/memory has it
	k := d.needed(dst)
	read := k.read
	k.read = func(what string, n *yaml.Node) {
		read(what, n)
		if len(n.Value) > most {
			d.fail(n, "write a shorter one", "%s has more than %d bytes", what, most)
		}
	}
	return k
}

// when reads an expression, and where each of its characters stands.
func (d *decoder) when(r *Expression, what string, n *yaml.Node) {
	s, ok := d.scalar(n, what)
	if !ok {
		return
	}
	r.When, r.places = s, d.text.places(n)
	r.Place = placeOf(n)
	if len(r.places) > 0 {
		r.Place = r.places[0]
	}
}

// At is where, in the file, a line and column of the expression are.
func (r *Expression) At(line, column int) Place {
	i := 0
	for _, c := range r.When {
		if line <= 1 && column <= 1 {
			break
		}
		i++
		switch {
		case line <= 1:
			column--
		case c == '\n':
			line--
		}
	}
	if i < len(r.places) {
		return r.places[i]
	}
	return r.Place
}

func (d *decoder) rules(c *Config, n *yaml.Node) {
	if n == nil {
		return
	}
	seen := map[string]bool{}
	d.list(n, "rules", func(n *yaml.Node) {
		r := newRule()
		r.Place = placeOf(n)
		d.object(n, "a rule", d.ruleKeys(&r))
		if n.Kind != yaml.MappingNode {
			return
		}
		d.name(n, "rule", r.Name, seen)
		d.rule(c, &r, n)
		d.claimed(r.Match, n, "rule")
		c.Rules = append(c.Rules, r)
	})
}

func (d *decoder) rule(c *Config, r *Rule, n *yaml.Node) {
	known := false
	for _, b := range c.Backends {
		known = known || b.Name == r.Backend
	}
	if r.Suricata != nil && len(c.Suricata.Files) == 0 {
		d.fail(value(n, "suricata"), "name them in suricata.files", "there are no files with Suricata's rules")
	}
	if at := value(n, "tag"); at != n && at.Kind == yaml.MappingNode && value(at, "name") == at {
		d.fail(at, "write tag: {name: …}", "a tag has to have a name")
	}
	if at := value(n, "threshold"); at != n && at.Kind == yaml.MappingNode && value(at, "count") == at {
		d.fail(at, "write threshold: {count: 3, in: 10m}", "a threshold has to have a count")
	}
	switch {
	case value(n, "action") == n:
		d.fail(n, "use switch, stay, drop, reset or log", "this rule has no action")
	case r.Action == "switch" && r.Backend == "":
		d.fail(value(n, "action"), "write backend: and its name", "a rule that switches has to name a backend")
	case r.Backend != "" && !known:
		d.fail(value(n, "backend"), "name one of backends", "there is no backend called %q", r.Backend)
	case r.Backend != "" && r.Action != "switch" && r.Action != "":
		d.fail(value(n, "backend"), "take it out, or write action: switch", "a rule with action %s goes to no backend", r.Action)
	}
}
