package wire_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"

	"sleight/stack/wire"
)

var (
	s4 = netip.MustParseAddrPort("198.51.100.7:40000")
	d4 = netip.MustParseAddrPort("203.0.113.5:80")
	s6 = netip.MustParseAddrPort("[2001:db8::7]:40000")
	d6 = netip.MustParseAddrPort("[2001:db8:1::5]:80")
)

// errorFor makes an ICMP error of a router that quotes a segment with the given
// sequence number; change may spoil the packet before the ICMP checksum is set.
func errorFor(src, dst netip.AddrPort, typ, code uint8, seq uint32, change func(pkt, quote []byte)) []byte {
	seg := wire.Segment{Src: src, Dst: dst, TTL: 60, Flags: wire.ACK, Payload: []byte("some payload")}
	quote := wire.Build(bytes.Repeat([]byte{0xa5}, 200), &seg)
	six := !src.Addr().Is4()
	head := 20
	if six {
		head = 40
	}
	binary.BigEndian.PutUint32(quote[head+4:], seq)
	pkt := append(make([]byte, head+8), quote...)
	icmp := pkt[head:]
	icmp[0], icmp[1] = typ, code
	binary.BigEndian.PutUint16(icmp[6:], 1300)
	if six {
		copy(pkt, quote[:40])
		binary.BigEndian.PutUint16(pkt[4:], uint16(len(icmp)))
		pkt[6] = wire.ProtoICMP6
		copy(pkt[8:], quote[24:40])
		copy(pkt[24:], quote[8:24])
	} else {
		copy(pkt, quote[:20])
		binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
		pkt[9] = wire.ProtoICMP4
		copy(pkt[12:], quote[16:20])
		copy(pkt[16:], quote[12:16])
	}
	if change != nil {
		change(pkt, icmp[8:])
	}
	sums(pkt, head)
	return pkt
}

// sums sets the outer checksums.
func sums(pkt []byte, head int) {
	icmp := pkt[head:]
	icmp[2], icmp[3] = 0, 0
	if head == 20 {
		pkt[10], pkt[11] = 0, 0
		binary.BigEndian.PutUint16(pkt[10:], ^checksum.Checksum(pkt[:20], 0))
		binary.BigEndian.PutUint16(icmp[2:], ^checksum.Checksum(icmp, 0))
		return
	}
	sum := checksum.Checksum(pkt[8:40], uint16(len(icmp)))
	binary.BigEndian.PutUint16(icmp[2:], ^checksum.Checksum(icmp, checksum.Combine(sum, uint16(pkt[6]))))
}

func parseError(t *testing.T, pkt []byte) (wire.ICMPError, bool) {
	t.Helper()
	var p wire.Packet
	if r := wire.ParseIP(&p, pkt); r != wire.OK {
		t.Fatalf("ParseIP: %v", r)
	}
	var e wire.ICMPError
	ok := wire.ParseICMPError(&e, &p)
	return e, ok
}

// sum4 mends the header checksum of a quoted IPv4 packet.
func sum4(q []byte) {
	q[10], q[11] = 0, 0
	binary.BigEndian.PutUint16(q[10:], ^checksum.Checksum(q[:20], 0))
}

func TestErrorsOfBothFamilies(t *testing.T) {
	for _, tt := range []struct {
		name         string
		src, dst     netip.AddrPort
		typ, code    uint8
		hard, tooBig bool
	}{
		{"host unreachable", s4, d4, wire.Unreachable4, 1, true, false},
		{"fragmentation needed", s4, d4, wire.Unreachable4, wire.FragNeeded, false, true},
		{"time exceeded", s4, d4, wire.TimeExceeded4, 0, false, false},
		{"parameter problem", s4, d4, wire.ParamProblem4, 0, false, false},
		{"v6 unreachable", s6, d6, wire.Unreachable6, 4, true, false},
		{"v6 packet too big", s6, d6, wire.PacketTooBig, 0, false, true},
		{"v6 time exceeded", s6, d6, wire.TimeExceeded6, 0, false, false},
		{"v6 parameter problem", s6, d6, wire.ParamProblem6, 0, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, seq := range []uint32{1000, 0x7fffff00, 0xffffff00} {
				e, ok := parseError(t, errorFor(tt.src, tt.dst, tt.typ, tt.code, seq, nil))
				if !ok || e.QuoteSrc != tt.src || e.QuoteDst != tt.dst || uint32(e.QuoteSeq) != seq {
					t.Fatalf("parsed %v: %+v", ok, e)
				}
				if e.Hard() != tt.hard || e.TooBig() != tt.tooBig || tt.tooBig != (e.MTU == 1300) {
					t.Errorf("hard %v, too big %v, MTU %d", e.Hard(), e.TooBig(), e.MTU)
				}
				e.QuoteSrc, e.QuoteSeq, e.MTU = tt.dst, e.QuoteSeq+7, 1280
				out, ok := parseError(t, wire.BuildICMPError(bytes.Repeat([]byte{0xa5}, 200), &e, 64))
				if !ok || out.QuoteSrc != tt.dst || uint32(out.QuoteSeq) != seq+7 || out.Type != tt.typ || out.Code != tt.code {
					t.Errorf("built anew %v: %+v", ok, out)
				}
				if tt.tooBig && out.MTU != 1280 {
					t.Errorf("MTU %d", out.MTU)
				}
			}
		})
	}
}

// Nothing of the quoted packet but its addresses, ports and sequence number is
// passed on: what follows are numbers of another leg.
func TestBuildICMPErrorQuotesNoMore(t *testing.T) {
	for _, pkt := range [][]byte{
		errorFor(s4, d4, wire.Unreachable4, 1, 1000, nil), errorFor(s6, d6, wire.Unreachable6, 0, 1000, nil),
	} {
		e, _ := parseError(t, pkt)
		out := wire.BuildICMPError(bytes.Repeat([]byte{0xa5}, 200), &e, 64)
		if bytes.Contains(out, []byte("some")) || len(out) > wire.MaxICMPError {
			t.Errorf("%x", out)
		}
	}
}

// "bad outer or quoted IP checksum, or no flow: dropped", and whatever would let
// a packet of one family speak of a flow of the other.
func TestErrorsThatAreNotTaken(t *testing.T) {
	mapped := func(pkt, q []byte) {
		copy(q[8:24], netip.MustParseAddr("::ffff:198.51.100.7").AsSlice())
		copy(q[24:40], netip.MustParseAddr("::ffff:203.0.113.5").AsSlice())
	}
	tests := map[string][]byte{
		"echo request":             errorFor(s4, d4, 8, 0, 1, nil),
		"v6 echo request":          errorFor(s6, d6, 128, 0, 1, nil),
		"quoted checksum":          errorFor(s4, d4, 3, 1, 1, func(_, q []byte) { q[8]++ }),
		"quoted header length":     errorFor(s4, d4, 3, 1, 1, func(_, q []byte) { q[0] = 0x44; sum4(q) }),
		"quoted UDP":               errorFor(s4, d4, 3, 1, 1, func(_, q []byte) { q[9] = 17; sum4(q) }),
		"a later fragment quoted":  errorFor(s4, d4, 3, 1, 1, func(_, q []byte) { q[7] = 1; sum4(q) }),
		"v6 quotes UDP":            errorFor(s6, d6, 1, 0, 1, func(_, q []byte) { q[6] = 17 }),
		"v6 quotes v4":             errorFor(s6, d6, 1, 0, 1, func(_, q []byte) { q[0] = 0x45 }),
		"v4 quotes v6":             errorFor(s4, d4, 3, 1, 1, func(_, q []byte) { q[0] = 0x60 }),
		"v6 quotes mapped v4":      errorFor(s6, d6, wire.PacketTooBig, 0, 1, mapped),
		"ICMPv6 in v4":             errorFor(s4, d4, 1, 0, 1, func(pkt, _ []byte) { pkt[9] = wire.ProtoICMP6 }),
		"quote cut off":            errorFor(s4, d4, 3, 1, 1, nil)[:20+8+27],
		"v6 quote cut off":         errorFor(s6, d6, 1, 0, 1, nil)[:40+8+47],
		"no quote":                 errorFor(s4, d4, 3, 1, 1, nil)[:28],
		"shorter than ICMP header": errorFor(s4, d4, 3, 1, 1, nil)[:27],
	}
	for name, pkt := range tests {
		t.Run(name, func(t *testing.T) {
			if pkt[0]>>4 == 4 { // those that were cut say so, and their sums are right
				binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
				sums(pkt, 20)
			} else {
				binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-40))
				sums(pkt, 40)
			}
			if e, ok := parseError(t, pkt); ok {
				t.Errorf("taken: %+v", e)
			}
		})
	}
	t.Run("outer checksum", func(t *testing.T) {
		pkt := errorFor(s4, d4, 3, 1, 1, nil)
		pkt[len(pkt)-1]++
		if _, ok := parseError(t, pkt); ok {
			t.Error("taken")
		}
	})
	t.Run("ICMPv4 in v6", func(t *testing.T) {
		pkt := errorFor(s6, d6, 3, 0, 1, func(pkt, _ []byte) { pkt[6] = wire.ProtoICMP4 })
		pkt[42], pkt[43] = 0, 0
		binary.BigEndian.PutUint16(pkt[42:], ^checksum.Checksum(pkt[40:], 0))
		if e, ok := parseError(t, pkt); ok {
			t.Errorf("taken: %+v", e)
		}
	})
}

// RFC 8200, section 4: extension headers stand between the IPv6 header and TCP.
// Eight are walked, a ninth is not.
func TestExtensionHeadersUpToTheBound(t *testing.T) {
	for n, want := range map[int]wire.Reason{0: wire.OK, 1: wire.OK, 8: wire.OK, 9: wire.BadIPHeader} {
		seg := wire.Segment{Src: s6, Dst: d6, TTL: 64, Flags: wire.ACK, Payload: []byte("x")}
		plain := wire.Build(bytes.Repeat([]byte{0xa5}, 200), &seg)
		pkt := append([]byte(nil), plain[:40]...)
		for range n {
			pkt = append(pkt, 60, 0, 1, 4, 0, 0, 0, 0) // destination options: one PadN
		}
		if n > 0 {
			pkt[6] = 60
			pkt[len(pkt)-8] = 6
		}
		pkt = append(pkt, plain[40:]...)
		binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-40))
		var got wire.Segment
		if r := wire.Parse(&got, pkt, wire.Offload{}); r != want {
			t.Errorf("%d extension headers: %v, want %v", n, r, want)
		} else if r == wire.OK && (got.Quirks.IPOptions != (n > 0) || string(got.Payload) != "x") {
			t.Errorf("%d extension headers: %+v", n, got)
		}
	}
}
