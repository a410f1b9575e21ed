package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace to come back to: Close may run on a thread
// that is in another one.
type namespace struct{ ns netns.NsHandle }

func currentNamespace() (*namespace, error) {
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	return &namespace{ns}, nil
}

// id tells namespaces of one boot apart.
func (n *namespace) id() string { return n.ns.UniqueId() }

func (n *namespace) close() error {
	if !n.ns.IsOpen() {
		return nil
	}
	return n.ns.Close()
}

// do runs f on a thread that is in the namespace.
func (n *namespace) do(f func(*kernel) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	back, err := n.enter()
	if err != nil {
		return err
	}
	defer back()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	return f(&kernel{Handle: h, proc: "/proc/sys"})
}

// enter moves the thread into the namespace, if it is in another one.
func (n *namespace) enter() (back func(), err error) {
	here, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	if here.Equal(n.ns) {
		return func() { here.Close() }, nil
	}
	if err := netns.Set(n.ns); err != nil {
		here.Close()
		return nil, fmt.Errorf("enter the network namespace: %w", err)
	}
	return func() {
		if netns.Set(here) != nil {
			// The thread would stay in a foreign namespace: keep it locked, so
			// that it ends with its goroutine.
			runtime.LockOSThread()
		}
		here.Close()
	}, nil
}

// kernel is netlink and /proc/sys of the current thread's namespace.
type kernel struct {
	*netlink.Handle
	proc string
}

// families are those that the machine has.
func (k *kernel) families() []int {
	if _, err := os.Stat(filepath.Join(k.proc, "net/ipv6")); err != nil {
		return []int{unix.AF_INET}
	}
	return []int{unix.AF_INET, unix.AF_INET6}
}

func (k *kernel) sysctl(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join(k.proc, path))
	return strings.TrimSpace(string(b)), err
}

func (k *kernel) setSysctl(path, value string) error {
	return os.WriteFile(filepath.Join(k.proc, path), []byte(value), 0o644)
}

// routes lists the unicast routes of a table; 0 is every table.
func (k *kernel) routes(family, table int) ([]netlink.Route, error) {
	filter := &netlink.Route{Table: table}
	var routes []netlink.Route
	err := again(func() (err error) {
		routes, err = k.RouteListFiltered(family, filter, netlink.RT_FILTER_TABLE)
		return err
	})
	return routes, err
}

// again repeats a dump that a change interrupted.
func again(f func() error) error {
	for try := 0; ; try++ {
		err := f()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == 5 {
			return err
		}
	}
}

// route is the way to an address, as a packet of our own would go.
func (k *kernel) route(addr netip.Addr) (netlink.Route, string, error) {
	routes, err := k.RouteGet(addr.AsSlice())
	if err != nil {
		return netlink.Route{}, "", err
	}
	if len(routes) == 0 {
		return netlink.Route{}, "", unix.ENETUNREACH
	}
	l, err := k.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return netlink.Route{}, "", err
	}
	return routes[0], l.Attrs().Name, nil
}

func (k *kernel) mtu(addr netip.Addr) (int, error) {
	r, dev, err := k.route(addr)
	if err != nil {
		return 0, fmt.Errorf("route to %s: %w", addr, err)
	}
	if r.MTU > 0 {
		return r.MTU, nil
	}
	l, err := k.LinkByName(dev)
	if err != nil {
		return 0, fmt.Errorf("device %s: %w", dev, err)
	}
	return l.Attrs().MTU, nil
}

// prefixOf turns netlink's form into ours; no destination is the default.
func prefixOf(n *net.IPNet, family int) netip.Prefix {
	zero := netip.IPv4Unspecified()
	if family == unix.AF_INET6 {
		zero = netip.IPv6Unspecified()
	}
	if n == nil {
		return netip.PrefixFrom(zero, 0)
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.PrefixFrom(zero, 0)
	}
	ones, _ := n.Mask.Size()
	if family == unix.AF_INET {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, ones)
}

func ipNet(p netip.Prefix) *net.IPNet {
	p = p.Masked()
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func anywhere(family int) netip.Prefix { return prefixOf(nil, family) }
