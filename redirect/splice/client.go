package splice

import (
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Outcome is what becomes of a segment from the serving leg.
type Outcome uint8

const (
	// Pass: the segment was translated and goes to S.
	Pass Outcome = iota
	// Swallow: it ended below the cut, S has it already, or it is a timer's
	// retransmission that S did not ask for; nothing goes to S.
	Swallow
	// Answer: as Swallow, and the serving leg gets an acknowledgement.
	Answer
	// Invalid: it acknowledges what S never sent, or lies outside of every
	// window; nothing goes to S.
	Invalid
	// Withheld: S is to be told later.
	Withheld
)

// Client translates what the serving leg sent, in place. It notes it on both
// legs first.
func (sp *Splice) Client(now time.Duration, cli *ClientLeg, seg *wire.Segment) Outcome {
	if out := sp.hear(cli, seg); out != Pass {
		return out
	}
	if out := sp.once(now, cli, seg); out != Pass {
		return out
	}
	seg.Seq += tcb.Seq(sp.SeqDelta)
	cli.dress(seg)
	seg.Flags &^= wire.ECE | wire.CWR | wire.AE
	if seg.Flags.Has(wire.ACK) {
		sp.ackClient(cli, seg)
	} else {
		seg.Opts.NumSACK = 0
	}
	sp.tsClient(now, cli, seg)
	seg.Opts.Unknown = 0
	cli.SndNxt = tcb.Max(cli.SndNxt, seg.End())
	return Pass
}

// Withhold notes a bare acknowledgement of the serving leg's that does not go to S yet.
func (sp *Splice) Withhold(cli *ClientLeg, seg *wire.Segment) Outcome {
	if out := sp.hear(cli, seg); out != Pass {
		return out
	}
	return Withheld
}

// FillClient completes a segment of the gateway's own toward S: a bare
// acknowledgement in the server's name, of all that the server has acknowledged.
func (sp *Splice) FillClient(now time.Duration, cli *ClientLeg, seg *wire.Segment) {
	seg.Flags |= wire.ACK
	seg.Seq = cli.SndNxt
	seg.Ack = tcb.Max(cli.RcvNxt, sp.Srv.SndUna)
	seg.Opts.HasTS = cli.TS
	seg.Opts.TSVal, seg.Opts.TSEcr = sp.Srv.TSRecent, sp.echo(now, cli)
	seg.DF = true
	cli.dress(seg)
	sp.ackClient(cli, seg)
	sp.tsClient(now, cli, seg)
}

// hear notes a serving leg's segment on that leg, trims what lies below the cut
// and refuses what cannot be.
func (sp *Splice) hear(cli *ClientLeg, seg *wire.Segment) Outcome {
	srv := &sp.Srv
	sp.ageCut(cli)
	cut := sp.Cut - tcb.Seq(sp.SeqDelta)
	if seg.Flags.Has(wire.ACK) {
		if srv.SndNxt.LessThan(seg.Ack) && !seg.Flags.Has(wire.RST) {
			return Invalid
		}
		srv.HeardAck(seg.Ack, seg.Wnd)
	}
	if seg.Opts.HasTS {
		srv.HeardTS(seg.Opts.TSVal)
	}
	if srv.RcvEdge.LessThan(seg.Seq) {
		return Invalid
	}
	srv.HeardData(seg.End())
	if !seg.Seq.LessThan(cut) || seg.Flags.Has(wire.RST) {
		return Pass
	}
	// A keep-alive directly before the cut is S's to answer (RFC 9293, 3.8.4). One
	// with a byte cannot be told from the last byte below the cut, sent again.
	if seg.Seq == cut-1 && seg.Len() == 0 {
		return Pass
	}
	if below := tcb.Diff(cut, seg.Seq); below < int(seg.Len()) && below <= len(seg.Payload) {
		seg.TrimFront(below)
		return Pass
	}
	if seg.Len() == 0 {
		// A bare acknowledgement from before the cut still tells S of its edge; but one
		// that was overtaken says less than S knows, with numbers that S has left
		// behind: it would answer (RFC 9293, section 3.10.7.4).
		if sp.Cut.LessThan(cli.SndNxt) {
			return Swallow
		}
		seg.Seq = cut
		return Pass
	}
	return Answer
}

// ageCut lets the cut follow a long connection: sequence numbers compare within
// 2^31 only (RFC 9293, section 3.4), and what S acknowledged so long ago is below
// any cut.
func (sp *Splice) ageCut(cli *ClientLeg) {
	if tcb.Diff(cli.SndUna, sp.Cut) > 1<<30 {
		sp.Cut = cli.SndUna - 1<<29
	}
}

func (cli *ClientLeg) dress(seg *wire.Segment) {
	seg.TTL = cli.TTL
	seg.FlowLabel = cli.FlowLabel
	seg.TOS &^= 3
	if seg.Flags&(wire.RST|wire.ACK) == wire.RST {
		seg.ID = 0 // it comes of no connection any more, and its IDs with it
		return
	}
	seg.ID = cli.ID
	cli.ID++
}

// ackClient translates acknowledgement, SACK blocks and window toward S.
func (sp *Splice) ackClient(cli *ClientLeg, seg *wire.Segment) {
	// A RST may acknowledge anything; S must never be told what it has not said.
	ack := tcb.Max(tcb.Min(seg.Ack, sp.Srv.SndNxt), cli.RcvNxt)
	if !cli.SACK {
		seg.Opts.NumSACK = 0
	}
	seg.Ack = ack
	seg.Wnd = sp.wndClient(cli, ack)
	cli.RcvNxt = ack
}

// wndClient is the window field that shows S max(the edge that it knows, the
// serving leg's), rounded up to a unit of the client leg's scale: an edge never
// moves left, and less than a unit must not read as zero for ever.
func (sp *Splice) wndClient(cli *ClientLeg, ack tcb.Seq) uint16 {
	edge := tcb.Max(cli.RcvEdge, sp.Srv.SndEdge)
	unit := 1 << cli.RcvShift
	room := max(0, tcb.Diff(edge, ack)) + unit - 1
	if sp.TrueWindow {
		room = max(0, tcb.Diff(sp.Srv.SndEdge, ack))
	}
	field := min(room>>cli.RcvShift, 0xffff)
	cli.RcvEdge = tcb.Max(cli.RcvEdge, ack.Add(tcb.Size(field<<cli.RcvShift)))
	return uint16(field)
}

// tsClient sets the timestamps toward S. One maximum spans decoy and backend,
// so that no retransmission of the one pushes the other behind S's PAWS
// (RFC 7323, section 5).
func (sp *Splice) tsClient(now time.Duration, cli *ClientLeg, seg *wire.Segment) {
	o := &seg.Opts
	if !cli.TS || seg.Flags.Has(wire.RST) {
		o.HasTS = false
		return
	}
	val := o.TSVal + sp.TSDelta
	if !sp.Srv.TS {
		val, o.TSEcr = cli.TSOffset+uint32(now.Milliseconds()), cli.TSRecent
	}
	o.HasTS = true
	if tcb.TSLess(val, cli.TSSent) {
		val = cli.TSSent
	}
	o.TSVal, cli.TSSent = val, val
	if tcb.TSLess(cli.TSEchoed, o.TSEcr) {
		cli.TSEchoed = o.TSEcr
	}
}

// settled is how long after S's last news whatever answered it is through, queues and all.
const settled = 50 * time.Millisecond

// echo is the time of S's that the serving leg's host would answer with now. While
// something may be under way, that is what it last answered with: it may not have heard
// the newest yet, and what it has sent meanwhile comes after the gateway's own segment.
func (sp *Splice) echo(now time.Duration, cli *ClientLeg) uint32 {
	if cli.SndUna == cli.SndNxt && cli.RcvNxt == cli.RcvMax && since(sp.Echo.unaAt, now) >= settled {
		return cli.TSRecent
	}
	return cli.TSEchoed
}
