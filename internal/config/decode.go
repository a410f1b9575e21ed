package config

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// decoder walks the document by hand, so that one mistake does not hide the next.
type decoder struct {
	file string
	read func(string) ([]byte, error)
	errs []error
}

func (d *decoder) fail(n *yaml.Node, format string, args ...any) {
	d.errs = append(d.errs, &Error{d.file, n.Line, n.Column, fmt.Sprintf(format, args...)})
}

// keys maps a mapping's keys to what reads them.
type keys map[string]func(*yaml.Node)

// later reads a key that the contract reserves.
func (d *decoder) later(name string) func(*yaml.Node) {
	return func(n *yaml.Node) { d.fail(n, "%s is not yet supported: take it out", name) }
}

// object reads a mapping. An unknown key is named with the nearest known one.
func (d *decoder) object(n *yaml.Node, what string, ks keys) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "%s has to be a mapping of keys to values", what)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if v.Kind == yaml.AliasNode || k.Kind != yaml.ScalarNode {
			d.fail(k, "aliases and keys that are not words are not supported: write the value out")
			continue
		}
		read, ok := ks[k.Value]
		switch {
		case !ok:
			d.fail(k, "unknown key %q in %s%s", k.Value, what, suggest(k.Value, ks))
		case seen[k.Value]:
			d.fail(k, "%s stands twice in %s: keep one", k.Value, what)
		default:
			seen[k.Value] = true
			read(v)
		}
	}
}

// suggest names the nearest known key, or all of them.
func suggest(name string, ks keys) string {
	best, least := "", 3
	all := make([]string, 0, len(ks))
	for k := range ks {
		all = append(all, k)
		if d := distance(name, k); d < least || d == least && k < best {
			best, least = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	slices.Sort(all)
	return "; known are " + strings.Join(all, ", ")
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// list reads a sequence.
func (d *decoder) list(n *yaml.Node, what string, each func(*yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, "%s has to be a list", what)
		return
	}
	for _, c := range n.Content {
		if c.Kind == yaml.AliasNode {
			d.fail(c, "aliases are not supported: write the value out")
			continue
		}
		each(c)
	}
}

// scalar reads a plain value.
func (d *decoder) scalar(n *yaml.Node, what string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.fail(n, "%s has to be a plain value", what)
		return "", false
	}
	return n.Value, true
}

func (d *decoder) text(dst *string, what string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if s, ok := d.scalar(n, what); ok {
			*dst = s
		}
	}
}

func (d *decoder) oneOf(dst *string, what string, of ...string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		s, ok := d.scalar(n, what)
		switch {
		case !ok:
		case !slices.Contains(of, s):
			d.fail(n, "%s is %q: use %s", what, s, strings.Join(of, ", "))
		default:
			*dst = s
		}
	}
}

func (d *decoder) boolean(dst *bool, what string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v, err := strconv.ParseBool(strings.ToLower(n.Value))
		if n.Tag != "!!bool" || err != nil {
			d.fail(n, "%s has to be true or false", what)
			return
		}
		*dst = v
	}
}

func (d *decoder) number(dst *int, what string, least, most int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v, err := strconv.Atoi(n.Value)
		switch {
		case n.Kind != yaml.ScalarNode || err != nil:
			d.fail(n, "%s has to be a whole number", what)
		case v < least || v > most:
			d.fail(n, "%s is %d: it has to lie between %d and %d", what, v, least, most)
		default:
			*dst = v
		}
	}
}

var units = map[string]int{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

var sizeText = regexp.MustCompile(`^(\d{1,12}) ?([A-Za-z]*)$`)

func (d *decoder) size(dst *int, what string, least, most int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		m := sizeText.FindStringSubmatch(n.Value)
		unit, ok := 0, false
		if m != nil {
			unit, ok = units[m[2]]
		}
		if !ok {
			d.fail(n, "%s has to be a size such as 64KiB", what)
			return
		}
		v, _ := strconv.Atoi(m[1])
		if v > most/unit {
			v, unit = most+1, 1 // no product that wraps around
		}
		if v *= unit; v < least || v > most {
			d.fail(n, "%s is %d bytes: it has to lie between %d and %d", what, v, least, most)
			return
		}
		*dst = v
	}
}

func (d *decoder) duration(dst *time.Duration, what string, least, most time.Duration) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v, err := time.ParseDuration(n.Value)
		switch {
		case n.Kind != yaml.ScalarNode || err != nil:
			d.fail(n, "%s has to be a time such as 2s or 50ms", what)
		case v < least || v > most:
			d.fail(n, "%s is %v: it has to lie between %v and %v", what, v, least, most)
		default:
			*dst = v
		}
	}
}

// bytes reads text, or {hex: …} for raw bytes.
func (d *decoder) bytes(dst *[]byte, what string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind == yaml.MappingNode {
			d.object(n, what, keys{"hex": func(h *yaml.Node) {
				b, err := hex.DecodeString(strings.Join(strings.Fields(h.Value), ""))
				if err != nil {
					d.fail(h, "%s: %v: write pairs of hex digits", what, err)
				}
				*dst = b
			}})
			return
		}
		s, ok := d.scalar(n, what)
		if !ok {
			return
		}
		if i := strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 && r <= 0xff }); i >= 0 && n.Style == yaml.DoubleQuotedStyle {
			d.fail(n, `%s: in text \x80 to \xff are characters, not bytes: use {hex: "…"}`, what)
			return
		}
		*dst = []byte(s)
	}
}

func (d *decoder) prefix(n *yaml.Node, what string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(n.Value)
	if err != nil {
		a, aerr := netip.ParseAddr(n.Value)
		if aerr != nil || a.Zone() != "" {
			d.fail(n, "%s: %q is not a prefix such as 203.0.113.0/24", what, n.Value)
			return p, false
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p != p.Masked() {
		d.fail(n, "%s: %s has bits beyond its length: write %s", what, p, p.Masked())
		return p, false
	}
	return p, true
}

func (d *decoder) prefixes(dst *[]netip.Prefix, what string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		d.list(n, what, func(c *yaml.Node) {
			if p, ok := d.prefix(c, what); ok {
				*dst = append(*dst, p)
			}
		})
	}
}

func port(s string) (uint16, bool) {
	v, err := strconv.ParseUint(s, 10, 16)
	return uint16(v), err == nil && v > 0
}

func (d *decoder) ports(dst *[]Ports, what string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		d.list(n, what, func(c *yaml.Node) {
			a, b, isRange := strings.Cut(c.Value, "-")
			if !isRange {
				b = a
			}
			first, ok1 := port(a)
			last, ok2 := port(b)
			if !ok1 || !ok2 || first > last {
				d.fail(c, `%s: %q is neither a port nor a range such as "8000-8099"`, what, c.Value)
				return
			}
			*dst = append(*dst, Ports{first, last})
		})
	}
}

// pattern reads a regular expression in which \xff is the byte.
func (d *decoder) pattern(dst *string, what string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var b []byte
		if n.Kind == yaml.MappingNode {
			d.bytes(&b, what)(n)
			var s strings.Builder
			for _, c := range b {
				fmt.Fprintf(&s, `\x%02x`, c)
			}
			*dst = s.String()
			return
		}
		if s, ok := d.scalar(n, what); ok {
			if _, err := regexp.Compile(s); err != nil {
				d.fail(n, "%s: %v", what, err)
			}
			*dst = s
		}
	}
}
