package config

import (
	"net/netip"

	"go.yaml.in/yaml/v3"
)

func (d *decoder) backendKeys(b *Backend) keys {
	return keys{
		"name":    d.word(&b.Name),
		"address": {unit: "address", read: func(_ string, n *yaml.Node) { d.address(b, n) }},
		"addresses": {unit: "addresses", read: func(what string, n *yaml.Node) {
			d.list(n, what, func(n *yaml.Node) { d.address(b, n) })
		}},
		"mode":      d.oneOfNow(&b.Mode, []string{"local"}, "keep", "client", "nat"),
		"ports":     {unit: "port map", read: func(what string, n *yaml.Node) { d.portMap(b, what, n) }},
		"device":    d.device(&b.Device),
		"max_flows": d.number(&b.MaxFlows, 0, 1<<26),
	}
}

func (d *decoder) device(dst *string) key {
	k := d.word(dst)
	read := k.read
	k.read = func(what string, n *yaml.Node) {
		read(what, n)
		if len(n.Value) > maxDevice {
			d.fail(n, "name one that `ip link` lists", "%s: %q cannot be the name of a device", what, n.Value)
		}
	}
	return k
}

func (d *decoder) backends(c *Config, n *yaml.Node) {
	if n == nil {
		return
	}
	seen := map[string]bool{}
	d.list(n, "backends", func(n *yaml.Node) {
		b := Backend{Mode: "client"}
		d.object(n, "a backend", d.backendKeys(&b))
		if n.Kind != yaml.MappingNode {
			return
		}
		d.name(n, "backend", b.Name, seen)
		d.backend(&b, n)
		c.Backends = append(c.Backends, b)
	})
}

// address reads one of a backend's.
func (d *decoder) address(b *Backend, n *yaml.Node) {
	a, err := netip.ParseAddr(n.Value)
	dst := &b.V6
	if a.Is4() {
		dst = &b.V4
	}
	switch {
	case n.Kind != yaml.ScalarNode || err != nil || a.Zone() != "" || a.Is4In6():
		d.fail(n, "write one such as 10.0.2.2 or fd00:2::2", "%q is not an address", n.Value)
		return
	case dst.IsValid():
		d.fail(n, "make another backend of it", "a backend has one address per family, and %s is the second", a)
		return
	}
	*dst = a
	d.reachable(a, n)
}

// reachable refuses addresses that a backend cannot have.
func (d *decoder) reachable(a netip.Addr, n *yaml.Node) {
	if name := specialName(netip.PrefixFrom(a, a.BitLen())); name != "" {
		d.fail(n, "name a host of its own; to a program on this machine leads a decoy's `service: {type: forward}`", "a backend cannot have %s: it is %s", a, name)
	}
	for _, r := range d.routes {
		if r.Contains(a) {
			d.fail(n, "give it one outside", "the backend's address %s lies in the claimed prefix %s", a, r)
		}
	}
	for _, p := range d.pool {
		if p.Contains(a) {
			d.fail(n, "choose another for one of the two", "the backend's address %s lies in nat.pool %s", a, p)
		}
	}
}

func (d *decoder) portMap(b *Backend, what string, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "write {8080: 80}", "%s has to map dialled ports to real ones", what)
		return
	}
	b.Ports = map[uint16]uint16{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		from, ok1 := port(n.Content[i].Value)
		to, ok2 := port(n.Content[i+1].Value)
		const fix = "write one from 1 to 65535"
		if !ok1 {
			d.fail(n.Content[i], fix, "%s: %q is no port", what, n.Content[i].Value)
		}
		if !ok2 {
			d.fail(n.Content[i+1], fix, "%s: %q is no port", what, n.Content[i+1].Value)
		}
		if _, twice := b.Ports[from]; ok1 && twice {
			d.fail(n.Content[i], "keep one", "%s: port %d stands twice", what, from)
		}
		if ok1 {
			b.Ports[from] = to
		}
	}
}

func (d *decoder) backend(b *Backend, n *yaml.Node) {
	if value(n, "address") == n && value(n, "addresses") == n || len(value(n, "addresses").Content) == 0 {
		d.fail(n, "write address: 10.0.2.2 or another", "this backend has no address")
	}
	if b.Mode == "keep" && len(b.Ports) > 0 {
		d.fail(value(n, "ports"), "take them out, or use client or nat", "ports cannot be mapped in mode keep, where nothing is rewritten")
	}
	for _, a := range []netip.Addr{b.V4, b.V6} {
		if a.IsValid() && b.Mode == "nat" && !d.poolFor(a) {
			d.fail(value(n, "mode"), "name one", "mode nat needs a prefix of %s's family in nat.pool", a)
		}
	}
}

// poolFor reports whether nat.pool has an address of a's family.
func (d *decoder) poolFor(a netip.Addr) bool {
	for _, p := range d.pool {
		if p.Addr().Is4() == a.Is4() {
			return true
		}
	}
	return false
}
