package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// fixed are the values that a running gateway cannot change, by their keys.
func (c *Config) fixed() []setting {
	return []setting{
		{"sensor", c.Sensor}, {"tun.name", c.TUN.Name}, {"tun.mtu", c.TUN.MTU}, {"tun.queues", c.TUN.Queues},
		{"tun.offload", c.TUN.Offload}, {"tun.busy_poll", c.TUN.BusyPoll}, {"tun.kernel", c.TUN.Kernel}, {"routing.setup", c.Routing.Setup}, {"routing.table", c.Routing.Table},
		{"routing.priority", c.Routing.Priority}, {"routes", c.Routes}, {"nat.pool", c.Pool},
		{"limits.flows", c.Limits.Flows}, {"limits.flows_per_client", c.Limits.FlowsPerClient},
		{"limits.client_prefix", []int{c.Limits.PrefixV4, c.Limits.PrefixV6}}, {"limits.half_open", c.Limits.HalfOpen},
		{"limits.record", c.Limits.Record}, {"limits.decoy_record", c.Limits.DecoyRecord},
		{"limits.record_total", c.Limits.RecordTotal}, {"limits.held", c.Limits.Held},
		{"limits.switching", c.Limits.Switching},
		{"timeouts", c.Timeouts}, {"memory", c.Memory}, {"events.file", c.Events}, {"log", c.Log},
		{"control.socket", c.ControlSocket()}, {"state.dir", c.StateDir}, {"debug.pprof", c.Debug.PPROF},
	}
}

type setting struct {
	key   string
	value any
}

// Unchangeable are the differences from the configuration that the gateway runs
// with which it cannot take over while it runs, as mistakes in the file.
func (c *Config) Unchangeable(running *Config) error {
	var mistakes []*Error
	were := running.fixed()
	for i, s := range c.fixed() {
		if !alike(reflect.ValueOf(s.value), reflect.ValueOf(were[i].value)) {
			mistakes = append(mistakes, &Error{
				Place: c.placeOf(s.key),
				Msg:   fmt.Sprintf("%s is not what the gateway runs with: a change of it needs a restart; put it back, or restart the gateway", s.key),
			})
		}
	}
	if mistakes == nil {
		return nil
	}
	return joined(c.File, mistakes)
}

// placeOf is where a key's value stands, or that of the mapping that it is not in,
// or the beginning.
func (c *Config) placeOf(key string) Place {
	for key != "" {
		if at, ok := c.at[key]; ok {
			return at
		}
		key = key[:max(0, strings.LastIndex(key, "."))]
	}
	return Place{1, 1}
}

// Changes say, in a few words each, what differs from an older configuration of what
// a running gateway can take over.
func (c *Config) Changes(old *Config) (words []string) {
	for _, s := range [...]struct {
		what      string
		was, with any
	}{
		{"mode", old.Observe, c.Observe}, {"default", old.Default, c.Default}, {"suricata", old.Suricata, c.Suricata},
	} {
		if !alike(reflect.ValueOf(s.was), reflect.ValueOf(s.with)) {
			words = append(words, s.what+" changed")
		}
	}
	words = append(words, compared("decoys", old.Decoys, c.Decoys, func(d *Decoy) string { return d.Name })...)
	words = append(words, compared("backends", old.Backends, c.Backends, func(b *Backend) string { return b.Name })...)
	words = append(words, compared("lists", old.Lists, c.Lists, func(l *List) string { return l.Name })...)
	words = append(words, compared("conditions", old.Conditions, c.Conditions, func(c *Condition) string { return c.Name })...)
	return append(words, compared("rules", old.Rules, c.Rules, func(r *Rule) string { return r.Name })...)
}

// maxNamed is how many names are written out.
const maxNamed = 8

// compared compares two lists of things that have names.
func compared[T any](what string, old, now []T, name func(*T) string) (words []string) {
	var was, is, added, changed, gone []string
	at := map[string]*T{}
	for i := range old {
		was, at[name(&old[i])] = append(was, name(&old[i])), &old[i]
	}
	for i := range now {
		n := name(&now[i])
		is = append(is, n)
		switch o := at[n]; {
		case o == nil:
			added = append(added, n)
		case !alike(reflect.ValueOf(o), reflect.ValueOf(&now[i])):
			changed = append(changed, n)
		}
	}
	for _, n := range was {
		if !slices.Contains(is, n) {
			gone = append(gone, n)
		}
	}
	for _, w := range [...]struct {
		verb  string
		names []string
	}{{"new", added}, {"changed", changed}, {"gone", gone}} {
		if len(w.names) > maxNamed {
			words = append(words, fmt.Sprintf("%s %s: %d", what, w.verb, len(w.names)))
		} else if len(w.names) > 0 {
			words = append(words, fmt.Sprintf("%s %s: %s", what, w.verb, strings.Join(w.names, ", ")))
		}
	}
	if words == nil && !slices.Equal(was, is) {
		words = []string{what + " in another order"}
	}
	return words
}

// alike compares two values of one type, wherever in their files they stand.
func alike(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Pointer:
		return a.IsNil() == b.IsNil() && (a.IsNil() || alike(a.Elem(), b.Elem()))
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !alike(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Struct:
		if a.Type().PkgPath() != place.PkgPath() {
			return a.Equal(b)
		}
		for i := 0; i < a.NumField() && a.Type() != place; i++ {
			if !alike(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		return reflect.DeepEqual(a.Interface(), b.Interface())
	}
	return a.Equal(b)
}

var place = reflect.TypeFor[Place]()
