package sim

import (
	"encoding/binary"
	"time"

	"sleight/redirect"
	"sleight/redirect/splice"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Phases of a flow, as tun/kernel/flow.c has them.
const (
	watched = iota
	offered
	taken
	back
)

// Bits of the mark.
const (
	markBack = 0x02
	reserved = 0x0e
)

// acrossFor is how long what is carried stands in the queue between the doors, past
// which the gateway writes.
const acrossFor = 300 * time.Microsecond

// carrier stands where the kernel's program does (tun/kernel/flow.c): at the egress of the
// gateway's doors. What is plain is that program's to say, and ported from there; the
// translation is the splice's own. Between it and the gateway is a queue that may lose.
type carrier struct {
	w       *World
	started time.Time
	up      [2]*Link // to the gateway, by door
	out     [2]*Link // S's wire and D2's
	across  []crossing
	landed  int // crossings that are over
	flows   map[uint32]*carriedFlow
	ids     uint32
}

// crossing is what goes from one door to the other.
type crossing struct {
	to   *Link
	pkts [][]byte
}

// carriedFlow is a watched flow.
type carriedFlow struct {
	way    redirect.Passage
	phase  int
	turn   uint32
	seen   [2]uint64
	up     [2]uint64
	upTurn uint32
	srvID  int // the backend's last IP ID; -1: none yet

	sp          splice.Splice
	cli         splice.ClientLeg
	trained     bool
	paws        uint32
	heard       time.Duration
	pkts, bytes [2]uint64
}

// newCarrier makes one before the doors of a net whose wires stand.
func newCarrier(n *Net, queue Fault, started time.Time) *carrier {
	c := &carrier{w: n.World, started: started, out: n.down, flows: map[uint32]*carriedFlow{}}
	for i := range c.up {
		c.up[i] = NewLink(n.World, queue, func(b []byte) { n.G.FromDoor(n.Now, i, b) })
	}
	return c
}

// Watch is redirect.Carrier's, and so are the others.
func (c *carrier) Watch(p redirect.Passage) (flow uint32, ok bool) {
	c.ids++
	c.flows[c.ids] = &carriedFlow{way: p, srvID: -1}
	return c.ids, true
}

func (c *carrier) Begin(flow, turn uint32) {
	f := c.flows[flow]
	f.phase, f.turn = watched, turn
}

func (c *carrier) Offer(flow, turn uint32, seen [2]uint64, h *splice.Handed) {
	f := c.flows[flow]
	f.phase, f.turn, f.seen = offered, turn, seen
	f.sp.Take(&f.cli, h)
	f.sp.FlowLabel, f.cli.FlowLabel, f.cli.TTL = f.way.LabelToServer, f.way.LabelToClient, f.way.TTL
	f.trained, f.paws, f.heard = h.Trained, h.PAWS, 0
	f.pkts, f.bytes = [2]uint64{}, [2]uint64{}
}

func (c *carrier) Recall(flow uint32, h *splice.Handed) bool {
	f := c.flows[flow]
	switch f.phase {
	case taken:
		f.phase = back
	case offered:
		f.phase = watched
	}
	if f.phase != back {
		return false
	}
	for len(c.across) > 0 {
		c.land()
	}
	f.handed(h)
	return true
}

func (c *carrier) Peek(flow uint32, h *splice.Handed) bool {
	f := c.flows[flow]
	if f.phase != taken && f.phase != back {
		return false
	}
	f.handed(h)
	return true
}

func (c *carrier) Forget(flow uint32) { delete(c.flows, flow) }

// handed tells where a flow stands. What the kernel does not move h keeps.
func (f *carriedFlow) handed(h *splice.Handed) {
	var is splice.Handed
	f.sp.Hand(&f.cli, &is)
	moved(&h.Cli.Leg, &is.Cli.Leg)
	moved(&h.Srv, &is.Srv)
	h.Cli.TSEchoed = is.Cli.TSEchoed
	h.Cut, h.Last, h.Cli.ID, h.PAWS = is.Cut, is.Last, is.Cli.ID, f.paws
	h.Top, h.Una, h.UnaAt = is.Top, is.Una, is.UnaAt
	h.Heard, h.Pkts, h.Bytes = f.heard, f.pkts, f.bytes
}

func moved(l, is *tcb.Leg) {
	l.SndUna, l.SndNxt, l.SndEdge = is.SndUna, is.SndNxt, is.SndEdge
	l.RcvNxt, l.RcvMax, l.RcvEdge = is.RcvNxt, is.RcvMax, is.RcvEdge
	l.TSRecent, l.TSSent = is.TSRecent, is.TSSent
}

// egress takes a packet that is about to leave the kernel by a door: flow.c's carry.
func (c *carrier) egress(door int, pkt []byte, off wire.Offload) {
	var seg wire.Segment
	// What does not parse the gateway drops before it looks for a flow.
	if wire.Parse(&seg, pkt, off) != wire.OK || seg.Quirks.IPOptions {
		c.pass(door, pkt, off)
		return
	}
	f := c.find(door, seg.Tuple())
	if f == nil {
		mark(pkt, off, 0) // the watch may begin before the gateway reads it
		c.pass(door, pkt, off)
		return
	}
	if f.upTurn != f.turn {
		f.upTurn, f.up = f.turn, [2]uint64{}
	}
	side := tcb.Side(door)
	id := int(seg.ID)
	size := len(seg.Payload)
	if off.GSOSize > 0 {
		size = min(size, int(off.GSOSize))
	}
	took := plainPacket(pkt, &seg) && (f.phase == taken || f.phase == offered && f.up == f.seen) && f.take(c.w.Now.Sub(c.started), side, &seg, size)
	if side == tcb.Serving {
		f.srvID = id
	}
	switch {
	case took:
		f.phase = taken
		c.carry(f, side, &seg, size)
		return
	case f.phase == taken:
		f.phase = back
	}
	f.up[side] += redirect.Weight(&seg)
	bits := uint8(f.turn%3+1) << 2
	if f.phase == back {
		bits |= markBack
	}
	mark(pkt, off, bits)
	c.pass(door, pkt, off)
}

func (c *carrier) find(door int, t tcb.Tuple) *carriedFlow {
	for _, f := range c.flows {
		if door == 0 && f.way.Client == t || door != 0 && f.way.Door == door && f.way.Serving == t {
			return f
		}
	}
	return nil
}

// pass sends a packet up to the gateway.
func (c *carrier) pass(door int, pkt []byte, off wire.Offload) { c.up[door].Send(header(pkt, off)) }

// carry sends a translated segment to the other door.
func (c *carrier) carry(f *carriedFlow, from tcb.Side, seg *wire.Segment, size int) {
	to, way := c.out[f.way.Door], f.way.Serving
	if from == tcb.Serving {
		to, way = c.out[0], f.way.Client
	}
	seg.Src, seg.Dst, seg.Offload = way.Dest(), way.Source(), wire.Offload{}
	pkts := [][]byte{wire.Build(make([]byte, wire.MaxHeader+len(seg.Payload)), seg)}
	if size < len(seg.Payload) {
		pkts = cut(seg, size)
	}
	c.across = append(c.across, crossing{to, pkts})
	mine := c.landed + len(c.across)
	c.w.After(acrossFor, func() {
		for c.landed < mine {
			c.land()
		}
	})
}

// land has the first of what is on its way come to the other door.
func (c *carrier) land() {
	x := c.across[0]
	c.across = c.across[1:]
	c.landed++
	for _, p := range x.pkts {
		x.to.Send(p)
	}
}

// mark sets the reserved bits, as a program does that keeps the checksum right. A partial
// one does not cover them.
func mark(pkt []byte, off wire.Offload, bits uint8) {
	tcp := pkt[ipSize(pkt):]
	was := binary.BigEndian.Uint16(tcp[12:])
	tcp[12] = tcp[12]&^reserved | bits
	if is := binary.BigEndian.Uint16(tcp[12:]); !off.NeedsCsum {
		n := uint32(^binary.BigEndian.Uint16(tcp[16:])) + uint32(^was) + uint32(is) // RFC 1624, section 3
		n = n>>16 + n&0xffff
		binary.BigEndian.PutUint16(tcp[16:], ^uint16(n>>16+n))
	}
}

// ipSize is the length of the IP header of a packet without IP options.
func ipSize(pkt []byte) int {
	if pkt[0]>>4 == 6 {
		return 40
	}
	return 20
}

// plainPacket is what flow.c's network, transport and options ask of a packet that parses.
func plainPacket(pkt []byte, seg *wire.Segment) bool {
	at := ipSize(pkt)
	total := int(binary.BigEndian.Uint16(pkt[2:]))
	if at == 40 {
		total = 40 + int(binary.BigEndian.Uint16(pkt[4:]))
	} else if pkt[6]&0x80 != 0 {
		return false
	}
	tcp := pkt[at:]
	head := int(tcp[12]>>4) * 4
	return total == len(pkt) && seg.TOS&3 == 0 && tcp[12]&0x0f == 0 && tcp[13]&^uint8(wire.PSH) == uint8(wire.ACK) && plainOptions(tcp[20:head])
}

// plainOptions reports whether timestamps and SACK blocks stand where Linux writes them,
// and nothing else does.
func plainOptions(o []byte) bool {
	most := wire.MaxBlocks
	if len(o) >= 12 && binary.BigEndian.Uint32(o) == 0x0101080a {
		o, most = o[12:], 3
	}
	if len(o) == 0 {
		return true
	}
	n := (len(o) - 4) / 8
	return len(o) >= 12 && len(o) == 4+8*n && n <= most && binary.BigEndian.Uint32(o) == uint32(0x01010500|2+8*n)
}

// take translates a segment, if that is all that the gateway would do with it; otherwise
// it has changed nothing.
func (f *carriedFlow) take(now time.Duration, from tcb.Side, seg *wire.Segment, size int) bool {
	n, least := len(seg.Payload), size+seg.Opts.Size(false)
	if from == tcb.Client {
		if !f.plainServing(seg, least) {
			return false
		}
		f.serving(now, seg)
	} else {
		if !f.plainClient(seg, least) {
			return false
		}
		f.client(now, seg, size)
	}
	f.heard = now
	f.pkts[from]++
	f.bytes[from] += uint64(n)
	return true
}

// acceptable refuses what tcb.Leg.HeardAck would not take in.
func acceptable(l *tcb.Leg, ack tcb.Seq) bool {
	return !l.SndNxt.LessThan(ack) && tcb.Diff(l.SndUna, ack) <= int(tcb.MaxWnd(l.SndShift))
}

// plainServing is what flow.c's serving refuses.
func (f *carriedFlow) plainServing(seg *wire.Segment, size int) bool {
	cli, srv, o := &f.cli.Leg, &f.sp.Srv, &seg.Opts
	switch {
	case !acceptable(cli, seg.Ack), seg.Ack.LessThan(f.sp.Cut):
	case cli.RcvEdge.LessThan(seg.Seq), seg.End().LessThan(cli.RcvNxt - 1):
	case o.HasTS && tcb.TSLess(o.TSVal, f.paws):
	case srv.SndEdge.LessThan(seg.End()):
	case o.HasTS != srv.TS, o.HasTS != cli.TS, size > int(srv.MSS):
	case o.NumSACK > 0 && !srv.SACK:
	default:
		for i, b := range o.Blocks() {
			dsack := i == 0 && !seg.Ack.LessThan(b.End) // RFC 2883, section 4
			if b.Start.LessThan(f.sp.Cut) || !dsack && !seg.Ack.LessThan(b.Start) {
				return false
			}
		}
		return true
	}
	return false
}

// serving does what redirect and the splice do with a plain segment of S's.
func (f *carriedFlow) serving(now time.Duration, seg *wire.Segment) {
	cli, srv := &f.cli, &f.sp.Srv
	cli.HeardAck(seg.Ack, seg.Wnd)
	if seg.Opts.HasTS {
		cli.HeardTS(seg.Opts.TSVal)
		if !cli.RcvNxt.LessThan(seg.Seq) { // RFC 7323, section 4.3
			f.paws = seg.Opts.TSVal
		}
	}
	cli.HeardData(seg.End())
	f.sp.HeardClient(now, seg)
	srv.SndNxt = tcb.Max(srv.SndNxt, seg.End())
	f.sp.Serving(cli, seg)
}

// plainClient is what flow.c's client refuses.
func (f *carriedFlow) plainClient(seg *wire.Segment, size int) bool {
	var is splice.Handed
	f.sp.Hand(&f.cli, &is)
	cli, srv, o, d := &f.cli.Leg, &f.sp.Srv, &seg.Opts, tcb.Seq(f.sp.SeqDelta)
	data := len(seg.Payload) > 0
	switch {
	case !acceptable(srv, seg.Ack), srv.RcvEdge.LessThan(seg.Seq), seg.Seq.LessThan(f.sp.Cut - d):
	case o.HasTS != srv.TS, o.HasTS != cli.TS, size > int(cli.MSS):
	case o.NumSACK > 0 && !cli.SACK:
	case data && !f.trained:
	case data && !is.Top.LessThan(seg.End()) && !(cli.SndUna - d).LessThan(seg.End()): // S has it all
	case seg.Is4() && int(seg.ID) == f.srvID:
	default:
		return true
	}
	return false
}

// client does what the splice does with a plain segment of the backend's.
func (f *carriedFlow) client(now time.Duration, seg *wire.Segment, size int) {
	if out := f.sp.Client(now, &f.cli, seg); out != splice.Pass {
		panic("a plain segment that the splice does not pass")
	}
	f.sp.Echo.Forget() // round trips are not measured here
	// The kernel numbers a super-packet's segments on from its own ID.
	if size > 0 {
		f.cli.ID += uint16((len(seg.Payload)+size-1)/size - 1)
	}
}
