package config

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// highEscapes refuses \x80 to \xff in double quotes: to the YAML reader these are
// characters, U+0080 to U+00FF, and never the bytes that they look like.
func (d *decoder) highEscapes(n *yaml.Node) {
	for c := d.text.cursor(n); ; {
		r, width := c.next()
		if width == 0 {
			return
		}
		if c.at(0) == '\\' && c.at(1) == 'x' && r >= 0x80 {
			d.failAt(c.place(), fmt.Sprintf(`write {hex: "%02x"} for the byte, %c for the character; in a pattern or an expression use single quotes`, r, r),
				`in double quotes \x%02x is a character, not a byte`, r)
			return
		}
		c.skip(width)
	}
}

// bytes reads text, or {hex: …} for raw bytes.
func (d *decoder) bytes(dst *[]byte) key {
	return key{unit: "bytes", read: func(what string, n *yaml.Node) {
		if n.Kind == yaml.MappingNode {
			d.object(n, what, keys{"hex": {read: func(_ string, h *yaml.Node) { d.hex(dst, what, h) }}})
			return
		}
		if s, ok := d.scalar(n, what); ok {
			*dst = []byte(s)
		}
	}}
}

func (d *decoder) hex(dst *[]byte, what string, n *yaml.Node) {
	b, err := hex.DecodeString(strings.Join(strings.Fields(n.Value), ""))
	if n.Kind != yaml.ScalarNode || err != nil {
		d.fail(n, `write pairs of hex digits such as "ff fd 18"`, "%s: %q is not hex", what, n.Value)
		return
	}
	*dst = b
}

// pattern reads a regular expression in which \xff is the byte.
func (d *decoder) pattern(dst *string) key {
	return key{unit: "pattern", read: func(what string, n *yaml.Node) {
		if n.Kind == yaml.MappingNode {
			var b []byte
			d.bytes(&b).read(what, n)
			var s strings.Builder
			for _, c := range b {
				fmt.Fprintf(&s, `\x%02x`, c)
			}
			*dst = s.String()
			return
		}
		s, ok := d.scalar(n, what)
		if !ok {
			return
		}
		if s == "" {
			d.fail(n, "take it out, or say what it should match", "%s is empty", what)
			return
		}
		if _, err := regexp.Compile(s); err != nil {
			d.fail(n, "write an expression as RE2 has them", "%s: %v", what, err)
			return
		}
		*dst = s
	}}
}
