package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// scalar reads a plain value.
func (d *decoder) scalar(n *yaml.Node, what string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.fail(n, "write a word, or a text in quotes", "%s has to be a plain value", what)
		return "", false
	}
	return n.Value, true
}

// word reads a text that may be empty.
func (d *decoder) word(dst *string) key {
	return key{unit: "text", value: *dst, read: func(what string, n *yaml.Node) {
		if s, ok := d.scalar(n, what); ok {
			*dst = s
		}
	}}
}

// needed reads a text that may not be empty.
func (d *decoder) needed(dst *string) key {
	return key{unit: "text", value: *dst, read: func(what string, n *yaml.Node) {
		s, ok := d.scalar(n, what)
		if ok && s == "" {
			d.fail(n, "name one, or take the key out", "%s is empty", what)
		}
		if ok {
			*dst = s
		}
	}}
}

// oneOf reads one of a few words. The first is the default where dst has none.
func (d *decoder) oneOf(dst *string, of ...string) key {
	return key{unit: "word", value: *dst, bound: strings.Join(of, ", "), read: func(what string, n *yaml.Node) {
		s, ok := d.scalar(n, what)
		switch {
		case !ok:
		case !slices.Contains(of, s):
			d.fail(n, "use "+choice(of), "%s is %q", what, s)
		default:
			*dst = s
		}
	}}
}

// oneOfNow is oneOf that names words which are reserved.
func (d *decoder) oneOfNow(dst *string, reserved []string, of ...string) key {
	k := d.oneOf(dst, of...)
	read := k.read
	k.read = func(what string, n *yaml.Node) {
		if slices.Contains(reserved, n.Value) {
			d.fail(n, "use "+choice(of), "%s: %s %s", what, n.Value, notYet)
			return
		}
		read(what, n)
	}
	return k
}

// choice is a list of words in a sentence.
func choice(of []string) string {
	if len(of) == 1 {
		return of[0]
	}
	last := len(of) - 1
	return strings.Join(of[:last], ", ") + " or " + of[last]
}

func (d *decoder) boolean(dst *bool) key {
	return key{unit: "bool", value: strconv.FormatBool(*dst), read: func(what string, n *yaml.Node) {
		v, err := strconv.ParseBool(strings.ToLower(n.Value))
		if n.Tag != "!!bool" || err != nil {
			d.fail(n, "write true or false", "%s is %q", what, n.Value)
			return
		}
		*dst = v
	}}
}

func (d *decoder) number(dst *int, least, most int) key {
	k := key{unit: "number", value: strconv.Itoa(*dst), bound: fmt.Sprintf("%d to %d", least, most)}
	k.read = func(what string, n *yaml.Node) {
		v, err := strconv.Atoi(n.Value)
		switch {
		case n.Kind != yaml.ScalarNode || err != nil:
			d.fail(n, "write one from "+k.bound, "%s has to be a whole number", what)
		case v < least || v > most:
			d.fail(n, "write a number from "+k.bound, "%s is %d", what, v)
		default:
			*dst = v
		}
	}
	return k
}

var units = map[string]int{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

var sizeText = regexp.MustCompile(`^(\d{1,12}) ?([A-Za-z]*)$`)

// sizeWords writes a number of bytes in the largest unit that fits.
func sizeWords(n int) string {
	for _, unit := range []string{"GiB", "MiB", "KiB"} {
		if n >= units[unit] && n%units[unit] == 0 {
			return strconv.Itoa(n/units[unit]) + unit
		}
	}
	return strconv.Itoa(n)
}

func (d *decoder) size(dst *int, least, most int) key {
	k := key{unit: "size", value: sizeWords(*dst), bound: sizeWords(least) + " to " + sizeWords(most)}
	k.read = func(what string, n *yaml.Node) {
		v, ok := readSize(n.Value, most)
		switch {
		case n.Kind != yaml.ScalarNode || !ok:
			d.fail(n, "write bytes, or KiB, MiB, GiB", "%s has to be a size such as 64KiB", what)
		case v < least || v > most:
			d.fail(n, "write a size from "+k.bound, "%s is %s", what, n.Value)
		default:
			*dst = v
		}
	}
	return k
}

// readSize reads a number of bytes; what is beyond most is most+1.
func readSize(s string, most int) (int, bool) {
	m := sizeText.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	unit, ok := units[m[2]]
	v, err := strconv.Atoi(m[1])
	if !ok || err != nil {
		return 0, false
	}
	if v > most/unit {
		return most + 1, true // no product that wraps around
	}
	return v * unit, true
}

// timeWords is a duration without what is zero at its end.
func timeWords(t time.Duration) string {
	s := t.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (d *decoder) duration(dst *time.Duration, least, most time.Duration) key {
	k := key{unit: "time", value: timeWords(*dst), bound: timeWords(least) + " to " + timeWords(most)}
	k.read = func(what string, n *yaml.Node) {
		v, err := time.ParseDuration(n.Value)
		switch {
		case n.Kind != yaml.ScalarNode || err != nil:
			d.fail(n, "write a number and a unit: ms, s, m, h", "%s has to be a time such as 2s or 50ms", what)
		case v < least || v > most:
			d.fail(n, "write a time from "+k.bound, "%s is %s", what, n.Value)
		default:
			*dst = v
		}
	}
	return k
}
