package ladder

import (
	"iter"
	"net/netip"
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// scripted is one segment of a script: who sends it, when, and what.
type scripted struct {
	us         int // microseconds since the beginning
	fromServer bool
	flags      wire.Flags
	payload    string
}

// The connection of 13 packets: data A, answered by the decoy with a; data B, which
// a rule matches; b comes from the backend.
var seedAtClient = []scripted{
	{0, false, wire.SYN, ""},
	{20000, true, wire.SYN | wire.ACK, ""},
	{20100, false, wire.ACK, ""},
	{20200, false, wire.PSH | wire.ACK, "A\n"},
	{40200, true, wire.ACK, ""},
	{40300, true, wire.PSH | wire.ACK, "a\n"},
	{40400, false, wire.ACK, ""},
	{60000, false, wire.PSH | wire.ACK, "B\n"},
	{80900, true, wire.PSH | wire.ACK, "b\n"},
	{81000, false, wire.ACK, ""},
	{95000, false, wire.FIN | wire.ACK, ""},
	{115200, true, wire.FIN | wire.ACK, ""},
	{115300, false, wire.ACK, ""},
}

// What the third host sees of it.
var seedAtBackend = []scripted{
	{70050, false, wire.SYN, ""},
	{70150, true, wire.SYN | wire.ACK, ""},
	{70200, false, wire.ACK, ""},
	{70250, false, wire.PSH | wire.ACK, "A\n"},
	{70350, true, wire.ACK, ""},
	{70450, true, wire.PSH | wire.ACK, "a\n"},
	{70500, false, wire.ACK, ""},
	{70550, false, wire.PSH | wire.ACK, "B\n"},
	{70700, true, wire.PSH | wire.ACK, "b\n"},
	{91050, false, wire.ACK, ""},
	{105050, false, wire.FIN | wire.ACK, ""},
	{105150, true, wire.FIN | wire.ACK, ""},
	{125350, false, wire.ACK, ""},
}

// SeedFigure is the figure that the project began with, and that was lost: a short
// connection and the third host's part in it, from a script. A test runs the same
// through the gateway.
func SeedFigure() *Ladder {
	s := netip.MustParseAddrPort("198.51.100.2:40001")
	d1, d2 := netip.MustParseAddrPort("203.0.113.7:7"), netip.MustParseAddrPort("10.0.2.2:7")
	client := Captured{s, d1, play(seedAtClient, s, d1, 1000, 70000)}
	backend := Captured{s, d2, play(seedAtBackend, s, d2, 1000, 3000000000)}
	return New("A connection of 13 packets changes hands", client, &backend)
}

// play makes packets of a script, as a capture at the client end holds them.
func play(script []scripted, client, server netip.AddrPort, clientISN, serverISN tcb.Seq) iter.Seq2[time.Time, []byte] {
	return func(yield func(time.Time, []byte) bool) {
		start := time.Date(2009, 6, 12, 0, 0, 0, 0, time.UTC)
		ends := [2]netip.AddrPort{client, server}
		next := [2]tcb.Seq{clientISN, serverISN}
		for _, e := range script {
			from := 0
			if e.fromServer {
				from = 1
			}
			s := wire.Segment{
				Src: ends[from], Dst: ends[1-from], TTL: 64, DF: true,
				Seq: next[from], Flags: e.flags, Wnd: 502, Payload: []byte(e.payload),
			}
			if e.flags.Has(wire.ACK) {
				s.Ack = next[1-from]
			}
			next[from] = s.End()
			packet := wire.Build(make([]byte, wire.MaxHeader+len(e.payload)), &s)
			if !yield(start.Add(time.Duration(e.us)*time.Microsecond), packet) {
				return
			}
		}
	}
}
