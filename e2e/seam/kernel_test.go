package seam_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"sleight/e2e/bed"
	"sleight/e2e/bed/faulty"
	"sleight/e2e/seam"
)

func TestMain(m *testing.M) {
	if err := bed.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if _, err := bed.OneCPU(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// faults are those that the gateway is tested with.
var faults = faulty.Faults{
	Loss: 0.02, Reorder: 0.05, Duplicate: 0.01, Flip: 0.01,
	Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond,
}

// What the checker finds must not be what any two Linux hosts do. So a real kernel
// talks to another one, with nothing but a router between them, and no anomaly is
// found.
func TestTwoKernelsHaveNoAnomaly(t *testing.T) {
	near, far, bad := faulty.Delay(20*time.Millisecond), faulty.Delay(100*time.Millisecond), faulty.Both(7, faults)
	bad.FromSYN = true
	// The wire is a program that a busy machine keeps waiting; then the servers probe.
	paused := seam.Options{Lossless: true, Jitter: time.Second}
	tests := []struct {
		name   string
		wire   *faulty.Config
		sysctl string // written 0 at S
		o      seam.Options
		size   int64 // of a transfer, in bytes
	}{
		{name: "no wire", o: paused, size: 3 << 20},
		{name: "20 ms", wire: &near, o: paused, size: 3 << 20},
		{name: "100 ms", wire: &far, o: paused, size: 1 << 20},
		{name: "no timestamps", sysctl: "tcp_timestamps", o: paused, size: 1 << 20},
		{name: "no SACK", sysctl: "tcp_sack", o: paused, size: 1 << 20},
		{name: "no scaling", sysctl: "tcp_window_scaling", o: paused, size: 1 << 20},
		{name: "faulty wire", wire: &bad, o: seam.Options{Corrupting: true}, size: 2 << 20},
		{name: "faulty wire, no SACK", wire: &bad, sysctl: "tcp_sack", o: seam.Options{Corrupting: true}, size: 256 << 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := build(t, bed.Config{ClientWire: tt.wire})
			// A kernel whose timer has run out tries another path by another flow label.
			if err := b.Backends[0].Sysctl("net/core/txrehash", "0"); err != nil {
				t.Fatal(err)
			}
			if tt.sysctl != "" {
				if err := b.Attacker.Sysctl("net/ipv4/"+tt.sysctl, "0"); err != nil {
					t.Fatal(err)
				}
			}
			report := capture(t, b, tt.o, func(addr netip.AddrPort) {
				for _, how := range []string{"up", "down", "turns", "abort"} {
					talk(t, b, addr, how, tt.size)
				}
			})
			if !report.OK() || report.Stats.Flows != 8 {
				t.Errorf("%d flows, want 8, and no anomaly:\n%v", report.Stats.Flows, report)
			}
			t.Log(report)
		})
	}
}

func build(t *testing.T, cfg bed.Config) *bed.Bed {
	t.Helper()
	b, err := bed.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := b.Forward(); err != nil {
		t.Fatal(err)
	}
	return b
}

// capture runs talks in both families and checks what S's device saw.
func capture(t *testing.T, b *bed.Bed, o seam.Options, talks func(netip.AddrPort)) *seam.Report {
	t.Helper()
	file := filepath.Join(t.TempDir(), "s.pcapng")
	c, err := b.Attacker.Capture(bed.AttackerDevice, file)
	if err != nil {
		t.Fatal(err)
	}
	v4, v6 := bed.BackendAddrs(0)
	for _, a := range []netip.Addr{v4, v6} {
		talks(netip.AddrPortFrom(a, 7000))
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	o.Server = func(a netip.Addr) bool { return a == v4 || a == v6 }
	report, err := seam.CheckFile(file, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// talk is one connection from S to the backend.
func talk(t *testing.T, b *bed.Bed, addr netip.AddrPort, how string, size int64) {
	t.Helper()
	l, err := b.Backends[0].Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go serve(l, how, size, served)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := b.Attacker.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	err = speak(c.(*net.TCPConn), how, size)
	if err != nil {
		t.Errorf("%s: S: %v", how, err)
	}
	if err := <-served; err != nil {
		t.Errorf("%s: the server: %v", how, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// speak is S's part.
func speak(c *net.TCPConn, how string, size int64) error {
	defer c.Close()
	switch how {
	case "up":
		if _, err := io.CopyN(c, zero{}, size); err != nil {
			return err
		}
		return closed(c)
	case "turns":
		for range 20 {
			if err := turn(c); err != nil {
				return err
			}
		}
		return closed(c)
	}
	if how == "abort" {
		return aborted(c)
	}
	_, err := io.Copy(io.Discard, c)
	return err
}

// aborted makes the server abort and waits for its RST.
func aborted(c *net.TCPConn) error {
	if _, err := c.Write([]byte("abort")); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("%w, want a reset", err)
	}
	return nil
}

// closed ends S's half and waits for the server's.
func closed(c *net.TCPConn) error {
	if err := c.CloseWrite(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, c)
	return err
}

func turn(c *net.TCPConn) error {
	if _, err := c.Write(make([]byte, 300)); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 4096))
	return err
}

// serve is the server's part in one connection.
func serve(l net.Listener, how string, size int64, done chan<- error) {
	c, err := l.Accept()
	if err != nil {
		done <- err
		return
	}
	done <- answer(c.(*net.TCPConn), how, size)
}

func answer(c *net.TCPConn, how string, size int64) error {
	defer c.Close()
	var err error
	switch how {
	case "up":
		_, err = io.Copy(io.Discard, c)
	case "down":
		_, err = io.CopyN(c, zero{}, size)
	case "turns":
		for err == nil {
			if _, err = io.ReadFull(c, make([]byte, 300)); err == nil {
				_, err = c.Write(make([]byte, 4096))
			}
		}
		if err == io.EOF {
			err = nil
		}
	case "abort":
		if _, err = io.ReadFull(c, make([]byte, 5)); err == nil {
			err = c.SetLinger(0)
		}
	}
	return err
}

// zero is an endless stream.
type zero struct{}

func (zero) Read(b []byte) (int, error) { clear(b); return len(b), nil }
