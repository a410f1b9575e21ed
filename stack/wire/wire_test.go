package wire

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sleight/stack/tcb"
)

var (
	a4 = netip.MustParseAddrPort("198.51.100.7:40000")
	b4 = netip.MustParseAddrPort("203.0.113.5:80")
	a6 = netip.MustParseAddrPort("[2001:db8::7]:40000")
	b6 = netip.MustParseAddrPort("[2001:db8:1::5]:80")
)

var same = cmp.Options{
	cmpopts.IgnoreUnexported(Segment{}), cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty(),
}

// drawn makes a segment whose every field has been set by chance.
func drawn(r *rand.Rand, six, syn bool) Segment {
	s := Segment{
		Src: a4, Dst: b4, TTL: uint8(r.Uint32()), TOS: uint8(r.Uint32()),
		Seq: tcb.Seq(r.Uint32()), Ack: tcb.Seq(r.Uint32()), Wnd: uint16(r.Uint32()), Urg: uint16(r.Uint32()),
		Flags: Flags(r.Uint32()) & 0x1ff &^ SYN,
	}
	if six {
		s.Src, s.Dst, s.FlowLabel = a6, b6, r.Uint32()&0xfffff
	} else {
		s.ID, s.DF = uint16(r.Uint32()), r.IntN(2) == 0
	}
	o := &s.Opts
	if o.HasTS = r.IntN(2) == 0; o.HasTS {
		o.TSVal, o.TSEcr = r.Uint32(), r.Uint32()
	}
	if syn {
		s.Flags |= SYN
		o.SACKPermitted = r.IntN(2) == 0
		if o.HasMSS = r.IntN(2) == 0; o.HasMSS {
			o.MSS = uint16(r.Uint32())
		}
		if o.HasWndShift = r.IntN(2) == 0; o.HasWndShift {
			o.WndShift = uint8(r.IntN(15))
		}
	} else {
		for range r.IntN(4) {
			o.AddBlock(Block{tcb.Seq(r.Uint32()), tcb.Seq(r.Uint32())})
		}
	}
	s.Payload = make([]byte, r.IntN(120))
	for i := range s.Payload {
		s.Payload[i] = byte(r.Uint32())
	}
	return s
}

// dirty is a buffer in which nothing is zero by chance.
func dirty(n int) []byte { return bytes.Repeat([]byte{0xa5}, n) }

func parse(t *testing.T, pkt []byte) Segment {
	t.Helper()
	var s Segment
	if r := Parse(&s, pkt, Offload{}); r != OK {
		t.Fatalf("does not parse: %v\n%x", r, pkt)
	}
	return s
}

// Parse(Build(x)) == x, from a dirty buffer.
func TestBuildThenParseIsTheIdentity(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		want := drawn(r, i&1 == 1, i&2 == 2)
		got := parse(t, Build(dirty(1600), &want))
		if d := cmp.Diff(want, got, same); d != "" {
			t.Fatal(d)
		}
	}
}

// "After any translation the incremental checksum equals a full recomputation":
// Parse verifies the checksum in full.
func TestRewriteKeepsTheChecksumRight(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const start = MaxHeader
	for i := range 4000 {
		syn := i&2 == 2
		before := drawn(r, i&1 == 1, syn)
		buf := dirty(start + 1600)
		pkt := Build(buf[start:], &before)
		s := parse(t, buf[start:start+len(pkt)])
		want := drawn(r, i&4 == 4, syn)
		want.Payload = before.Payload
		front, back := 0, len(before.Payload)
		switch n := len(before.Payload); {
		case i%5 == 0 && n > 2:
			front = n / 2
		case i%7 == 0 && n > 2:
			back = n - 1
		case i%11 == 0:
			back = 0
		}
		want.Payload = want.Payload[front:back]
		was := s.was
		payload := s.Payload[front:back]
		s = want
		s.was, s.Payload = was, payload
		at := Rewrite(buf, &s)
		got := parse(t, buf[at:at+s.HeaderSize()+len(s.Payload)])
		if d := cmp.Diff(want, got, same); d != "" {
			t.Fatal(i, d)
		}
	}
}

// A partial checksum is the pseudo-header's sum: addresses and length change it,
// nothing else does.
func TestRewriteOfAPartialChecksum(t *testing.T) {
	buf := dirty(2000)
	s := Segment{Src: a4, Dst: b4, TTL: 64, Flags: ACK, Payload: []byte("hello")}
	pkt := Build(buf[MaxHeader:], &s)
	binary.BigEndian.PutUint16(pkt[36:], 0xdead)
	var got Segment
	if r := Parse(&got, buf[MaxHeader:MaxHeader+len(pkt)], Offload{NeedsCsum: true}); r != OK {
		t.Fatal(r)
	}
	got.Src, got.Seq = b4, 12345
	at := Rewrite(buf, &got)
	if sum := binary.BigEndian.Uint16(buf[at+36:]); sum != fold(pseudoSum(b4.Addr(), b4.Addr(), 25)) {
		t.Errorf("field %#x is not the pseudo-header's sum", sum)
	}
}

func TestHostilePackets(t *testing.T) {
	s := Segment{Src: a4, Dst: b4, TTL: 64, Flags: ACK, Payload: []byte("hello")}
	six := s
	six.Src, six.Dst = a6, b6
	change := func(s *Segment, f func([]byte) []byte) []byte { return f(append([]byte(nil), Build(dirty(200), s)...)) }
	set := func(at int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], v); return b }
	}
	sum4 := func(f func([]byte) []byte) func([]byte) []byte {
		return func(b []byte) []byte {
			b = f(b)
			b[10], b[11] = 0, 0
			var sum uint32
			for i := 0; i < int(b[0]&15)*4 && i+1 < len(b); i += 2 {
				sum += uint32(binary.BigEndian.Uint16(b[i:]))
			}
			binary.BigEndian.PutUint16(b[10:], ^fold(sum))
			return b
		}
	}
	for name, tt := range map[string]struct {
		pkt  []byte
		want Reason
	}{
		"empty":                {nil, Short},
		"version 5":            {change(&s, set(0, 0x55)), BadVersion},
		"header length 4":      {change(&s, set(0, 0x44)), BadIPHeader},
		"total beyond the end": {change(&s, sum4(set(2, 0xff, 0xff))), Short},
		"total below header":   {change(&s, sum4(set(2, 0, 10))), BadIPHeader},
		"IP checksum":          {change(&s, set(8, 63)), BadIPSum},
		"fragment":             {change(&s, sum4(set(6, 0x20, 0))), Fragment},
		"last fragment":        {change(&s, sum4(set(6, 0, 1))), Fragment},
		"UDP":                  {change(&s, sum4(set(9, 17))), NotTCP},
		"data offset 4":        {change(&s, set(32, 0x40)), BadTCPHeader},
		"data offset beyond":   {change(&s, set(32, 0xf0)), BadTCPHeader},
		"payload damaged":      {change(&s, set(41, 'x')), BadChecksum},
		"cut off":              {change(&six, func(b []byte) []byte { return b[:50] }), Short},
		"v6 fragment":          {change(&six, set(6, 44)), Fragment},
		"v6 endless extensions": {change(&six, func(b []byte) []byte {
			b[6] = 0
			b = append(b[:40], make([]byte, 200)...)
			binary.BigEndian.PutUint16(b[4:], 200)
			return b
		}), BadIPHeader},
		"v4-mapped on the wire": {change(&six, set(8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff)), BadIPHeader},
	} {
		var got Segment
		if r := Parse(&got, tt.pkt, Offload{}); r != tt.want {
			t.Errorf("%s: %v, want %v", name, r, tt.want)
		}
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	for name, tt := range map[string]struct {
		bytes []byte
		ok    bool
	}{
		"length 0":              {[]byte{kindMSS, 0}, false},
		"length 1":              {[]byte{kindTS, 1}, false},
		"beyond the header":     {[]byte{kindTS, 10, 0, 0}, false},
		"kind alone at the end": {[]byte{kindMSS}, false},
		"end of options":        {[]byte{kindEnd, kindTS, 99}, true},
		"padding only":          {[]byte{kindNop, kindNop}, true},
	} {
		var o Options
		if ok := o.parse(tt.bytes, true); ok != tt.ok {
			t.Errorf("%s: %v", name, ok)
		}
	}
	var o Options
	o.parse([]byte{kindWndShift, 3, 200, kindNop, 99, 4, 1, 2}, true)
	if o.WndShift != 14 || o.Unknown != 1 {
		t.Errorf("shift %d, unknown %d", o.WndShift, o.Unknown)
	}
}

func TestTrimMovesTheUrgentPointer(t *testing.T) {
	for n, want := range map[int]uint16{2: 3, 5: 0, 9: 0} {
		s := Segment{Seq: 0xfffffffe, Flags: URG, Urg: 5, Payload: make([]byte, 10)}
		s.TrimFront(n)
		if s.Urg != want || s.Flags.Has(URG) != (want > 0) || s.Seq != tcb.Seq(0xfffffffe).Add(tcb.Size(n)) {
			t.Errorf("after %d: %+v", n, s)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	buf := dirty(2000)
	s := drawn(rand.New(rand.NewPCG(1, 1)), true, false)
	pkt := Build(buf[MaxHeader:], &s)
	n := len(pkt)
	if allocs := testing.AllocsPerRun(200, func() {
		var q Segment
		Parse(&q, buf[MaxHeader:MaxHeader+n], Offload{})
		Rewrite(buf, &q)
		Build(buf[MaxHeader:], &s)
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestICMPErrorThereAndBack(t *testing.T) {
	for _, v := range []struct {
		src, dst netip.AddrPort
		typ      uint8
	}{{a4, b4, Unreachable4}, {a6, b6, PacketTooBig}} {
		inner := Segment{Src: v.src, Dst: v.dst, TTL: 60, Seq: 0xffffff00, Flags: ACK, Payload: []byte("x")}
		e := ICMPError{
			Src: v.dst.Addr(), Dst: v.src.Addr(), Type: v.typ, MTU: 1300,
			QuoteSrc: v.src, QuoteDst: v.dst, QuoteSeq: 0xffffff00, quote: Build(dirty(200), &inner),
		}
		if e.Is4() {
			e.Code, e.quoteL4 = FragNeeded, 20
		} else {
			e.quoteL4 = 40
		}
		pkt := BuildICMPError(dirty(200), &e, 64)
		var p Packet
		if r := ParseIP(&p, pkt); r != OK {
			t.Fatal(r)
		}
		var got ICMPError
		if !ParseICMPError(&got, &p) {
			t.Fatalf("%v does not parse", v.src)
		}
		if got.MTU != 1300 || !got.TooBig() || got.QuoteSeq != e.QuoteSeq || got.QuoteSrc != v.src || got.QuoteDst != v.dst {
			t.Errorf("%+v", got)
		}
		pkt[len(pkt)-1] ^= 1
		if ParseIP(&p, pkt) == OK && ParseICMPError(&got, &p) {
			t.Error("a damaged error was taken")
		}
	}
}

func seedPackets(f *testing.F) {
	r := rand.New(rand.NewPCG(9, 9))
	for i := range 8 {
		s := drawn(r, i&1 == 1, i&2 == 2)
		f.Add(Build(dirty(1600), &s))
	}
}

func FuzzParse(f *testing.F) {
	seedPackets(f)
	f.Fuzz(func(t *testing.T, pkt []byte) {
		buf := append(dirty(MaxHeader), pkt...)
		var s Segment
		if Parse(&s, buf[MaxHeader:], Offload{CsumValid: true}) != OK {
			return
		}
		s.Opts.Unknown = 0
		again := Build(dirty(70000), &s)
		var got Segment
		if r := Parse(&got, again, Offload{}); r != OK {
			t.Fatalf("what was built does not parse: %v", r)
		}
	})
}

func FuzzRewrite(f *testing.F) {
	seedPackets(f)
	f.Fuzz(func(t *testing.T, pkt []byte) {
		buf := append(dirty(MaxHeader), pkt...)
		var s Segment
		if Parse(&s, buf[MaxHeader:], Offload{}) != OK {
			return
		}
		s.Seq, s.Ack, s.Src = s.Seq+0x80000001, s.Ack-77, s.Dst
		s.Opts.HasTS = !s.Opts.HasTS
		at := Rewrite(buf, &s)
		var got Segment
		if r := Parse(&got, buf[at:at+s.HeaderSize()+len(s.Payload)], Offload{}); r != OK {
			t.Fatalf("after the translation: %v", r)
		}
	})
}

func FuzzICMP(f *testing.F) {
	seedPackets(f)
	f.Fuzz(func(t *testing.T, pkt []byte) {
		var p Packet
		var e ICMPError
		if ParseIP(&p, pkt) == OK && ParseICMPError(&e, &p) {
			BuildICMPError(dirty(200), &e, 64)
		}
	})
}
