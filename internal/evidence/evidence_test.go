package evidence

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var flow = Flow{ID: 7, Client: netip.MustParseAddrPort("128.232.110.120:34855"), Dialled: netip.MustParseAddrPort("66.35.250.204:80")}

// The first TCP row of the specification's baseline.
func TestCommunityID(t *testing.T) {
	const want = "1:LQU9qZlK+B5F3KDmev6m5PMibrg="
	if got := CommunityID(flow.Client, flow.Dialled); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := CommunityID(flow.Dialled, flow.Client); got != want {
		t.Errorf("reversed: %s, want %s", got, want)
	}
}

func TestOneEventALine(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out, "s1")
	at := time.Date(2026, 1, 2, 3, 4, 5, 678900, time.UTC)
	e := flow.Of(at, "flow_start")
	e.FlowStart = &FlowStart{Decoy: "<web>", RTT: 12}
	w.Emit(e)
	g := Plain(at, "gateway")
	g.Gateway = &Gateway{State: "stopped"}
	w.Emit(g)
	w.Close()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := `{"timestamp":"2026-01-02T03:04:05.000678+0000","event_type":"flow_start","flow_id":7,"community_id":"1:LQU9qZlK+B5F3KDmev6m5PMibrg=","src_ip":"128.232.110.120","src_port":34855,"dest_ip":"66.35.250.204","dest_port":80,"proto":"TCP","sensor":"s1","flow_start":{"decoy":"<web>","rtt_us":12}}`
	if len(lines) != 2 || lines[0] != want {
		t.Errorf("got  %s\nwant %s", lines[0], want)
	}
	for _, l := range lines {
		if !json.Valid([]byte(l)) {
			t.Errorf("not JSON: %s", l)
		}
	}
}

// blocked never takes anything until it is released.
type blocked chan struct{}

func (b blocked) Write(p []byte) (int, error) { <-b; return len(p), nil }

func TestEmitNeverBlocksAndCountsWhatItLoses(t *testing.T) {
	b := make(blocked)
	w := NewWriter(b, "")
	for range queue + 10 {
		w.Emit(Plain(time.Now(), "gateway"))
	}
	if w.Lost() < 8 {
		t.Errorf("%d lost", w.Lost())
	}
	close(b)
	w.Close()
}
