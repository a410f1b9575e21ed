// Package bed makes the machines of a test, or of the lab, from network namespaces: an attacker, a
// gateway and real hosts behind it, joined by veth pairs. Everything is made by netlink: no program
// is needed, and no root where user namespaces are allowed (Enter).
//
//	 attacker             gateway                  backend 0
//	┌────────────┐       ┌───────────────────┐    ┌────────────┐
//	│ 198.51.100.2       .1                .1      10.0.2.2    │
//	│        eth0├───────┤clients    backend0├────┤eth0        │
//	│ 2001:db8:51::2     ::1       fd00:2::1      fd00:2::2    │
//	└────────────┘   ▲   └─────────┬─────────┘  ▲ └────────────┘
//	            ClientWire      backend1    BackendWire
//	                               │   10.0.3.2, fd00:3::2 …
//
// A wire, where one is asked for, is a namespace of its own between the two, with a program that
// carries every frame and loses, delays or damages some (package faulty). The attacker reaches the
// claimed prefixes, and everything else, through the gateway; so do the backends.
package bed

import (
	"errors"
	"fmt"
	"net/netip"

	"sleight/e2e/bed/faulty"
)

// The addresses that every bed uses.
var (
	// Claimed4 and Claimed6 are the prefixes that belong to nobody.
	Claimed4 = netip.MustParsePrefix("203.0.113.0/24")
	Claimed6 = netip.MustParsePrefix("2001:db8:113::/64")

	// Pool4 and Pool6 are the nat mode's addresses.
	Pool4 = netip.MustParsePrefix("100.64.0.0/28")
	Pool6 = netip.MustParsePrefix("2001:db8:64::/124")

	Attacker4 = netip.MustParseAddr("198.51.100.2")
	Attacker6 = netip.MustParseAddr("2001:db8:51::2")

	// Gateway4 and Gateway6 are the gateway's addresses on the clients' side.
	Gateway4 = netip.MustParseAddr("198.51.100.1")
	Gateway6 = netip.MustParseAddr("2001:db8:51::1")
)

// The devices' names; the backends' side of the gateway has BackendDevice(i).
const (
	AttackerDevice = "eth0"
	ClientsDevice  = "clients"
	HostDevice     = "eth0" // on a backend
)

// BackendDevice is the gateway's device towards backend i.
func BackendDevice(i int) string { return fmt.Sprintf("backend%d", i) }

// BackendAddrs are the addresses of backend i: 10.0.2.2 and fd00:2::2 for the first.
func BackendAddrs(i int) (v4, v6 netip.Addr) { return backendAddrs(i, 2) }

// BackendGateways are the gateway's addresses on the side of backend i.
func BackendGateways(i int) (v4, v6 netip.Addr) { return backendAddrs(i, 1) }

func backendAddrs(i int, host byte) (v4, v6 netip.Addr) {
	net := byte(2 + i)
	return netip.AddrFrom4([4]byte{10, 0, net, host}),
		netip.AddrFrom16([16]byte{0: 0xfd, 3: net, 15: host})
}

// Config says what a bed is made of.
type Config struct {
	// Backends is the number of real hosts, at most 200; 0 is one.
	Backends int
	// ClientMTU and BackendMTU are in bytes; 0 is 1500.
	ClientMTU, BackendMTU int
	// Offloads leaves checksum offload, TSO, GSO and GRO of the veths on: for speed, not for captures.
	Offloads bool
	// Ordered keeps each flow in order on a machine with several CPUs (see Namespace.Ordered).
	Ordered bool
	// ClientWire, if set, puts a wire between attacker (A) and gateway (B).
	ClientWire *faulty.Config
	// BackendWire, if set, puts a wire between the gateway (A) and each backend (B).
	BackendWire *faulty.Config
}

// Bed is a set of namespaces that are joined up.
type Bed struct {
	Attacker *Namespace
	Gateway  *Namespace
	Backends []*Namespace

	// ClientWire is nil unless it was asked for; BackendWires are empty then.
	ClientWire   *faulty.Wire
	BackendWires []*faulty.Wire

	closers []func() error // in the order in which they were made
}

// New builds a bed. What was made before an error is taken down again.
func New(cfg Config) (*Bed, error) {
	b := &Bed{}
	if err := b.build(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("build the bed: %w", err), b.Close())
	}
	return b, nil
}

// Close stops the wires and lets go of the namespaces; processes in them are killed.
func (b *Bed) Close() error {
	var errs []error
	for i := len(b.closers) - 1; i >= 0; i-- {
		errs = append(errs, b.closers[i]())
	}
	b.closers = nil
	return errors.Join(errs...)
}

func (b *Bed) build(cfg Config) error {
	var err error
	if b.Attacker, err = b.namespace("attacker"); err != nil {
		return err
	}
	if b.Gateway, err = b.namespace("gateway"); err != nil {
		return err
	}
	if err := b.joinAttacker(cfg); err != nil {
		return err
	}
	for i := range max(cfg.Backends, 1) {
		if err := b.joinBackend(cfg, i); err != nil {
			return err
		}
	}
	if cfg.Ordered {
		return b.order()
	}
	return nil
}

func (b *Bed) order() error {
	errs := []error{b.Attacker.Ordered(AttackerDevice), b.Gateway.Ordered(ClientsDevice)}
	for i, host := range b.Backends {
		errs = append(errs, b.Gateway.Ordered(BackendDevice(i)), host.Ordered(HostDevice))
	}
	return errors.Join(errs...)
}

func (b *Bed) namespace(name string) (*Namespace, error) {
	n, err := NewNamespace(name)
	if err == nil {
		b.closers = append(b.closers, n.Close)
	}
	return n, err
}

func (b *Bed) joinAttacker(cfg Config) error {
	wire, err := b.join(End{b.Attacker, AttackerDevice}, End{b.Gateway, ClientsDevice}, cfg.ClientMTU, cfg.Offloads, cfg.ClientWire)
	if err != nil {
		return err
	}
	b.ClientWire = wire
	err = errors.Join(
		number(End{b.Attacker, AttackerDevice}, Attacker4, Attacker6),
		number(End{b.Gateway, ClientsDevice}, Gateway4, Gateway6))
	for _, p := range []netip.Prefix{Claimed4, Claimed6, netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
		if err == nil {
			err = b.Attacker.AddRoute(p, gatewayOf(p, Gateway4, Gateway6))
		}
	}
	return err
}

func (b *Bed) joinBackend(cfg Config, i int) error {
	host, err := b.namespace(fmt.Sprintf("backend%d", i))
	if err != nil {
		return err
	}
	b.Backends = append(b.Backends, host)
	wire, err := b.join(End{b.Gateway, BackendDevice(i)}, End{host, HostDevice}, cfg.BackendMTU, cfg.Offloads, cfg.BackendWire)
	if err != nil {
		return err
	}
	if wire != nil {
		b.BackendWires = append(b.BackendWires, wire)
	}
	host4, host6 := BackendAddrs(i)
	gate4, gate6 := BackendGateways(i)
	err = errors.Join(number(End{b.Gateway, BackendDevice(i)}, gate4, gate6), number(End{host, HostDevice}, host4, host6))
	for _, p := range []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
		if err == nil {
			err = host.AddRoute(p, gatewayOf(p, gate4, gate6))
		}
	}
	return err
}

// join connects two ends, by a wire if there is one.
func (b *Bed) join(x, y End, mtu int, offloads bool, cfg *faulty.Config) (*faulty.Wire, error) {
	if cfg == nil {
		return nil, Connect(x, y, mtu, offloads)
	}
	mid, err := b.namespace("wire-" + x.Namespace.Name + "-" + y.Namespace.Name)
	if err != nil {
		return nil, err
	}
	// The wire's own kernel must stay silent: without addresses it answers neither ARP nor IPv4.
	if err := mid.Sysctl("net/ipv6/conf/default/disable_ipv6", "1"); err != nil {
		return nil, err
	}
	if err := errors.Join(Connect(x, End{mid, "a"}, mtu, offloads), Connect(End{mid, "b"}, y, mtu, offloads)); err != nil {
		return nil, err
	}
	var wire *faulty.Wire
	err = mid.Do(func() (err error) {
		wire, err = faulty.Start("a", "b", *cfg)
		return err
	})
	if err == nil {
		b.closers = append(b.closers, wire.Close)
	}
	return wire, err
}

func number(e End, v4, v6 netip.Addr) error {
	return errors.Join(
		e.Namespace.AddAddr(e.Device, netip.PrefixFrom(v4, 24)),
		e.Namespace.AddAddr(e.Device, netip.PrefixFrom(v6, 64)))
}

func gatewayOf(p netip.Prefix, v4, v6 netip.Addr) netip.Addr {
	if p.Addr().Is4() {
		return v4
	}
	return v6
}

// OwnClaimed makes the claimed addresses backend i's own, as mode keep asks for.
func (b *Bed) OwnClaimed(i int) error {
	return errors.Join(b.Backends[i].AddLocal(Claimed4), b.Backends[i].AddLocal(Claimed6))
}

// Forward makes the gateway's kernel forward, as a plain router does.
func (b *Bed) Forward() error {
	return errors.Join(
		b.Gateway.Sysctl("net/ipv4/ip_forward", "1"),
		b.Gateway.Sysctl("net/ipv6/conf/all/forwarding", "1"))
}
