package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"path/filepath"
	"runtime"
	"time"

	"sleight/internal/control"
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
	l, err := control.Listen(filepath.Join(dir, debugSocket))
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
