package host

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sleight/tun"
)

// bed is a gateway between a client and a backend, each in a namespace of its
// own:
//
//	client ns           gateway ns (the test's thread)          backend ns
//	s 192.0.2.2 ── cl0 192.0.2.1      be0 10.0.2.1 ── b 10.0.2.2
//	  fd00:1::2        fd00:1::1          fd00:2::1     fd00:2::2
type bed struct {
	t               *testing.T
	gateway         netns.NsHandle
	client, backend netns.NsHandle
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newBed moves the test's thread into a new namespace; it dies with the test.
func newBed(t *testing.T) *bed {
	t.Helper()
	runtime.LockOSThread()
	b := &bed{t: t}
	for _, ns := range []*netns.NsHandle{&b.client, &b.backend, &b.gateway} {
		h, err := netns.New() // and enters it
		must(t, err)
		*ns = h
		t.Cleanup(func() { h.Close() })
	}
	b.strict()
	b.wire("cl0", "s", b.client, "192.0.2.%d/24", "fd00:1::%d/64")
	b.wire("be0", "b", b.backend, "10.0.2.%d/24", "fd00:2::%d/64")
	b.in(b.client, func() { b.defaultVia("s", "192.0.2.1", "fd00:1::1") })
	b.in(b.backend, func() { b.defaultVia("b", "10.0.2.1", "fd00:2::1") })
	return b
}

// strict makes the kernel check every source address.
func (b *bed) strict() {
	for _, dev := range []string{"all", "default"} {
		b.sysctl("net/ipv4/conf/"+dev+"/rp_filter", "1")
		b.sysctl("net/ipv6/conf/"+dev+"/accept_dad", "0")
	}
}

func (b *bed) sysctl(path, value string) {
	b.t.Helper()
	must(b.t, os.WriteFile("/proc/sys/"+path, []byte(value), 0o644))
}

// in runs f in another namespace and comes back.
func (b *bed) in(ns netns.NsHandle, f func()) {
	b.t.Helper()
	must(b.t, netns.Set(ns))
	defer netns.Set(b.gateway)
	f()
}

func (b *bed) wire(near, far string, ns netns.NsHandle, nets ...string) {
	b.t.Helper()
	must(b.t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: near}, PeerName: far, PeerNamespace: netlink.NsFd(ns)}))
	b.address(near, 1, nets)
	b.in(ns, func() {
		b.sysctl("net/ipv6/conf/all/accept_dad", "0")
		b.sysctl("net/ipv6/conf/"+far+"/accept_dad", "0")
		b.address(far, 2, nets)
		b.up("lo")
	})
}

func (b *bed) address(dev string, host int, nets []string) {
	b.t.Helper()
	l := b.link(dev)
	for _, n := range nets {
		a, err := netlink.ParseAddr(fmt.Sprintf(n, host))
		must(b.t, err)
		a.Flags = unix.IFA_F_NODAD
		must(b.t, netlink.AddrAdd(l, a))
	}
	b.up(dev)
}

func (b *bed) link(dev string) netlink.Link {
	b.t.Helper()
	l, err := netlink.LinkByName(dev)
	must(b.t, err)
	return l
}

func (b *bed) up(dev string) {
	b.t.Helper()
	must(b.t, netlink.LinkSetUp(b.link(dev)))
}

func (b *bed) defaultVia(dev string, vias ...string) {
	b.t.Helper()
	for _, via := range vias {
		must(b.t, netlink.RouteAdd(&netlink.Route{LinkIndex: b.link(dev).Attrs().Index, Gw: net.ParseIP(via)}))
	}
}

// own makes the backend own a prefix, as keep asks for.
func (b *bed) own(prefix string) {
	b.t.Helper()
	b.in(b.backend, func() {
		must(b.t, netlink.RouteAdd(&netlink.Route{
			LinkIndex: b.link("lo").Attrs().Index, Dst: ipNet(netip.MustParsePrefix(prefix)),
			Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST,
		}))
	})
}

func (b *bed) door(name string) *tun.Door {
	b.t.Helper()
	d, err := tun.Open(tun.Config{Name: name, Queues: 1})
	must(b.t, err)
	b.t.Cleanup(func() { d.Close() })
	return d
}

// plan claims prefixes of both families and has backends of every mode, all
// behind the same device.
func (b *bed) plan() Plan {
	addrs := []netip.Addr{netip.MustParseAddr("10.0.2.2"), netip.MustParseAddr("fd00:2::2")}
	return Plan{
		ClientDoor:  "sleight0",
		BackendDoor: "sleight1",
		Claimed:     []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:113::/64")},
		Pool:        []netip.Prefix{netip.MustParsePrefix("100.64.0.0/28"), netip.MustParsePrefix("2001:db8:64::/124")},
		Backends: []Backend{
			{Name: "c", Addrs: addrs, Mode: Client},
			{Name: "n", Addrs: addrs, Mode: NAT},
			{Name: "k", Addrs: addrs, Mode: Keep, Door: "sleight2"},
		},
		Table:    5391,
		Priority: 5390,
		StateDir: b.t.TempDir(),
		Setup:    Manage,
	}
}

// snapshot is all routes, rules and the sysctls that we touch.
func (b *bed) snapshot() []string {
	b.t.Helper()
	var lines []string
	for _, f := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := netlink.RouteListFiltered(f, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		must(b.t, err)
		for _, r := range routes {
			if r.Table == unix.RT_TABLE_LOCAL || r.Dst != nil && (r.Dst.IP.IsLinkLocalUnicast() || r.Dst.IP.IsMulticast()) {
				continue // the kernel's own, and it takes its time
			}
			lines = append(lines, fmt.Sprintf("route %s table %d dev %d via %v metric %d type %d proto %d", prefixOf(r.Dst, f), r.Table, r.LinkIndex, r.Gw, r.Priority, r.Type, r.Protocol))
		}
		rules, err := netlink.RuleList(f)
		must(b.t, err)
		for _, r := range rules {
			lines = append(lines, fmt.Sprintf("rule %d v%d from %v to %v iif %s table %d proto %d", r.Priority, f, r.Src, r.Dst, r.IifName, r.Table, r.Protocol))
		}
	}
	for _, path := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/cl0/accept_ra", "ipv6/conf/cl0/forwarding", "ipv4/conf/be0/forwarding"} {
		v, err := os.ReadFile("/proc/sys/net/" + path)
		must(b.t, err)
		lines = append(lines, path+" "+strings.TrimSpace(string(v)))
	}
	slices.Sort(lines)
	return lines
}

// leads is where a packet from src to dst that came in on dev would go.
func (b *bed) leads(dev, src, dst string) string {
	b.t.Helper()
	routes, err := netlink.RouteGetWithOptions(net.ParseIP(dst), &netlink.RouteGetOptions{Iif: dev, SrcAddr: net.ParseIP(src)})
	if err != nil {
		return err.Error()
	}
	if routes[0].Type == unix.RTN_BLACKHOLE {
		return "blackhole"
	}
	l, err := netlink.LinkByIndex(routes[0].LinkIndex)
	must(b.t, err)
	return l.Attrs().Name
}
