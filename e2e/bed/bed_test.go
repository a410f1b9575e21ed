package bed_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sleight/e2e/bed"
	"sleight/e2e/bed/faulty"
)

func TestMain(m *testing.M) {
	if err := bed.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// build makes a bed whose gateway is a plain router.
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

// echo answers connections in a namespace with what they say, until the test ends.
func echo(t *testing.T, n *bed.Namespace, addr netip.AddrPort) {
	t.Helper()
	l, err := n.Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go serveEcho(l, done)
	t.Cleanup(func() {
		l.Close()
		<-done
	})
}

func serveEcho(l net.Listener, done chan<- struct{}) {
	defer close(done)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.Copy(c, c)
		c.Close()
	}
}

// wantEcho sends a message through a new connection and returns the time that connecting took.
func wantEcho(t *testing.T, n *bed.Namespace, addr netip.AddrPort, message string) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	start := time.Now()
	c, err := n.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	defer c.Close()
	fmt.Fprint(c, message)
	c.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != message {
		t.Fatalf("echo from %s: %q, %v; want %q", addr, got, err, message)
	}
	return took
}

func backendPorts(i int) []netip.AddrPort {
	v4, v6 := bed.BackendAddrs(i)
	return []netip.AddrPort{netip.AddrPortFrom(v4, 7), netip.AddrPortFrom(v6, 7)}
}

func TestAttackerReachesEveryBackendThroughTheGateway(t *testing.T) {
	b := build(t, bed.Config{Backends: 3})
	for i, host := range b.Backends {
		for _, addr := range backendPorts(i) {
			echo(t, host, addr)
			wantEcho(t, b.Attacker, addr, "hello")
		}
	}
}

func TestBackendOwnsTheClaimedPrefixes(t *testing.T) {
	b := build(t, bed.Config{})
	if err := b.OwnClaimed(0); err != nil {
		t.Fatal(err)
	}
	via4, via6 := bed.BackendAddrs(0)
	for _, r := range []struct {
		to  netip.Prefix
		via netip.Addr
	}{{bed.Claimed4, via4}, {bed.Claimed6, via6}} {
		if err := b.Gateway.AddRoute(r.to, r.via); err != nil {
			t.Fatal(err)
		}
	}
	echo(t, b.Backends[0], netip.MustParseAddrPort("[::]:7"))
	wantEcho(t, b.Attacker, netip.MustParseAddrPort("203.0.113.77:7"), "v4")
	wantEcho(t, b.Attacker, netip.MustParseAddrPort("[2001:db8:113::abcd]:7"), "v6")
}

func TestWiresDelayBothSidesOfTheGateway(t *testing.T) {
	client, backend := faulty.Delay(20*time.Millisecond), faulty.Delay(10*time.Millisecond)
	b := build(t, bed.Config{ClientWire: &client, BackendWire: &backend})
	for _, addr := range backendPorts(0) {
		echo(t, b.Backends[0], addr)
		wantEcho(t, b.Attacker, addr, "neighbours are known now")
		best := time.Hour // a busy machine may be late with some
		for range 5 {
			best = min(best, wantEcho(t, b.Attacker, addr, "hello"))
		}
		if best < 30*time.Millisecond || best > 40*time.Millisecond {
			t.Errorf("connecting to %s took %v, want 30 ms", addr, best)
		}
	}
}

func TestCommandRunsInTheNamespace(t *testing.T) {
	b := build(t, bed.Config{})
	out, err := b.Gateway.Command(t.Context(), "cat", "/proc/self/net/dev").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, dev := range []string{bed.ClientsDevice, bed.BackendDevice(0)} {
		if !containsLine(out, dev) {
			t.Errorf("device %s is not in:\n%s", dev, out)
		}
	}
}
