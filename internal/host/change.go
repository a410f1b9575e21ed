package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Metrics of our routes: the blackhole must lose against everything.
const (
	doorMetric      = 1
	blackholeMetric = 0x7fffffff
)

// change is one thing that Setup does to the machine; exactly one of its
// pointers is set. It is what the journal holds.
type change struct {
	Route  *route  `json:"route,omitempty"`
	Rule   *rule   `json:"rule,omitempty"`
	Sysctl *sysctl `json:"sysctl,omitempty"`
	// Contains marks what keeps backends contained while no gateway runs: Close
	// leaves it.
	Contains bool `json:"contains,omitempty"`
}

// route sends Prefix through Device, via a gateway if Via is valid; without a
// device it is a blackhole.
type route struct {
	Table  int          `json:"table"`
	Prefix netip.Prefix `json:"prefix"`
	Device string       `json:"device,omitempty"`
	Via    netip.Addr   `json:"via,omitzero"`
}

// rule leads packets that came in on Iif to Table. From and To are invalid where
// any address will do.
type rule struct {
	Family   int          `json:"family"`
	Priority int          `json:"priority"`
	Iif      string       `json:"iif"`
	From     netip.Prefix `json:"from,omitzero"`
	To       netip.Prefix `json:"to,omitzero"`
	Table    int          `json:"table"`
}

// String is the command that does the same.
func (c change) String() string {
	switch {
	case c.Route != nil:
		return c.Route.String()
	case c.Rule != nil:
		return c.Rule.String()
	default:
		return fmt.Sprintf("sysctl -w %s=%s", strings.ReplaceAll(c.Sysctl.Path, "/", "."), c.Sysctl.New)
	}
}

func (r *route) String() string {
	cmd := "ip"
	if r.Prefix.Addr().Is6() {
		cmd = "ip -6"
	}
	if r.Device == "" {
		return fmt.Sprintf("%s route add blackhole %s table %d metric %d", cmd, r.Prefix, r.Table, blackholeMetric)
	}
	via := ""
	if r.Via.IsValid() {
		via = " via " + r.Via.String()
	}
	return fmt.Sprintf("%s route add %s%s dev %s table %d metric %d", cmd, r.Prefix, via, r.Device, r.Table, doorMetric)
}

func (r *rule) String() string {
	var b strings.Builder
	b.WriteString("ip")
	if r.Family == unix.AF_INET6 {
		b.WriteString(" -6")
	}
	fmt.Fprintf(&b, " rule add iif %s", r.Iif)
	if r.From.IsValid() {
		fmt.Fprintf(&b, " from %s", r.From)
	}
	if r.To.IsValid() {
		fmt.Fprintf(&b, " to %s", r.To)
	}
	fmt.Fprintf(&b, " lookup %d priority %d", r.Table, r.Priority)
	return b.String()
}

// same reports whether two changes are about the same thing; what a sysctl was
// before does not matter.
func (c change) same(o change) bool {
	if c.Sysctl != nil && o.Sysctl != nil {
		return c.Sysctl.Path == o.Sysctl.Path
	}
	return reflect.DeepEqual(c.Route, o.Route) && reflect.DeepEqual(c.Rule, o.Rule) && (c.Sysctl == nil) == (o.Sysctl == nil)
}

func contains(list []change, c change) bool {
	for _, o := range list {
		if c.same(o) {
			return true
		}
	}
	return false
}

// netlink is the route as the kernel takes it.
func (r *route) netlink(k *kernel) (*netlink.Route, error) {
	n := &netlink.Route{
		Family:   familyOf(r.Prefix.Addr()),
		Table:    r.Table,
		Dst:      ipNet(r.Prefix),
		Protocol: Protocol,
	}
	if r.Device == "" {
		n.Type, n.Priority = unix.RTN_BLACKHOLE, blackholeMetric
		return n, nil
	}
	l, err := k.LinkByName(r.Device)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", r.Device, err)
	}
	n.Type, n.Priority, n.LinkIndex = unix.RTN_UNICAST, doorMetric, l.Attrs().Index
	if r.Via.IsValid() {
		n.Gw = r.Via.AsSlice()
	} else if n.Family == unix.AF_INET {
		n.Scope = netlink.SCOPE_LINK
	}
	return n, nil
}

func (r *rule) netlink() *netlink.Rule {
	n := netlink.NewRule()
	n.Family, n.Priority, n.IifName, n.Table, n.Protocol = r.Family, r.Priority, r.Iif, r.Table, Protocol
	if r.From.IsValid() {
		n.Src = ipNet(r.From)
	}
	if r.To.IsValid() {
		n.Dst = ipNet(r.To)
	}
	return n
}

// apply makes the change. One that is there already is none of ours, unless it
// carries our number.
func (c change) apply(k *kernel) error {
	var err error
	switch {
	case c.Route != nil:
		var n *netlink.Route
		if n, err = c.Route.netlink(k); err == nil {
			err = k.RouteAdd(n)
		}
	case c.Rule != nil:
		err = k.RuleAdd(c.Rule.netlink())
	default:
		err = k.setSysctl(c.Sysctl.Path, c.Sysctl.New)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EEXIST):
		if ours, listErr := c.present(k, Protocol); listErr == nil && ours {
			return nil
		}
		return fmt.Errorf("%s: %w: remove it, or choose another table and priority under routing", c, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: %w: run as root or with CAP_NET_ADMIN, or set routing.setup to check and let an administrator do it", c, err)
	}
	return fmt.Errorf("%s: %w", c, err)
}

// undo takes the change back. What is gone already is fine.
func (c change) undo(k *kernel) error {
	var err error
	switch {
	case c.Route != nil:
		err = c.Route.undo(k)
	case c.Rule != nil:
		err = k.RuleDel(c.Rule.netlink())
	default:
		err = c.Sysctl.undo(k)
	}
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EAFNOSUPPORT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take back %q: %w", c, err)
	}
	return nil
}

func (r *route) undo(k *kernel) error {
	n, err := r.netlink(k)
	if gone := (netlink.LinkNotFoundError{}); errors.As(err, &gone) {
		return nil // a route vanishes with its device
	}
	if err != nil {
		return err
	}
	return k.RouteDel(n)
}

// present reports whether the kernel has the change; proto says who must have
// made it, 0 is anybody.
func (c change) present(k *kernel, proto int) (bool, error) {
	switch {
	case c.Route != nil:
		return c.Route.present(k, proto)
	case c.Rule != nil:
		return c.Rule.present(k, proto)
	}
	v, err := k.sysctl(c.Sysctl.Path)
	return v >= c.Sysctl.New, err
}

func (r *route) present(k *kernel, proto int) (bool, error) {
	family := familyOf(r.Prefix.Addr())
	routes, err := k.routes(family, r.Table)
	if err != nil {
		return false, fmt.Errorf("list table %d: %w", r.Table, err)
	}
	index := 0
	if r.Device != "" {
		l, err := k.LinkByName(r.Device)
		if err != nil {
			return false, fmt.Errorf("device %s: %w", r.Device, err)
		}
		index = l.Attrs().Index
	}
	for _, n := range routes {
		if prefixOf(n.Dst, family) != r.Prefix.Masked() || proto != 0 && int(n.Protocol) != proto {
			continue
		}
		if r.Device == "" && n.Type == unix.RTN_BLACKHOLE {
			return true, nil
		}
		if r.Device != "" && n.Type == unix.RTN_UNICAST && n.LinkIndex == index {
			return true, nil
		}
	}
	return false, nil
}

func (r *rule) present(k *kernel, proto int) (bool, error) {
	var rules []netlink.Rule
	err := again(func() (err error) {
		rules, err = k.RuleList(r.Family)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("list policy rules: %w", err)
	}
	for _, n := range rules {
		if proto != 0 && int(n.Protocol) != proto {
			continue
		}
		if n.IifName == r.Iif && n.Table == r.Table && sameNet(n.Src, r.From) && sameNet(n.Dst, r.To) {
			return true, nil
		}
	}
	return false, nil
}

// sameNet compares a rule's selector; netlink lists "any" as nil or as /0.
func sameNet(n *net.IPNet, p netip.Prefix) bool {
	if n == nil || n.IP == nil {
		return !p.IsValid()
	}
	ones, _ := n.Mask.Size()
	if !p.IsValid() {
		return ones == 0
	}
	return n.String() == p.Masked().String()
}
