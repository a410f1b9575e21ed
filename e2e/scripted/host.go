// Package scripted is a TCP end that a test plays segment by segment: a host with an address that no
// kernel has, so that nothing answers but the script. Its packets go through the real devices and
// routes of a bed.
package scripted

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sleight/e2e/bed"
	"sleight/e2e/bed/ring"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Host is an address at a device of a namespace. It has no goroutine: what came is read when an End
// asks for something, so it belongs to one goroutine, with its Ends.
type Host struct {
	Addr netip.Addr

	t     testing.TB
	ring  *ring.Ring
	fd    int
	queue map[netip.AddrPort]map[netip.AddrPort][]wire.Segment // by our socket, then the peer's
	other []wire.Packet                                        // what is no TCP: ICMP errors
	taken map[tcb.Tuple]tcb.Seq                                // SYNs that Server has returned
}

// New makes a host at addr, which is in the device's network and which nobody has. The router, the
// device's neighbour, is told where it is, since nobody answers for it.
func New(t testing.TB, addr netip.Addr, at, router bed.End) *Host {
	t.Helper()
	h := &Host{Addr: addr, t: t, fd: -1, queue: map[netip.AddrPort]map[netip.AddrPort][]wire.Segment{}, taken: map[tcb.Tuple]tcb.Seq{}}
	if err := errors.Join(quiet(at.Namespace), announce(addr, at, router), at.Namespace.Do(func() error { return h.open(at.Device) })); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(h.ring.Close(), unix.Close(h.fd)); err != nil {
			t.Error(err)
		}
	})
	return h
}

// quiet makes the namespace's kernel drop in silence what is not for itself; it would forward what is
// for us where that is the machine's setting.
func quiet(ns *bed.Namespace) error {
	return errors.Join(ns.Sysctl("net/ipv4/ip_forward", "0"), ns.Sysctl("net/ipv6/conf/all/forwarding", "0"))
}

// announce makes the address known to the router.
func announce(addr netip.Addr, at, router bed.End) error {
	link, err := at.Namespace.Netlink().LinkByName(at.Device)
	if err != nil {
		return err
	}
	via, err := router.Namespace.Netlink().LinkByName(router.Device)
	if err != nil {
		return err
	}
	err = router.Namespace.Netlink().NeighSet(&netlink.Neigh{
		LinkIndex: via.Attrs().Index, IP: net.IP(addr.AsSlice()), HardwareAddr: link.Attrs().HardwareAddr, State: netlink.NUD_PERMANENT,
	})
	if err != nil {
		return fmt.Errorf("announce %v: %w", addr, err)
	}
	return nil
}

func (h *Host) open(device string) (err error) {
	family := unix.AF_INET6
	if h.Addr.Is4() {
		family = unix.AF_INET
	}
	if h.fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
		return err
	}
	h.ring, err = ring.Open(device, ring.Config{})
	return err
}

// Inject sends a packet as it is.
func (h *Host) Inject(dst netip.Addr, pkt []byte) {
	h.t.Helper()
	to := unix.Sockaddr(&unix.SockaddrInet6{Addr: dst.As16()})
	if dst.Is4() {
		to = &unix.SockaddrInet4{Addr: dst.As4()}
	}
	if err := unix.Sendto(h.fd, pkt, 0, to); err != nil {
		h.t.Fatal(err)
	}
}

// pump takes in what the device has, waiting for at most d for the first.
func (h *Host) pump(d time.Duration) {
	h.t.Helper()
	for n := 0; ; n++ {
		f, ok := h.ring.Read()
		if !ok {
			if n > 0 || d <= 0 {
				return
			}
			if err := h.ring.Wait(d); err != nil {
				h.t.Fatal(err)
			}
			d = 0
			continue
		}
		data := append([]byte(nil), f.Data...)
		f.Release()
		h.take(data)
	}
}

const etherLen = 14

func (h *Host) take(frame []byte) {
	if len(frame) < etherLen {
		return
	}
	var p wire.Packet
	switch why := wire.ParseIP(&p, frame[etherLen:]); {
	case why != wire.OK && why != wire.NotTCP, p.Dst != h.Addr:
		return
	case why == wire.NotTCP, p.Proto != unix.IPPROTO_TCP:
		h.other = append(h.other, p)
		return
	}
	var s wire.Segment
	if why := wire.ParseTCP(&s, &p, wire.Offload{}); why != wire.OK {
		h.t.Errorf("%v received a segment from %v: %v", h.Addr, p.Src, why)
		return
	}
	if h.queue[s.Dst] == nil {
		h.queue[s.Dst] = map[netip.AddrPort][]wire.Segment{}
	}
	h.queue[s.Dst][s.Src] = append(h.queue[s.Dst][s.Src], s)
}

// ICMP returns the packets so far that were no TCP, and forgets them.
func (h *Host) ICMP() []wire.Packet {
	h.pump(0)
	got := h.other
	h.other = nil
	return got
}
