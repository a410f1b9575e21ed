package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"sleight/e2e/bed"
	"sleight/e2e/seam"
	"sleight/internal/evidence"
	"sleight/tun/kernel"
)

// carried is what the kernel has carried so far, as `sleight status` has it.
func (g *gateway) carried(b *bed.Bed) (k struct {
	Carried   int    `json:"carried"`
	HandDowns int    `json:"hand_downs"`
	Bytes     uint64 `json:"bytes"`
	Late      uint64 `json:"late"`
}) {
	g.Helper()
	out, code := sleight(g.T, b.Gateway, "status", "-c", g.file("sleight.yaml"), "--json")
	var s struct{ Kernel any }
	s.Kernel = &k
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 {
		g.Fatalf("status: %d, %v, %s", code, err, out)
	}
	return k
}

// Bulk both ways, with what the kernel takes of it carried there. In the midst of each
// transfer S says an urgent byte, which the kernel does not carry: the flow comes back to
// the gateway and is handed down anew at the next pause, again and again. Every byte
// arrives, S sees one host, everything in order, and the books are those of a gateway that
// has carried it all. A kernel that cannot carry leaves all of it to the gateway.
func TestTheKernelCarriesBulk(t *testing.T) {
	rounds := handDowns()
	eachCell(t, func(t *testing.T, mode, addr string) {
		b := newBed(t, bed.Config{Ordered: true})
		if mode == "keep" {
			if err := b.OwnClaimed(0); err != nil {
				t.Fatal(err)
			}
		}
		serveWeb(t, b)
		g := start(t, b, httpConfig(mode))
		file := filepath.Join(t.TempDir(), "s.pcapng")
		capture, err := b.Attacker.Capture(bed.AttackerDevice, file)
		if err != nil {
			t.Fatal(err)
		}
		c := &interrupting{Conn: dial(t, b, addr), t: t}
		r := bufio.NewReader(c)
		part := bulk[:3<<20]
		want := fmt.Sprintf("%d %x\n", len(part), sha256.Sum256(part))
		moved := uint64(0)
		for range rounds {
			if _, body := ask(t, c, r, "PUT", "/up", "User-Agent: "+exploit+"\r\n", part); string(body) != want {
				t.Fatalf("upload: %q, want %q", body, want)
			}
			_, body := ask(t, c, r, "GET", fmt.Sprintf("/%d", len(part)), "Range-Is-Ignored: yes\r\n", nil)
			if !bytes.Equal(body, part) {
				t.Fatal("the download differs")
			}
			moved += uint64(len(part) + len(body))
		}
		c.Close()
		g.wantSwitches(1, "ok")
		k := g.carried(b)
		g.until("the kernel carries nothing", func() bool { k = g.carried(b); return k.Carried == 0 })
		can := kernel.Probe() == nil && os.Getenv("SLEIGHT_KERNEL") != "off"
		if can && (k.HandDowns < rounds/2 || k.Bytes < 4<<20) || !can && k.Bytes > 0 || k.Late > 0 {
			t.Errorf("the kernel has carried %+v of %d bytes", k, moved)
		}
		g.stop()
		end := g.wait("flow_end", func(*evidence.Event) bool { return true })
		if n := end.FlowEnd.BytesToServer + end.FlowEnd.BytesToClient; n < moved || n > moved+moved/100 {
			t.Errorf("flow_end has %d bytes of %d", n, moved)
		}
		if err := capture.Stop(); err != nil {
			t.Fatal(err)
		}
		if report := lossless(t, file); !onlyProbes(report) || report.Stats.Flows != 1 {
			t.Errorf("%v", report)
		}
		figure(t, "%d of %d bytes by the kernel in %d hand-downs, nothing out of order", k.Bytes, moved, k.HandDowns)
	})
}

// onlyProbes reports whether a capture of bulk shows nothing but up to three segments that
// D2 sent again by itself: it probes where a processor stands still for a while (RFC 8985,
// section 7), through the gateway or past it.
func onlyProbes(r *seam.Report) bool {
	for kind, n := range r.Counts {
		if n > 0 && (kind != seam.Duplicate || n > 3) {
			return false
		}
	}
	return true
}

// handDowns is how many transfers each way are interrupted.
func handDowns() int {
	if full {
		return 60
	}
	return 12
}

// interrupting says an urgent byte after every other MiB that it has carried: Linux keeps
// it from the reader of the stream (RFC 6093, section 2).
type interrupting struct {
	net.Conn
	t    *testing.T
	mu   sync.Mutex
	n    int
	said int
}

func (c *interrupting) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.moved(n)
	return n, err
}

func (c *interrupting) Write(b []byte) (done int, err error) {
	for done < len(b) && err == nil {
		var n int
		n, err = c.Conn.Write(b[done:min(done+64<<10, len(b))])
		done += n
		c.moved(n)
	}
	return done, err
}

func (c *interrupting) moved(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n += n; c.n/(2<<20) == c.said {
		return
	}
	c.said = c.n / (2 << 20)
	raw, err := c.Conn.(*net.TCPConn).SyscallConn()
	if err == nil {
		err = errors.Join(err, raw.Write(func(fd uintptr) bool {
			e := unix.Sendto(int(fd), []byte("!"), unix.MSG_OOB, nil)
			if e != nil && e != unix.EAGAIN {
				c.t.Error(e)
			}
			return true
		}))
	}
	if err != nil {
		c.t.Error(err)
	}
}
