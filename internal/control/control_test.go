package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// adding is what these tests ask for.
type adding struct{ A, B int }

// serve answers at a socket of the test's own.
func serve(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "dir", "control.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	h := Handlers{}
	Handle(h, "add", func(_ context.Context, a adding) (int, error) { return a.A + a.B, nil })
	Handle(h, "fail", func(context.Context, None) (None, error) {
		return None{}, errors.New("it cannot be done\nfor two reasons")
	})
	Handle(h, "wait", func(ctx context.Context, _ None) (None, error) { <-ctx.Done(); return None{}, ctx.Err() })
	s := Serve(l, h)
	t.Cleanup(s.Close)
	return path
}

func client(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAnAnswerForEachRequest(t *testing.T) {
	c := client(t, serve(t))
	for i := range 3 {
		var sum int
		if err := c.Ask(t.Context(), "add", adding{i, 2}, &sum); err != nil || sum != i+2 {
			t.Errorf("%d + 2: %d, %v", i, sum, err)
		}
	}
	if err := c.Ask(t.Context(), "fail", None{}, nil); err == nil || err.Error() != "it cannot be done\nfor two reasons" {
		t.Errorf("its error: %v", err)
	}
	if err := c.Ask(t.Context(), "subtract", None{}, nil); err == nil || err.Error() != `this gateway cannot do "subtract"; it knows add, fail, wait` {
		t.Errorf("what is not known: %v", err)
	}
	if err := c.Ask(t.Context(), "add", map[string]int{"C": 1}, nil); err == nil || !strings.Contains(err.Error(), `unknown field "C"`) {
		t.Errorf("an argument that is not known: %v", err)
	}
}

// raw sends a line as it is and returns the answer's error.
func raw(t *testing.T, c net.Conn, line string) string {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Write([]byte(line)); err != nil {
		t.Fatal(err)
	}
	var a Answer
	got, err := bufio.NewReader(c).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(got, &a)
	}
	if err != nil || a.Version != Version {
		t.Fatalf("answer %q: %v", got, err)
	}
	return a.Error
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestWhatIsNoRequest(t *testing.T) {
	path := serve(t)
	for line, want := range map[string]string{
		"hello\n":                       "a request is one JSON object in a line",
		"\n":                            "a request is one JSON object in a line",
		"[]\n":                          "a request is one JSON object in a line",
		`{"do":"add"}` + "\n":           "of version 0; this gateway speaks 1",
		`{"version":2,"do":"x"}` + "\n": "of version 2; this gateway speaks 1",
		`{"version":1,"do":"add","args":[1]}` + "\n":        "the arguments of add",
		`{"version":1,"do":"add","args":{"A":9e99}}` + "\n": "the arguments of add",
		strings.Repeat("x", maxRequest) + "\n":              fmt.Sprintf("at most %d bytes", maxRequest),
		strings.Repeat("x", maxRequest+1):                   fmt.Sprintf("at most %d bytes", maxRequest),
	} {
		if got := raw(t, dial(t, path), line); !strings.Contains(got, want) {
			t.Errorf("%.40q: %q, want %q", line, got, want)
		}
	}
}

// At the bound of connections the next one is told so, and has its turn when one of
// them has ended.
func TestConnectionsAreBounded(t *testing.T) {
	path := serve(t)
	conns := make([]*Client, maxConns)
	for i := range conns {
		conns[i] = client(t, path)
		if err := conns[i].Ask(t.Context(), "add", adding{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	one := dial(t, path)
	line, _ := bufio.NewReader(one).ReadString('\n')
	if !strings.Contains(line, "connections are open already: try again") {
		t.Errorf("one more: %q", line)
	}
	conns[0].Close()
	for {
		c := client(t, path)
		if c.Ask(t.Context(), "add", adding{}, nil) == nil {
			return
		}
		c.Close() // the other's end is not noticed yet
	}
}

// Close ends what waits.
func TestCloseEndsWhatIsAsked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan None)
	h := Handlers{}
	Handle(h, "wait", func(ctx context.Context, _ None) (None, error) { close(asked); <-ctx.Done(); return None{}, ctx.Err() })
	s := Serve(l, h)
	c := client(t, path)
	failed := make(chan error)
	go ask(c, failed)
	<-asked
	s.Close()
	if err := <-failed; err == nil {
		t.Error("it was answered")
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func ask(c *Client, failed chan<- error) { failed <- c.Ask(context.Background(), "wait", None{}, nil) }

// A client's own context ends its waiting.
func TestAClientGivesUp(t *testing.T) {
	c := client(t, serve(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Ask(ctx, "wait", None{}, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// "a stale socket of a killed gateway is replaced, a live one is an error"
func TestWhoMayListen(t *testing.T) {
	path := serve(t)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	if _, err := Listen(path); !errors.Is(err, ErrLive) {
		t.Errorf("where one listens: %v", err)
	}
	stale := filepath.Join(t.TempDir(), "stale.sock")
	l, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	if _, err := Dial(t.Context(), stale); err == nil || !strings.Contains(err.Error(), "is gone: it was killed") {
		t.Errorf("a stale socket: %v", err)
	}
	l, err = Listen(stale)
	if err != nil {
		t.Fatalf("in place of a stale one: %v", err)
	}
	_ = l.Close()
	if _, err := Dial(t.Context(), stale); err == nil || !strings.Contains(err.Error(), "no gateway listens at") {
		t.Errorf("no socket: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := Listen(file); err == nil {
		_ = l.Close()
		t.Error("a file was taken for a socket")
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("the file is gone")
	}
}
