package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"sleight/redirect"
)

// debugSocket is the name of the socket in state.dir where debug.pprof listens.
const debugSocket = "pprof.sock"

// counts is what lives in the gateway now; with no client about, each goes back to
// what it was.
type counts struct {
	Flows      int `json:"flows"`
	DecoyFlows int `json:"decoy_flows"` // that the netstack was told of
	Endpoints  int `json:"endpoints"`   // that the netstack knows, in TIME-WAIT too
	Goroutines int `json:"goroutines"`
}

func countsOf(g *redirect.Gateway, d redirectDecoy) counts {
	s := d.Stats()
	return counts{Flows: g.Flows(), DecoyFlows: s.Flows, Endpoints: s.Registered, Goroutines: runtime.NumGoroutine()}
}

// serveDebug offers profiles and counts to whoever may open the socket: the user
// that the gateway runs as. The server is closed by the caller.
func serveDebug(dir string, now func() counts) (*http.Server, error) {
	l, err := listenPrivately(filepath.Join(dir, debugSocket))
	if err != nil {
		return nil, fmt.Errorf("debug.pprof: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/counts", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(now())
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go serveOn(s, l)
	return s, nil
}

func serveOn(s *http.Server, l net.Listener) { _ = s.Serve(l) }

// listenPrivately listens on a unix socket that is its owner's alone from the
// moment when it exists, in place of one that a killed gateway has left.
func listenPrivately(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("%s is another gateway's: stop it, or choose another state.dir", path)
	} else if errors.Is(err, unix.ECONNREFUSED) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	return net.Listen("unix", path)
}
