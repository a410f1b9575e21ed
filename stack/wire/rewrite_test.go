package wire_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

var sameSegment = cmp.Options{
	cmpopts.IgnoreUnexported(wire.Segment{}), cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty(),
}

// optionSets are all subsets of what a SYN or another segment can carry.
func optionSets(syn bool) (all []wire.Options) {
	for bits := range 16 {
		var o wire.Options
		if bits&1 != 0 {
			o.HasTS, o.TSVal, o.TSEcr = true, 0xffffff00, 0x7fffff00
		}
		if syn {
			if bits&2 != 0 {
				o.HasMSS, o.MSS = true, 1460
			}
			o.SACKPermitted = bits&4 != 0
			if bits&8 != 0 {
				o.HasWndShift, o.WndShift = true, 14
			}
		} else {
			blocks := bits >> 1
			if room := 4 - bits&1; blocks > room { // 40 bytes hold no more
				continue
			}
			for i := range blocks {
				at := tcb.Seq(0xffffff00).Add(tcb.Size(200 * i))
				o.AddBlock(wire.Block{Start: at, End: at.Add(100)})
			}
		}
		all = append(all, o)
	}
	return all
}

// each runs f for every option set of both kinds, both families, with and
// without payload.
func each(t *testing.T, f func(t *testing.T, s wire.Segment)) {
	t.Helper()
	for _, syn := range []bool{true, false} {
		for i, o := range optionSets(syn) {
			for _, ends := range [][2]netip.AddrPort{{s4, d4}, {s6, d6}} {
				for _, payload := range []string{"", "x", "seven b", "sixteen bytes..."} {
					s := wire.Segment{
						Src: ends[0], Dst: ends[1], TTL: 63, TOS: 0x28, Seq: 0xffffff00, Ack: 0x7fffff00,
						Flags: wire.ACK | wire.PSH | wire.AE, Wnd: 0xfffe, Urg: 3, Opts: o, Payload: []byte(payload),
					}
					if syn {
						s.Flags |= wire.SYN
					}
					if s.Is4() {
						s.ID, s.DF = 0xbeef, true
					} else {
						s.FlowLabel = 0xabcde
					}
					t.Run(fmt.Sprintf("%v/%d/syn=%v/%d bytes", ends[0].Addr(), i, syn, len(payload)), func(t *testing.T) { f(t, s) })
				}
			}
		}
	}
}

func TestEveryOptionSetThereAndBack(t *testing.T) {
	each(t, func(t *testing.T, want wire.Segment) {
		pkt := wire.Build(bytes.Repeat([]byte{0xa5}, 300), &want)
		if len(pkt) != want.HeaderSize()+len(want.Payload) || want.HeaderSize() > wire.MaxHeader {
			t.Errorf("%d bytes, header %d", len(pkt), want.HeaderSize())
		}
		var got wire.Segment
		if r := wire.Parse(&got, pkt, wire.Offload{}); r != wire.OK {
			t.Fatal(r)
		}
		if d := cmp.Diff(want, got, sameSegment); d != "" {
			t.Error(d)
		}
	})
}

// changes are one kind of rewriting each.
var changes = map[string]func(*wire.Segment){
	"nothing":   func(*wire.Segment) {},
	"addresses": func(s *wire.Segment) { s.Src, s.Dst = s.Dst, s.Src },
	"other family": func(s *wire.Segment) {
		s.ID, s.DF, s.FlowLabel = 0, false, 0
		if s.Is4() {
			s.Src, s.Dst = s6, d6
		} else {
			s.Src, s.Dst = s4, d4
		}
	},
	"ports": func(s *wire.Segment) {
		s.Src = netip.AddrPortFrom(s.Src.Addr(), 1)
		s.Dst = netip.AddrPortFrom(s.Dst.Addr(), 65535)
	},
	"numbers that wrap": func(s *wire.Segment) { s.Seq, s.Ack = s.Seq+0x200, s.Ack-0x80000000 },
	"all zero": func(s *wire.Segment) {
		s.Seq, s.Ack, s.Flags, s.Wnd, s.Urg = 0, 0, 0, 0, 0
		s.Opts = wire.Options{}
	},
	"window and flags": func(s *wire.Segment) { s.Wnd, s.Flags, s.Urg = 0, s.Flags|wire.ECE|wire.URG, 0 },
	"options vanish":   func(s *wire.Segment) { s.Opts = wire.Options{} },
	"options grow": func(s *wire.Segment) {
		s.Opts.HasTS, s.Opts.TSVal, s.Opts.TSEcr = true, 1, 2
		if s.Flags.Has(wire.SYN) {
			s.Opts.HasMSS, s.Opts.MSS = true, 536
		} else {
			s.Opts.NumSACK = 3
		}
	},
	"front trimmed": func(s *wire.Segment) { s.TrimFront(len(s.Payload) / 2) },
	"back trimmed":  func(s *wire.Segment) { s.TrimBack(len(s.Payload) / 2) },
	"both trimmed":  func(s *wire.Segment) { s.TrimFront(len(s.Payload) / 3); s.TrimBack(len(s.Payload) / 2) },
	"payload gone":  func(s *wire.Segment) { s.TrimBack(0) },
	"payload swept": func(s *wire.Segment) { s.TrimFront(len(s.Payload)) },
}

// "After any translation the incremental checksum equals a full recomputation":
// what Rewrite wrote is, byte for byte, what Build writes.
func TestRewriteEqualsBuild(t *testing.T) {
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s wire.Segment) {
				buf := bytes.Repeat([]byte{0xa5}, wire.MaxHeader+300)
				pkt := wire.Build(buf[wire.MaxHeader:], &s)
				var got wire.Segment
				if r := wire.Parse(&got, buf[wire.MaxHeader:wire.MaxHeader+len(pkt)], wire.Offload{}); r != wire.OK {
					t.Fatal(r)
				}
				change(&got)
				want := wire.Build(bytes.Repeat([]byte{0x5a}, 300), &got)
				at := wire.Rewrite(buf, &got)
				if got := buf[at : at+len(want)]; !bytes.Equal(want, got) {
					t.Errorf("want %x\ngot  %x", want, got)
				}
			})
		})
	}
}

// A mistake of ours stays as detectable as it was (RFC 1624): a checksum that
// was wrong before is wrong afterwards.
func TestRewriteDoesNotMendAWrongChecksum(t *testing.T) {
	each(t, func(t *testing.T, s wire.Segment) {
		buf := bytes.Repeat([]byte{0xa5}, wire.MaxHeader+300)
		pkt := wire.Build(buf[wire.MaxHeader:], &s)
		pkt[len(pkt)-len(s.Payload)-s.Opts.Size(s.Flags.Has(wire.SYN))-4] ^= 0x10 // the checksum field
		var got wire.Segment
		if r := wire.Parse(&got, buf[wire.MaxHeader:wire.MaxHeader+len(pkt)], wire.Offload{CsumValid: true}); r != wire.OK {
			t.Fatal(r)
		}
		got.Src, got.Seq = got.Dst, 1000
		at := wire.Rewrite(buf, &got)
		var again wire.Segment
		if r := wire.Parse(&again, buf[at:at+got.HeaderSize()+len(got.Payload)], wire.Offload{}); r != wire.BadChecksum {
			t.Errorf("%v, want %v", r, wire.BadChecksum)
		}
	})
}

// FuzzICMPQuote lets the fuzzer write the quoted packet; the outer checksums are
// right, so that they do not stand in its way.
func FuzzICMPQuote(f *testing.F) {
	four, six := errorFor(s4, d4, 3, 4, 1000, nil), errorFor(s6, d6, 2, 0, 0xffffff00, nil)
	f.Add(false, uint8(3), uint8(4), four[28:])
	f.Add(true, uint8(2), uint8(0), six[48:])
	f.Add(false, uint8(11), uint8(0), four[28:56])
	f.Add(true, uint8(3), uint8(1), six[48:96])
	f.Fuzz(func(t *testing.T, v6 bool, typ, code uint8, quote []byte) {
		if len(quote) > 1200 {
			return
		}
		pkt, head := append([]byte(nil), four[:28]...), 20
		if v6 {
			pkt, head = append([]byte(nil), six[:48]...), 40
		}
		pkt = append(pkt, quote...)
		pkt[head], pkt[head+1] = typ, code
		if v6 {
			pkt[4], pkt[5] = byte((len(pkt)-40)>>8), byte(len(pkt)-40)
		} else {
			pkt[2], pkt[3] = byte(len(pkt)>>8), byte(len(pkt))
		}
		sums(pkt, head)
		e, ok := parseError(t, pkt)
		if !ok {
			return
		}
		if e.QuoteSrc.Addr().Is4() == v6 || e.QuoteDst.Addr().Is4() == v6 {
			t.Fatalf("quotes the other family: %+v", e)
		}
		again, ok := parseError(t, wire.BuildICMPError(bytes.Repeat([]byte{0xa5}, 200), &e, 64))
		if !ok || again.QuoteSrc != e.QuoteSrc || again.QuoteDst != e.QuoteDst || again.QuoteSeq != e.QuoteSeq ||
			again.MTU != e.MTU || again.Type != e.Type || again.Code != e.Code {
			t.Fatalf("%v\nread    %+v\nwritten %+v", ok, e, again)
		}
	})
}

// RFC 9293, section 3.1: reserved bits "must be zero in generated segments".
func TestReservedBitsAreReadAndNeverWritten(t *testing.T) {
	seg := wire.Segment{
		Src: netip.MustParseAddrPort("10.0.0.1:1000"), Dst: netip.MustParseAddrPort("10.0.0.2:80"),
		TTL: 64, Flags: wire.ACK, Payload: []byte("hello"),
	}
	b := bytes.Repeat([]byte{0xa5}, wire.MaxHeader+100)
	want := bytes.Clone(wire.Build(b[wire.MaxHeader:], &seg))
	pkt := b[wire.MaxHeader : wire.MaxHeader+len(want)]
	pkt[32] |= 0x0a
	if r := wire.Parse(&seg, pkt, wire.Offload{CsumValid: true}); r != wire.OK || seg.Reserved != 0x0a {
		t.Fatalf("%v, reserved bits %x", r, seg.Reserved)
	}
	at := wire.Rewrite(b, &seg)
	got := b[at : at+len(want)]
	if got[32]&0x0f != 0 {
		t.Errorf("byte 12 is %x", got[32])
	}
}
