package lab

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sleight/e2e/bed"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// segment is one of a capture: milliseconds since its beginning, who sends it, what.
type segment struct {
	ms       uint32
	back     bool
	flags    wire.Flags
	seq, ack tcb.Seq
	payload  string
}

// capture writes a pcap file of raw IP packets, as another program would.
func capture(t *testing.T, name string, client, server netip.AddrPort, segments []segment) *bed.Capture {
	t.Helper()
	var b bytes.Buffer
	le := func(vs ...uint32) {
		for _, v := range vs {
			b.Write(binary.LittleEndian.AppendUint32(nil, v))
		}
	}
	const rawIP, version24 = 101, 4<<16 | 2
	le(0xa1b2c3d4, version24, 0, 0, 1<<16, rawIP)
	for _, g := range segments {
		s := wire.Segment{Src: client, Dst: server, TTL: 64, DF: true, Seq: g.seq, Ack: g.ack, Flags: g.flags, Wnd: 502, Payload: []byte(g.payload)}
		if g.back {
			s.Src, s.Dst = server, client
		}
		packet := wire.Build(bytes.Repeat([]byte{0xa5}, wire.MaxHeader+len(g.payload)), &s)
		le(1, g.ms*1000, uint32(len(packet)), uint32(len(packet)))
		b.Write(packet)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return &bed.Capture{File: file}
}

// The drawing has the four parties and the numbers of both legs, and its figure
// lies beside the captures.
func TestTheLadderIsDrawnFromBothCaptures(t *testing.T) {
	s, d1 := netip.MustParseAddrPort("198.51.100.2:40001"), netip.MustParseAddrPort(web)
	const both = wire.PSH | wire.ACK
	l := &lab{Options: Options{Dir: t.TempDir()}, switched: []*talk{{local: s}}}
	l.client = capture(t, "s.pcap", s, d1, []segment{
		{0, false, wire.SYN, 1000, 0, ""}, {1, true, wire.SYN | wire.ACK, 0xffffff00, 1001, ""},
		{2, false, both, 1001, 0xffffff01, "A"}, {3, true, both, 0xffffff01, 1002, "a"},
		{4, false, both, 1002, 0xffffff02, "B"}, {9, true, both, 0xffffff02, 1003, "b"},
	})
	l.backend = capture(t, "backend.pcap", s, netip.AddrPortFrom(realAddr(), 80), []segment{
		{5, false, wire.SYN, 1000, 0, ""}, {5, true, wire.SYN | wire.ACK, 70000, 1001, ""},
		{6, false, both, 1001, 70001, "A"}, {6, true, both, 70001, 1002, "a"},
		{7, false, both, 1002, 70002, "B"}, {8, true, both, 70002, 1003, "b"},
	})
	d, err := l.drawLadder()
	if err != nil {
		t.Fatal(err)
	}
	text := d.Text(false)
	for _, want := range []string{"decoy", "gateway", "backend", "seq 4294967042 ack 1003", "seq 70002 ack 1003", "held", "switch committed: 1 byte replayed, 1 byte swallowed"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	for name, want := range map[string]string{ladderText: text, ladderFigure: d.SVG()} {
		if got, err := os.ReadFile(l.file(name)); err != nil || string(got) != want {
			t.Errorf("%s: %v, %d bytes, want %d", name, err, len(got), len(want))
		}
	}
}
