package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"sleight/e2e/bench/subject"
)

// profiler keeps CPU profiles of the gateway while it is measured.
type profiler struct{ dir string }

// during records one measurement of a subject that has profiles, if profiles are wanted.
// What it returns waits for the profile.
func (p profiler) during(ctx context.Context, m measure, s *subject.Running, sp span) (wait func() error) {
	if p.dir == "" || s.Profiles() == "" {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	file := filepath.Join(p.dir, fmt.Sprintf("%s-%s-%d.pprof", s.Name, m.do, m.streams))
	go p.record(ctx, s.Profiles(), file, int((sp.warm+sp.counted).Seconds())+1, done)
	return func() error { return <-done }
}

func (p profiler) record(ctx context.Context, socket, file string, seconds int, done chan<- error) {
	done <- func() error {
		c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}}
		defer c.CloseIdleConnections()
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://gateway/debug/pprof/profile?seconds=%d", seconds), nil)
		if err != nil {
			return err
		}
		a, err := c.Do(q)
		if err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		defer a.Body.Close()
		if err := os.MkdirAll(p.dir, 0o755); err != nil {
			return err
		}
		f, err := os.Create(file)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(f, a.Body)
		return err
	}()
}
