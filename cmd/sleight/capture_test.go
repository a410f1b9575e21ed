package main

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// capture writes a capture in which a client says texts and is answered between:
// capture FILE TEXT…, each TEXT as in a Go string.
func capture(ts *testscript.TestScript, _ bool, args []string) {
	client, server := netip.MustParseAddrPort("198.51.100.7:40001"), netip.MustParseAddrPort("203.0.113.9:80")
	var file []byte
	for _, v := range []uint32{0xa1b2c3d4, 4<<16 | 2, 0, 0, 1 << 16, 101} {
		file = binary.LittleEndian.AppendUint32(file, v)
	}
	now := uint32(1_790_000_000)
	packet := func(from, to netip.AddrPort, flags wire.Flags, seq, ack int, text string) {
		pkt := wire.Build(make([]byte, 4096), &wire.Segment{
			Src: from, Dst: to, TTL: 64, Flags: flags, Seq: tcb.Seq(seq), Ack: tcb.Seq(ack), Payload: []byte(text),
		})
		now++
		for _, v := range []uint32{now, 0, uint32(len(pkt)), uint32(len(pkt))} {
			file = binary.LittleEndian.AppendUint32(file, v)
		}
		file = append(file, pkt...)
	}
	seq, ack := 1001, 7001
	packet(client, server, wire.SYN, 1000, 0, "")
	packet(server, client, wire.SYN|wire.ACK, 7000, 1001, "")
	for _, quoted := range args[1:] {
		text, err := strconv.Unquote(`"` + quoted + `"`)
		ts.Check(err)
		packet(client, server, wire.ACK|wire.PSH, seq, ack, text)
		seq += len(text)
		packet(server, client, wire.ACK|wire.PSH, ack, seq, "answer")
		ack += len("answer")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), file, 0o600))
}
