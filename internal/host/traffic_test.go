package host

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"sleight/tun"
)

// The packets of this file are UDP with the payload "x"; the kernels that answer
// them check addresses and checksums as for any other.

// socket binds a UDP socket in a namespace; it stays there.
func (b *bed) socket(family int, bind string) int {
	b.t.Helper()
	s, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
	must(b.t, err)
	b.t.Cleanup(func() { unix.Close(s) })
	// Nothing on the way waits: a lost packet should fail, not hang.
	must(b.t, unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
	must(b.t, unix.SetsockoptInt(s, unix.SOL_IP, unix.IP_FREEBIND, 1))
	if family == unix.AF_INET6 {
		must(b.t, unix.SetsockoptInt(s, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1))
	}
	must(b.t, unix.Bind(s, sockaddr(netip.MustParseAddrPort(bind))))
	return s
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func sender(from unix.Sockaddr) netip.AddrPort {
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// receive waits for one packet and says who sent it.
func (b *bed) receive(s int, why string) netip.AddrPort {
	b.t.Helper()
	buf := make([]byte, 100)
	_, from, err := unix.Recvfrom(s, buf, 0)
	if err != nil {
		b.t.Fatalf("%s: %v", why, err)
	}
	return sender(from)
}

// read returns the next UDP packet of a door, of the family, and its ends.
func read(t *testing.T, d *tun.Door, is4 bool) (pkt []byte, src, dst netip.Addr) {
	t.Helper()
	for {
		b := make([]byte, tun.MaxPacket)
		n, err := d.Read(0, b)
		must(t, err)
		ip := b[tun.VnetHeader:n]
		switch {
		case is4 && ip[0]>>4 == 4 && ip[9] == unix.IPPROTO_UDP:
			return b[:n], netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
		case !is4 && ip[0]>>4 == 6 && ip[6] == unix.IPPROTO_UDP:
			return b[:n], netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
		}
	}
}

// write changes a packet's ends, mends its checksums and writes it to a door.
func write(t *testing.T, d *tun.Door, pkt []byte, src, dst netip.Addr) {
	t.Helper()
	clear(pkt[:tun.VnetHeader])
	ip := pkt[tun.VnetHeader:]
	var pseudo, udp []byte
	if src.Is4() {
		copy(ip[12:], src.AsSlice())
		copy(ip[16:], dst.AsSlice())
		ip[10], ip[11] = 0, 0
		put(ip[10:], checksum(ip[:20]))
		pseudo, udp = ip[12:20], ip[20:]
	} else {
		copy(ip[8:], src.AsSlice())
		copy(ip[24:], dst.AsSlice())
		pseudo, udp = ip[8:40], ip[40:]
	}
	udp[6], udp[7] = 0, 0
	put(udp[6:], checksum(pseudo, []byte{0, unix.IPPROTO_UDP, byte(len(udp) >> 8), byte(len(udp))}, udp))
	_, err := d.Write(0, pkt)
	must(t, err)
}

func put(b []byte, v uint16) { b[0], b[1] = byte(v>>8), byte(v) }

// checksum is the Internet checksum of parts of even length, but for the last.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, p := range parts {
		for i, x := range p {
			sum += uint32(x) << (8 * (1 - i%2))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// way is how one mode writes the client's packet toward the backend.
type way struct {
	door              int // of the backends' doors
	src, dst          string
	answers, answersD string // the ends of the backend's answer
}

func TestPacketsPassInEveryModeWithStrictReversePath(t *testing.T) {
	for name, c := range map[string]struct {
		client, claimed, backend string
		ways                     map[Mode]way
	}{
		"IPv4": {"192.0.2.2:4000", "203.0.113.9:7", "10.0.2.2:7", map[Mode]way{
			Client: {1, "192.0.2.2", "10.0.2.2", "10.0.2.2", "192.0.2.2"},
			NAT:    {1, "100.64.0.3", "10.0.2.2", "10.0.2.2", "100.64.0.3"},
			Keep:   {2, "192.0.2.2", "203.0.113.9", "203.0.113.9", "192.0.2.2"},
		}},
		"IPv6": {"[fd00:1::2]:4000", "[2001:db8:113::9]:7", "[fd00:2::2]:7", map[Mode]way{
			Client: {1, "fd00:1::2", "fd00:2::2", "fd00:2::2", "fd00:1::2"},
			NAT:    {1, "2001:db8:64::3", "fd00:2::2", "fd00:2::2", "2001:db8:64::3"},
			Keep:   {2, "fd00:1::2", "2001:db8:113::9", "2001:db8:113::9", "fd00:1::2"},
		}},
	} {
		for mode, w := range c.ways {
			t.Run(name+" "+string(mode), func(t *testing.T) {
				b := newBed(t)
				p := b.plan()
				for _, prefix := range p.Claimed {
					b.own(prefix.String())
				}
				doors := openDoors(b)
				h := mustSetup(t, p)
				defer h.Close()
				roundTrip(t, b, doors, c.client, c.claimed, c.backend, w)
			})
		}
	}
}

func roundTrip(t *testing.T, b *bed, doors []*tun.Door, client, claimed, backend string, w way) {
	t.Helper()
	dialled := netip.MustParseAddrPort(claimed)
	is4 := dialled.Addr().Is4()
	family := unix.AF_INET6
	if is4 {
		family = unix.AF_INET
	}
	asked := netip.AddrPortFrom(netip.MustParseAddr(w.dst), 7)
	var s, d2 int
	b.in(b.client, func() { s = b.socket(family, client) })
	b.in(b.backend, func() { d2 = b.socket(family, asked.String()) })

	must(t, unix.Sendto(s, []byte("x"), 0, sockaddr(dialled)))
	pkt, src, dst := read(t, doors[0], is4)
	wantEnds(t, "the clients' door reads", src, dst, netip.MustParseAddrPort(client).Addr(), dialled.Addr())

	write(t, doors[w.door], pkt, netip.MustParseAddr(w.src), asked.Addr())
	from := b.receive(d2, "the backend waits for the packet")
	if from.Addr() != netip.MustParseAddr(w.src) {
		t.Errorf("the backend sees %s, want %s", from, w.src)
	}

	must(t, unix.Sendto(d2, []byte("x"), 0, sockaddr(from)))
	pkt, src, dst = read(t, doors[w.door], is4)
	wantEnds(t, "the backends' door reads", src, dst, netip.MustParseAddr(w.answers), netip.MustParseAddr(w.answersD))

	write(t, doors[0], pkt, dialled.Addr(), netip.MustParseAddrPort(client).Addr())
	if from := b.receive(s, "the client waits for the answer"); from != dialled {
		t.Errorf("the client sees %s, want %s", from, dialled)
	}
}

func wantEnds(t *testing.T, who string, src, dst, wantSrc, wantDst netip.Addr) {
	t.Helper()
	if src != wantSrc || dst != wantDst {
		t.Errorf("%s %s > %s, want %s > %s", who, src, dst, wantSrc, wantDst)
	}
}

func TestABackendThatForgesTheClientStaysBehindItsDoor(t *testing.T) {
	b := newBed(t)
	openDoors(b)
	h := mustSetup(t, b.plan())
	defer h.Close()
	// IPv6 has no reverse path filter: the door is all that tells.
	if got := b.leads("be0", "fd00:1::2", "2001:db8:113::9"); got != "sleight1" {
		t.Errorf("its packet for a claimed address goes to %s", got)
	}
	if got := b.leads("cl0", "fd00:1::2", "2001:db8:64::3"); got != "invalid argument" && got != "blackhole" {
		t.Errorf("a client's packet for the pool goes to %s", got)
	}
	if got := b.leads("lo", "fd00:2::1", "2001:db8:64::3"); got != "sleight1" {
		t.Errorf("the machine's own packet for the pool goes to %s", got)
	}
}
