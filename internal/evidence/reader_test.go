package evidence

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

const (
	startedLine = `{"event_type":"gateway","gateway":{"state":"started"}}` + "\n"
	stoppedLine = `{"event_type":"gateway","gateway":{"state":"stopped"}}` + "\n"
)

func is(state string) func(*Event) bool {
	return func(e *Event) bool { return e.Gateway.State == state }
}

func TestAReaderWaitsForTheEventAsked(t *testing.T) {
	in, out := io.Pipe()
	r := NewReader(in)
	go func() { // what is written while somebody waits
		_, _ = io.WriteString(out, `{"event_type":"switch","switch":{"result":"ok"}}`+"\n"+startedLine+stoppedLine)
		_ = out.Close()
	}()
	for _, state := range []string{"stopped", "started"} {
		if e, err := r.Wait(t.Context(), "gateway", is(state)); err != nil || e.Gateway.State != state {
			t.Errorf("%s: %v, %v", state, e, err)
		}
	}
	<-r.Done()
	if n := len(r.All("gateway")); n != 2 || len(r.Lines()) != 3 || string(r.Lines()[1])+"\n" != startedLine {
		t.Errorf("%d events of the gateway, lines %q", n, r.Lines())
	}
	if _, err := r.Wait(t.Context(), "gateway", is("reloaded")); !errors.Is(err, ErrEnded) {
		t.Errorf("after the end: %v", err)
	}
}

func TestAReaderGivesUpWithItsContext(t *testing.T) {
	in, out := io.Pipe()
	defer out.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewReader(in).Wait(ctx, "gateway", is("started")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestWhatIsNoEventIsAnError(t *testing.T) {
	for _, text := range []string{"hello\n" + startedLine, startedLine + strings.Repeat("x", maxLine+1) + "\n" + stoppedLine} {
		r := NewReader(strings.NewReader(text))
		<-r.Done()
		if r.Err() == nil || len(r.All("gateway")) != 1 {
			t.Errorf("%.20q: %v, %d events", text, r.Err(), len(r.All("gateway")))
		}
	}
}
