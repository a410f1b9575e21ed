package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"sleight/internal/spelling"
)

// key is one that a mapping may have: what reads its value, and what is said of it
// in docs/configuration.md, which a test compares.
type key struct {
	read  func(what string, n *yaml.Node)
	unit  string      // what a value is
	value string      // the default; empty: there is none
	bound string      // of a number; the words that are known
	sub   func() keys // of a mapping, or of a list's entries
}

// keys are those of a mapping.
type keys map[string]key

const (
	top      = "the configuration"
	notYet   = "is not yet supported"
	laterKey = "not yet supported"
)

// later is a key that the contract reserves.
func (d *decoder) later() key {
	return key{unit: laterKey, read: func(what string, n *yaml.Node) { d.reserved(what, n) }}
}

func (d *decoder) reserved(what string, n *yaml.Node) {
	d.fail(n, "take it out", "%s %s", what, notYet)
}

// unset is a reserved key that may stand there as long as it is empty.
func (d *decoder) unset() key {
	return key{unit: laterKey, read: func(what string, n *yaml.Node) {
		if n.Kind != yaml.ScalarNode && len(n.Content) > 0 || n.Value != "" {
			d.reserved(what, n)
		}
	}}
}

// mapping is a key whose value has keys.
func (d *decoder) mapping(sub func() keys) key {
	return key{unit: "mapping", sub: sub, read: func(what string, n *yaml.Node) { d.object(n, what, sub()) }}
}

// needs is a key without a default.
func (d *decoder) needs(k key) key {
	k.value = ""
	return k
}

// held is a key whose value is read when the others are known.
func held(dst **yaml.Node, unit string, sub func() keys) key {
	return key{unit: unit, sub: sub, read: func(_ string, n *yaml.Node) { *dst = n }}
}

// object reads a mapping. An unknown key is named with the nearest known one.
func (d *decoder) object(n *yaml.Node, what string, ks keys) {
	if n.Kind != yaml.MappingNode {
		if n.Kind != yaml.AliasNode {
			d.fail(n, "known are "+known(ks), "%s has to be a mapping of keys to values", what)
		}
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		found, ok := ks[k.Value]
		switch {
		case k.Kind != yaml.ScalarNode:
			d.fail(k, "known are "+known(ks), "a key of %s has to be a word", what)
		case !ok:
			d.fail(k, suggest(k.Value, ks), "unknown key %q in %s", k.Value, what)
		case seen[k.Value]:
			d.fail(k, "keep one", "%s stands twice in %s", k.Value, what)
		case v.Kind != yaml.AliasNode:
			if _, within := d.at[what]; within || what == top {
				d.at[under(what, k.Value)] = placeOf(v)
			}
			found.read(under(what, k.Value), v)
		}
		seen[k.Value] = true
	}
}

// under is a key's name: that of a mapping within it, that of a list's entry ("a
// decoy") alone.
func under(what, name string) string {
	if strings.Contains(what, " ") {
		return name
	}
	return what + "." + name
}

func names(ks keys) []string {
	all := make([]string, 0, len(ks))
	for k := range ks {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

func known(ks keys) string { return strings.Join(names(ks), ", ") }

// suggest names the nearest known key, or all of them.
func suggest(name string, ks keys) string {
	if best := spelling.Nearest(name, names(ks)); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "known are " + known(ks)
}

// list reads a sequence.
func (d *decoder) list(n *yaml.Node, what string, each func(*yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, "write it in brackets, or with a dash before each entry", "%s has to be a list", what)
		return
	}
	for _, c := range n.Content {
		if c.Kind != yaml.AliasNode {
			each(c)
		}
	}
}

// value is where a key's value stands in a mapping, or the mapping without it.
func value(n *yaml.Node, name string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return n
}
