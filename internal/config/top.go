package config

import (
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// parts are the lists that are read last: what they name is known then.
type parts struct {
	version                 int
	mode                    string
	decoys, backends, rules *yaml.Node
	lists, conditions       *yaml.Node
	replay                  Replay
}

// keys are those of the whole file.
func (d *decoder) keys(c *Config, p *parts) keys {
	return keys{
		"version":    d.needs(d.number(&p.version, 1, 1)),
		"mode":       d.oneOf(&p.mode, "enforce", "observe"),
		"sensor":     d.word(&c.Sensor),
		"tun":        d.mapping(func() keys { return d.tunKeys(&c.TUN) }),
		"routing":    d.mapping(func() keys { return d.routingKeys(&c.Routing) }),
		"routes":     d.claimable(&c.Routes, &d.routes),
		"nat":        d.mapping(func() keys { return keys{"pool": d.claimable(&c.Pool, &d.pool)} }),
		"decoys":     held(&p.decoys, "list", func() keys { v := newDecoy(p.replay); return d.decoyKeys(&v) }),
		"default":    d.defaultKey(&c.Default),
		"backends":   held(&p.backends, "list", func() keys { return d.backendKeys(&Backend{Mode: "client"}) }),
		"pools":      d.unset(),
		"replay":     d.mapping(func() keys { return d.replayKeys(&p.replay) }),
		"rules":      held(&p.rules, "list", func() keys { r := newRule(); return d.ruleKeys(&r) }),
		"limits":     d.mapping(func() keys { return d.limitKeys(&c.Limits) }),
		"timeouts":   d.mapping(func() keys { return d.timeoutKeys(&c.Timeouts) }),
		"outbound":   d.outbound(),
		"events":     d.events(&c.Events),
		"log":        d.mapping(func() keys { return d.logKeys(&c.Log) }),
		"control":    d.mapping(func() keys { return keys{"socket": d.path(&c.Control)} }),
		"metrics":    d.mapping(func() keys { return keys{"listen": d.unset()} }),
		"state":      d.mapping(func() keys { return keys{"dir": d.stateDir(&c.StateDir)} }),
		"user":       d.unset(),
		"suricata":   d.mapping(func() keys { return d.suricataKeys(&c.Suricata) }),
		"memory":     d.mapping(func() keys { return d.memoryKeys(&c.Memory) }),
		"lists":      held(&p.lists, "list", func() keys { return d.listKeys(&List{}) }),
		"conditions": held(&p.conditions, "list", func() keys { return d.conditionKeys(&Condition{}) }),
		"debug":      d.mapping(func() keys { return keys{"pprof": d.boolean(&c.Debug.PPROF)} }),
	}
}

func (d *decoder) config(c *Config, n *yaml.Node) {
	p := &parts{mode: "enforce", replay: defaultReplay()}
	d.object(n, top, d.keys(c, p))
	if p.version == 0 && value(n, "version") == n {
		d.fail(n, "write `version: 1`", "version is missing")
	}
	c.Observe = p.mode == "observe"
	if at := value(n, "routes"); len(d.routes) == 0 && len(at.Content) == 0 || at == n {
		d.fail(at, "name the prefixes that the decoys answer for", "routes is empty")
	}
	for _, r := range d.routes {
		c.routeAt = append(c.routeAt, placeOf(r.at))
	}
	d.poolApart()
	d.enoughFor(c, value(n, "limits"))
	d.decoys(c, p.decoys, p.replay)
	d.backends(c, p.backends)
	d.lists(c, p.lists)
	d.conditions(c, p.conditions)
	d.rules(c, p.rules)
}

// poolApart refuses a pool within the claimed prefixes.
func (d *decoder) poolApart() {
	for _, p := range d.pool {
		for _, r := range d.routes {
			if p.Overlaps(r.Prefix) {
				d.fail(p.at, "choose another", "nat.pool %s overlaps the claimed prefix %s", p, r)
			}
		}
	}
}

// enoughFor refuses a flow's bound that is beyond that of all flows together.
func (d *decoder) enoughFor(c *Config, n *yaml.Node) {
	for _, l := range []struct {
		name string
		size int
	}{{"record", c.Limits.Record}, {"decoy_record", c.Limits.DecoyRecord}} {
		if l.size <= c.Limits.RecordTotal {
			continue
		}
		at := value(n, l.name)
		if at == n {
			at = value(n, "record_total") // the other one is a default
		}
		d.fail(at, "make record_total larger", "limits.%s of %s is more than limits.record_total of %s",
			l.name, sizeWords(l.size), sizeWords(c.Limits.RecordTotal))
	}
}

func (d *decoder) tunKeys(t *TUN) keys {
	return keys{
		"name":    d.deviceName(&t.Name),
		"mtu":     d.number(&t.MTU, 1280, 65535),
		"queues":  d.number(&t.Queues, 0, 256),
		"offload": d.boolean(&t.Offload),

		"busy_poll": d.duration(&t.BusyPoll, 0, time.Millisecond),
		"kernel":    d.oneOf(&t.Kernel, "auto", "off"),
	}
}

// maxDevice is how long the name of a device may be for Linux, in bytes.
const maxDevice = 15

// deviceName reads what the names of the doors begin with.
func (d *decoder) deviceName(dst *string) key {
	const room = maxDevice - 2 // for the number of a door
	k := d.needed(dst)
	read := k.read
	k.read = func(what string, n *yaml.Node) {
		read(what, n)
		if v := n.Value; len(v) > room || strings.ContainsAny(v, "/: \t\r\n%") || strings.HasPrefix(v, ".") {
			d.fail(n, "write at most 13 letters and digits", "%s: %q cannot be the name of a device", what, v)
		}
	}
	return k
}

// stateDir reads a directory that every working directory finds.
func (d *decoder) stateDir(dst *string) key {
	return d.absolute(dst, "begin it with /: `sleight down` has to find it too")
}

// path reads an absolute path, or nothing.
func (d *decoder) path(dst *string) key {
	k := d.absolute(dst, "begin it with /")
	read := k.read
	k.read = func(what string, n *yaml.Node) {
		if n.Kind != yaml.ScalarNode || n.Value != "" {
			read(what, n)
		}
	}
	return k
}

// absolute reads a path that begins with /.
func (d *decoder) absolute(dst *string, fix string) key {
	k := d.needed(dst)
	read := k.read
	k.read = func(what string, n *yaml.Node) {
		read(what, n)
		if n.Kind == yaml.ScalarNode && n.Value != "" && !filepath.IsAbs(n.Value) {
			d.fail(n, fix, "%s: %q is no absolute path", what, n.Value)
		}
	}
	return k
}

func (d *decoder) routingKeys(r *Routing) keys {
	return keys{
		"setup":    d.oneOf(&r.Setup, "manage", "check", "off"),
		"table":    d.number(&r.Table, 256, 1<<31-1),
		"priority": d.number(&r.Priority, 1, 32765),
	}
}

// defaultKey reads a mapping, or the word that is short for it.
func (d *decoder) defaultKey(v *Default) key {
	k := d.mapping(func() keys {
		return keys{"tcp": d.oneOf(&v.TCP, "drop", "reset"), "udp": d.oneOf(&v.UDP, "drop"), "icmp": d.oneOf(&v.ICMP, "drop")}
	})
	read := k.read
	k.read = func(what string, n *yaml.Node) {
		if n.Kind == yaml.ScalarNode {
			d.oneOf(&v.TCP, "drop", "reset").read(what, n)
			return
		}
		read(what, n)
	}
	return k
}

func (d *decoder) outbound() key {
	drop := "drop"
	return d.oneOfNow(&drop, []string{"rules"}, "drop")
}

// events reads where events go; a list of sinks is reserved.
func (d *decoder) events(file *string) key {
	k := d.mapping(func() keys { return keys{"file": d.needed(file)} })
	read := k.read
	k.read = func(what string, n *yaml.Node) {
		if n.Kind == yaml.SequenceNode {
			d.fail(n, `write events: {file: "-"}`, "a list of sinks in %s %s", what, notYet)
			return
		}
		read(what, n)
	}
	return k
}

func (d *decoder) logKeys(l *Log) keys {
	return keys{
		"level":  d.oneOf(&l.Level, "debug", "info", "warn", "error"),
		"format": d.oneOf(&l.Format, "text", "json"),
	}
}

func (d *decoder) limitKeys(l *Limits) keys {
	const many, much = 1 << 26, 1 << 40
	return keys{
		"flows":            d.number(&l.Flows, 1, many),
		"flows_per_client": d.number(&l.FlowsPerClient, 1, many),
		"client_prefix": d.mapping(func() keys {
			return keys{"ipv4": d.number(&l.PrefixV4, 1, 32), "ipv6": d.number(&l.PrefixV6, 1, 128)}
		}),
		"half_open":    d.number(&l.HalfOpen, 1, many),
		"record":       d.size(&l.Record, 1, 1<<30),
		"decoy_record": d.size(&l.DecoyRecord, 1, 1<<30),
		"record_total": d.size(&l.RecordTotal, 1, much),
		"held":         d.size(&l.Held, 1<<10, 1<<30),
		"switching":    d.number(&l.Switching, 1, many),
	}
}

func (d *decoder) memoryKeys(m *Memory) keys {
	return keys{
		"clients":  d.number(&m.Clients, 1, 1<<24),
		"payloads": d.number(&m.Payloads, 1<<10, 1<<28),
		"keep":     d.duration(&m.Keep, time.Minute, 366*24*time.Hour),
		"file":     d.absolute(&m.File, "begin it with /"),
	}
}

func (d *decoder) timeoutKeys(t *Timeouts) keys {
	const least, most = 10 * time.Millisecond, 30 * 24 * time.Hour
	return keys{
		"handshake":   d.duration(&t.Handshake, least, most),
		"answering":   d.duration(&t.Answering, least, most),
		"established": d.duration(&t.Established, least, most),
		"closing":     d.duration(&t.Closing, least, most),
		"drain":       d.duration(&t.Drain, least, most),
	}
}
