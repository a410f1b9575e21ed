package lab

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"sleight/e2e/bed"
)

const (
	bulkSize  = 100_000_000 // bytes of the download
	bulkChunk = 250_000     // bytes written at a time
	// bulkPace is what the server leaves between two chunks, so that both captures keep up.
	bulkPace = 5 * time.Millisecond

	realPage = "uid=33(www-data) on the real host\n"
)

func realAddr() netip.Addr {
	v4, _ := bed.BackendAddrs(0)
	return v4
}

// line is one request in the real host's own log.
type line struct {
	client netip.AddrPort
	text   string
}

// realHost is the real host's web server.
type realHost struct {
	srv *http.Server
	log *os.File

	mu    sync.Mutex
	conns []netip.AddrPort // accepted, in order
	lines []line
	hash  string // of the download that it sent last
}

func startReal(ns *bed.Namespace, logFile string) (*realHost, error) {
	r := &realHost{}
	var err error
	if r.log, err = os.Create(logFile); err != nil {
		return nil, err
	}
	l, err := ns.Listen("tcp4", ":80")
	if err != nil {
		return nil, errors.Join(err, r.log.Close())
	}
	r.srv = &http.Server{Handler: r, ConnState: r.connState}
	go serveOn(r.srv, l)
	return r, nil
}

func serveOn(s *http.Server, l net.Listener) { _ = s.Serve(l) }

func (r *realHost) connState(c net.Conn, s http.ConnState) {
	if s != http.StateNew {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, netip.MustParseAddrPort(c.RemoteAddr().String()))
}

// ServeHTTP logs the request with the address that the server sees, and answers.
func (r *realHost) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	text := fmt.Sprintf("%s [%s] %q %q", q.RemoteAddr, time.Now().UTC().Format(time.RFC3339Nano),
		q.Method+" "+q.URL.Path, q.UserAgent())
	r.mu.Lock()
	r.lines = append(r.lines, line{netip.MustParseAddrPort(q.RemoteAddr), text})
	_, _ = fmt.Fprintln(r.log, text)
	r.mu.Unlock()
	w.Header().Set("Server", "real-host")
	if q.URL.Path == "/download" {
		r.bulk(w)
		return
	}
	_, _ = fmt.Fprint(w, realPage)
}

// bulk sends bytes that compress badly and remembers their hash.
func (r *realHost) bulk(w http.ResponseWriter) {
	w.Header().Set("Content-Length", fmt.Sprint(bulkSize))
	h, chunk, x := sha256.New(), make([]byte, bulkChunk), uint32(1)
	for sent := 0; sent < bulkSize; sent += len(chunk) {
		for i := range chunk {
			x = x*1664525 + 1013904223
			chunk[i] = byte(x >> 24)
		}
		_, _ = h.Write(chunk)
		if _, err := w.Write(chunk); err != nil {
			return
		}
		time.Sleep(bulkPace)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hash = fmt.Sprintf("%x", h.Sum(nil))
}

// seen returns the connections and log lines so far, and the download's hash.
func (r *realHost) seen() (conns []netip.AddrPort, lines []line, hash string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(conns, r.conns...), append(lines, r.lines...), r.hash
}

func (r *realHost) close() error { return errors.Join(r.srv.Close(), r.log.Close()) }
