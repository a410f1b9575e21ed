package crowd

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"sleight/redirect"
	"sleight/stack/tcb"
	"sleight/stack/wire"
	"sleight/tun/tuntest"
)

// peer answers a segment that the gateway sent, if it must be. It keeps nothing: all
// that it needs stands in the segment.
type peer interface {
	answer(in, out *wire.Segment) bool
}

// answer lets one peer speak for all hosts behind a door.
func (c *Crowd) answer(d *tuntest.Door, p peer) {
	defer c.wg.Done()
	buf := make([]byte, wire.MaxHeader+2048)
	var in, out wire.Segment
	for {
		pkt, err := d.Take()
		if err != nil {
			return
		}
		if r := wire.Parse(&in, pkt.IP(), wire.Offload{}); r != wire.OK {
			c.note(fmt.Errorf("the gateway wrote a packet that is none: %v", r))
			continue
		}
		out = wire.Segment{Src: in.Dst, Dst: in.Src, TTL: 64, DF: true, Seq: in.Ack, Ack: in.End(), Flags: wire.ACK, Wnd: 500}
		out.Opts.HasTS, out.Opts.TSVal, out.Opts.TSEcr = in.Opts.HasTS, in.Opts.TSEcr+1, in.Opts.TSVal
		if p.answer(&in, &out) {
			c.note(d.InjectIP(0, wire.Build(buf, &out)))
		}
	}
}

// irs is every client's first sequence number.
const irs tcb.Seq = 7000

// syn is a client's first packet.
func syn(from netip.AddrPort) []byte {
	s := wire.Segment{Src: from, Dst: dialled, TTL: 64, DF: true, Seq: irs, Flags: wire.SYN, Wnd: 64240}
	s.Opts = options()
	s.Opts.HasTS, s.Opts.TSVal = true, 1
	return wire.Build(make([]byte, wire.MaxHeader), &s)
}

// options are a Linux host's.
func options() wire.Options {
	return wire.Options{HasMSS: true, MSS: 1460, HasWndShift: true, WndShift: 7, SACKPermitted: true}
}

// client is every client.
type client struct{ c *Crowd }

func (p client) answer(in, out *wire.Segment) bool {
	i := number(in.Dst.Addr())
	says := p.c.says(i)
	if in.Flags.Has(wire.SYN | wire.ACK) {
		p.c.heard[i].Store(uint32(in.Seq) + 1)
		out.Flags |= wire.PSH
		out.Payload = []byte(says)
		return true
	}
	// An acknowledgement may come twice.
	if says == harmless && in.Ack == irs+1+tcb.Seq(len(says)) && !p.c.stands[i].Swap(true) {
		p.c.seen.arrive()
	}
	return len(in.Payload) > 0
}

// realHost is every server behind the gateway.
type realHost struct{}

// iss is its first sequence number.
const iss tcb.Seq = 0x7fffff00

func (realHost) answer(in, out *wire.Segment) bool {
	if in.Flags.Has(wire.SYN) {
		out.Seq, out.Wnd = iss, 65160
		out.Flags |= wire.SYN
		ts := out.Opts
		out.Opts = options()
		out.Opts.HasTS, out.Opts.TSVal, out.Opts.TSEcr = ts.HasTS, 900, ts.TSEcr
		return true
	}
	return len(in.Payload) > 0 || in.Flags.Has(wire.FIN)
}

// observer counts the flows that have come where they should.
type observer struct {
	c       *Crowd
	arrived atomic.Int64
}

func (o *observer) arrive() {
	o.arrived.Add(1)
	<-o.c.room
}

// Switch counts the flows that were joined.
func (o *observer) Switch(_ time.Time, f redirect.FlowInfo, s redirect.Switched) {
	if s.Result != "ok" {
		o.c.note(fmt.Errorf("the switch of %v ended as %s", f.Client, s.Result))
		return
	}
	o.arrive()
}

// FlowStart, Decision and FlowEnd tell nothing that is measured.
func (o *observer) FlowStart(time.Time, redirect.FlowInfo, redirect.Started) {}
func (o *observer) Decision(time.Time, redirect.FlowInfo, redirect.Decided)  {}
func (o *observer) FlowEnd(_ time.Time, f redirect.FlowInfo, e redirect.Ended) {
	if e.Reason != "shutdown" {
		o.c.note(fmt.Errorf("the flow of %v ended: %s", f.Client, e.Reason))
	}
}
