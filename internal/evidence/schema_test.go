package evidence

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// schema reads what docs/ promises.
func schema(t *testing.T) *jsonschema.Resolved {
	t.Helper()
	b, err := os.ReadFile("../../docs/events.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// one is a pointer to a number.
func one(n int) *int { return &n }

var sample = Flow{ID: 1<<53 - 1, Client: netip.MustParseAddrPort("[2001:db8:51::2]:40001"), Dialled: netip.MustParseAddrPort("[2001:db8:113::9]:80")}

// every holds an event of each kind with every field set, and with as few as may be.
func every() map[string]Event {
	now := time.Date(2026, 11, 26, 1, 2, 3, 456789000, time.FixedZone("CET", 3600))
	all := map[string]Event{}
	add := func(name, kind string, f Flow, set func(*Event)) {
		e := Plain(now, kind)
		if f.ID != 0 {
			e = f.Of(now, kind)
		}
		set(&e)
		all[name] = e
	}
	add("flow_start", "flow_start", sample, func(e *Event) { e.FlowStart = &FlowStart{Decoy: "web", RTT: 20000} })
	add("flow_start, bare", "flow_start", flow, func(e *Event) { e.FlowStart = &FlowStart{} })
	add("decision", "decision", sample, func(e *Event) {
		a := Alert{1, 2034647, 3, "an attempt", "attempted-admin", 1, []string{"cve,2021-44228"}, "et.rules"}
		e.Decision = &Decision{"shellshock", "switch", 120, "rule", &a, 3}
	})
	add("decision, bare", "decision", flow, func(e *Event) { e.Decision = &Decision{Verdict: "stay", Reason: "record"} })
	add("switch", "switch", sample, func(e *Event) {
		e.Switch = &Switch{
			Backend: "web-real", BackendIP: "fd00:2::2", BackendPort: 80, Result: "mismatch",
			ClientBytes: 120, DecoyBytes: 300, Duration: 700, Executed: 60,
			Turn: one(0), Offset: one(47), DecoyByte: one(255), BackendByte: one(-1),
			CommunityID: CommunityID(sample.Client, sample.Dialled),
		}
	})
	add("switch, bare", "switch", flow, func(e *Event) { e.Switch = &Switch{Backend: "b", Result: "refused"} })
	add("flow_end", "flow_end", sample, func(e *Event) { e.FlowEnd = &FlowEnd{"fin", "spliced", 1, 2, 3, 4, 5} })
	add("drop_summary", "drop_summary", Flow{}, func(e *Event) { e.DropSummary = map[string]uint64{"bad_checksum": 3} })
	add("suppressed_summary", "suppressed_summary", Flow{}, func(e *Event) { e.SuppressedSummary = map[string]uint64{"pings": 12} })
	add("gateway", "gateway", Flow{}, func(e *Event) { e.Gateway = &Gateway{"started", "sleight0"} })
	add("gateway, bare", "gateway", Flow{}, func(e *Event) { e.Gateway = &Gateway{State: "stopped"} })
	return all
}

// written is an event as a reader of the file gets it.
func written(t *testing.T, e Event) map[string]any {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out, "sensor-1")
	w.Emit(e)
	w.Close()
	var v map[string]any
	if err := json.Unmarshal(out.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTheSchemaDescribesEveryEvent(t *testing.T) {
	s := schema(t)
	for name, e := range every() {
		if err := s.Validate(written(t, e)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is added to an event must be added to the schema: here every field of every
// object is set once.
func TestNoFieldIsLeftOutOfTheSamples(t *testing.T) {
	set := map[string]bool{}
	for _, e := range every() {
		note(set, "Event", written(t, e))
	}
	for _, name := range fields("Event", reflect.TypeFor[Event]()) {
		if !set[name] {
			t.Errorf("no sample sets %s", name)
		}
	}
}

// note notes the fields of an object and of those in it.
func note(set map[string]bool, of string, v map[string]any) {
	for name, v := range v {
		set[of+"."+name] = true
		if object, ok := v.(map[string]any); ok {
			note(set, name, object)
		}
	}
}

// fields lists the JSON names in a struct and in those that it points to.
func fields(of string, t reflect.Type) (names []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, of+"."+name)
		if f.Type.Kind() == reflect.Pointer && f.Type.Elem().Kind() == reflect.Struct {
			names = append(names, fields(name, f.Type.Elem())...)
		}
	}
	return names
}

func TestTheSchemaRefusesWhatItDoesNotDescribe(t *testing.T) {
	s := schema(t)
	tests := []struct {
		name string
		from string
		do   func(v map[string]any)
	}{
		{"an unknown field", "flow_start", func(v map[string]any) { v["extra"] = 1 }},
		{"an unknown field of the object", "flow_end", func(v map[string]any) { v["flow_end"].(map[string]any)["extra"] = 1 }},
		{"an unknown type", "gateway", func(v map[string]any) { v["event_type"] = "alert" }},
		{"no object", "decision", func(v map[string]any) { delete(v, "decision") }},
		{"another type's object", "decision", func(v map[string]any) { v["event_type"] = "switch" }},
		{"two objects", "gateway", func(v map[string]any) { v["drop_summary"] = map[string]any{"x": 1.0} }},
		{"a flow's without a flow", "switch", func(v map[string]any) { delete(v, "flow_id") }},
		{"the gateway's with a flow", "gateway", func(v map[string]any) { v["flow_id"] = 1.0 }},
		{"an id of 2^53", "switch", func(v map[string]any) { v["flow_id"] = 9007199254740992.0 }},
		{"an unknown result", "switch", func(v map[string]any) { v["switch"].(map[string]any)["result"] = "fine" }},
		{"local time", "gateway", func(v map[string]any) { v["timestamp"] = "2026-11-26T01:02:03.456789+0100" }},
	}
	samples := every()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := written(t, samples[tt.from])
			tt.do(v)
			if err := s.Validate(v); err == nil {
				t.Errorf("taken: %v", v)
			}
		})
	}
}
