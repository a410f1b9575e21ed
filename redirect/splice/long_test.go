package splice

import (
	"testing"
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// RFC 9293, section 3.4: "It is essential to remember that the actual sequence
// number space is finite, though large." A connection that is longer than that
// stays translated in both directions, with the same shift.
func TestALongConnectionOutlivesTheSequenceSpace(t *testing.T) {
	const piece = 60_000
	for _, iss := range []tcb.Seq{1000, 0x7fffff00, 0xffffff00} {
		cli := ClientLeg{Leg: tcb.Leg{ISS: iss, SndUna: iss + 1, SndNxt: iss + 1, SndEdge: iss + 1 + 1<<20, RcvEdge: 500 + 1<<20,
			RcvNxt: 500, RcvMax: 500, SndShift: 7, RcvShift: 7}}
		const at = tcb.Seq(77_000_000)
		srv := tcb.Leg{IRS: at - 1, RcvNxt: at, RcvMax: at, RcvEdge: at + 1<<20, SndUna: 500, SndNxt: 500,
			SndEdge: 500 + 1<<20, SndShift: 7, RcvShift: 7}
		delta := iss + 1 - at
		sp := Splice{Srv: srv, SeqDelta: uint32(delta), Cut: iss + 1}
		sp.Echo.Init(0, 0, 0)
		now := time.Duration(0)
		seq, payload := at, make([]byte, piece)
		for n := int64(0); n < 9<<30; n += piece {
			now += time.Millisecond
			seg := wire.Segment{Seq: seq, Ack: 500, Flags: wire.ACK, Wnd: 1 << 13, Payload: payload}
			if out := sp.Client(now, &cli, &seg); out != Pass || seg.Seq != seq+delta || len(seg.Payload) != piece {
				t.Fatalf("ISS %d, after %d bytes: outcome %d, seq %d, want %d, %d bytes", iss, n, out, seg.Seq, seq+delta, len(seg.Payload))
			}
			seq = seq.Add(piece)
			ack := wire.Segment{Seq: 500, Ack: seg.End(), Flags: wire.ACK, Wnd: 1 << 13}
			cli.HeardAck(ack.Ack, ack.Wnd)
			sp.HeardClient(now, &ack)
			if sp.Echo.flight != nil {
				t.Fatal("marks are kept of what S has acknowledged")
			}
			sp.Serving(&cli, &ack)
			if ack.Ack != seq || ack.Wnd != 1<<13 {
				t.Fatalf("ISS %d, after %d bytes: ack %d, want %d; window %d", iss, n, ack.Ack, seq, ack.Wnd)
			}
		}
	}
}
