package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"sleight/e2e/bed"
	"sleight/internal/pcap"
	"sleight/stack/wire"
)

// forge makes packets from src to dst as no socket would: a datagram, a ping, and
// segments that open, answer, carry and reset.
func forge(t *testing.T, src, dst netip.AddrPort) (pkts [][]byte) {
	t.Helper()
	var ip gopacket.NetworkLayer
	var head gopacket.SerializableLayer
	proto, echo := layers.IPProtocolICMPv4, []gopacket.SerializableLayer{&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 7}}
	setProto := func(layers.IPProtocol) {}
	if src.Addr().Is4() {
		v4 := &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, SrcIP: net.IP(src.Addr().AsSlice()), DstIP: net.IP(dst.Addr().AsSlice())}
		ip, head, setProto = v4, v4, func(p layers.IPProtocol) { v4.Protocol = p }
	} else {
		v6 := &layers.IPv6{Version: 6, HopLimit: 64, SrcIP: net.IP(src.Addr().AsSlice()), DstIP: net.IP(dst.Addr().AsSlice())}
		ip, head, setProto = v6, v6, func(p layers.IPProtocol) { v6.NextHeader = p }
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		proto, echo = layers.IPProtocolICMPv6, []gopacket.SerializableLayer{icmp, &layers.ICMPv6Echo{Identifier: 7}}
	}
	add := func(p layers.IPProtocol, rest ...gopacket.SerializableLayer) {
		setProto(p)
		b := gopacket.NewSerializeBuffer()
		all := append([]gopacket.SerializableLayer{head}, append(rest, gopacket.Payload("forged"))...)
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
			t.Fatal(err)
		}
		pkts = append(pkts, append([]byte(nil), b.Bytes()...))
	}
	add(proto, echo...)
	udp := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
	_ = udp.SetNetworkLayerForChecksum(ip)
	add(layers.IPProtocolUDP, udp)
	for _, flags := range []string{"S", "SA", "A", "RA"} {
		tcp := &layers.TCP{SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()), Seq: 1000, Ack: 2000, Window: 65535}
		for _, f := range flags {
			tcp.SYN, tcp.ACK, tcp.RST = tcp.SYN || f == 'S', tcp.ACK || f == 'A', tcp.RST || f == 'R'
		}
		_ = tcp.SetNetworkLayerForChecksum(ip)
		add(layers.IPProtocolTCP, tcp)
	}
	return pkts
}

// inject sends packets that are whole, whatever their source.
func inject(t *testing.T, ns *bed.Namespace, dst netip.Addr, pkts [][]byte) {
	t.Helper()
	err := ns.Do(func() error {
		family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: dst.As16()})
		if dst.Is4() {
			family, to = unix.AF_INET, &unix.SockaddrInet4{Addr: dst.As4()}
		}
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, p := range pkts {
			if err := unix.Sendto(fd, p, 0, to); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// storm lets D2 send all that forge makes, from each source to each destination,
// and waits until the gateway's kernel has dealt with it: what comes after has come
// through the same link. It returns how many packets that were.
func storm(t *testing.T, b *bed.Bed, from, to []netip.AddrPort) (n int) {
	t.Helper()
	for _, src := range from {
		for _, dst := range to {
			if src.Addr().Is4() == dst.Addr().Is4() {
				pkts := forge(t, src, dst)
				inject(t, b.Backends[0], dst.Addr(), pkts)
				n += len(pkts)
			}
		}
	}
	l, err := b.Gateway.ListenPacket("udp", "10.0.2.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_ = l.SetDeadline(time.Now().Add(10 * time.Second))
	c, err := b.Backends[0].DialContext(t.Context(), "udp", "10.0.2.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("fence")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.ReadFrom(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	return n
}

// atS captures at S from now on.
func atS(t *testing.T, b *bed.Bed) *bed.Capture {
	t.Helper()
	c, err := b.Attacker.Capture(bed.AttackerDevice, filepath.Join(t.TempDir(), "s.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop() })
	return c
}

// wantOnly ends a capture at S: what came in is of these connections of S's, or the
// link's own talk.
func wantOnly(t *testing.T, c *bed.Capture, conns ...net.Conn) {
	t.Helper()
	for _, s := range strangers(t, c, conns...) {
		t.Error(s)
	}
}

// strangers ends a capture at S and describes what came in and belongs neither to
// the connections nor to the link.
func strangers(t *testing.T, c *bed.Capture, conns ...net.Conn) (found []string) {
	t.Helper()
	known := map[[2]netip.AddrPort]bool{}
	for _, c := range conns {
		known[[2]netip.AddrPort{addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())}] = true
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(c.File)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := pcap.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for p := range in.All() {
		var ip wire.Packet
		var s wire.Segment
		if p.Direction != pcap.Inbound || wire.ParseIP(&ip, p.Data) == wire.OK && ip.Src.IsLinkLocalUnicast() || isNeighbour(&ip) {
			continue
		}
		if wire.Parse(&s, p.Data, wire.Offload{}) == wire.OK && known[[2]netip.AddrPort{s.Src, s.Dst}] {
			continue
		}
		found = append(found, fmt.Sprintf("packet %d came to S: %v > %v, protocol %d: %x", p.Number, ip.Src, ip.Dst, ip.Proto, p.Data[:min(60, len(p.Data))]))
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

func addrPort(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }

// isNeighbour knows neighbour discovery (RFC 4861) by its types.
func isNeighbour(ip *wire.Packet) bool {
	return ip.Proto == wire.ProtoICMP6 && len(ip.L4) > 0 && ip.L4[0] >= 130 && ip.L4[0] <= 143
}
