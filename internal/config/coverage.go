package config

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Gaps are the addresses and ports of claimed prefixes that no decoy answers for,
// as mistakes are: where the prefix stands, what is not covered, what to do. A
// decoy for some clients only covers nothing.
func (c *Config) Gaps() (gaps []*Error) {
	for i, route := range c.Routes {
		for _, g := range c.gapsIn(route) {
			gaps = append(gaps, &Error{File: c.File, Place: c.routeAt[i], Msg: fmt.Sprintf(
				"no decoy answers at %s, %s; add one, or leave it to default.tcp: %s", g.addrs(), g.portWords(), c.Default.TCP)})
		}
	}
	return gaps
}

// gap is ports of addresses from first to last.
type gap struct {
	first, last netip.Addr
	ports       []Ports
}

// gapsIn goes through a prefix from one decoy's edge to the next: between two edges
// all addresses have the same decoys.
func (c *Config) gapsIn(route netip.Prefix) (gaps []gap) {
	decoys, edges := c.answering(route)
	for i, first := range edges {
		last := lastOf(route)
		if i+1 < len(edges) {
			last = edges[i+1].Prev()
		}
		ports := uncovered(decoys, first)
		n := len(gaps) - 1
		switch {
		case len(ports) == 0:
		case n >= 0 && gaps[n].last.Next() == first && slices.Equal(gaps[n].ports, ports):
			gaps[n].last = last
		default:
			gaps = append(gaps, gap{first, last, ports})
		}
	}
	return gaps
}

// answering are the decoys for everybody, and the addresses of a prefix where one
// of them begins or has just ended.
func (c *Config) answering(route netip.Prefix) (decoys []*Decoy, edges []netip.Addr) {
	edges = []netip.Addr{route.Addr()}
	for i := range c.Decoys {
		v := &c.Decoys[i]
		if len(v.Match.Src) > 0 {
			continue
		}
		decoys = append(decoys, v)
		for _, p := range v.Match.Dst {
			for _, a := range []netip.Addr{p.Addr(), lastOf(p).Next()} {
				if route.Contains(a) {
					edges = append(edges, a)
				}
			}
		}
	}
	slices.SortFunc(edges, netip.Addr.Compare)
	return decoys, slices.Compact(edges)
}

// uncovered are the ports on which none of the decoys answers at an address.
func uncovered(decoys []*Decoy, a netip.Addr) (gaps []Ports) {
	const most = 65535
	var open []Ports
	for _, v := range decoys {
		here := func(p netip.Prefix) bool { return p.Contains(a) }
		switch {
		case len(v.Match.Dst) > 0 && !slices.ContainsFunc(v.Match.Dst, here):
		case len(v.Match.Ports) == 0:
			return nil
		default:
			open = append(open, v.Match.Ports...)
		}
	}
	slices.SortFunc(open, func(a, b Ports) int { return cmp.Compare(a.First, b.First) })
	next := 1
	for _, r := range open {
		if int(r.First) > next {
			gaps = append(gaps, Ports{uint16(next), r.First - 1})
		}
		next = max(next, int(r.Last)+1)
	}
	if next <= most {
		gaps = append(gaps, Ports{uint16(next), most})
	}
	return gaps
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		if keep := p.Bits() - 8*i; keep < 8 {
			b[i] |= 0xff >> max(0, keep)
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// addrs writes addresses as a prefix where they are one.
func (g *gap) addrs() string {
	for bits := range g.first.BitLen() + 1 {
		if p, err := g.first.Prefix(bits); err == nil && p.Addr() == g.first && bytes.Equal(lastOf(p).AsSlice(), g.last.AsSlice()) {
			return p.String()
		}
	}
	return g.first.String() + " to " + g.last.String()
}

func (g *gap) portWords() string {
	if g.ports[0] == (Ports{1, 65535}) {
		return "any port"
	}
	var all []string
	for _, r := range g.ports {
		if r.First == r.Last {
			all = append(all, fmt.Sprint(r.First))
			continue
		}
		all = append(all, fmt.Sprintf("%d-%d", r.First, r.Last))
	}
	return "ports " + strings.Join(all, ", ")
}
