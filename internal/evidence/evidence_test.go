package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
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

// blocked says that it was asked, and takes nothing until it is released.
type blocked struct {
	asked, release chan struct{}
	lines          int
}

func (b *blocked) Write(p []byte) (int, error) {
	select {
	case b.asked <- struct{}{}:
	default:
	}
	<-b.release
	b.lines += bytes.Count(p, []byte("\n"))
	return len(p), nil
}

func TestEmitNeverBlocksAndCountsWhatItLoses(t *testing.T) {
	b := &blocked{asked: make(chan struct{}, 1), release: make(chan struct{})}
	w := NewWriter(b, "")
	w.Emit(Plain(time.Now(), "gateway"))
	<-b.asked
	for range bound + 10 {
		w.Emit(Plain(time.Now(), "gateway"))
	}
	if w.Lost() != 10 {
		t.Errorf("%d lost", w.Lost())
	}
	close(b.release)
	w.Close()
	if b.lines != bound+1 {
		t.Errorf("%d lines", b.lines)
	}
}

// broken takes nothing.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestWhatCannotBeWrittenIsCounted(t *testing.T) {
	w := NewWriter(broken{}, "")
	for range 3 {
		w.Emit(Plain(time.Now(), "gateway"))
	}
	w.Close()
	if w.Lost() != 3 {
		t.Errorf("%d lost", w.Lost())
	}
}

func (w *Writer) sleeps() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asleep
}

func TestAWriterThatSleepsIsWoken(t *testing.T) {
	b := &blocked{asked: make(chan struct{}, 1), release: make(chan struct{})}
	close(b.release)
	w := NewWriter(b, "")
	for range 2 {
		for !w.sleeps() {
			time.Sleep(rhythm)
		}
		w.Emit(Plain(time.Now(), "gateway"))
		<-b.asked
	}
	for !w.sleeps() {
		time.Sleep(rhythm)
	}
	w.Close()
	if b.lines != 2 {
		t.Errorf("%d lines", b.lines)
	}
}
