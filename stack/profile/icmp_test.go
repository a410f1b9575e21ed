package profile

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"

	"sleight/stack/wire"
)

// packet puts an IP header before a transport part and sets its checksum at sumAt.
func packet(v int, proto, tos uint8, l4 string, sumAt int) []byte {
	body := unhex(l4)
	c, h := ends(v)
	var pkt []byte
	var pseudo uint32
	if v == 4 {
		pkt = append([]byte{0x45, tos, 0, byte(20 + len(body)), 0, 9, 0x40, 0, 64, proto, 0, 0}, c.Addr().AsSlice()...)
		binary.BigEndian.PutUint16(pkt[2:], uint16(20+len(body)))
	} else {
		pkt = binary.BigEndian.AppendUint32(nil, 6<<28|uint32(tos)<<20)
		pkt = append(binary.BigEndian.AppendUint16(pkt, uint16(len(body))), proto, 64)
		pkt = append(pkt, c.Addr().AsSlice()...)
	}
	pkt = append(pkt, h.Addr().AsSlice()...)
	if v == 4 {
		binary.BigEndian.PutUint16(pkt[10:], ^checksum.Checksum(pkt, 0))
	}
	if proto != wire.ProtoICMP4 {
		pseudo = sum(c.Addr().AsSlice()) + sum(h.Addr().AsSlice()) + uint32(len(body)) + uint32(proto)
	}
	binary.BigEndian.PutUint16(body[sumAt:], ^checksum.Checksum(body, fold(pseudo)))
	return append(pkt, body...)
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// probe asks Linux and reads its answer, whose checksums must be right.
func probe(t *testing.T, pkt []byte, off wire.Offload) (out wire.Packet, ok bool) {
	t.Helper()
	var in wire.Packet
	if r := wire.ParseIP(&in, pkt); r != wire.OK {
		t.Fatalf("the test's own packet: %s", r)
	}
	before := bytes.Clone(pkt)
	dst := dirty(len(pkt) + 1280)
	n := Linux.Probe(dst, &in, pkt, off, 4711, noon)
	if !bytes.Equal(before, pkt) {
		t.Fatal("the request was changed")
	}
	if n == 0 {
		return out, false
	}
	if r := wire.ParseIP(&out, dst[:n]); r != wire.OK {
		t.Fatalf("answer: %s", r)
	}
	if len(out.L4) != n-out.At {
		t.Fatalf("%d bytes behind the header, which says %d", n-out.At, len(out.L4))
	}
	pseudo := uint16(0)
	if out.Proto == wire.ProtoICMP6 {
		pseudo = fold(sum(out.Src.AsSlice()) + sum(out.Dst.AsSlice()) + uint32(len(out.L4)) + wire.ProtoICMP6)
	}
	if checksum.Checksum(out.L4, pseudo) != 0xffff {
		t.Error("bad checksum")
	}
	if !in.Src.Is4() && out.FlowLabel == 0 {
		t.Error("no flow label")
	}
	if out.Src != in.Dst || out.Dst != in.Src || out.TTL != 64 || out.DF || in.Src.Is4() && out.ID != 4711 {
		t.Errorf("from %v to %v, TTL %d, DF %v, ID %d", out.Src, out.Dst, out.TTL, out.DF, out.ID)
	}
	return out, true
}

// The request's code, ToS, identifier, number and data come back (measured: nmap
// tells hosts apart by them).
func TestPing(t *testing.T) {
	const rest = "1234 0001 7878787878"
	for _, tt := range []struct {
		v                     int
		proto                 uint8
		request, reply, other string
	}{
		{4, wire.ProtoICMP4, "08", "00", "11"},
		{6, wire.ProtoICMP6, "80", "81", "87"},
	} {
		for _, code := range []string{"00", "09"} {
			out, ok := probe(t, packet(tt.v, tt.proto, 0x48, tt.request+code+"0000"+rest, 2), wire.Offload{})
			if !ok || out.TOS != 0x48 || out.Proto != tt.proto {
				t.Fatalf("ipv%d: %v, ToS %#x", tt.v, ok, out.TOS)
			}
			out.L4[2], out.L4[3] = 0, 0
			if want := unhex(tt.reply + code + "0000" + rest); !bytes.Equal(out.L4, want) {
				t.Errorf("ipv%d: %x, want %x", tt.v, out.L4, want)
			}
		}
		bad := packet(tt.v, tt.proto, 0, tt.request+"000000"+rest, 2)
		bad[len(bad)-1] ^= 1
		for why, pkt := range map[string][]byte{
			"a bad checksum": bad,
			"a short one":    packet(tt.v, tt.proto, 0, tt.request+"00000012", 2),
			"an answer":      packet(tt.v, tt.proto, 0, tt.reply+"000000"+rest, 2),
			"something else": packet(tt.v, tt.proto, 0, tt.other+"000000"+rest, 2),
		} {
			if _, ok := probe(t, pkt, wire.Offload{}); ok {
				t.Errorf("ipv%d: %s was answered", tt.v, why)
			}
		}
	}
}

func TestUDPToAClosedPort(t *testing.T) {
	for _, v := range []int{4, 6} {
		typ, code, most, tos := byte(1), byte(4), 1280, uint8(0)
		if v == 4 {
			typ, code, most, tos = 3, 3, 576, 0xc8 // ToS: measured
		}
		for _, n := range []int{0, 1, 10, 400, 1400} {
			l4 := unhex("03e703e70000 0000" + strings.Repeat("55", n))
			binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
			pkt := packet(v, wire.ProtoUDP, 0x4a, hex.EncodeToString(l4), 6)
			out, ok := probe(t, pkt, wire.Offload{})
			if !ok || out.L4[0] != typ || out.L4[1] != code || out.TOS != tos {
				t.Fatalf("ipv%d, %d bytes: %v, ToS %#x", v, n, ok, out.TOS)
			}
			quote := out.L4[8:]
			if !bytes.HasPrefix(pkt, quote) || binary.BigEndian.Uint32(out.L4[4:]) != 0 {
				t.Errorf("ipv%d, %d bytes: quotes something else", v, n)
			}
			if size := out.At + len(out.L4); size > most || len(quote) < len(pkt) && size != most {
				t.Errorf("ipv%d, %d bytes: the error has %d, may have %d", v, n, size, most)
			}
		}
	}
}

// A host does not look at the port of a damaged datagram, so neither error nor
// silence may depend on it.
func TestUDPThatIsDropped(t *testing.T) {
	for _, v := range []int{4, 6} {
		good := packet(v, wire.ProtoUDP, 0, "03e703e7000a 0000 5555", 6)
		head := len(good) - 10
		damaged, long, short, none := bytes.Clone(good), bytes.Clone(good), bytes.Clone(good), bytes.Clone(good)
		damaged[len(damaged)-1] ^= 1
		long[head+5], short[head+5] = 11, 7
		none[head+6], none[head+7] = 0, 0
		for _, tt := range []struct {
			why  string
			pkt  []byte
			off  wire.Offload
			want bool
		}{
			{"good", good, wire.Offload{}, true},
			{"damaged", damaged, wire.Offload{}, false},
			{"left open by the kernel", damaged, wire.Offload{NeedsCsum: true}, true},
			{"longer than its packet", long, wire.Offload{NeedsCsum: true}, false},
			{"shorter than its header", short, wire.Offload{NeedsCsum: true}, false},
			{"without a checksum", none, wire.Offload{}, v == 4},
			{"with something behind it", trailed(v), wire.Offload{}, true},
			{"cut off", packet(v, wire.ProtoUDP, 0, "03e703e7 0000", 4), wire.Offload{}, false},
		} {
			if _, ok := probe(t, tt.pkt, tt.off); ok != tt.want {
				t.Errorf("ipv%d, %s: answered %v, want %v", v, tt.why, ok, tt.want)
			}
		}
	}
}

// trailed is a good datagram of 10 bytes in a packet that has two more.
func trailed(v int) []byte {
	pkt := packet(v, wire.ProtoUDP, 0, "03e703e7000a 0000 5555", 6)
	longer := packet(v, wire.ProtoUDP, 0, "03e703e7000a 0000 5555 1234", 6)
	copy(longer[len(longer)-12:], pkt[len(pkt)-10:])
	return longer
}

// noon is when every probe comes, and what Linux calls that: ms of the day.
var noon = time.Date(2026, 11, 26, 12, 0, 0, 5e6, time.UTC)

const noonMS = "0293 2e05"

// What Linux 6.18 answered to protocols that nobody has: IPv4 "protocol unreachable"
// (RFC 1122, section 3.2.2.1), IPv6 "unrecognized Next Header" at byte 6 (RFC 8200,
// section 4).
func TestUnknownProtocols(t *testing.T) {
	const otherICMP = 0 // the other family's
	for _, proto := range []byte{4, 33, 47, 50, 51, 89, 132, 143, 255, otherICMP} {
		for v, head := range map[int]string{4: "0302", 6: "0401"} {
			proto := proto
			if proto == otherICMP {
				proto = map[int]byte{4: wire.ProtoICMP6, 6: wire.ProtoICMP4}[v]
			}
			pkt := packet(v, proto, 0x4b, "0000 0000 0000 0000 0000", 8)
			out, ok := probe(t, pkt, wire.Offload{})
			if !ok {
				t.Fatalf("ipv%d, protocol %d: silence", v, proto)
			}
			pointer := map[int]string{4: "00000000", 6: "00000006"}[v]
			if got := hex.EncodeToString(out.L4[:2]) + hex.EncodeToString(out.L4[4:8]); got != head+pointer {
				t.Errorf("ipv%d, protocol %d: %s", v, proto, got)
			}
			if !bytes.Equal(out.L4[8:], pkt) {
				t.Errorf("ipv%d, protocol %d: quotes %x", v, proto, out.L4[8:])
			}
			if tos := map[int]uint8{4: 0xc8, 6: 0}[v]; out.TOS != tos {
				t.Errorf("ipv%d: ToS %#x, want %#x", v, out.TOS, tos)
			}
		}
	}
	for _, proto := range []byte{2, 59, 136} {
		for _, v := range []int{4, 6} {
			if _, ok := probe(t, packet(v, proto, 0, "0000 0000 0000 0000 0000", 8), wire.Offload{}); ok {
				t.Errorf("ipv%d: protocol %d was answered", v, proto)
			}
		}
	}
}

// ICMP's question for the time, as Linux answers it (icmp_timestamp): 20 bytes,
// whatever more came, and code 0.
func TestTimestampRequest(t *testing.T) {
	for _, tt := range []struct{ ask, want string }{
		{"0d00 0000 0102 0003 11223344 00000000 00000000", "0e00 0102 0003 11223344" + noonMS + noonMS},
		{"0d07 0000 0102 0003 11223344", "0e00 0102 0003 11223344" + noonMS + noonMS},
		{"0d00 0000 0102 0003 11223344 55667788 99aabbcc ffff", "0e00 0102 0003 11223344" + noonMS + noonMS},
		{"0d00 0000 0102 0003 1122", ""},
		{"1100 0000 0102 0003 00000000", ""},
	} {
		out, ok := probe(t, packet(4, wire.ProtoICMP4, 0x48, tt.ask, 2), wire.Offload{})
		got := ""
		if ok {
			got = hex.EncodeToString(out.L4[:2]) + hex.EncodeToString(out.L4[4:])
		}
		if got != strings.ReplaceAll(tt.want, " ", "") {
			t.Errorf("%s: answer %s, want %s", tt.ask, got, tt.want)
		}
		if ok && out.TOS != 0x48 {
			t.Errorf("ToS %#x", out.TOS)
		}
	}
	damaged := packet(4, wire.ProtoICMP4, 0, "0d00 0000 0102 0003 11223344 00000000 00000000", 2)
	damaged[len(damaged)-1] ^= 1
	if _, ok := probe(t, damaged, wire.Offload{}); ok {
		t.Error("a damaged one was answered")
	}
}

func TestLabelsDifferAndAreNotZero(t *testing.T) {
	seen := map[uint32]bool{}
	for port := range uint16(1000) {
		l := label(netip.AddrPortFrom(host6.Addr(), 80), netip.AddrPortFrom(client6.Addr(), port))
		if l == 0 || l > 0xfffff {
			t.Fatalf("label %#x", l)
		}
		seen[l] = true
	}
	if len(seen) < 990 {
		t.Errorf("%d labels for 1000 ports", len(seen))
	}
}
