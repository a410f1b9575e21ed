package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sleight/e2e/bed"
)

// sources are the addresses that D2 may claim to be: its own, claimed ones, S's, one
// of the pool.
var sources = addrPorts("10.0.2.2:5000", "[fd00:2::2]:5000", "203.0.113.7:80", "[2001:db8:113::7]:80",
	"198.51.100.2:6000", "[2001:db8:51::2]:6000", "100.64.0.3:2000", "[2001:db8:64::3]:2000")

// sIs are S's addresses.
var sIs = addrPorts("198.51.100.2:7000", "[2001:db8:51::2]:7000")

func addrPorts(all ...string) (as []netip.AddrPort) {
	for _, a := range all {
		as = append(as, netip.MustParseAddrPort(a))
	}
	return as
}

// machine is what a gateway may change: every route, rule and device of the
// namespace, and forwarding.
func machine(t *testing.T, ns *bed.Namespace) (lines []string) {
	t.Helper()
	nl := ns.Netlink()
	links, err := nl.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		lines = append(lines, "device "+l.Attrs().Name)
	}
	for _, f := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := nl.RouteListFiltered(f, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
			if r.Table != unix.RT_TABLE_LOCAL {
				lines = append(lines, fmt.Sprintf("route %v table %d dev %s type %d proto %d", r.Dst, r.Table, names[r.LinkIndex], r.Type, r.Protocol))
			}
		}
		rules, err := nl.RuleList(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rules {
			lines = append(lines, fmt.Sprintf("rule %d v%d from %v to %v iif %s table %d proto %d", r.Priority, f, r.Src, r.Dst, r.IifName, r.Table, r.Protocol))
		}
	}
	for _, path := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		v, err := ns.ReadSysctl(path)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, path+" "+v)
	}
	slices.Sort(lines)
	return lines
}

// ours are the lines of routes and rules that have our protocol number.
func ours(lines []string) (found []string) {
	for _, l := range lines {
		if strings.HasSuffix(l, " proto 191") {
			found = append(found, l)
		}
	}
	return found
}

// keepBed is a bed whose backend owns the claimed addresses, behind a gateway that
// forwards without being asked to: what stops D2's packets is ours alone.
func keepBed(t *testing.T) *bed.Bed {
	t.Helper()
	b := newBed(t, bed.Config{})
	if err := errors.Join(b.OwnClaimed(0), b.Forward()); err != nil {
		t.Fatal(err)
	}
	serveWeb(t, b)
	return b
}

// talking is a connection that has been switched.
func talking(t *testing.T, b *bed.Bed, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c := dial(t, b, addr)
	r := bufio.NewReader(c)
	if _, body := ask(t, c, r, "GET", "/", "User-Agent: "+exploit+"\r\n", nil); string(body) != "the real host's page\n" {
		t.Fatalf("got %q", body)
	}
	return c, r
}

// wantContained checks that nothing of D2's reaches S: neither what it sends of its
// own, nor what an established connection of it has to say.
func wantContained(t *testing.T, b *bed.Bed) {
	t.Helper()
	c := atS(t, b)
	storm(t, b, sources, sIs)
	wantOnly(t, c)
}

// "SIGTERM takes everything back but what keeps backends contained […]; the last
// line says so; sleight down takes that too." (CONTRACT.md, 7)
func TestAfterSIGTERM(t *testing.T) {
	b := keepBed(t)
	before := machine(t, b.Gateway)
	g := start(t, b, httpConfig("keep"))
	conn, _ := talking(t, b, "203.0.113.7:80")
	fmt.Fprint(conn, "GET /bulk HTTP/1.1\r\nHost: x\r\n\r\n") // and D2 has much to say
	g.stop()
	lines := strings.Split(strings.TrimSpace(g.logged()), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, "taken back what was set up") || !strings.Contains(last, "ip rule add iif backend0 lookup 5391") {
		t.Errorf("the last line: %s", last)
	}
	wantContained(t, b)
	left := ours(machine(t, b.Gateway))
	for _, l := range left {
		if !strings.Contains(l, "rule 5390 v") && !strings.Contains(l, "rule 5389 v") && !strings.Contains(l, fmt.Sprintf("type %d", unix.RTN_BLACKHOLE)) {
			t.Errorf("left: %s", l)
		}
	}
	if len(left) == 0 {
		t.Error("nothing is left that contains the backend")
	}
	wantDown(t, b, g, before)
	// The machine forwards D2's packets now, as it did before: they can be seen.
	c := atS(t, b)
	n := storm(t, b, sources[:4], sIs)
	if seen := strangers(t, c); len(seen) < n {
		t.Errorf("with nothing in their way %d of %d packets came to S: nothing was proved", len(seen), n)
	}
}

// wantDown runs `sleight down` and wants the machine as it was.
func wantDown(t *testing.T, b *bed.Bed, g *gateway, before []string) {
	t.Helper()
	out, code := sleight(t, b.Gateway, "down", "-c", g.file("sleight.yaml"))
	if code != 0 || !strings.Contains(out, "taken back: ip rule add iif backend0") {
		t.Errorf("down: exit %d\n%s", code, out)
	}
	if d := cmp.Diff(before, machine(t, b.Gateway)); d != "" {
		t.Errorf("after down:\n%s", d)
	}
	if out, code := sleight(t, b.Gateway, "down", "-c", g.file("sleight.yaml")); code != 0 || !strings.Contains(out, "nothing to take back") {
		t.Errorf("down again: exit %d\n%s", code, out)
	}
}

// A killed gateway forwards nothing raw, in no mode; `down` cleans up, and so does
// the next start.
func TestAfterAKill(t *testing.T) {
	b := keepBed(t)
	before := machine(t, b.Gateway)
	dir := t.TempDir()
	var g *gateway
	for _, mode := range []string{"keep", "client", "nat"} {
		g = launch(t, b, dir, httpConfig(mode)) // over what the last one has left
		g.started()
		for _, addr := range []string{"203.0.113.7:80", "[2001:db8:113::7]:80"} {
			conn, _ := talking(t, b, addr)
			fmt.Fprint(conn, "GET /bulk HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		g.kill()
		wantContained(t, b)
		c := atS(t, b)
		inject(t, b.Attacker, netip.MustParseAddr("203.0.113.9"), forge(t, sIs[0], netip.MustParseAddrPort("203.0.113.9:80")))
		wantOnly(t, c) // nor does the kernel answer for a decoy
	}
	wantDown(t, b, g, before)
}

// "each one clear error that says what to do; […] the machine left as it was": a
// start that fails after its first device was made.
func TestAFailedStart(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(b *bed.Bed, dir string) error
		want  string
	}{
		"the second device's name is taken": {
			func(b *bed.Bed, _ string) error {
				return b.Gateway.Netlink().LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "sl1"}, PeerName: "other"})
			},
			"sleight: the name sl1 is taken by a device that is not a TUN: choose another tun.name, or remove it: ip link del sl1",
		},
		"the backend's device carries clients": {
			func(b *bed.Bed, _ string) error {
				return b.Gateway.AddRoute(netip.MustParsePrefix("192.0.2.0/24"), netip.MustParseAddr("10.0.2.2"))
			},
			"sleight: backend device backend0 also leads to 192.0.2.0/24, where no backend is",
		},
		"another's route in our table": {
			func(b *bed.Bed, _ string) error {
				return b.Gateway.Netlink().RouteAdd(&netlink.Route{
					Table: 5391, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Gw: net.IPv4(10, 0, 2, 2), Priority: 1,
				})
			},
			"table 5391 metric 1: file exists: remove it, or choose another table",
		},
		"no directory for the state": {
			func(_ *bed.Bed, dir string) error {
				return os.WriteFile(filepath.Join(dir, "state"), nil, 0o600)
			},
			"not a directory",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, bed.Config{})
			dir := t.TempDir()
			if err := errors.Join(b.OwnClaimed(0), c.spoil(b, dir)); err != nil {
				t.Fatal(err)
			}
			before := machine(t, b.Gateway)
			g := launch(t, b, dir, httpConfig("keep"))
			if code := g.ended(); code != 1 {
				t.Errorf("exit code %d", code)
			}
			if log := g.logged(); !strings.Contains(log, c.want) {
				t.Errorf("the log has no %q", c.want)
			}
			if d := cmp.Diff(before, machine(t, b.Gateway)); d != "" {
				t.Errorf("left:\n%s", d)
			}
			wantContained(t, b)
			if n := len(g.All("gateway")); n > 0 {
				t.Errorf("%d events of a gateway that never ran", n)
			}
		})
	}
}
