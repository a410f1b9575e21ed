package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sleight/e2e/bed"
	"sleight/internal/pcap"
	"sleight/stack/wire"
)

// million is a transfer of 1 MB, and where it is fetched.
const (
	million     = 1_000_000
	millionPath = "/1000000"
)

// lastWord is the trigger of a switch at the end of an upload.
const lastWord = "the last word"

// mtuConfig is httpConfig with room to record an upload, and a page of 1 MB.
func mtuConfig(t *testing.T, mode string) string {
	t.Helper()
	page := filepath.Join(t.TempDir(), "page")
	if err := os.WriteFile(page, bulk[:million], 0o600); err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(
		`pages: [`, fmt.Sprintf(`pages: [{path: %s, file: %q}, `, millionPath, page),
		`stream contains "() {"`, fmt.Sprintf(`stream contains "() {" or last contains %q`, lastWord),
	).Replace(httpConfig(mode)) + "limits: {record: 2MiB, decoy_record: 2MiB, held: 1MiB}\nreplay: {timeout: 10s}\n"
}

// Path MTU discovery works in every mode, from either side, before and after the
// switch: "None names D2 to S, nor in nat S to D2" (TCP.md, 14).
func TestPathMTU(t *testing.T) {
	for _, mode := range []string{"keep", "client", "nat"} {
		t.Run(mode, func(t *testing.T) {
			r := newRouted(t, mode)
			serveWebIn(t, r.d2)
			config := mtuConfig(t, mode)
			if mode != "keep" { // there the backend is the router before D2
				config = strings.Replace(config, `[10.0.2.2, "fd00:2::2"]`, `[10.0.20.2, "fd00:20::2"]`, 1)
			}
			g := start(t, r.Bed, config)
			watch := r.watch(t)
			n := 0
			for i, at := range []string{"S", "D2"} {
				r.narrow(t, []int{1280, 1500}[i], []int{1500, 1280}[i])
				for v, family := range []string{"203.0.113.%d:80", "[2001:db8:113::%d]:80"} {
					for j, talk := range []func(*testing.T, net.Conn){afterTheSwitch, beforeTheSwitch} {
						// Addresses of its own at both ends: kernels remember the MTU of a path.
						c := r.dialAs(t, v, 2*i+j, fmt.Sprintf(family, 10*i+j))
						t.Run(fmt.Sprintf("near %s v%d %s", at, 4+2*v, []string{"after", "before"}[j]), func(t *testing.T) { talk(t, c) })
						n++
					}
				}
			}
			g.wantSwitches(n, "ok")
			watch.check(t, mode)
		})
	}
}

// The gateway's own link to the backend may be the small one: its kernel would tell
// S so itself, in its own name and about D2 (FACTS.md), so nothing that is too
// large may get there.
func TestSmallLinkOfTheGateway(t *testing.T) {
	for _, mode := range []string{"keep", "client", "nat"} {
		t.Run(mode, func(t *testing.T) {
			b := newBed(t, bed.Config{})
			if mode == "keep" {
				if err := b.OwnClaimed(0); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Gateway.SetMTU(bed.BackendDevice(0), 1280); err != nil {
				t.Fatal(err)
			}
			serveWeb(t, b)
			g := start(t, b, mtuConfig(t, mode))
			c, err := b.Attacker.Capture(bed.AttackerDevice, filepath.Join(t.TempDir(), "s.pcapng"))
			if err != nil {
				t.Fatal(err)
			}
			for _, addr := range []string{"203.0.113.7:80", "[2001:db8:113::7]:80"} {
				afterTheSwitch(t, dial(t, b, addr))
				beforeTheSwitch(t, dial(t, b, addr))
			}
			g.wantSwitches(4, "ok")
			if n := wantUnnamed(t, c, behind); n > 0 {
				t.Errorf("S has seen %d ICMP errors", n)
			}
		})
	}
}

// dialAs connects from another address of S's network, which S owns.
func (r *routed) dialAs(t *testing.T, family, n int, addr string) net.Conn {
	t.Helper()
	p := netip.MustParsePrefix(fmt.Sprintf([]string{"192.0.2.%d/24", "2001:db8:2::%d/64"}[family], 100+n))
	if err := r.s.AddAddr("eth0", p); err != nil {
		t.Fatal(err)
	}
	c, err := r.s.DialFrom(t.Context(), "tcp", netip.AddrPortFrom(p.Addr(), 0), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// afterTheSwitch is 1 MB each way with the real host.
func afterTheSwitch(t *testing.T, c net.Conn) {
	t.Helper()
	r := bufio.NewReader(c)
	if _, body := ask(t, c, r, "GET", millionPath, "User-Agent: "+exploit+"\r\n", nil); !bytes.Equal(body, bulk[:million]) {
		t.Fatal("the download from the real host differs")
	}
	wantUpload(t, c, r, bulk[:million])
}

// beforeTheSwitch is 1 MB each way with the decoy; what was sent up is replayed to
// the real host, which tells what it got.
func beforeTheSwitch(t *testing.T, c net.Conn) {
	t.Helper()
	r := bufio.NewReader(c)
	res, body := ask(t, c, r, "GET", millionPath, "", nil)
	if !bytes.Equal(body, bulk[:million]) || res.Header.Get("Server") != "nginx/1.22.1" {
		t.Fatalf("the download from the decoy differs: %v", res.Header)
	}
	wantUpload(t, c, r, append(bytes.Clone(bulk[:million-len(lastWord)]), lastWord...))
}

func wantUpload(t *testing.T, c net.Conn, r *bufio.Reader, part []byte) {
	t.Helper()
	want := fmt.Sprintf("%d %x\n", len(part), sha256.Sum256(part))
	if _, body := ask(t, c, r, "PUT", "/up", "", part); string(body) != want {
		t.Fatalf("upload: %q, want %q", body, want)
	}
}

// behind is everything behind the gateway.
var behind = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

// watches are the captures at both ends.
type watches struct{ s, d2 *bed.Capture }

func (r *routed) watch(t *testing.T) *watches {
	t.Helper()
	dir := t.TempDir()
	s, err := r.s.Capture("eth0", filepath.Join(dir, "s.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	d2, err := r.d2.Capture("eth0", filepath.Join(dir, "d2.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = s.Stop(), d2.Stop() })
	return &watches{s, d2}
}

// check reads both captures: no packet, and no quote in an error, has the other
// end's address.
func (w *watches) check(t *testing.T, mode string) {
	t.Helper()
	if n := wantUnnamed(t, w.s, behind); n == 0 {
		t.Error("S has seen no ICMP error: nothing was proved")
	}
	before := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:2::/64")}
	if mode != "nat" {
		before = nil // D2 sees S's address there
	}
	if n := wantUnnamed(t, w.d2, before); n == 0 {
		t.Error("D2 has seen no ICMP error: nothing was proved")
	}
}

// wantUnnamed looks for addresses in every packet of a capture, quotes included,
// and counts the ICMP errors that came in.
func wantUnnamed(t *testing.T, c *bed.Capture, secret []netip.Prefix) (errors int) {
	t.Helper()
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(c.File)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := pcap.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, err := in.Next()
		if err == io.EOF {
			return errors
		}
		if err != nil {
			t.Fatal(err)
		}
		var ip wire.Packet
		var ic wire.ICMPError
		if wire.ParseIP(&ip, p.Data) != wire.OK {
			continue
		}
		named := []netip.Addr{ip.Src, ip.Dst}
		if wire.ParseICMPError(&ic, &ip) {
			named = append(named, ic.QuoteSrc.Addr(), ic.QuoteDst.Addr())
			if p.Direction == pcap.Inbound {
				errors++
			}
		}
		for _, a := range named {
			if slices.ContainsFunc(secret, func(s netip.Prefix) bool { return s.Contains(a) }) {
				t.Errorf("packet %d of %s names %v: %x", p.Number, filepath.Base(c.File), a, p.Data[:min(80, len(p.Data))])
			}
		}
	}
}
