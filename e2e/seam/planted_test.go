package seam

import (
	"bytes"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// planted is an anomaly, how it is put into a clean capture, and what finds it.
type planted struct {
	kind  Kind
	name  string
	only  int // 4 or 6: the family; 0: both
	lossy bool
	o     Options
	plant func(t *talk)
}

func TestEachAnomalyPlantedOnceIsFoundOnce(t *testing.T) {
	for _, p := range slices.Concat(plantedHeaders, plantedOptions, plantedNumbers, plantedData, plantedResets) {
		t.Run(string(p.kind)+"/"+p.name, func(t *testing.T) {
			eachTalk(t, func(t *testing.T, talk func() *talk) {
				c := talk()
				if p.only == 4 && c.v6 || p.only == 6 && !c.v6 {
					return
				}
				c.exchange()
				p.plant(c)
				o := p.o
				o.Lossless = !p.lossy
				want(t, c.check(o), p.kind)
			})
		})
	}
}

// A kind without a planted anomaly is a check without a test.
func TestEveryKindIsPlanted(t *testing.T) {
	all := map[Kind]bool{}
	for _, p := range slices.Concat(plantedHeaders, plantedOptions, plantedNumbers, plantedData, plantedResets) {
		all[p.kind] = true
	}
	src, err := os.ReadFile("report.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(src)) {
		if _, value, ok := strings.Cut(line, "Kind = \""); ok {
			n++
			if k, _, _ := strings.Cut(value, "\""); !all[Kind(k)] {
				t.Errorf("no test plants %s", k)
			}
		}
	}
	if n != len(all) {
		t.Errorf("report.go has %d kinds, and %d are planted", n, len(all))
	}
}

var plantedHeaders = []planted{
	{kind: TTLChanged, name: "one segment", plant: func(t *talk) { t.at("b").TTL-- }},
	{kind: TTLChanged, name: "from the switch on", plant: func(t *talk) {
		for _, s := range t.after("b") {
			s.TTL = 63
		}
	}},
	{kind: FlowLabelChanged, name: "from the switch on", only: 6, plant: func(t *talk) {
		for _, s := range t.after("b") {
			s.FlowLabel = 0x77777
		}
	}},
	{kind: DFChanged, name: "one segment", only: 4, plant: func(t *talk) { t.at("b").DF = false }},
	{kind: IPID, name: "another series", only: 4, plant: func(t *talk) {
		for _, s := range t.after("b") {
			s.ID += 5000
		}
	}},
	{kind: IPID, name: "one of another series", only: 4, plant: func(t *talk) { t.at("b").ID = 0 }},
	{kind: IPID, name: "one more, between", only: 4, plant: func(t *talk) {
		s := t.bare("b")
		for _, later := range t.after("b2") {
			later.ID--
		}
		s.ID = 0x4444
	}},
	{kind: IPID, name: "another series, on a lossy wire", only: 4, lossy: true, plant: func(t *talk) {
		for _, s := range t.after("b") {
			s.ID += 5000
		}
	}},
	{kind: IPID, name: "a SYN-ACK's", only: 4, plant: func(t *talk) { t.at("synack").ID = 1 }},
	{kind: BadChecksum, name: "TCP", plant: func(t *talk) {
		t.insert("b", "b").raw = append(t.at("b").raw, flip(70))
	}},
	{kind: BadChecksum, name: "IPv4", only: 4, plant: func(t *talk) {
		t.insert("b", "b").raw = append(t.at("b").raw, flip(8))
	}},
	{kind: Malformed, name: "data offset", plant: func(t *talk) { t.insert("b", "b").raw = []func([]byte) []byte{set(12, 0x10)} }},
	{kind: Malformed, name: "a fragment", only: 4, plant: func(t *talk) {
		t.insert("b", "b").raw = []func([]byte) []byte{func(b []byte) []byte { b[6] |= 0x20; return sealed(b) }}
	}},
	{kind: HiddenAddress, name: "the backend's own", o: Options{Hidden: In(netip.MustParsePrefix("10.0.2.0/24"), netip.MustParsePrefix("fd00::/8"))},
		plant: func(t *talk) { s := t.insert("b", "b"); s.Src = t.backend() }},
	{kind: HiddenAddress, name: "quoted by ICMP", only: 4, o: Options{Hidden: In(netip.MustParsePrefix("10.0.2.0/24"))},
		plant: func(t *talk) { t.insert("b", "b").raw = []func([]byte) []byte{quoting(t.backend())} }},
	{kind: Unsolicited, name: "another port", plant: func(t *talk) {
		s := t.insert("b", "b")
		s.Dst = netip.AddrPortFrom(s.Dst.Addr(), 9)
	}},
	{kind: Unsolicited, name: "before the SYN-ACK", plant: func(t *talk) {
		s := t.insert("syn", "ack A")
		s.ID = 0xfffd
	}},
	{kind: ECN, name: "ECE", plant: func(t *talk) { t.at("b").Flags |= wire.ECE }},
	{kind: ECN, name: "CWR", plant: func(t *talk) { t.at("b").Flags |= wire.CWR }},
	{kind: ECN, name: "a SYN-ACK's", plant: func(t *talk) { t.at("synack").Flags |= wire.ECE }},
	{kind: ECN, name: "a code point", plant: func(t *talk) { t.at("b").TOS = 2 }},
}

// backend is an address that S must not see.
func (t *talk) backend() netip.AddrPort {
	if t.v6 {
		return netip.MustParseAddrPort("[fd00:2::2]:80")
	}
	return netip.MustParseAddrPort("10.0.2.2:80")
}

// quoting makes a packet into an ICMP error of the gateway that quotes one from
// S to a backend.
func quoting(backend netip.AddrPort) func([]byte) []byte {
	return func(b []byte) []byte {
		s := wire.Segment{Src: netip.MustParseAddrPort("198.51.100.2:40001"), Dst: backend, TTL: 64, Flags: wire.ACK}
		quote := wire.Build(make([]byte, wire.MaxHeader), &s)
		icmp := slices.Concat([]byte{3, 4, 0, 0, 0, 0, 5, 0}, quote[:28])
		c := sum(icmp)
		icmp[2], icmp[3] = byte(c>>8), byte(c)
		out := append(bytes.Clone(b[:20]), icmp...)
		out[2], out[3], out[9], out[10], out[11] = 0, byte(len(out)), 1, 0, 0
		copy(out[12:], []byte{198, 51, 100, 1})
		c = sum(out[:20])
		out[10], out[11] = byte(c>>8), byte(c)
		return out
	}
}

var plantedOptions = []planted{
	{kind: OptionMissing, name: "timestamps", plant: func(t *talk) { t.at("b").Opts.HasTS = false }},
	{kind: OptionUnagreed, name: "timestamps, not offered", plant: func(t *talk) {
		for i := range t.steps {
			t.steps[i].Opts.HasTS = false
		}
		s := t.at("b")
		s.Opts.HasTS, s.Opts.TSVal = true, 7
	}},
	{kind: OptionUnagreed, name: "timestamps, declined", plant: func(t *talk) {
		for i := range t.steps {
			t.steps[i].Opts.HasTS = t.steps[i].name == "syn"
		}
		s := t.at("b")
		s.Opts.HasTS, s.Opts.TSVal, s.Opts.TSEcr = true, 7, t.at("syn").Opts.TSVal
	}},
	{kind: OptionUnagreed, name: "SACK", plant: func(t *talk) {
		t.at("syn").Opts.SACKPermitted, t.at("synack").Opts.SACKPermitted = false, false
		k := t.at("ack b")
		t.at("b2").Opts.AddBlock(wire.Block{Start: k.Seq - 100, End: k.Seq})
	}},
	{kind: OptionUnagreed, name: "SACK-permitted", plant: func(t *talk) { t.at("syn").Opts.SACKPermitted = false }},
	{kind: OptionUnagreed, name: "window scale", plant: func(t *talk) {
		t.at("syn").Opts.HasWndShift = false
		for i := range t.steps {
			t.steps[i].Wnd = 64240 // unscaled
		}
	}},
	{kind: OptionUnagreed, name: "MSS after the SYN", plant: func(t *talk) { t.at("b").raw = append(t.at("b").raw, option(2, 4, 5, 0xb4)) }},
	{kind: OptionUnagreed, name: "an unknown one", plant: func(t *talk) { t.at("b").raw = append(t.at("b").raw, option(254, 4, 1, 2)) }},
	{kind: BadOptions, name: "a length", plant: func(t *talk) { t.at("b").raw = append(t.at("b").raw, option(254, 9, 1, 2)) }},
	{kind: BadOptions, name: "a window scale of 15", plant: func(t *talk) {
		for _, s := range t.after("ack A") {
			s.Wnd = 10
		}
		t.at("synack").Opts.WndShift = 15
	}},
	{kind: SYNACKChanged, name: "MSS", plant: func(t *talk) { t.twice(); t.at("planted").Opts.MSS = 1400 }},
	{kind: SYNACKChanged, name: "window scale", plant: func(t *talk) { t.twice(); t.at("planted").Opts.WndShift = 10 }},
	{kind: SYNACKChanged, name: "window", plant: func(t *talk) { t.twice(); t.at("planted").Wnd = 29184 }},
	{kind: SYNACKChanged, name: "SACK-permitted", plant: func(t *talk) { t.twice(); t.at("planted").Opts.SACKPermitted = false }},
	{kind: SYNACKChanged, name: "ISN", plant: func(t *talk) { t.twice(); t.at("planted").Seq += 64000 }},
	{kind: SYNACKNumber, name: "of another SYN", plant: func(t *talk) { t.twice(); t.at("planted").Ack-- }},
}

// twice makes S send its SYN twice, and the server answer twice.
func (t *talk) twice() {
	s := t.insert("syn", "syn")
	s.name = "syn 2"
	t.insert("synack", "synack")
}

var plantedNumbers = []planted{
	{kind: TSValFell, name: "one segment", plant: func(t *talk) { t.at("b").Opts.TSVal -= 30 }},
	{kind: TSValFell, name: "PAWS, on a lossy wire", lossy: true, plant: func(t *talk) { t.at("b").Opts.TSVal -= 3000 }},
	{kind: TSValJump, name: "another clock", plant: func(t *talk) {
		for _, s := range t.after("b") {
			s.Opts.TSVal += 1 << 20
		}
	}},
	{kind: TSValJump, name: "another clock, on a lossy wire", lossy: true, plant: func(t *talk) {
		for _, s := range t.after("b") {
			s.Opts.TSVal += 1 << 20
		}
	}},
	{kind: TSEcrBogus, name: "never sent", plant: func(t *talk) { t.at("b").Opts.TSEcr += 1000 }},
	{kind: TSEcrBogus, name: "a SYN-ACK's", plant: func(t *talk) { t.at("synack").Opts.TSEcr-- }},
	{kind: TSEcrFell, name: "the SYN's again", plant: func(t *talk) { t.at("b").Opts.TSEcr = t.at("syn").Opts.TSVal }},
	{kind: AckUnsent, name: "one byte", plant: func(t *talk) { t.at("b").Ack++ }},
	{kind: AckUnsent, name: "far away, on a lossy wire", lossy: true, plant: func(t *talk) { t.at("b").Ack += 1 << 20 }},
	{kind: AckFell, name: "one byte", plant: func(t *talk) { t.at("b2").Ack-- }},
	{kind: SACKRange, name: "not sent", plant: func(t *talk) { t.block("b", 0, 100) }},
	{kind: SACKRange, name: "empty", plant: func(t *talk) { t.block("b", -10, -10) }},
	{kind: SACKRange, name: "ends before it begins", plant: func(t *talk) { t.block("b", -10, -20) }},
	{kind: SACKRange, name: "before the ISN", plant: func(t *talk) { t.block("b", -5000, -4000) }},
	{kind: SACKRange, name: "the second below the ACK", plant: func(t *talk) {
		t.block("b", -20, -10)
		t.block("b", -100, -50)
	}},
	{kind: EdgeMoved, name: "a unit", plant: func(t *talk) { t.at("b2").Wnd-- }},
	{kind: EdgeMoved, name: "another scale", lossy: true, plant: func(t *talk) {
		for _, s := range t.after("b") {
			s.Wnd >>= 7
		}
	}},
	{kind: EdgeMoved, name: "closed, at the same numbers", plant: func(t *talk) { t.bare("b2").Wnd = 0 }},
}

// block adds a SACK block, relative to the segment's ACK.
func (t *talk) block(name string, start, end int) {
	s := t.at(name)
	s.Opts.AddBlock(wire.Block{Start: s.Ack + tcb.Seq(start), End: s.Ack + tcb.Seq(end)})
}

var plantedData = []planted{
	{kind: Flags, name: "no ACK", plant: func(t *talk) { t.at("b").Flags = wire.PSH }},
	{kind: Flags, name: "FIN and SYN", plant: func(t *talk) {
		s := t.insert("finack", "finack")
		s.Flags, s.ID = s.Flags|wire.SYN, 0
	}},
	{kind: PushEmpty, name: "a bare ACK", plant: func(t *talk) { t.at("ack A").Flags |= wire.PSH }},
	{kind: UrgentField, name: "a pointer without URG", plant: func(t *talk) { t.at("b").Urg = 3 }},
	{kind: UrgentField, name: "URG without a pointer", plant: func(t *talk) { t.at("b").Flags |= wire.URG }},
	{kind: BeyondWindow, name: "44 bytes", plant: func(t *talk) {
		for i := range t.steps {
			if !t.steps[i].fromServer && !t.steps[i].Flags.Has(wire.SYN) {
				t.steps[i].Wnd = 3 // 384 bytes, enough for b
			}
		}
		for _, name := range []string{"handshake", "A"} {
			t.at(name).Wnd = 27 // 3,456 bytes, enough for a
		}
		t.at("ack b").Wnd = 2
	}},
	{kind: Oversize, name: "one byte", plant: func(t *talk) {
		s := t.at("a2")
		s.Payload = append(bytes.Clone(s.Payload), 'c')
		s = t.at("a3")
		s.Seq++
		s.Payload = s.Payload[1:]
	}},
	{kind: Duplicate, name: "a data segment", plant: func(t *talk) { t.again("a3", "a2") }},
	{kind: Duplicate, name: "a part of one", plant: func(t *talk) {
		t.again("a3", "a3")
		t.at("planted").TrimFront(400)
	}},
	{kind: Duplicate, name: "the FIN", plant: func(t *talk) { t.again("finack", "finack") }},
	{kind: Duplicate, name: "the SYN-ACK", plant: func(t *talk) { t.insert("synack", "synack") }},
	{kind: Hole, name: "a segment is missing", plant: func(t *talk) {
		t.remove("a2")
		for _, s := range t.after("a3") {
			s.ID--
		}
	}},
	{kind: AckPlace, name: "a bare ACK behind", plant: func(t *talk) { t.bare("a3").Seq -= 200 }},
	{kind: DifferentBytes, name: "sent again", lossy: true, plant: func(t *talk) {
		t.again("a3", "a2")
		s := t.at("planted")
		s.Payload = bytes.Clone(s.Payload)
		s.Payload[77] = '!'
	}},
	{kind: DifferentBytes, name: "sent again, cut differently", lossy: true, plant: func(t *talk) {
		t.again("a3", "a2")
		s := t.at("planted")
		s.Payload = append(bytes.Clone(s.Payload[:1000]), '!')
		s.Seq += 10
	}},
	{kind: FINMoved, name: "by a byte", lossy: true, plant: func(t *talk) {
		t.again("finack", "finack")
		t.at("planted").Seq--
	}},
	{kind: DataAfterFIN, name: "ten bytes", plant: func(t *talk) {
		t.again("finack", "finack")
		s := t.at("planted")
		s.Seq, s.Flags, s.Payload = s.Seq+1, psh, text(10, 'x')
	}},
}

// again inserts a copy of one of the server's steps in the series of its IDs.
func (t *talk) again(behind, of string) {
	s := t.bare(behind)
	src := t.at(of)
	s.Seq, s.Flags, s.Payload = src.Seq, src.Flags, src.Payload
}

var plantedResets = []planted{
	{kind: Reset, name: "forbidden", o: Options{ForbidReset: true}, plant: func(t *talk) { t.reset("ack b2", wire.RST|ack, 0) }},
	{kind: ResetBare, name: "answers nothing", plant: func(t *talk) { t.reset("ack b2", wire.RST, -1) }},
	{kind: ResetBare, name: "answers what is long past", plant: func(t *talk) { t.at(t.reset("ack b2", wire.RST, 0).name).at += 30 * time.Second }},
	{kind: ResetInexact, name: "SEQ one too low", plant: func(t *talk) { t.reset("ack b2", wire.RST|ack, -1) }},
	{kind: ResetInexact, name: "SEQ beyond the window, on a lossy wire", lossy: true, plant: func(t *talk) { t.reset("ack b2", wire.RST|ack, 1<<20) }},
	{kind: ResetInexact, name: "a refusal with a SEQ", plant: func(t *talk) {
		t.steps = t.steps[:2]
		s := t.at("synack")
		s.Flags, s.Opts, s.Seq = wire.RST|ack, wire.Options{}, 1
	}},
	{kind: AfterReset, name: "it goes on", plant: func(t *talk) {
		s := t.reset("b", wire.RST|ack, 0)
		s.Seq = t.at("b").End()
		t.steps = t.steps[:t.index("b2")+1]
	}},
}

// reset inserts an RST at what S expects next, or so much beside it.
func (t *talk) reset(behind string, flags wire.Flags, off int) *step {
	s := t.insert(behind, "b2")
	s.Seq, s.Flags, s.Payload, s.Opts, s.ID = t.at("b2").End()+tcb.Seq(off), flags, nil, wire.Options{}, 0
	if !flags.Has(ack) {
		s.Ack = 0
	}
	return s
}
