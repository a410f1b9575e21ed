package host

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// claimed looks for claimed prefixes that neighbours expect on a link, where
// somebody must answer for them, and for addresses of the machine inside.
func (e *examination) claimed(k *kernel) {
	for _, f := range k.families() {
		routes, err := k.routes(f, unix.RT_TABLE_MAIN)
		if err != nil {
			e.problem("claimed prefixes", "", "%v", err)
			return
		}
		for _, prefix := range of(f, e.plan.Claimed) {
			if dev, onLink := e.linkOf(k, f, routes, prefix); onLink {
				e.proxied(k, f, prefix, dev)
			} else {
				e.ok("claimed "+prefix.String(), "on no link of this machine: whoever routes it must send it here")
			}
			e.own(k, f, prefix)
		}
	}
}

// linkOf returns the device whose connected prefix holds or equals prefix.
func (e *examination) linkOf(k *kernel, family int, routes []netlink.Route, prefix netip.Prefix) (string, bool) {
	for _, r := range routes {
		to := prefixOf(r.Dst, family)
		if r.Type != unix.RTN_UNICAST || r.Gw != nil || len(r.MultiPath) > 0 || to.Bits() == 0 || to.Bits() > prefix.Bits() || !to.Contains(prefix.Addr()) {
			continue
		}
		l, err := k.LinkByIndex(r.LinkIndex)
		if err == nil && l.Attrs().Name != e.plan.ClientDoor {
			return l.Attrs().Name, true
		}
	}
	return "", false
}

// proxied asks whether the machine answers for a prefix that is on-link.
func (e *examination) proxied(k *kernel, family int, prefix netip.Prefix, dev string) {
	name := "claimed " + prefix.String()
	path := "net/ipv4/conf/" + dev + "/proxy_arp"
	fix := "sysctl -w net.ipv4.conf." + dev + ".proxy_arp=1"
	if family == unix.AF_INET6 {
		// IPv6 has no switch for whole prefixes: an entry for each address.
		if e.proxyEntries(k, prefix, dev) {
			e.ok(name, "on-link on %s, with proxy entries", dev)
			return
		}
		path, fix = "", fmt.Sprintf("sysctl -w net.ipv6.conf.%s.proxy_ndp=1 && ip -6 neigh add proxy %s dev %s", dev, prefix.Addr(), dev)
	}
	if v, err := k.sysctl(path); family == unix.AF_INET && err == nil && v == "1" {
		e.ok(name, "on-link on %s, which has proxy_arp", dev)
		return
	}
	e.problem(name, fix, "on-link on %s: neighbours ask who has these addresses, and nobody answers (IPv6: one entry for each address)", dev)
}

func (e *examination) proxyEntries(k *kernel, prefix netip.Prefix, dev string) bool {
	l, err := k.LinkByName(dev)
	if err != nil {
		return false
	}
	v, err := k.sysctl("net/ipv6/conf/" + dev + "/proxy_ndp")
	if err != nil || v != "1" {
		return false
	}
	entries, err := k.NeighProxyList(l.Attrs().Index, unix.AF_INET6)
	if err != nil {
		return false
	}
	for _, n := range entries {
		if a, ok := netip.AddrFromSlice(n.IP); ok && prefix.Contains(a) {
			return true
		}
	}
	return false
}

// own looks for the machine's own addresses in a claimed prefix: they are local
// before any rule of ours.
func (e *examination) own(k *kernel, family int, prefix netip.Prefix) {
	addrs, err := k.AddrList(nil, family)
	if err != nil {
		return
	}
	for _, a := range addrs {
		if p := prefixOf(a.IPNet, family); prefix.Contains(p.Addr()) {
			e.problem("claimed "+prefix.String(), "", "%s is an address of this machine: the kernel answers there, not the gateway", p.Addr())
		}
	}
}
