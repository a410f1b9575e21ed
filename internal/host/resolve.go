package host

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// reach is a backend and the device where it is reached.
type reach struct {
	Backend
	onLink  bool
	routers []netip.Addr // those on the device's link, if it is not
}

// addr is the backend's address of a family; invalid if it has none.
func (r reach) addr(family int) netip.Addr {
	for _, a := range r.Addrs {
		if familyOf(a) == family {
			return a
		}
	}
	return netip.Addr{}
}

// devices are the backends' devices, each once.
func devices(reached []reach) []string {
	var devs []string
	for _, r := range reached {
		if !slices.Contains(devs, r.Device) {
			devs = append(devs, r.Device)
		}
	}
	return devs
}

// Resolve finds the device of each backend, in the order of the plan, and
// reports every mistake that the machine's routes show. It changes nothing and
// needs no door.
func Resolve(p Plan) (devs []string, err error) {
	ns, err := currentNamespace()
	if err != nil {
		return nil, err
	}
	defer ns.close()
	err = ns.do(func(k *kernel) error {
		reached, err := p.resolve(k)
		for _, r := range reached {
			devs = append(devs, r.Device)
		}
		return err
	})
	return devs, err
}

func (p Plan) resolve(k *kernel) ([]reach, error) {
	var reached []reach
	var errs []error
	for _, b := range p.Backends {
		r, err := p.reach(k, b)
		if err != nil {
			errs = append(errs, fmt.Errorf("backend %s: %w", b.Name, err))
			continue
		}
		reached = append(reached, r)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	errs = append(errs, shared(reached), p.overshadowed(k))
	for _, dev := range devices(reached) {
		errs = append(errs, p.exclusive(k, dev, reached))
	}
	return reached, errors.Join(errs...)
}

// reach asks the kernel for the way to one backend.
func (p Plan) reach(k *kernel, b Backend) (reach, error) {
	r := reach{Backend: b, onLink: true}
	for _, a := range b.Addrs {
		way, dev, err := k.route(a)
		switch {
		case err != nil:
			return r, fmt.Errorf("no route to %s: %w: add one through a device of its own: ip route add %s dev DEVICE", a, err, a)
		case way.Type == unix.RTN_LOCAL || dev == "lo":
			return r, fmt.Errorf("%s is an address of this machine: a backend is another host, behind a device of its own", a)
		case dev == p.ClientDoor || dev == p.BackendDoor:
			return r, fmt.Errorf("the route to %s goes into our own device %s: does a claimed prefix or the pool hold it? ip route get %s", a, dev, a)
		case r.Device == "":
			r.Device = dev
		case r.Device != dev:
			return r, fmt.Errorf("%s is reached through %s, not through %s: correct `device`, or the route: ip route replace %s dev %s", a, dev, r.Device, a, r.Device)
		}
		if router, ok := netip.AddrFromSlice(way.Gw); ok {
			r.onLink = false
			r.routers = append(r.routers, router.Unmap())
		}
	}
	if r.Mode == Keep && !r.onLink {
		return r, fmt.Errorf("is behind a router, and mode keep rewrites nothing: only a backend on a link of this machine can be given packets for claimed addresses; use client or nat")
	}
	return r, nil
}

// shared refuses two keep backends on one device: both answer from claimed
// addresses, and nothing but the device tells whose packet it is.
func shared(reached []reach) error {
	var errs []error
	for i, a := range reached {
		for _, b := range reached[i+1:] {
			if a.Mode != Keep || b.Mode != Keep || a.Device != b.Device {
				continue
			}
			for _, f := range []int{unix.AF_INET, unix.AF_INET6} {
				if a.addr(f).IsValid() && b.addr(f).IsValid() {
					errs = append(errs, fmt.Errorf("backends %s and %s share device %s, and both are in mode keep: give each a device of its own (a VLAN will do)", a.Name, b.Name, a.Device))
					break
				}
			}
		}
	}
	return errors.Join(errs...)
}

// exclusive refuses a backend's device that also carries clients: all that comes
// in there goes to the backends' door.
func (p Plan) exclusive(k *kernel, dev string, reached []reach) error {
	for _, f := range k.families() {
		foreign, err := p.foreign(k, dev, f, reached)
		if err != nil {
			return err
		}
		if !foreign.IsValid() {
			continue
		}
		what := fmt.Sprintf("also leads to %s, where no backend is", foreign)
		if foreign.Bits() == 0 {
			what = "also carries the default route"
		}
		return fmt.Errorf("backend device %s %s: clients behind it would be cut off, since all that comes in there is taken for a backend's: give the backends a device of their own (a VLAN or a veth will do)", dev, what)
	}
	return nil
}

// foreign returns a destination behind a device where no backend is.
func (p Plan) foreign(k *kernel, dev string, family int, reached []reach) (netip.Prefix, error) {
	l, err := k.LinkByName(dev)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("device %s: %w", dev, err)
	}
	routes, err := k.routes(family, unix.RT_TABLE_MAIN)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if !through(r, l.Attrs().Index) || r.Type != unix.RTN_UNICAST || r.Protocol == Protocol {
			continue
		}
		to := prefixOf(r.Dst, family)
		if to.Bits() == 0 || p.isForeign(to, dev, family, reached) {
			return to, nil
		}
	}
	return netip.Prefix{}, nil
}

func (p Plan) isForeign(to netip.Prefix, dev string, family int, reached []reach) bool {
	if to.Addr().IsLinkLocalUnicast() || to.Addr().IsMulticast() {
		return false
	}
	known := false
	for _, r := range reached {
		if a := r.addr(family); r.Device == dev && a.IsValid() {
			known = true
			if to.Contains(a) || slices.ContainsFunc(r.routers, to.Contains) {
				return false
			}
		}
	}
	// A device whose backends have no address of this family may well have a
	// prefix of it: nobody is known to be there.
	return known
}

// overshadowed refuses a claimed prefix or pool to which the machine has another
// route already: one of the two would win, and nobody could say which.
func (p Plan) overshadowed(k *kernel) error {
	var errs []error
	for _, f := range k.families() {
		routes, err := k.routes(f, unix.RT_TABLE_MAIN)
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, prefix := range of(f, p.Claimed, p.Pool) {
			for _, r := range routes {
				if prefixOf(r.Dst, f) == prefix && r.Type == unix.RTN_UNICAST && r.Protocol != Protocol {
					errs = append(errs, p.overshadows(k, prefix, r))
				}
			}
			errs = append(errs, ownAddress(k, f, prefix))
		}
	}
	return errors.Join(errs...)
}

// ownAddress refuses to claim nothing but an address of this machine: there the
// kernel answers, before any rule of ours. Of a larger prefix the rest works, and
// doctor tells of it.
func ownAddress(k *kernel, family int, prefix netip.Prefix) error {
	if !prefix.IsSingleIP() {
		return nil
	}
	addrs, err := k.AddrList(nil, family)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if prefixOf(a.IPNet, family).Addr() == prefix.Addr() {
			return fmt.Errorf("%s is an address of this machine, and its kernel answers there, not the gateway: claim another, or remove it: ip addr del %s dev %s", prefix, a.IPNet, linkName(k, a.LinkIndex))
		}
	}
	return nil
}

func linkName(k *kernel, index int) string {
	if l, err := k.LinkByIndex(index); err == nil {
		return l.Attrs().Name
	}
	return "DEVICE"
}

func (p Plan) overshadows(k *kernel, prefix netip.Prefix, r netlink.Route) error {
	dev := "another device"
	if l, err := k.LinkByIndex(r.LinkIndex); err == nil {
		dev = l.Attrs().Name
	}
	if dev == p.ClientDoor {
		return nil // an administrator's own route to the door
	}
	return fmt.Errorf("%s has a route through %s already: claim a longer prefix inside it, or remove it: ip route del %s dev %s", prefix, dev, prefix, dev)
}

func through(r netlink.Route, index int) bool {
	if r.LinkIndex == index {
		return true
	}
	return slices.ContainsFunc(r.MultiPath, func(n *netlink.NexthopInfo) bool { return n.LinkIndex == index })
}
