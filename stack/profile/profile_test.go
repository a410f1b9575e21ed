package profile

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

var (
	client4 = netip.MustParseAddrPort("198.51.100.7:40000")
	client6 = netip.MustParseAddrPort("[2001:db8:1::7]:40000")
	host4   = netip.MustParseAddrPort("203.0.113.1:80")
	host6   = netip.MustParseAddrPort("[2001:db8:2::1]:80")
)

func ends(v int) (client, host netip.AddrPort) {
	if v == 4 {
		return client4, host4
	}
	return client6, host6
}

// dirty is a buffer in which whatever is not written shows.
func dirty(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 0xa5
	}
	return b
}

// onWire builds a segment and reads it back: its checksums are right, and its
// options as hex.
func onWire(t *testing.T, s *wire.Segment) (got wire.Segment, options string) {
	t.Helper()
	pkt := wire.Build(dirty(200), s)
	if r := wire.Parse(&got, pkt, wire.Offload{}); r != wire.OK {
		t.Fatalf("not a good packet: %s", r)
	}
	head := len(pkt) - len(got.Payload) - s.Opts.Size(s.Flags.Has(wire.SYN))
	return got, hex.EncodeToString(pkt[head : len(pkt)-len(got.Payload)])
}

// What Linux 6.18 answered on a veth, with the window scale of 6.12's smaller
// tcp_rmem: each subset of what a SYN can offer.
func TestSYNACKAsLinux(t *testing.T) {
	for _, tt := range []struct {
		v, mtu          int
		ts, sack, scale bool
		wnd             uint16
		options         string
	}{
		{4, 1500, false, false, false, 64240, "020405b4"},
		{4, 1500, false, false, true, 64240, "020405b401030307"},
		{4, 1500, false, true, false, 64240, "020405b401010402"},
		{4, 1500, false, true, true, 64240, "020405b40101040201030307"},
		{4, 1500, true, false, false, 65160, "020405b40101080a0a0b0c0d000003e8"},
		{4, 1500, true, false, true, 65160, "020405b40101080a0a0b0c0d000003e801030307"},
		{4, 1500, true, true, false, 65160, "020405b40402080a0a0b0c0d000003e8"},
		{4, 1500, true, true, true, 65160, "020405b40402080a0a0b0c0d000003e801030307"},
		{6, 1500, false, false, false, 64800, "020405a0"},
		{6, 1500, false, true, true, 64800, "020405a00101040201030307"},
		{6, 1500, true, true, true, 64260, "020405a00402080a0a0b0c0d000003e801030307"},
		{4, 1280, true, true, true, 65084, "020404d80402080a0a0b0c0d000003e801030307"},
		{4, 1280, false, false, false, 64480, "020404d8"},
		{6, 1280, true, true, true, 65232, "020404c40402080a0a0b0c0d000003e801030307"},
		{6, 1280, false, false, false, 64660, "020404c4"},
		{4, 9000, true, true, true, 62636, "020423000402080a0a0b0c0d000003e801030307"},
		{4, 9000, false, false, false, 62720, "02042300"},
		{6, 9000, true, true, true, 62496, "020422ec0402080a0a0b0c0d000003e801030307"},
		{6, 9000, false, false, false, 62580, "020422ec"},
	} {
		name := fmt.Sprintf("ipv%d mtu %d ts %v sack %v scale %v", tt.v, tt.mtu, tt.ts, tt.sack, tt.scale)
		t.Run(name, func(t *testing.T) {
			for _, isn := range []tcb.Seq{1000, 0x7fffff00, 0xffffffff} {
				syn := wire.Segment{Seq: isn, Flags: wire.SYN, TOS: 0x48}
				syn.Src, syn.Dst = ends(tt.v)
				syn.Opts = wire.Options{
					HasMSS: true, MSS: 1460, HasTS: tt.ts, TSVal: 1000, SACKPermitted: tt.sack,
					HasWndShift: tt.scale, WndShift: 10,
				}
				n := Linux.Negotiate(&syn, tt.mtu)
				var out wire.Segment
				Linux.SYNACK(&out, &syn, &n, isn-7, 0x0a0b0c0d)
				got, options := onWire(t, &out)
				if options != tt.options {
					t.Errorf("options %s, want %s", options, tt.options)
				}
				want := wire.Segment{
					Src: syn.Dst, Dst: syn.Src, TTL: 64, DF: tt.v == 4, Seq: isn - 7, Ack: isn + 1,
					Flags: wire.SYN | wire.ACK, Wnd: tt.wnd,
				}
				ignore := cmpopts.IgnoreFields(wire.Segment{}, "Opts", "Payload")
				if d := cmp.Diff(want, got, ignore, cmpopts.IgnoreUnexported(wire.Segment{}), cmp.Comparer(same)); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

func same(a, b netip.AddrPort) bool { return a == b }

func TestNegotiate(t *testing.T) {
	offer := func(v int, o wire.Options) *wire.Segment {
		s := &wire.Segment{Opts: o, Flags: wire.SYN}
		s.Src, s.Dst = ends(v)
		return s
	}
	for _, tt := range []struct {
		name string
		syn  *wire.Segment
		mtu  int
		want Negotiated
	}{
		{"everything", offer(4, wire.Options{HasMSS: true, MSS: 1400, HasWndShift: true, WndShift: 14, SACKPermitted: true, HasTS: true}), 1500,
			Negotiated{SndMSS: 1400, RcvMSS: 1460, SndShift: 14, RcvShift: 7, Scaled: true, SACK: true, TS: true, Wnd: 65160}},
		{"a scale of 0 is a scale", offer(4, wire.Options{HasMSS: true, MSS: 1460, HasWndShift: true}), 1500,
			Negotiated{SndMSS: 1460, RcvMSS: 1460, RcvShift: 7, Scaled: true, Wnd: 64240}},
		{"nothing: 536 (RFC 9293, MUST-15)", offer(4, wire.Options{}), 1500,
			Negotiated{SndMSS: 536, RcvMSS: 1460, Wnd: 64240}},
		{"nothing in IPv6: 1220", offer(6, wire.Options{}), 1500,
			Negotiated{SndMSS: 1220, RcvMSS: 1440, Wnd: 64800}},
		{"an MSS of 0 is none", offer(4, wire.Options{HasMSS: true}), 1500,
			Negotiated{SndMSS: 536, RcvMSS: 1460, Wnd: 64240}},
		{"an MSS of 1 would be an attack", offer(4, wire.Options{HasMSS: true, MSS: 1}), 1500,
			Negotiated{SndMSS: 48, RcvMSS: 1460, Wnd: 64240}},
		{"more than the path", offer(4, wire.Options{HasMSS: true, MSS: 65535}), 1500,
			Negotiated{SndMSS: 1460, RcvMSS: 1460, Wnd: 64240}},
		{"a segment that divides 65536", offer(4, wire.Options{HasMSS: true, MSS: 1024}), 1064,
			Negotiated{SndMSS: 1024, RcvMSS: 1024, Wnd: 65535}},
		{"loopback", offer(4, wire.Options{HasMSS: true, MSS: 65495, HasTS: true}), 65536,
			Negotiated{SndMSS: 65495, RcvMSS: 65495, TS: true, Wnd: 65483}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, Linux.Negotiate(tt.syn, tt.mtu)); d != "" {
				t.Error(d)
			}
		})
	}
}

// "If the ACK bit is off, sequence number zero is used, <SEQ=0><ACK=SEG.SEQ+
// SEG.LEN><CTL=RST,ACK>. If the ACK bit is on, <SEQ=SEG.ACK><CTL=RST>."
// (RFC 9293, section 3.10.7.1)
func TestRSTOfAClosedPort(t *testing.T) {
	for _, v := range []int{4, 6} {
		for _, isn := range []tcb.Seq{1000, 0x7fffff00, 0xffffffff} {
			for _, tt := range []struct {
				why      string
				flags    wire.Flags
				payload  string
				want     wire.Flags
				seq, ack tcb.Seq
			}{
				{"SYN", wire.SYN, "", wire.RST | wire.ACK, 0, isn + 1},
				{"FIN with data", wire.FIN, "abc", wire.RST | wire.ACK, 0, isn + 4},
				{"nothing", 0, "", wire.RST | wire.ACK, 0, isn},
				{"ACK", wire.ACK, "", wire.RST, 77, 0},
				{"SYN-ACK", wire.SYN | wire.ACK, "", wire.RST, 77, 0},
			} {
				seg := wire.Segment{Seq: isn, Ack: 77, Flags: tt.flags, Payload: []byte(tt.payload), TOS: 0x4b}
				seg.Src, seg.Dst = ends(v)
				var out wire.Segment
				if !Linux.RST(&out, &seg) {
					t.Fatalf("%s: silence", tt.why)
				}
				got, options := onWire(t, &out)
				if got.Flags != tt.want || got.Seq != tt.seq || got.Ack != tt.ack || got.Wnd != 0 || options != "" {
					t.Errorf("ipv%d, %s: %v seq %d ack %d", v, tt.why, got.Flags, got.Seq, got.Ack)
				}
				if got.TOS != 0x48 || got.TTL != 64 || got.ID != 0 || got.DF != (v == 4) || (got.FlowLabel != 0) != (v == 6) {
					t.Errorf("ipv%d: ToS %#x, TTL %d, ID %d, DF %v, label %#x", v, got.TOS, got.TTL, got.ID, got.DF, got.FlowLabel)
				}
			}
		}
		seg := wire.Segment{Flags: wire.RST | wire.ACK}
		seg.Src, seg.Dst = ends(v)
		if Linux.RST(&wire.Segment{}, &seg) {
			t.Error("a RST was answered with a RST")
		}
	}
}
