package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// overSocket asks a server that listens on a unix socket.
func overSocket(t *testing.T, socket, path string) string {
	t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Get("http://gateway" + path)
	must(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	must(t, err)
	if res.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", path, res.Status)
	}
	return string(b)
}

func TestTheDebugSocketIsItsOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	socket := filepath.Join(dir, debugSocket)
	s, err := serveDebug(dir, func() counts { return counts{1, 2, 3, 4} })
	must(t, err)
	info, err := os.Stat(socket)
	must(t, err)
	if info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	var got counts
	must(t, json.Unmarshal([]byte(overSocket(t, socket, "/debug/counts")), &got))
	if want := (counts{1, 2, 3, 4}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if page := overSocket(t, socket, "/debug/pprof/goroutine?debug=1"); !strings.Contains(page, "serveOn") {
		t.Errorf("no goroutine profile: %s", page)
	}
	if _, err := serveDebug(dir, nil); err == nil || !strings.Contains(err.Error(), "another gateway's") {
		t.Errorf("beside another: %v", err)
	}
	must(t, s.Close())
	if _, err := os.Stat(socket); err == nil {
		t.Error("the socket is still there")
	}
}

func TestTheSocketOfAKilledGatewayIsReplaced(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, debugSocket))
	must(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	must(t, l.Close())
	s, err := serveDebug(dir, func() counts { return counts{} })
	must(t, err)
	must(t, s.Close())
}
