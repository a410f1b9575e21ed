package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sleight/e2e/bed"
	"sleight/internal/evidence"
	"sleight/tun/kernel"
)

// moves moves bulk both ways, and returns how much that was, in bytes.
func (g *gateway) moves(c net.Conn, r *bufio.Reader) uint64 {
	g.Helper()
	part := bulk[:million]
	wantUpload(g.T, c, r, part)
	if _, body := ask(g.T, c, r, "GET", millionPath, "", nil); !bytes.Equal(body, part) {
		g.Fatal("the download differs")
	}
	return 2 * uint64(len(part))
}

// handsDown moves bulk until the kernel has the flow, where it can, and returns how much
// that was.
func (g *gateway) handsDown(b *bed.Bed, c net.Conn, r *bufio.Reader) (moved uint64) {
	g.Helper()
	g.until("the kernel has the flow", func() bool {
		moved += g.moves(c, r)
		return g.carried(b).Carried == 1 || !kernelCarries()
	})
	return moved
}

// handedDown does the same, and moves as much again.
func (g *gateway) handedDown(b *bed.Bed, c net.Conn, r *bufio.Reader) (moved uint64) {
	g.Helper()
	return g.handsDown(b, c, r) + g.moves(c, r)
}

// kernelCarries reports whether a gateway of these tests has the kernel carry flows.
func kernelCarries() bool { return kernel.Probe() == nil && os.Getenv("SLEIGHT_KERNEL") != "off" }

// end is how a connection ends for S.
func end(c net.Conn, r *bufio.Reader, patience time.Duration) string {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, err := r.ReadByte()
	switch {
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "silence"
	}
	return fmt.Sprint(err)
}

// Whatever ends or disturbs a flow finds one that the kernel carries as it finds any
// other: the operator, a reload that takes the backend away, the gateway's end and its
// crash. The books have what the kernel moved.
func TestACarriedFlowEndsAsAnyOther(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*gateway, *bed.Bed, net.Conn, *bufio.Reader) (seen string)
		want string
	}{
		"kill": {func(g *gateway, b *bed.Bed, c net.Conn, r *bufio.Reader) string {
			id := g.All("switch")[0].FlowID
			if out, code := sleight(g.T, b.Gateway, "kill", "-c", g.file("sleight.yaml"), strconv.FormatUint(id, 10)); code != 0 {
				g.Errorf("kill: %s", out)
			}
			return end(c, r, patience)
		}, "reset, killed"},
		"reload": {func(g *gateway, b *bed.Bed, c net.Conn, r *bufio.Reader) string {
			config := httpConfig("client")
			config = config[:strings.Index(config, "backends:")]
			if e := g.reloads(config); e.State != "reloaded" {
				g.Errorf("%+v", e)
			}
			g.handedDown(b, c, r)
			_ = c.Close()
			g.until("both ends have closed", func() bool { return g.carried(b).Carried == 0 })
			g.stop()
			return "it goes on"
		}, "it goes on, shutdown"},
		"the gateway's end": {func(g *gateway, _ *bed.Bed, c net.Conn, r *bufio.Reader) string {
			g.stop()
			return end(c, r, 2*time.Second)
		}, "silence, shutdown"},
		"the gateway's crash": {func(g *gateway, _ *bed.Bed, c net.Conn, r *bufio.Reader) string {
			g.kill()
			_, _ = c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
			return end(c, r, 2*time.Second)
		}, "silence, nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, bed.Config{Ordered: true})
			serveWeb(t, b)
			g := start(t, b, httpConfig("client"))
			conn, r := talking(t, b, "203.0.113.7:80")
			moved := g.handedDown(b, conn, r)
			seen := c.do(g, b, conn, r)
			why := "nothing"
			if name != "the gateway's crash" {
				e := g.wait("flow_end", func(*evidence.Event) bool { return true }).FlowEnd
				why = e.Reason
				if n := e.BytesToServer + e.BytesToClient; n < moved {
					t.Errorf("flow_end has %d bytes of %d", n, moved)
				}
			}
			if got := seen + ", " + why; got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// A router's word on a path that has become small reaches the host that it concerns
// while the kernel carries the flow, from either side, and bulk goes on.
func TestAPathBecomesSmallUnderACarriedFlow(t *testing.T) {
	for i, at := range []string{"S", "D2"} {
		for v, addr := range []string{"203.0.113.7:80", "[2001:db8:113::7]:80"} {
			t.Run(fmt.Sprintf("near %s v%d", at, 4+2*v), func(t *testing.T) {
				r := newRouted(t, "client")
				serveWebIn(t, r.d2)
				g := start(t, r.Bed, strings.Replace(httpConfig("client"), `[10.0.2.2, "fd00:2::2"]`, `[10.0.20.2, "fd00:20::2"]`, 1))
				c := r.dialAs(t, v, 0, addr)
				in := bufio.NewReader(c)
				ask(t, c, in, "GET", "/", "User-Agent: "+exploit+"\r\n", nil)
				g.handsDown(r.Bed, c, in)
				before := g.carried(r.Bed).HandDowns
				r.narrow(t, []int{1280, 1500}[i], []int{1500, 1280}[i])
				for range 3 {
					g.moves(c, in)
				}
				if after := g.carried(r.Bed).HandDowns; kernelCarries() && after == before {
					t.Error("nothing has brought the flow back")
				}
			})
		}
	}
}
