package config

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const manual = "../../docs/configuration.md"

// leaves calls f for each key whose value has no keys itself. What decoys and rules
// share is named after itself, as in the manual.
func leaves(path string, ks keys, f func(path string, k key)) {
	for name, k := range ks {
		at := path + name
		switch {
		case k.sub == nil:
			f(shared.Replace(at), k)
		case k.unit == "list":
			leaves(at+"[].", k.sub(), f)
		default:
			leaves(at+".", k.sub(), f)
		}
	}
}

var shared = strings.NewReplacer("decoys[].match.", "match.", "rules[].match.", "match.", "decoys[].replay.", "replay.")

// decoded are the keys that the decoder knows.
func decoded() map[string]key {
	all := map[string]key{}
	d := &decoder{}
	leaves("", d.keys(defaults(), &parts{mode: "enforce", replay: defaultReplay()}), func(path string, k key) { all[path] = k })
	return all
}

// row is one of the manual's.
type row struct{ unit, value, bound, example, meaning string }

var (
	heading = regexp.MustCompile("^## (?:`([^`]+)`)?")
	named   = regexp.MustCompile("^`([^`]+)`$")
)

// documented are the keys that the manual has; those of a section are beneath the
// key in its heading.
func documented(t *testing.T) map[string]row {
	t.Helper()
	b, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	all, prefix := map[string]row{}, ""
	for _, line := range strings.Split(string(b), "\n") {
		if m := heading.FindStringSubmatch(line); m != nil {
			if prefix = m[1]; prefix != "" {
				prefix += "."
			}
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		m := named.FindStringSubmatch(cells[0])
		if !strings.HasPrefix(line, "|") || m == nil {
			continue
		}
		if _, twice := all[prefix+m[1]]; twice {
			t.Errorf("%s stands twice in the manual", prefix+m[1])
		}
		r := row{unit: laterKey}
		if len(cells) == 6 {
			r = row{cells[1], cells[2], cells[3], cells[4], cells[5]}
		}
		all[prefix+m[1]] = r
	}
	return all
}

func sorted[V any](m map[string]V) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

func TestTheManualHasEveryKeyAndNoOther(t *testing.T) {
	if diff := cmp.Diff(sorted(decoded()), sorted(documented(t))); diff != "" {
		t.Errorf("the decoder's keys (-) and those of docs/configuration.md (+):\n%s", diff)
	}
}

func TestTheManualHasTheUnitsDefaultsAndBounds(t *testing.T) {
	rows := documented(t)
	for path, k := range decoded() {
		r := rows[path]
		if r.unit != k.unit {
			t.Errorf("%s: the manual says %q, the decoder reads a %q", path, r.unit, k.unit)
		}
		if k.unit == laterKey {
			continue
		}
		if isDefault := strings.HasPrefix(r.value, "`"); isDefault || k.value != "" {
			if r.value != "`"+k.value+"`" {
				t.Errorf("%s: the manual has the default %s, the decoder `%s`", path, r.value, k.value)
			}
		}
		if k.bound != "" && r.bound != k.bound {
			t.Errorf("%s: the manual has the bound %q, the decoder %q", path, r.bound, k.bound)
		}
		if r.meaning == "" {
			t.Errorf("%s: the manual does not say what it means", path)
		}
	}
}

// entries are the least that a list's entry has beside what an example is about.
var entries = map[string]string{
	"decoys":   "{name: d, service: {type: silent}}",
	"backends": "{name: web-real, address: 10.0.0.9}",
	"rules":    "{name: r, action: stay}",
	"turns":    "{expect: x}",
	"pages":    "{path: /p}",

	"lists":      "{name: l, words: [x]}",
	"conditions": "{name: c, when: 'true'}",
}

// beside is what a mapping needs beside what an example is about.
var beside = map[string]string{"tag": "{name: t}", "threshold": "{count: 3}"}

func TestEveryExampleOfTheManualIsRight(t *testing.T) {
	for path, r := range documented(t) {
		if r.unit == laterKey {
			continue
		}
		text := inFile(t, path, strings.Trim(r.example, "`"))
		_, err := Parse("f.yaml", []byte(text), func(string) ([]byte, error) { return nil, nil })
		if err != nil || r.example == "" {
			t.Errorf("%s: %s: %v\n%s", path, r.example, err, text)
		}
	}
}

// inFile is a configuration with one key set to an example.
func inFile(t *testing.T, path, example string) string {
	t.Helper()
	file := object(t, base)
	if strings.HasPrefix(path, "rules[].suricata") {
		file["suricata"] = map[string]any{"files": []any{"a.rules"}}
	}
	switch {
	case strings.HasPrefix(path, "match."):
		path = "decoys[]." + path
	case path == "rules[].backend":
		file["backends"] = []any{object(t, entries["backends"])}
	}
	var v any
	if err := yaml.Unmarshal([]byte(example), &v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	set(t, file, strings.Split(path, "."), v)
	b, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func object(t *testing.T, text string) (m map[string]any) {
	t.Helper()
	m = map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// set sets what is at a path, and what the example cannot do without.
func set(t *testing.T, in map[string]any, path []string, v any) {
	t.Helper()
	name, list := strings.CutSuffix(path[0], "[]")
	switch {
	case len(path) == 1:
		in[name] = v
		if strings.HasPrefix(name, "addresses") {
			delete(in, "address")
			delete(in, "words")
		}
		if name == "backend" {
			in["action"] = "switch"
		}
	case list:
		entry := object(t, entries[name])
		set(t, entry, path[1:], v)
		in[name] = []any{entry}
	default:
		sub := object(t, beside[name])
		if name == "service" {
			sub = service(strings.TrimSuffix(path[1], "[]"))
		}
		set(t, sub, path[1:], v)
		in[name] = sub
	}
}

// service is one whose type has a key.
func service(key string) map[string]any {
	d := &decoder{}
	for _, kind := range serviceTypes {
		if _, has := d.serviceKeys(&Service{}, kind)[key]; !has || key == "type" {
			continue
		}
		s := map[string]any{"type": kind}
		switch kind {
		case "banner":
			s["banner"] = "x"
		case "forward":
			s["address"] = "127.0.0.1:1"
		}
		return s
	}
	return map[string]any{}
}
