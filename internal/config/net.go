package config

import (
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// placed is a prefix, and where it stands.
type placed struct {
	netip.Prefix
	at *yaml.Node
}

// special are addresses that no host in a network of its own can have.
var special = []struct {
	netip.Prefix
	name string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "the unspecified address"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast"},
	{netip.MustParsePrefix("::/128"), "the unspecified address"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4 written as IPv6"},
}

// specialName is what a prefix has in it that no host can have; empty: nothing.
func specialName(p netip.Prefix) string {
	for _, s := range special {
		if s.Overlaps(p) {
			return s.name
		}
	}
	return ""
}

func (d *decoder) prefix(n *yaml.Node, what string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(n.Value)
	if err != nil {
		a, aerr := netip.ParseAddr(n.Value)
		if aerr != nil || a.Zone() != "" {
			d.fail(n, "write one such as 203.0.113.0/24 or 2001:db8::/64", "%s: %q is not a prefix", what, n.Value)
			return p, false
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p != p.Masked() {
		d.fail(n, "write "+p.Masked().String(), "%s: %s has bits beyond its length", what, p)
		return p, false
	}
	return p, true
}

// prefixes reads a list in which none comes twice; at, if it is not nil, is told
// where they stand.
func (d *decoder) prefixes(dst *[]netip.Prefix, at *[]placed) key {
	return key{unit: "prefixes", read: func(what string, n *yaml.Node) {
		d.list(n, what, func(c *yaml.Node) {
			p, ok := d.prefix(c, what)
			switch {
			case !ok:
				return
			case slices.Contains(*dst, p):
				d.fail(c, "keep one", "%s: %s stands twice", what, p)
				return
			case at != nil:
				*at = append(*at, placed{p, c})
			}
			*dst = append(*dst, p)
		})
	}}
}

// claimable is prefixes that packets of peers are sent to.
func (d *decoder) claimable(dst *[]netip.Prefix, at *[]placed) key {
	k := d.prefixes(dst, at)
	read := k.read
	k.read = func(what string, n *yaml.Node) {
		read(what, n)
		for _, p := range *at {
			switch name := specialName(p.Prefix); {
			case p.Bits() == 0:
				d.fail(p.at, "name the prefixes that are routed to this machine", "%s: %s is every address there is", what, p)
			case name != "":
				d.fail(p.at, "choose another", "%s: %s has %s in it", what, p, name)
			}
		}
	}
	return k
}

// port reads a port in decimal.
func port(s string) (uint16, bool) {
	v, err := strconv.ParseUint(s, 10, 16)
	return uint16(v), err == nil && v > 0
}

func (d *decoder) ports(dst *[]Ports) key {
	return key{unit: "ports", read: func(what string, n *yaml.Node) {
		d.list(n, what, func(c *yaml.Node) {
			a, b, isRange := strings.Cut(c.Value, "-")
			if !isRange {
				b = a
			}
			first, ok1 := port(a)
			last, ok2 := port(b)
			r := Ports{first, last}
			switch {
			case c.Kind != yaml.ScalarNode || !ok1 || !ok2 || first > last:
				d.fail(c, `write one from 1 to 65535, or two as "8000-8099"`, "%s: %q is neither a port nor a range", what, c.Value)
			case slices.Contains(*dst, r):
				d.fail(c, "keep one", "%s: %s stands twice", what, c.Value)
			default:
				*dst = append(*dst, r)
			}
		})
	}}
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)

// hostPort reads where an ordinary socket is to connect to.
func (d *decoder) hostPort(dst *string) key {
	return key{unit: "host:port", read: func(what string, n *yaml.Node) {
		const fix = "write one such as 127.0.0.1:2222, [::1]:2222 or honeypot.internal:2222"
		host, p, err := net.SplitHostPort(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			d.fail(n, fix, "%s: %q is not host:port", what, n.Value)
			return
		}
		if _, err := netip.ParseAddr(host); err != nil && !hostName.MatchString(host) {
			d.fail(n, fix, "%s: %q is no host", what, host)
		}
		if _, ok := port(p); !ok {
			d.fail(n, "write one from 1 to 65535", "%s: %q is no port", what, p)
		}
		*dst = n.Value
	}}
}
