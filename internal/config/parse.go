package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const maxFile = 1 << 20 // bytes of a configuration

// Load reads and checks a configuration file.
func Load(path string) (*Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, b, func(name string) ([]byte, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(path), name)
		}
		return os.ReadFile(name)
	})
}

// Parse checks a configuration; read fetches the files that it names. The error
// joins one *Error for each mistake.
func Parse(name string, b []byte, read func(string) ([]byte, error)) (*Config, error) {
	d := &decoder{file: name, read: read}
	top := &yaml.Node{Line: 1, Column: 1}
	c := defaults()
	c.File = name
	switch {
	case len(b) > maxFile:
		d.fail(top, "the file has more than %d bytes", maxFile)
	case !utf8.Valid(b):
		d.fail(top, "the file is not UTF-8: write raw bytes as {hex: \"…\"}")
	default:
		var doc yaml.Node
		if err := yaml.Unmarshal(b, &doc); err != nil {
			d.syntax(top, err)
		} else if len(doc.Content) == 0 {
			d.fail(top, "the file is empty: begin with `version: 1`")
		} else {
			d.config(c, doc.Content[0])
		}
	}
	if d.errs != nil {
		return nil, errors.Join(d.errs...)
	}
	return c, nil
}

// syntax reports what the YAML reader says, at its line.
func (d *decoder) syntax(n *yaml.Node, err error) {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	if _, serr := fmt.Sscanf(msg, "line %d:", &n.Line); serr == nil {
		_, msg, _ = strings.Cut(msg, ": ")
	}
	d.fail(n, "%s", msg)
}

func (d *decoder) config(c *Config, n *yaml.Node) {
	var version int
	replay := defaultReplay()
	var decoys, rules, backends *yaml.Node
	hold := func(dst **yaml.Node) func(*yaml.Node) { return func(n *yaml.Node) { *dst = n } }
	mode := "enforce"
	d.object(n, "the configuration", keys{
		"version": d.number(&version, "version", 1, 1),
		"mode":    d.oneOf(&mode, "mode", "enforce", "observe"),
		"sensor":  d.text(&c.Sensor, "sensor"),
		"tun": func(n *yaml.Node) {
			d.object(n, "tun", keys{
				"name": d.text(&c.TUN.Name, "tun.name"), "mtu": d.number(&c.TUN.MTU, "tun.mtu", 1280, 65535),
				"queues":  d.number(&c.TUN.Queues, "tun.queues", 0, 256),
				"offload": d.boolean(&c.TUN.Offload, "tun.offload"),
			})
		},
		"routing": func(n *yaml.Node) {
			d.object(n, "routing", keys{
				"setup":    d.oneOf(&c.Routing.Setup, "routing.setup", "manage", "check", "off"),
				"table":    d.number(&c.Routing.Table, "routing.table", 256, 1<<31-1),
				"priority": d.number(&c.Routing.Priority, "routing.priority", 1, 32765),
			})
		},
		"routes":   d.prefixes(&c.Routes, "routes"),
		"nat":      func(n *yaml.Node) { d.object(n, "nat", keys{"pool": d.prefixes(&c.Pool, "nat.pool")}) },
		"decoys":   hold(&decoys),
		"default":  func(n *yaml.Node) { d.defaultKey(&c.Default, n) },
		"backends": hold(&backends),
		"pools":    func(n *yaml.Node) { d.empty(n, "pools") },
		"replay":   func(n *yaml.Node) { d.replay(&replay, n) },
		"rules":    hold(&rules),
		"limits":   func(n *yaml.Node) { d.limits(&c.Limits, n) },
		"timeouts": func(n *yaml.Node) { d.timeouts(&c.Timeouts, n) },
		"outbound": d.oneOf(new(string), "outbound", "drop"),
		"events":   func(n *yaml.Node) { d.object(n, "events", keys{"file": d.text(&c.Events, "events.file")}) },
		"log": func(n *yaml.Node) {
			d.object(n, "log", keys{
				"level":  d.oneOf(&c.Log.Level, "log.level", "debug", "info", "warn", "error"),
				"format": d.oneOf(&c.Log.Format, "log.format", "text", "json"),
			})
		},
		"control": func(n *yaml.Node) { d.object(n, "control", keys{"socket": d.unset("control.socket")}) },
		"metrics": func(n *yaml.Node) { d.object(n, "metrics", keys{"listen": d.unset("metrics.listen")}) },
		"state":   func(n *yaml.Node) { d.object(n, "state", keys{"dir": d.text(&c.StateDir, "state.dir")}) },
		"user":    d.unset("user"),
		"lists":   d.later("lists"), "suricata": d.later("suricata"), "debug": d.later("debug"),
	})
	if version == 0 {
		d.fail(n, "version is missing: write `version: 1`")
	}
	c.Observe = mode == "observe"
	if len(c.Routes) == 0 {
		d.fail(n, "routes is empty: name the prefixes that the decoys answer for")
	}
	d.decoys(c, decoys, replay)
	d.backends(c, backends)
	d.rules(c, rules)
	d.overlaps(c, n)
}

func (d *decoder) empty(n *yaml.Node, what string) {
	if len(n.Content) > 0 {
		d.later(what)(n)
	}
}

// unset accepts a reserved key only while it is empty.
func (d *decoder) unset(what string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.ScalarNode || n.Value != "" {
			d.later(what)(n)
		}
	}
}

func (d *decoder) defaultKey(v *Default, n *yaml.Node) {
	if n.Kind == yaml.ScalarNode {
		d.oneOf(&v.TCP, "default", "drop", "reset")(n)
		return
	}
	d.object(n, "default", keys{
		"tcp": d.oneOf(&v.TCP, "default.tcp", "drop", "reset"),
		"udp": d.oneOf(&v.UDP, "default.udp", "drop"), "icmp": d.oneOf(&v.ICMP, "default.icmp", "drop"),
	})
}

func (d *decoder) replay(r *Replay, n *yaml.Node) {
	d.object(n, "replay", keys{
		"timeout": d.duration(&r.Timeout, "replay.timeout", 10*time.Millisecond, time.Minute),
		"compare": d.oneOf(&r.Compare, "replay.compare", "auto", "exact", "framed", "length", "off"),
		"quiet":   d.duration(&r.Quiet, "replay.quiet", time.Millisecond, 10*time.Second),
		"frame":   d.oneOf(&r.Frame, "replay.frame", "http"),
		"except": func(n *yaml.Node) {
			d.list(n, "replay.except", func(c *yaml.Node) {
				var s string
				d.pattern(&s, "replay.except")(c)
				r.Except = append(r.Except, s)
			})
		},
	})
}

func (d *decoder) limits(l *Limits, n *yaml.Node) {
	const many, much = 1 << 26, 1 << 40
	d.object(n, "limits", keys{
		"flows":            d.number(&l.Flows, "limits.flows", 1, many),
		"flows_per_client": d.number(&l.FlowsPerClient, "limits.flows_per_client", 1, many),
		"client_prefix": func(n *yaml.Node) {
			d.object(n, "limits.client_prefix", keys{
				"ipv4": d.number(&l.PrefixV4, "limits.client_prefix.ipv4", 1, 32),
				"ipv6": d.number(&l.PrefixV6, "limits.client_prefix.ipv6", 1, 128),
			})
		},
		"half_open":    d.number(&l.HalfOpen, "limits.half_open", 1, many),
		"record":       d.size(&l.Record, "limits.record", 1, 1<<30),
		"decoy_record": d.size(&l.DecoyRecord, "limits.decoy_record", 1, 1<<30),
		"record_total": d.size(&l.RecordTotal, "limits.record_total", 1, much),
		"held":         d.size(&l.Held, "limits.held", 1<<10, 1<<30),
	})
}

func (d *decoder) timeouts(t *Timeouts, n *yaml.Node) {
	const least, most = 10 * time.Millisecond, 30 * 24 * time.Hour
	d.object(n, "timeouts", keys{
		"handshake":   d.duration(&t.Handshake, "timeouts.handshake", least, most),
		"answering":   d.duration(&t.Answering, "timeouts.answering", least, most),
		"established": d.duration(&t.Established, "timeouts.established", least, most),
		"closing":     d.duration(&t.Closing, "timeouts.closing", least, most),
		"drain":       d.duration(&t.Drain, "timeouts.drain", least, most),
	})
}

func (d *decoder) match(m *Match, n *yaml.Node) {
	d.object(n, "match", keys{
		"dst": d.prefixes(&m.Dst, "match.dst"), "src": d.prefixes(&m.Src, "match.src"),
		"ports": d.ports(&m.Ports, "match.ports"),
	})
}

// name reads a name that no other entry of the list has.
func (d *decoder) name(n *yaml.Node, what, name string, seen map[string]bool) {
	switch {
	case name == "":
		d.fail(n, "this %s has no name", what)
	case seen[name]:
		d.fail(n, "there is another %s called %q: give each a name of its own", what, name)
	}
	seen[name] = true
}

func (d *decoder) decoys(c *Config, n *yaml.Node, replay Replay) {
	if n == nil {
		return
	}
	seen := map[string]bool{}
	d.list(n, "decoys", func(n *yaml.Node) {
		v := Decoy{Replay: replay}
		d.object(n, "a decoy", keys{
			"name": d.text(&v.Name, "name"), "match": func(n *yaml.Node) { d.match(&v.Match, n) },
			"service": func(n *yaml.Node) { d.service(&v.Service, n) },
			"profile": d.oneOf(new(string), "profile", "linux"),
			"replay":  func(n *yaml.Node) { d.replay(&v.Replay, n) },
		})
		d.name(n, "decoy", v.Name, seen)
		if v.Service.Type == "" {
			d.fail(n, "this decoy has no service: write `service: {type: silent}` or another")
		}
		if v.Replay.Compare == "framed" && v.Replay.Frame == "" && v.Service.Type != "http" {
			d.fail(n, "compare: framed needs `frame: http` on a decoy that is not http")
		}
		c.Decoys = append(c.Decoys, v)
	})
}

func (d *decoder) backends(c *Config, n *yaml.Node) {
	if n == nil {
		return
	}
	seen := map[string]bool{}
	d.list(n, "backends", func(n *yaml.Node) {
		b := Backend{Mode: "client"}
		add := func(n *yaml.Node) { d.address(&b, n) }
		d.object(n, "a backend", keys{
			"name": d.text(&b.Name, "name"), "address": add,
			"addresses": func(n *yaml.Node) { d.list(n, "addresses", add) },
			"mode":      d.oneOf(&b.Mode, "mode", "keep", "client", "nat"),
			"ports":     func(n *yaml.Node) { d.portMap(&b, n) },
			"device":    d.text(&b.Device, "device"),
			"max_flows": d.number(&b.MaxFlows, "max_flows", 0, 1<<26),
		})
		d.name(n, "backend", b.Name, seen)
		d.backend(c, &b, n)
		c.Backends = append(c.Backends, b)
	})
}

func (d *decoder) address(b *Backend, n *yaml.Node) {
	a, err := netip.ParseAddr(n.Value)
	dst := &b.V6
	if a.Is4() {
		dst = &b.V4
	}
	switch {
	case err != nil || a.Zone() != "" || a.Is4In6():
		d.fail(n, "%q is not an address", n.Value)
	case dst.IsValid():
		d.fail(n, "a backend has one address per family: %s is the second", a)
	default:
		*dst = a
	}
}

func (d *decoder) portMap(b *Backend, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "ports has to map dialled ports to real ones: {8080: 80}")
		return
	}
	b.Ports = map[uint16]uint16{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		from, ok1 := port(n.Content[i].Value)
		to, ok2 := port(n.Content[i+1].Value)
		if !ok1 || !ok2 {
			d.fail(n.Content[i], "ports: %q: %q are not two ports", n.Content[i].Value, n.Content[i+1].Value)
			continue
		}
		b.Ports[from] = to
	}
}

func (d *decoder) backend(c *Config, b *Backend, n *yaml.Node) {
	if !b.V4.IsValid() && !b.V6.IsValid() {
		d.fail(n, "this backend has no address")
	}
	if b.Mode == "keep" && len(b.Ports) > 0 {
		d.fail(n, "ports cannot be mapped in mode keep: nothing is rewritten there")
	}
	for _, a := range []netip.Addr{b.V4, b.V6} {
		if !a.IsValid() {
			continue
		}
		for _, r := range c.Routes {
			if r.Contains(a) {
				d.fail(n, "the backend's address %s lies in the claimed prefix %s: it has to be outside", a, r)
			}
		}
		if b.Mode == "nat" && !hasFamily(c.Pool, a) {
			d.fail(n, "mode nat needs a prefix of %s's family in nat.pool", a)
		}
	}
}

func hasFamily(ps []netip.Prefix, a netip.Addr) bool {
	for _, p := range ps {
		if p.Addr().Is4() == a.Is4() {
			return true
		}
	}
	return false
}

func (d *decoder) rules(c *Config, n *yaml.Node) {
	if n == nil {
		return
	}
	seen := map[string]bool{}
	d.list(n, "rules", func(n *yaml.Node) {
		r := Rule{Line: n.Line, Column: n.Column}
		d.object(n, "a rule", keys{
			"name": d.text(&r.Name, "name"), "match": func(n *yaml.Node) { d.match(&r.Match, n) },
			"when": func(n *yaml.Node) {
				d.text(&r.When, "when")(n)
				r.Line, r.Column = n.Line, n.Column
				if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
					r.Column++
				}
			},
			"action":  d.oneOf(&r.Action, "action", "switch", "stay", "drop", "reset", "log"),
			"backend": d.text(&r.Backend, "backend"),
			"on":      d.later("on"), "tag": d.later("tag"), "once_per": d.later("once_per"), "prepare": d.later("prepare"),
		})
		d.name(n, "rule", r.Name, seen)
		d.rule(c, &r, n)
		c.Rules = append(c.Rules, r)
	})
}

func (d *decoder) rule(c *Config, r *Rule, n *yaml.Node) {
	known := false
	for _, b := range c.Backends {
		known = known || b.Name == r.Backend
	}
	switch {
	case r.Action == "":
		d.fail(n, "this rule has no action: use switch, stay, drop, reset or log")
	case r.Action == "switch" && r.Backend == "":
		d.fail(n, "a rule that switches has to name a backend")
	case r.Backend != "" && !known:
		d.fail(n, "there is no backend called %q", r.Backend)
	}
}

// overlaps finds prefixes that must not touch.
func (d *decoder) overlaps(c *Config, n *yaml.Node) {
	for _, p := range c.Pool {
		for _, r := range c.Routes {
			if p.Overlaps(r) {
				d.fail(n, "nat.pool %s overlaps the claimed prefix %s: choose another", p, r)
			}
		}
		for _, b := range c.Backends {
			if p.Contains(b.V4) || p.Contains(b.V6) {
				d.fail(n, "nat.pool %s contains the backend %s: choose another", p, b.Name)
			}
		}
	}
}

func (d *decoder) service(s *Service, n *yaml.Node) {
	types := map[string]keys{
		"silent": {}, "closed": {}, "filtered": {},
		"banner": {"banner": d.bytes(&s.Banner, "banner"), "close": d.boolean(&s.Close, "close")},
		"script": {
			"turns":     func(n *yaml.Node) { d.turns(s, n) },
			"otherwise": func(n *yaml.Node) { d.object(n, "otherwise", keys{"send": d.bytes(&s.Otherwise, "send")}) },
			"close":     d.boolean(&s.Close, "close"),
		},
		"http": {"server": d.text(&s.Server, "server"), "pages": func(n *yaml.Node) { d.pages(s, n) }},
		"forward": {
			"address": func(n *yaml.Node) {
				if _, _, err := net.SplitHostPort(n.Value); err != nil {
					d.fail(n, "address: %q is not host:port", n.Value)
				}
				s.Address = n.Value
			},
			"connect_timeout": d.duration(&s.ConnectTimeout, "connect_timeout", time.Millisecond, time.Minute),
			"on_fail":         d.oneOf(new(string), "on_fail", "reset"),
			"proxy_protocol":  d.oneOf(&s.ProxyProtocol, "proxy_protocol", "off", "v1", "v2"),
		},
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "type" {
			d.oneOf(&s.Type, "type", "silent", "banner", "script", "http", "forward", "closed", "filtered")(n.Content[i+1])
		}
	}
	ks, ok := types[s.Type]
	if !ok {
		return // the missing or unknown type is reported
	}
	ks["type"] = func(*yaml.Node) {}
	d.object(n, "a service of type "+s.Type, ks)
	if s.Type == "forward" && s.Address == "" {
		d.fail(n, "a forward service needs an address")
	}
}

func (d *decoder) turns(s *Service, n *yaml.Node) {
	d.list(n, "turns", func(n *yaml.Node) {
		var t Turn
		d.object(n, "a turn", keys{
			"expect": d.pattern(&t.Expect, "expect"), "send": d.bytes(&t.Send, "send"),
			"delay": d.duration(&t.Delay, "delay", 0, time.Minute),
		})
		s.Turns = append(s.Turns, t)
	})
}

func (d *decoder) pages(s *Service, n *yaml.Node) {
	d.list(n, "pages", func(n *yaml.Node) {
		p := Page{Status: 200}
		d.object(n, "a page", keys{
			"path": d.text(&p.Path, "path"), "status": d.number(&p.Status, "status", 200, 599),
			"body": d.bytes(&p.Body, "body"),
			"file": func(n *yaml.Node) {
				b, err := d.read(n.Value)
				if err != nil {
					d.fail(n, "file: %v", err)
				}
				p.Body = b
			},
			"headers": func(n *yaml.Node) {
				for i := 0; i+1 < len(n.Content); i += 2 {
					p.Headers = append(p.Headers, [2]string{n.Content[i].Value, n.Content[i+1].Value})
				}
			},
		})
		if !strings.HasPrefix(p.Path, "/") {
			d.fail(n, "a page's path begins with /")
		}
		s.Pages = append(s.Pages, p)
	})
}
