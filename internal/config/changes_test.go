package config

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const running = `version: 1
routes: [203.0.113.0/24]
tun: {mtu: 1500}
limits: {flows: 1000}
decoys:
  - {name: web, match: {ports: [80]}, service: {type: http, pages: [{path: /, body: hello}]}}
  - {name: rest, service: {type: silent}}
backends:
  - {name: real, address: 10.0.2.2, ports: {8080: 80}}
lists:
  - {name: known, words: [a, b]}
conditions:
  - {name: it, when: 'bytes > 10'}
rules:
  - {name: one, when: 'stream contains "one"', action: switch, backend: real}
  - {name: two, when: 'stream contains "two"', action: drop}
`

func parsed(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("f.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// edited is the running file with one change.
func edited(t *testing.T, old, now string) *Config {
	t.Helper()
	if !strings.Contains(running, old) {
		t.Fatalf("there is no %q", old)
	}
	return parsed(t, strings.Replace(running, old, now, 1))
}

func TestChanges(t *testing.T) {
	for _, c := range []struct {
		old, now string
		want     []string
	}{
		{"version: 1\n", "# a comment moves all places\n\nversion: 1\n", nil},
		{"version: 1", "version: 1\nmode: observe\ndefault: reset", []string{"mode changed", "default changed"}},
		{"body: hello", "body: goodbye", []string{"decoys changed: web"}},
		{"10.0.2.2", "10.0.2.3", []string{"backends changed: real"}},
		{"8080: 80", "8080: 81", []string{"backends changed: real"}},
		{`"two"`, `"2"`, []string{"rules changed: two"}},
		{"name: two", "name: three", []string{"rules new: three", "rules gone: two"}},
		{"  - {name: two, when: 'stream contains \"two\"', action: drop}\n", "", []string{"rules gone: two"}},
		{"[a, b]", "[a, b, c]", []string{"lists changed: known"}},
		{"> 10", "> 11", []string{"conditions changed: it"}},
		{"version: 1", "version: 1\nsuricata: {vars: {X: \"1\"}}", []string{"suricata changed"}},
	} {
		if d := cmp.Diff(c.want, edited(t, c.old, c.now).Changes(parsed(t, running))); d != "" {
			t.Errorf("%s → %s:\n%s", c.old, c.now, d)
		}
	}
}

func TestOrderIsAChange(t *testing.T) {
	lines := strings.SplitAfter(running, "\n")
	n := len(lines)
	lines[n-2], lines[n-3] = lines[n-3], lines[n-2]
	now := parsed(t, strings.Join(lines, ""))
	if d := cmp.Diff([]string{"rules in another order"}, now.Changes(parsed(t, running))); d != "" {
		t.Error(d)
	}
}

func TestManyNamesAreCounted(t *testing.T) {
	var b strings.Builder
	for i := range 9 {
		b.WriteString("  - {name: n" + string(rune('0'+i)) + ", action: log}\n")
	}
	now := parsed(t, running+b.String())
	if d := cmp.Diff([]string{"rules new: 9"}, now.Changes(parsed(t, running))); d != "" {
		t.Error(d)
	}
}

// Every value that a running gateway cannot take over is named, at its place.
func TestUnchangeable(t *testing.T) {
	old := parsed(t, running)
	if err := edited(t, "hello", "goodbye").Unchangeable(old); err != nil {
		t.Errorf("a page can change: %v", err)
	}
	for _, c := range [][3]string{
		{"mtu: 1500", "mtu: 1400", "f.yaml:3:12: tun.mtu"},
		{"tun: {mtu: 1500}", "tun: {offload: false}", "f.yaml:3:16: tun.offload"},
		{"flows: 1000", "flows: 2000", "f.yaml:4:17: limits.flows"},
		{"flows: 1000", "half_open: 10, flows: 1000", "f.yaml:4:21: limits.half_open"},
		{"limits: {flows: 1000}\n", "", "f.yaml:1:1: limits.flows"},
		{"{flows: 1000}", "{flows: 1000, client_prefix: {ipv4: 24}}", "f.yaml:4:38: limits.client_prefix"},
		{"203.0.113.0/24", "203.0.112.0/23", "f.yaml:2:9: routes"},
		{"version: 1", "version: 1\nnat: {pool: [100.64.0.0/28]}", "f.yaml:2:13: nat.pool"},
		{"version: 1", "version: 1\ntimeouts: {drain: 1s}", "f.yaml:2:11: timeouts"},
		{"version: 1", "version: 1\nmemory: {clients: 10000}", "f.yaml:2:9: memory"},
		{"version: 1", "version: 1\nsensor: x", "f.yaml:2:9: sensor"},
		{"version: 1", "version: 1\nevents: {file: /x}", "f.yaml:2:16: events.file"},
		{"version: 1", "version: 1\nlog: {level: warn}", "f.yaml:2:6: log"},
		{"version: 1", "version: 1\nstate: {dir: /x}\ncontrol: {socket: /run/sleight/control.sock}", "f.yaml:2:14: state.dir"},
		{"version: 1", "version: 1\ncontrol: {socket: /x}", "f.yaml:2:19: control.socket"},
		{"version: 1", "version: 1\ndebug: {pprof: true}", "f.yaml:2:16: debug.pprof"},
		{"version: 1", "version: 1\nrouting: {table: 999}", "f.yaml:2:18: routing.table"},
	} {
		err := edited(t, c[0], c[1]).Unchangeable(old)
		if err == nil || !strings.HasPrefix(err.Error(), c[2]+" ") || !strings.Contains(err.Error(), "needs a restart") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", c[1], err)
		}
	}
}

// A reload must never pass over what has changed: every field is one that it can take
// over, or refuses.
func TestNoFieldIsPassedOver(t *testing.T) {
	fields(reflect.TypeFor[Config](), nil, func(name string, index []int) {
		if name == "File" { // where it is read from
			return
		}
		old, now := parsed(t, running), parsed(t, running)
		v := reflect.ValueOf(now).Elem().FieldByIndex(index)
		v.Set(other(v))
		if now.Unchangeable(old) == nil && len(now.Changes(old)) == 0 {
			t.Errorf("a change of %s is passed over", name)
		}
	})
}

// fields calls f with each exported field, and with those of structs within.
func fields(t reflect.Type, at []int, f func(name string, index []int)) {
	for i := range t.NumField() {
		field, index := t.Field(i), append(at[:len(at):len(at)], i)
		switch {
		case !field.IsExported() || field.Type == place:
		case field.Type.Kind() == reflect.Struct && field.Type.PkgPath() == place.PkgPath():
			fields(field.Type, index, f)
		default:
			f(field.Name, index)
		}
	}
}

// other is a value that differs.
func other(v reflect.Value) reflect.Value {
	n := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Bool:
		n.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		n.SetInt(v.Int() + 1)
	case reflect.String:
		n.SetString(v.String() + "/x")
	case reflect.Slice:
		n.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	case reflect.Map:
		n.Set(reflect.MakeMap(v.Type()))
		n.SetMapIndex(reflect.Zero(v.Type().Key()), reflect.Zero(v.Type().Elem()))
	}
	return n
}
