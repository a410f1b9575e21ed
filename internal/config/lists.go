package config

import (
	"bytes"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"
)

// List is addresses or words that rules ask for.
type List struct {
	Name      string
	Addresses []netip.Prefix
	Words     []string // nil: it is of addresses

	ofAddresses bool
}

// Condition is a name for an expression.
type Condition struct {
	Expression
	Name string
}

const maxList = 1 << 20 // entries of a list

func (d *decoder) listKeys(l *List) keys {
	return keys{
		"name":      d.word(&l.Name),
		"addresses": l.addresses(d.prefixes(&l.Addresses, nil)),
		"words":     {unit: "list of texts", read: func(what string, n *yaml.Node) { d.listWords(l, what, n) }},
		"addresses_file": l.addresses(d.listFile(func(line string) bool {
			p, err := netip.ParsePrefix(line)
			if a, aerr := netip.ParseAddr(line); err != nil && aerr == nil && a.Zone() == "" {
				p, err = netip.PrefixFrom(a, a.BitLen()), nil
			}
			l.Addresses = append(l.Addresses, p.Masked())
			return err == nil
		})),
		"words_file": l.words(d.listFile(func(line string) bool {
			l.Words = append(l.Words, line)
			return true
		})),
	}
}

// addresses notes that a list is of addresses, words that it is of words.
func (l *List) addresses(k key) key {
	read := k.read
	k.read = func(what string, n *yaml.Node) { l.ofAddresses = true; read(what, n) }
	return k
}

func (l *List) words(k key) key {
	read := k.read
	k.read = func(what string, n *yaml.Node) {
		if l.Words == nil {
			l.Words = []string{}
		}
		read(what, n)
	}
	return k
}

func (d *decoder) listWords(l *List, what string, n *yaml.Node) {
	if l.Words == nil {
		l.Words = []string{}
	}
	d.list(n, what, func(c *yaml.Node) {
		if s, ok := d.scalar(c, what); ok {
			l.Words = append(l.Words, s)
		}
	})
}

// listFile reads a file with an entry in each line; what begins with # is none.
func (d *decoder) listFile(entry func(line string) bool) key {
	return key{unit: "file", read: func(what string, n *yaml.Node) {
		name, ok := d.scalar(n, what)
		if !ok {
			return
		}
		b, err := d.read(name)
		if err != nil {
			d.fail(n, "name a file that this user can read, beside the configuration or by its whole path", "%s: %v", what, err)
			return
		}
		if bytes.Count(b, []byte{'\n'}) > maxList {
			d.fail(n, "make it smaller", "%s: %s has more than %d lines", what, name, maxList)
			return
		}
		number := 0
		for line := range strings.Lines(string(b)) {
			number++
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			if !entry(line) {
				d.fail(n, "write an address or a prefix in each line", "%s: %s:%d: %.60q is neither", what, name, number, line)
				return
			}
		}
	}}
}

func (d *decoder) lists(c *Config, n *yaml.Node) {
	if n == nil {
		return
	}
	seen := map[string]bool{}
	d.list(n, "lists", func(n *yaml.Node) {
		var l List
		d.object(n, "a list", d.listKeys(&l))
		if n.Kind != yaml.MappingNode {
			return
		}
		d.name(n, "list", l.Name, seen)
		switch {
		case l.ofAddresses && l.Words != nil:
			d.fail(n, "make it two lists", "this list has addresses and words")
		case !l.ofAddresses && l.Words == nil:
			d.fail(n, "write addresses: or words:, or name a file", "this list has nothing in it")
		}
		c.Lists = append(c.Lists, l)
	})
}

func (d *decoder) conditionKeys(v *Condition) keys {
	return keys{
		"name": d.needed(&v.Name),
		"when": {unit: "expression", read: func(what string, n *yaml.Node) { d.when(&v.Expression, what, n) }},
	}
}

func (d *decoder) conditions(c *Config, n *yaml.Node) {
	if n == nil {
		return
	}
	d.list(n, "conditions", func(n *yaml.Node) {
		v := Condition{Expression: Expression{Place: placeOf(n)}}
		d.object(n, "a condition", d.conditionKeys(&v))
		switch {
		case n.Kind != yaml.MappingNode:
		case v.Name == "":
			if value(n, "name") == n {
				d.fail(n, "write name: and one of its own", "this condition has no name")
			}
		case strings.TrimSpace(v.When) == "":
			d.fail(n, "write when: and an expression", "the condition %s says nothing", v.Name)
		default:
			c.Conditions = append(c.Conditions, v)
		}
	})
}
