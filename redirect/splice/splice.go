// Package splice translates between the sequence space of a client leg and that
// of a serving leg. Decoy and backend are translated by the same code.
//
// The client's bytes keep their sequence numbers, since the serving leg was
// opened with the client's own ISN; the server's are shifted by SeqDelta.
// Windows are translated as edges, never as fields (RFC 7323, section 2.4).
// Addresses are the caller's to set; times are since the gateway's clock began.
package splice

import (
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// MinTTL is the least hop limit of what goes to a serving leg: D1 is the end of
// S's path, so a probe that counts hops must not find a router behind it.
const MinTTL = 64

// ClientLeg is a flow's leg to S. All serving legs of the flow share it.
type ClientLeg struct {
	tcb.Leg
	FlowLabel uint32 // toward S
	// TSOffset is its timestamp when the gateway's clock began, for a serving leg
	// that has none.
	TSOffset uint32
	TSEchoed uint32 // newest TSecr that S was shown
	ID       uint16 // the next IP ID toward S; one series for the whole flow
	TTL      uint8  // toward S
}

// Splice joins a client leg, which is given to each of its methods, to one serving
// leg. The flow's lock guards both.
type Splice struct {
	Srv tcb.Leg

	// SeqDelta is added to the server's sequence numbers toward the client,
	// TSDelta to its timestamps; both modulo 2^32.
	SeqDelta uint32
	TSDelta  uint32
	// Cut is the first byte of the server's stream, in the client leg's
	// numbers, that is this serving leg's own. What lies below was swallowed,
	// or another leg's.
	Cut tcb.Seq

	FlowLabel uint32 // toward the server
	// TrueWindow shows S the serving leg's window as it is, since S has sent
	// again what lies beyond it (RFC 9293, MUST-34).
	TrueWindow bool

	Echo Echo
}

// Serving translates what S sent, in place. The caller has already noted it on
// the client leg.
func (sp *Splice) Serving(cli *ClientLeg, seg *wire.Segment) {
	sp.dressServing(seg)
	seg.Flags &^= wire.ECE | wire.CWR | wire.AE
	if seg.Flags.Has(wire.ACK) {
		sp.ackServing(cli, seg)
	} else {
		seg.Opts.NumSACK = 0
	}
	sp.tsServing(cli, seg)
	seg.Opts.Unknown = 0
}

// FillServing completes a segment of the gateway's own toward the serving leg:
// acknowledgement, window and timestamps as S's newest segment has them.
func (sp *Splice) FillServing(cli *ClientLeg, seg *wire.Segment) {
	seg.Flags |= wire.ACK
	seg.Ack = cli.SndUna
	seg.Opts.HasTS = cli.TS
	seg.Opts.TSVal, seg.Opts.TSEcr = cli.TSRecent, sp.Echo.last
	seg.DF = true
	sp.Serving(cli, seg)
}

func (sp *Splice) dressServing(seg *wire.Segment) {
	seg.TTL = max(seg.TTL, MinTTL)
	seg.FlowLabel = sp.FlowLabel
	seg.TOS &^= 3
}

// ackServing translates acknowledgement, SACK blocks and window.
func (sp *Splice) ackServing(cli *ClientLeg, seg *wire.Segment) {
	floor := sp.Cut
	ack := tcb.Max(seg.Ack, floor)
	sp.sackServing(&seg.Opts, ack, len(seg.Payload) == 0)
	seg.Ack = ack - tcb.Seq(sp.SeqDelta)
	seg.Wnd = sp.wndServing(cli, ack, seg)
	sp.Srv.RcvNxt = tcb.Max(sp.Srv.RcvNxt, seg.Ack)
}

// wndServing is S's edge as a window field above ack, rounded down.
func (sp *Splice) wndServing(cli *ClientLeg, ack tcb.Seq, seg *wire.Segment) uint16 {
	room := max(0, tcb.Diff(cli.SndEdge, ack))
	shift := sp.Srv.RcvShift
	if seg.Flags.Has(wire.SYN) {
		shift = 0 // a SYN's window is never scaled (RFC 7323, section 2.2)
	}
	field := min(room>>shift, 0xffff)
	edge := ack.Add(tcb.Size(field<<shift)) - tcb.Seq(sp.SeqDelta)
	sp.Srv.RcvEdge = tcb.Max(sp.Srv.RcvEdge, edge)
	return uint16(field)
}

// News reports whether a segment of S's acknowledges or offers more than the serving leg
// was told before.
func (sp *Splice) News(cli *ClientLeg, seg *wire.Segment) bool {
	ack := tcb.Max(seg.Ack, sp.Cut)
	field := min(max(0, tcb.Diff(cli.SndEdge, ack))>>sp.Srv.RcvShift, 0xffff)
	edge := ack.Add(tcb.Size(field << sp.Srv.RcvShift))
	d := tcb.Seq(sp.SeqDelta)
	return sp.Srv.RcvNxt.LessThan(ack-d) || sp.Srv.RcvEdge.LessThan(edge-d)
}

// sackServing shifts S's SACK blocks. What lies below the acknowledgement
// after the translation was another leg's; a D-SACK of ours goes in front where
// no payload needs the room.
func (sp *Splice) sackServing(o *wire.Options, ack tcb.Seq, bare bool) {
	in, n := o.SACK, o.NumSACK
	o.NumSACK = 0
	if !sp.Srv.SACK {
		return
	}
	if bare {
		if blk, ok := sp.Echo.dsack(ack - tcb.Seq(sp.SeqDelta)); ok {
			o.AddBlock(blk)
		}
	}
	for i, b := range in[:n] {
		dsack := i == 0 && !ack.LessThan(b.End) // RFC 2883, section 4
		if b.Start.LessThan(sp.Cut) || !dsack && !ack.LessThan(b.Start) {
			continue
		}
		d := tcb.Seq(sp.SeqDelta)
		o.AddBlock(wire.Block{Start: b.Start - d, End: b.End - d})
	}
}

// tsServing sets the timestamps toward the serving leg: the newest TSval that
// S has sent, never one that it has not, and an echo that the leg knows.
func (sp *Splice) tsServing(cli *ClientLeg, seg *wire.Segment) {
	o := &seg.Opts
	if !sp.Srv.TS || seg.Flags.Has(wire.RST) {
		o.HasTS = false
		return
	}
	if o.HasTS {
		sp.Echo.last = o.TSEcr
	}
	o.HasTS = true
	o.TSVal = cli.TSRecent
	o.TSEcr = sp.clampEcho(sp.Echo.last - sp.TSDelta)
	sp.Srv.TSSent = o.TSVal
}

// clampEcho keeps an echo within what the serving leg has sent: Linux drops a
// handshake's acknowledgement with any other.
func (sp *Splice) clampEcho(v uint32) uint32 {
	if tcb.TSLess(v, sp.Srv.TSFirst) {
		return sp.Srv.TSFirst
	}
	if tcb.TSLess(sp.Srv.TSRecent, v) {
		return sp.Srv.TSRecent
	}
	return v
}
