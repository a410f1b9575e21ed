package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sleight/e2e/bed"
	"sleight/e2e/bed/faulty"
	"sleight/internal/evidence"
)

// badWire loses, reorders, repeats, damages and delays, from the first SYN on.
func badWire(seed uint64) *faulty.Config {
	c := faulty.Both(seed, faulty.Faults{
		Loss: .02, Reorder: .05, Duplicate: .01, Flip: .01,
		Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond,
	})
	c.FromSYN = true
	return &c
}

// Transfers of 5 MB each way over a bad wire on either side of the gateway, in each
// mode and both families: every byte arrives as it was sent, and nobody is reset.
func TestTransfersOverBadWires(t *testing.T) {
	done := 0
	var seen damage
	for i, mode := range []string{"keep", "client", "nat"} {
		n := 1 + i%2
		if full {
			n = 17 // 51 in all
		}
		t.Run(mode, func(t *testing.T) {
			b := newBed(t, bed.Config{ClientWire: badWire(uint64(2*i + 1)), BackendWire: badWire(uint64(2*i + 2))})
			if mode == "keep" {
				if err := b.OwnClaimed(0); err != nil {
					t.Fatal(err)
				}
			}
			serveWeb(t, b)
			g := start(t, b, httpConfig(mode)+"replay: {timeout: 20s}\n")
			for range n {
				transferBothWays(t, b, []string{"203.0.113.7:80", "[2001:db8:113::7]:80"}[done%2])
				done++
			}
			g.wantSwitches(n, "ok")
			g.stop()
			seen.add(t, b, g)
		})
	}
	// A flipped bit in an Ethernet header is nobody's: the frame is not for the host.
	if seen.gateway == 0 || seen.s+seen.d2 == 0 {
		t.Errorf("of %d damaged frames the gateway has counted %d, the kernels %d", seen.damaged, seen.gateway, seen.s+seen.d2)
	}
	figure(t, "%d connections, 5 MB there and 20 MB back on each, all as they were sent; %d of %d frames damaged; counted: gateway %d, S %d, D2 %d",
		done, seen.damaged, seen.frames, seen.gateway, seen.s, seen.d2)
}

// transferBothWays is one switched connection with 5 MB up and 20 MB down.
func transferBothWays(t *testing.T, b *bed.Bed, addr string) {
	t.Helper()
	c := dial(t, b, addr)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * time.Minute))
	r := bufio.NewReader(c)
	part := bulk[:5<<20]
	want := fmt.Sprintf("%d %x\n", len(part), sha256.Sum256(part))
	if _, body := ask(t, c, r, "PUT", "/up", "User-Agent: "+exploit+"\r\n", part); string(body) != want {
		t.Fatalf("upload to %s: %q, want %q", addr, body, want)
	}
	if _, body := ask(t, c, r, "GET", "/bulk", "Range-Is-Ignored: yes\r\n", nil); !bytes.Equal(body, bulk) {
		t.Fatalf("the download from %s differs", addr)
	}
}

// A backend that is down costs the client nothing.
func TestBackendThatIsDown(t *testing.T) {
	eachCell(t, func(t *testing.T, mode, addr string) {
		b := newBed(t, bed.Config{})
		if mode == "keep" {
			if err := b.OwnClaimed(0); err != nil {
				t.Fatal(err)
			}
		}
		g := start(t, b, httpConfig(mode))
		c := dial(t, b, addr)
		r := bufio.NewReader(c)
		for range 3 {
			if _, body := ask(t, c, r, "GET", "/", "User-Agent: "+exploit+"\r\n", nil); string(body) != "the decoy's page\n" {
				t.Fatalf("got %q", body)
			}
		}
		g.wantSwitches(1, "refused")
	})
}

// The same client port against four decoy addresses on one backend: in keep and nat
// all live, in client the others are refused and stay with the decoy; none is reset.
func TestOnePortAgainstSeveralDecoyAddresses(t *testing.T) {
	for mode, result := range map[string]string{"keep": "ok", "nat": "ok", "client": "collision"} {
		t.Run(mode, func(t *testing.T) {
			b := newBed(t, bed.Config{})
			if mode == "keep" {
				if err := b.OwnClaimed(0); err != nil {
					t.Fatal(err)
				}
			}
			serveWeb(t, b)
			g := start(t, b, httpConfig(mode))
			pages := []string{"the real host's page\n", "the decoy's page\n"}
			conns := onePort(t, b, "203.0.113.7:80", "203.0.113.8:80", "203.0.113.9:80", "203.0.113.10:80")
			for range 2 { // all are opened and switched, then all are asked again
				for i, c := range conns {
					want := pages[0]
					if i > 0 && result != "ok" {
						want = pages[1]
					}
					if _, body := ask(t, c.Conn, c.r, "GET", "/", "User-Agent: "+exploit+"\r\n", nil); string(body) != want {
						t.Errorf("%v: %q, want %q", c.RemoteAddr(), body, want)
					}
				}
			}
			for i, e := range g.All("switch") {
				if i > 0 && e.Switch.Result != result {
					t.Errorf("switch %d: %+v, want %s", i, *e.Switch, result)
				}
			}
		})
	}
}

// caller is a connection and what is read from it.
type caller struct {
	net.Conn
	r *bufio.Reader
}

// onePort connects to several addresses from one port.
func onePort(t *testing.T, b *bed.Bed, addrs ...string) (conns []caller) {
	t.Helper()
	for _, dst := range addrs {
		c, err := b.Attacker.DialWith(t.Context(), &net.Dialer{
			LocalAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, 2), Port: 40404}, Control: reuse,
		}, "tcp", dst)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(60 * time.Second))
		conns = append(conns, caller{c, bufio.NewReader(c)})
	}
	return conns
}

// reuse lets several connections leave from one port.
func reuse(_, _ string, c syscall.RawConn) (err error) {
	cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
	return errors.Join(cerr, err)
}

// switchOnce makes one switched connection and closes it.
func switchOnce(t *testing.T, b *bed.Bed, addr string) {
	c := dial(t, b, addr)
	defer c.Close()
	if _, body := ask(t, c, bufio.NewReader(c), "GET", "/", "User-Agent: "+exploit+"\r\n", nil); string(body) != "the real host's page\n" {
		t.Errorf("got %q", body)
	}
}

// Many connections, one after another and at once: none fails, and as many
// switches are reported as the real host has served.
func TestManyConnections(t *testing.T) {
	sequence, atOnce := 200, 50
	if full {
		sequence, atOnce = 2000, 500
	}
	eachCell(t, func(t *testing.T, mode, addr string) {
		b := newBed(t, bed.Config{})
		if mode == "keep" {
			if err := b.OwnClaimed(0); err != nil {
				t.Fatal(err)
			}
		}
		web := serveWeb(t, b)
		g := start(t, b, httpConfig(mode)+"limits: {flows_per_client: 100000}\nreplay: {timeout: 20s}\n")
		for range sequence {
			switchOnce(t, b, addr)
		}
		var wg sync.WaitGroup
		for range atOnce {
			wg.Go(func() { switchOnce(t, b, addr) })
		}
		wg.Wait()
		g.wait("switch", func(*evidence.Event) bool { return len(g.All("switch")) >= sequence+atOnce })
		g.wantSwitches(sequence+atOnce, "ok")
		if got := len(web.seen); got != sequence+atOnce {
			t.Errorf("the real host has served %d requests, want %d", got, sequence+atOnce)
		}
		figure(t, "%d switched in sequence and %d at once, %d served by the real host", sequence, atOnce, len(web.seen))
	})
}
