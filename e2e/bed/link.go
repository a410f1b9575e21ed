package bed

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// End is one end of a veth pair: a device name in a namespace.
type End struct {
	Namespace *Namespace
	Device    string
}

// Connect makes a veth pair, puts each end into its namespace and brings both up. Unless offloads
// is set, both ends do without checksum offload, TSO, GSO and GRO, so that a capture shows packets
// as a real wire carries them. MTU 0 is 1500.
func Connect(a, b End, mtu int, offloads bool) error {
	if mtu == 0 {
		mtu = 1500
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = a.Device, mtu
	pair := &netlink.Veth{
		LinkAttrs:     attrs,
		PeerName:      b.Device,
		PeerMTU:       uint32(mtu),
		PeerNamespace: netlink.NsFd(netns.NsHandle(b.Namespace.fd)),
	}
	if err := a.Namespace.nl.LinkAdd(pair); err != nil {
		return fmt.Errorf("veth %s/%s - %s/%s: %w", a.Namespace.Name, a.Device, b.Namespace.Name, b.Device, err)
	}
	for _, e := range []End{a, b} {
		if !offloads {
			if err := e.Namespace.OffloadsOff(e.Device); err != nil {
				return err
			}
		}
	}
	return errors.Join(a.Namespace.Up(a.Device), b.Namespace.Up(b.Device))
}

// Up brings a device up.
func (n *Namespace) Up(device string) error { return n.setLink(device, n.nl.LinkSetUp) }

// Down takes a device down.
func (n *Namespace) Down(device string) error { return n.setLink(device, n.nl.LinkSetDown) }

// SetMTU sets a device's MTU in bytes.
func (n *Namespace) SetMTU(device string, mtu int) error {
	return n.setLink(device, func(l netlink.Link) error { return n.nl.LinkSetMTU(l, mtu) })
}

func (n *Namespace) setLink(device string, set func(netlink.Link) error) error {
	link, err := n.nl.LinkByName(device)
	if err == nil {
		err = set(link)
	}
	if err != nil {
		return fmt.Errorf("namespace %s: device %s: %w", n.Name, device, err)
	}
	return nil
}

// AddAddr gives a device an address with its prefix length. IPv6 addresses are usable at once.
func (n *Namespace) AddAddr(device string, p netip.Prefix) error {
	addr := &netlink.Addr{IPNet: ipNet(p, p.Addr())}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	err := n.setLink(device, func(l netlink.Link) error { return n.nl.AddrAdd(l, addr) })
	if err != nil {
		return fmt.Errorf("add address %s: %w", p, err)
	}
	return nil
}

// AddRoute routes a prefix via an address.
func (n *Namespace) AddRoute(to netip.Prefix, via netip.Addr) error {
	err := n.nl.RouteAdd(&netlink.Route{Dst: ipNet(to, to.Masked().Addr()), Gw: via.AsSlice()})
	if err != nil {
		return fmt.Errorf("namespace %s: route %s via %s: %w", n.Name, to, via, err)
	}
	return nil
}

// AddLocal makes every address of a prefix the namespace's own, as `ip route add local PREFIX dev lo`
// does.
func (n *Namespace) AddLocal(p netip.Prefix) error {
	err := n.setLink("lo", func(l netlink.Link) error {
		return n.nl.RouteAdd(&netlink.Route{
			LinkIndex: l.Attrs().Index,
			Dst:       ipNet(p, p.Masked().Addr()),
			Type:      unix.RTN_LOCAL,
			Table:     unix.RT_TABLE_LOCAL,
			Scope:     netlink.SCOPE_HOST,
		})
	})
	if err != nil {
		return fmt.Errorf("local route %s: %w", p, err)
	}
	return nil
}

func ipNet(p netip.Prefix, a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// The old ethtool commands that set one value (linux/ethtool.h).
const (
	ethtoolSetTxCsum = 0x17
	ethtoolSetTSO    = 0x1f
	ethtoolSetGSO    = 0x24
	ethtoolSetGRO    = 0x2c
)

// OffloadsOff turns checksum offload, TSO, GSO and GRO of a device off.
func (n *Namespace) OffloadsOff(device string) error {
	return n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, cmd := range []uint32{ethtoolSetTxCsum, ethtoolSetTSO, ethtoolSetGSO, ethtoolSetGRO} {
			if err := ethtoolSet(fd, device, cmd, 0); err != nil {
				return fmt.Errorf("namespace %s: device %s: ethtool %#x: %w", n.Name, device, cmd, err)
			}
		}
		return nil
	})
}

func ethtoolSet(fd int, device string, cmd, value uint32) error {
	arg := struct{ cmd, data uint32 }{cmd, value}
	req := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&arg)}
	copy(req.name[:unix.IFNAMSIZ-1], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return errno
	}
	return nil
}
