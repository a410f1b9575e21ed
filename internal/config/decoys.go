package config

import (
	"net/netip"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// newDecoy is a decoy with its defaults; replay is that of all.
func newDecoy(replay Replay) Decoy {
	replay.Except = slices.Clone(replay.Except)
	return Decoy{Replay: replay, Service: Service{ConnectTimeout: 5 * time.Second, ProxyProtocol: "off"}}
}

func (d *decoder) decoyKeys(v *Decoy) keys {
	linux := "linux"
	return keys{
		"name":    d.word(&v.Name),
		"match":   d.mapping(func() keys { return d.matchKeys(&v.Match) }),
		"service": d.service(&v.Service),
		"profile": d.oneOf(&linux, "linux"),
		"replay":  d.mapping(func() keys { return d.replayKeys(&v.Replay) }),
	}
}

func (d *decoder) matchKeys(m *Match) keys {
	return keys{"dst": d.prefixes(&m.Dst, nil), "src": d.prefixes(&m.Src, nil), "ports": d.ports(&m.Ports)}
}

func (d *decoder) replayKeys(r *Replay) keys {
	return keys{
		"timeout": d.duration(&r.Timeout, 10*time.Millisecond, time.Minute),
		"compare": d.oneOf(&r.Compare, "auto", "exact", "framed", "length", "off"),
		"quiet":   d.duration(&r.Quiet, time.Millisecond, 10*time.Second),
		"frame":   d.oneOf(&r.Frame, "http", "smtp", "ftp", "redis", "mqtt"),
		"except": {unit: "patterns", read: func(what string, n *yaml.Node) {
			d.list(n, what, func(c *yaml.Node) {
				var s string
				if d.pattern(&s).read(what, c); s != "" {
					r.Except = append(r.Except, s)
				}
			})
		}},
	}
}

// name reads a name that no other entry of the list has.
func (d *decoder) name(n *yaml.Node, what, name string, seen map[string]bool) {
	switch {
	case name == "":
		d.fail(n, "write name: and one of its own", "this %s has no name", what)
	case seen[name]:
		d.fail(value(n, "name"), "give each a name of its own", "there is another %s called %q", what, name)
	}
	seen[name] = true
}

func (d *decoder) decoys(c *Config, n *yaml.Node, replay Replay) {
	if n == nil {
		return
	}
	seen := map[string]bool{}
	d.list(n, "decoys", func(n *yaml.Node) {
		v := newDecoy(replay)
		if value(value(n, "replay"), "except") != value(n, "replay") {
			v.Replay.Except = nil // it overrides
		}
		d.object(n, "a decoy", d.decoyKeys(&v))
		if n.Kind != yaml.MappingNode {
			return
		}
		d.name(n, "decoy", v.Name, seen)
		d.decoy(&v, n)
		c.Decoys = append(c.Decoys, v)
	})
}

func (d *decoder) decoy(v *Decoy, n *yaml.Node) {
	if value(n, "service") == n {
		d.fail(n, "write `service: {type: silent}` or another", "this decoy has no service")
	}
	if v.Replay.Compare == "framed" && v.Replay.Frame == "" && v.Service.Type != "http" {
		at := value(value(n, "replay"), "compare")
		if value(n, "replay") == n {
			at = n // the comparison is that of all decoys
		}
		d.fail(at, "write frame: http, or another protocol, beside it", "compare: framed does not know where this decoy's answers end")
	}
	d.claimed(v.Match, n, "decoy")
}

// claimed refuses a match that no packet for a claimed prefix can fit.
func (d *decoder) claimed(m Match, n *yaml.Node, what string) {
	list := value(value(n, "match"), "dst")
	if len(d.routes) == 0 || list.Kind != yaml.SequenceNode {
		return
	}
	for _, c := range list.Content {
		p, err := netip.ParsePrefix(c.Value)
		if a, aerr := netip.ParseAddr(c.Value); err != nil && aerr == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err == nil && slices.Contains(m.Dst, p) && !d.claims(p) {
			d.fail(c, "claim it in routes, or take it out", "match.dst: no packet for %s reaches this %s", p, what)
		}
	}
}

func (d *decoder) claims(p netip.Prefix) bool {
	return slices.ContainsFunc(d.routes, func(r placed) bool { return r.Overlaps(p) })
}
