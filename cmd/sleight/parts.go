package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"sleight/internal/config"
	"sleight/internal/host"
	"sleight/internal/memory"
	"sleight/redirect"
	"sleight/redirect/frame"
	"sleight/redirect/replay"
	"sleight/rules"
	"sleight/stack"
	"sleight/stack/profile"
)

// loadPlan reads a configuration for what it asks of the machine.
func loadPlan(path string) (host.Plan, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return host.Plan{}, err
	}
	return machinePlan(cfg), nil
}

// machinePlan is what a configuration asks of the machine.
func machinePlan(cfg *config.Config) host.Plan {
	p := host.Plan{
		Claimed: cfg.Routes, Pool: cfg.Pool, Table: cfg.Routing.Table, Priority: cfg.Routing.Priority,
		StateDir: cfg.StateDir, Setup: host.Policy(cfg.Routing.Setup),
		Kernel: cfg.TUN.Kernel == "auto",
	}
	for _, b := range cfg.Backends {
		hb := host.Backend{Name: b.Name, Mode: host.Mode(b.Mode), Device: b.Device}
		for _, a := range []netip.Addr{b.V4, b.V6} {
			if a.IsValid() {
				hb.Addrs = append(hb.Addrs, a)
			}
		}
		p.Backends = append(p.Backends, hb)
	}
	p.NameDoors(cfg.TUN.Name)
	return p
}

func match(m config.Match) rules.Match {
	out := rules.Match{Dst: m.Dst, Src: m.Src}
	for _, p := range m.Ports {
		out.Ports = append(out.Ports, rules.PortRange{First: p.First, Last: p.Last})
	}
	return out
}

var kinds = map[string]stack.Kind{
	"silent": stack.Silent, "banner": stack.Banner, "script": stack.Script, "http": stack.HTTP,
	"forward": stack.Forward, "closed": stack.Closed, "filtered": stack.Filtered,
}

var proxies = map[string]stack.ProxyProtocol{"": stack.ProxyOff, "off": stack.ProxyOff, "v1": stack.ProxyV1, "v2": stack.ProxyV2}

// service turns a decoy's service into the netstack's words.
func service(s *config.Service) stack.Service {
	out := stack.Service{
		Kind: kinds[s.Type], Banner: s.Banner, Close: s.Close, Otherwise: s.Otherwise, Server: s.Server,
		Address: s.Address, ConnectTimeout: s.ConnectTimeout, ProxyProtocol: proxies[s.ProxyProtocol],
	}
	for _, t := range s.Turns {
		out.Turns = append(out.Turns, stack.Turn{Expect: t.Expect, Send: t.Send, Delay: t.Delay})
	}
	for _, p := range s.Pages {
		out.Pages = append(out.Pages, stack.Page{Path: p.Path, Status: p.Status, Headers: p.Headers, Body: p.Body})
	}
	return out
}

// machinery is what stays over a reload, and policies are made with.
type machinery struct {
	doors []string
	mtu   func(netip.Addr) int // of the way to a backend
	mem   *memory.Memory
	// counts are of Suricata's thresholds.
	counts *counters
	silent *tally // of the rules that once_per keeps silent
}

// gatewayConfig is what the gateway itself is made of.
func (m *machinery) gatewayConfig(cfg *config.Config, set *rules.Set, now time.Time) (redirect.Config, error) {
	out := redirect.Config{
		Claimed: cfg.Routes, Pool: cfg.Pool, MTU: cfg.TUN.MTU,
		// Clocks that begin at the start would tell S when that was.
		Started: now.Add(-time.Duration(now.UnixNano() % int64(40*24*time.Hour))),
		Limits: redirect.Limits{
			Flows: cfg.Limits.Flows, FlowsPerClient: cfg.Limits.FlowsPerClient,
			PrefixV4: cfg.Limits.PrefixV4, PrefixV6: cfg.Limits.PrefixV6, HalfOpen: cfg.Limits.HalfOpen,
			Record: cfg.Limits.Record, DecoyRecord: cfg.Limits.DecoyRecord,
			RecordTotal: int64(cfg.Limits.RecordTotal), Held: cfg.Limits.Held,
			Switching: cfg.Limits.Switching,
		},
		Timeouts: redirect.Timeouts(cfg.Timeouts),
	}
	if _, err := rand.Read(out.Secret[:]); err != nil {
		return out, err
	}
	var err error
	out.Policy, err = m.policy(cfg, set)
	return out, err
}

// policy is what a reload replaces.
func (m *machinery) policy(cfg *config.Config, set *rules.Set) (out redirect.Policy, err error) {
	giveMemory(set, m.mem, cfg)
	set.SetCounts(m.counts)
	set.SetSilent(m.silent.add)
	out = redirect.Policy{Observe: cfg.Observe, Rules: set, Refused: slices.Concat(cfg.Pool, ownAddresses())}
	if cfg.Default.TCP == "reset" {
		out.Default = redirect.Reset
	}
	for i := range cfg.Decoys {
		d := decoyConfig(&cfg.Decoys[i])
		if d.Service, err = compileService(&cfg.Decoys[i]); err != nil {
			return out, err
		}
		out.Decoys = append(out.Decoys, d)
	}
	p := machinePlan(cfg)
	for i, b := range cfg.Backends {
		door := slices.Index(m.doors, p.Backends[i].Door)
		if door < 0 {
			return out, fmt.Errorf("backend %s: it needs a device of its own, %s, and that needs a restart", b.Name, p.Backends[i].Door)
		}
		out.Backends = append(out.Backends, backendConfig(&b, door, m.mtu))
		for _, a := range p.Backends[i].Addrs {
			out.Refused = append(out.Refused, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out, nil
}

// framers by the key frame; an http decoy needs none.
var framers = map[string]replay.Framer{
	"": frame.HTTP{}, "http": frame.HTTP{}, "smtp": frame.Replies{}, "ftp": frame.Replies{},
	"redis": frame.RESP{}, "mqtt": frame.MQTT{},
}

func decoyConfig(d *config.Decoy) redirect.DecoyConfig {
	out := redirect.DecoyConfig{
		Name: d.Name, Match: match(d.Match), Profile: profile.Linux,
		Quiet: d.Replay.Quiet, Timeout: d.Replay.Timeout,
	}
	switch d.Service.Type {
	case "closed":
		out.Kind = redirect.Closed
	case "filtered":
		out.Kind = redirect.Filtered
	}
	compare := d.Replay.Compare
	if compare == "auto" {
		compare = "exact"
		if d.Service.Type == "http" || d.Replay.Frame != "" {
			compare = "framed"
		}
	}
	out.Compare = map[string]replay.Mode{"exact": replay.Exact, "framed": replay.Framed, "length": replay.Length, "off": replay.Off}[compare]
	if out.Compare == replay.Framed {
		out.Framer = framers[d.Replay.Frame]
	}
	for _, e := range d.Replay.Except {
		out.Except = append(out.Except, regexp.MustCompile(e)) // checked by the configuration
	}
	return out
}

func backendConfig(b *config.Backend, door int, mtu func(netip.Addr) int) redirect.Backend {
	out := redirect.Backend{Name: b.Name, V4: b.V4, V6: b.V6, Ports: b.Ports, Door: door, MaxFlows: b.MaxFlows}
	out.Mode = map[string]redirect.Mode{"keep": redirect.Keep, "client": redirect.ToBackend, "nat": redirect.NAT}[b.Mode]
	for _, a := range []netip.Addr{b.V4, b.V6} {
		if m := mtu(a); a.IsValid() && m > 0 && (out.MTU == 0 || m < out.MTU) {
			out.MTU = m
		}
	}
	return out
}

// ownAddresses are this machine's: no client has one of them.
func ownAddresses() (ps []netip.Prefix) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			ps = append(ps, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
		}
	}
	return ps
}
