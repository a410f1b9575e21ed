package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"

	"sleight/e2e/bed"
	"sleight/internal/evidence"
)

// "observe: decides and reports; holds and does nothing" (CONTRACT.md, 1)
func TestObserve(t *testing.T) {
	b := newBed(t, bed.Config{})
	web := serveWeb(t, b)
	g := start(t, b, strings.Replace(httpConfig("client"), "version: 1", "version: 1\nmode: observe", 1)+`
  - {name: quit, when: 'stream contains "DELETE /"', action: reset}
`)
	c, r := dialed(t, b, "203.0.113.7:80")
	for range 2 {
		if res, body := ask(t, c, r, "GET", "/", "User-Agent: "+exploit+"\r\n", nil); string(body) != "the decoy's page\n" || res.Header.Get("Server") != "nginx/1.22.1" {
			t.Fatalf("%v %q", res.Header, body)
		}
	}
	d := g.wait("decision", func(e *evidence.Event) bool { return e.Decision.Rule == "shellshock" })
	if d.Decision.Verdict != "switch" || d.Decision.Offset == 0 || d.SrcIP != bed.Attacker4.String() || d.DestIP != "203.0.113.7" {
		t.Errorf("the decision: %+v, %+v", d, *d.Decision)
	}
	other, in := dialed(t, b, "203.0.113.7:80")
	if res, _ := ask(t, other, in, "DELETE", "/", "", nil); res.Header.Get("Server") != "nginx/1.22.1" {
		t.Errorf("what would have been reset: %v", res.Header)
	}
	g.wait("decision", func(e *evidence.Event) bool { return e.Decision.Rule == "quit" && e.Decision.Verdict == "reset" })
	if n := len(g.All("switch")); n > 0 || len(web.seen) > 0 {
		t.Errorf("%d switches, and the real host has seen %v", n, web.seen)
	}
}

// What a live gateway writes is as docs/events.schema.json has it, in every kind of
// event.
func TestTheEventsOfALiveGatewayAreThoseOfTheSchema(t *testing.T) {
	text, err := os.ReadFile("../docs/events.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	schema, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t, bed.Config{})
	serveWeb(t, b)
	g := start(t, b, strings.Replace(httpConfig("client"), "ports: [80]", "ports: [80, 81]", 1)+`
  - {name: note, when: 'stream contains "HEAD /"', action: log, once_per: 1h}
  - {name: quit, when: 'stream contains "DELETE /"', action: drop}
`)
	for _, addr := range []string{"203.0.113.7:80", "[2001:db8:113::7]:80"} {
		c, _ := talking(t, b, addr)
		_ = c.Close()
		for range 2 {
			c, r := dialed(t, b, addr)
			ask(t, c, r, "HEAD", "/", "", nil)
			_, _ = c.Write([]byte("DELETE / HTTP/1.1\r\nHost: x\r\n\r\n"))
		}
	}
	c, r := dialed(t, b, "203.0.113.7:81") // nobody listens there
	ask(t, c, r, "GET", "/", "User-Agent: "+exploit+"\r\n", nil)
	storm(t, b, sources[:1], sIs[:1])
	g.wait("decision", func(e *evidence.Event) bool { return e.Decision.Verdict == "drop" && strings.Contains(e.SrcIP, ":") })
	g.wait("switch", func(e *evidence.Event) bool { return e.Switch.Result == "refused" })
	g.stop()
	seen := map[string]bool{}
	for _, line := range g.Lines() {
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		seen[v["event_type"].(string)] = true
		if err := schema.Validate(v); err != nil {
			t.Errorf("%v\n%s", err, line)
		}
	}
	want := map[string]bool{}
	for _, kind := range s.Properties["event_type"].Enum {
		want[kind.(string)] = true
	}
	if d := cmp.Diff(want, seen); d != "" {
		t.Errorf("kinds of events:\n%s", d)
	}
}
