package splice_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"sleight/redirect/splice"
	"sleight/stack/tcb"
	"sleight/stack/wire"
	"sleight/stack/wire/wiretest"
)

// stepSize is how many bytes of a fuzzer's script make one segment.
const stepSize = 16

// FuzzTranslate lets both ends of a splice say anything near their windows, and
// holds every translation against the rules of splice.go.
//
// setup: bytes 0–2 choose the ISNs, 3–6 the four scales, 7 the options of both
// legs, 8 the family, 9–12 TSDelta.
func FuzzTranslate(f *testing.F) {
	f.Add(make([]byte, 13), bytes.Repeat([]byte{1, 5, 0, 40, 7, 1, 0, 9, 3, 80, 2, 20, 0, 1, 5, 0}, 4))
	f.Add([]byte{2, 2, 2, 0, 10, 10, 0, 15, 1, 0xff, 0xff, 0xff, 0}, bytes.Repeat([]byte{0, 200, 10, 0, 0, 100, 3, 0xff, 1, 4, 9, 9, 9, 1, 2, 3}, 6))
	f.Add([]byte{1, 1, 2, 14, 7, 7, 14, 6, 0, 0x80, 0, 0, 0}, bytes.Repeat([]byte{1, 0, 90, 0, 0, 9, 4, 0, 5, 2, 8, 8, 1, 3, 1, 255, 0, 10, 60, 1, 0, 200, 3, 8, 1, 9, 7, 7, 0, 1, 2, 16}, 4))
	f.Fuzz(func(t *testing.T, cfg, script []byte) {
		if len(cfg) < 13 || len(script) > 64*stepSize {
			return
		}
		x := fuzzed(t, cfg)
		for ; len(script) >= stepSize; script = script[stepSize:] {
			x.step(script[:stepSize])
		}
	})
}

func fuzzed(t *testing.T, cfg []byte) *bench {
	pick := func(i int) tcb.Seq { return isns[int(cfg[i])%len(isns)] }
	x := setup(t, pick(0), pick(1), pick(2))
	x.cli.SndShift, x.cli.RcvShift, x.srv.SndShift, x.srv.RcvShift = cfg[3]%15, cfg[4]%15, cfg[5]%15, cfg[6]%15
	x.cli.SACK, x.cli.TS, x.srv.SACK, x.srv.TS = cfg[7]&1 != 0, cfg[7]&2 != 0, cfg[7]&4 != 0, cfg[7]&8 != 0
	// A window that fits each leg's field.
	x.cli.RcvEdge = x.cli.RcvNxt.Add(min(60000, tcb.MaxWnd(x.cli.RcvShift)))
	x.srv.RcvEdge = x.srv.RcvNxt.Add(60000)
	x.sp.TSDelta = binary.BigEndian.Uint32(cfg[9:])
	x.cli.TSSent = x.srv.TSRecent + x.sp.TSDelta
	if cfg[8]&1 != 0 {
		x.ends[tcb.Serving] = tcb.TupleOf(at("[fd00:2::2]:8080"), at("[2001:db8::7]:40001"))
		x.ends[tcb.Client] = tcb.TupleOf(at("[2001:db8::7]:40000"), at("[2001:db8:1::5]:80"))
	}
	return x
}

// step makes one segment of 16 bytes and translates it.
func (x *bench) step(b []byte) {
	u16 := func(i int) tcb.Seq { return tcb.Seq(int16(binary.BigEndian.Uint16(b[i:]))) }
	x.wait(time.Duration(b[15]) * time.Millisecond)
	fromS := b[0]&1 == 0
	seg := wire.Segment{TTL: b[12], TOS: b[13], ID: uint16(b[14]), DF: b[0]&2 != 0, FlowLabel: uint32(b[14])}
	seg.Flags = wire.Flags(b[1]) &^ wire.SYN
	if b[0]&4 != 0 {
		seg.Flags |= wire.ACK
	}
	if b[0]&8 != 0 && seg.Flags.Has(wire.URG) {
		seg.Urg = uint16(b[5])
	}
	seg.Wnd = binary.BigEndian.Uint16(b[6:])
	seg.Payload = wiretest.Fill(u16(2), int(b[11])%100)
	own, peer, leg := x.s, x.c, &x.cli.Leg
	if !fromS {
		own, peer, leg = x.b, x.s, x.srv
	}
	seg.Seq = own + said + u16(2)
	seg.Ack = peer + said + u16(4)/4
	seg.Opts.HasTS = leg.TS
	if leg.TS {
		seg.Opts.TSVal, seg.Opts.TSEcr = leg.TSRecent+uint32(int8(b[8])), leg.TSSent-uint32(b[9])
	}
	for i := range int(b[10]) % 4 {
		start := seg.Ack + tcb.Seq(int8(b[8+i]))
		seg.Opts.AddBlock(wire.Block{Start: start, End: start.Add(tcb.Size(b[9+i]) + 1)})
	}
	if fromS {
		x.fromS(seg)
	} else {
		x.fromServing(seg)
	}
}

// read is a segment as it was parsed out of a dirty buffer.
func (x *bench) read(seg *wire.Segment, from tcb.Side) (buf []byte) {
	seg.Src, seg.Dst = x.ends[from].Source(), x.ends[from].Dest()
	buf = bytes.Repeat([]byte{0xa5}, 2*wire.MaxHeader+len(seg.Payload)+10)
	pkt := wire.Build(buf[wire.MaxHeader:], seg)
	if r := wire.Parse(seg, buf[wire.MaxHeader:wire.MaxHeader+len(pkt)], wire.Offload{}); r != wire.OK {
		x.Fatalf("%v: %+v", r, seg)
	}
	return buf
}

// wantWritten: the incremental checksum equals a full recomputation, and the
// segment below TCP looks as its direction does.
func (x *bench) wantWritten(buf []byte, seg *wire.Segment, to tcb.Side) {
	x.address(to, seg)
	want := wire.Build(bytes.Repeat([]byte{0x5a}, wire.MaxHeader+len(seg.Payload)), seg)
	at := wire.Rewrite(buf, seg)
	if got := buf[at : at+len(want)]; !bytes.Equal(want, got) {
		x.Fatalf("not as it is built anew\nwant %x\ngot  %x", want, got)
	}
	label := map[tcb.Side]uint32{tcb.Client: x.cli.FlowLabel, tcb.Serving: x.sp.FlowLabel}[to]
	if seg.FlowLabel != label || seg.TOS&3 != 0 {
		x.Fatalf("dressed as %+v", seg)
	}
}

// fromS translates a segment of S's; SEQ, bytes, flags, DF and URG are not
// touched, and ACK and SACK come back as they were.
func (x *bench) fromS(seg wire.Segment) {
	buf := x.read(&seg, tcb.Client)
	if !x.cli.InWindow(seg.Seq, seg.End()) || x.cli.RcvEdge.LessThan(seg.End()) {
		return // the caller lets it not come here
	}
	was := seg
	if seg.Flags.Has(wire.ACK) {
		if x.cli.SndNxt.LessThan(seg.Ack) {
			return
		}
		x.cli.HeardAck(seg.Ack, seg.Wnd)
	}
	if seg.Opts.HasTS {
		x.cli.HeardTS(seg.Opts.TSVal)
	}
	x.cli.HeardData(seg.End())
	x.sp.HeardClient(x.now, &seg)
	x.srv.SndNxt = tcb.Max(x.srv.SndNxt, seg.End())
	edge := x.srv.RcvEdge
	x.sp.Serving(&x.cli, &seg)
	x.wantWritten(buf, &seg, tcb.Serving)
	if seg.Seq != was.Seq || !bytes.Equal(seg.Payload, was.Payload) || seg.Flags != was.Flags&^(wire.ECE|wire.CWR|wire.AE) ||
		seg.DF != was.DF || seg.Urg != was.Urg || seg.TTL != max(was.TTL, splice.MinTTL) {
		x.Fatalf("touched\nwas %+v\nis  %+v", was, seg)
	}
	x.wantTS(&seg, x.srv.TS)
	if !seg.Flags.Has(wire.ACK) {
		return
	}
	d := tcb.Seq(x.sp.SeqDelta)
	if seg.Ack+d != tcb.Max(was.Ack, x.sp.Cut) {
		x.Fatalf("ACK %d of %d, cut %d", seg.Ack+d, was.Ack, x.sp.Cut)
	}
	x.wantBlocksOf(&seg, &was, d)
	// No byte may come beyond a window that S announced.
	shown := seg.Ack.Add(tcb.Size(seg.Wnd) << x.srv.RcvShift)
	if edge.LessThan(shown) && tcb.Max(x.cli.SndEdge, x.sp.Cut).LessThan(shown+d) {
		x.Fatalf("shown %d, S's edge is %d", shown+d, x.cli.SndEdge)
	}
	if seg.Opts.HasTS && (tcb.TSLess(seg.Opts.TSEcr, x.srv.TSFirst) || tcb.TSLess(x.srv.TSRecent, seg.Opts.TSEcr)) {
		x.Fatalf("TSecr %d outside of [%d, %d]", seg.Opts.TSEcr, x.srv.TSFirst, x.srv.TSRecent)
	}
}

// wantBlocksOf: every block but a D-SACK of ours is one of S's, shifted, in their
// order, and none is an acknowledgement.
func (x *bench) wantBlocksOf(seg, was *wire.Segment, d tcb.Seq) {
	if !x.srv.SACK && seg.Opts.NumSACK > 0 {
		x.Fatalf("SACK that was not negotiated: %v", seg.Opts.Blocks())
	}
	rest := was.Opts.Blocks()
	for i, b := range seg.Opts.Blocks() {
		at := -1
		for j, r := range rest {
			if r.Start == b.Start+d && r.End == b.End+d {
				at = j
				break
			}
		}
		if at < 0 && i > 0 || at < 0 && seg.Ack.LessThan(b.End) {
			x.Fatalf("block %v is none of S's %v", b, was.Opts.Blocks())
		}
		rest = rest[at+1:]
	}
}

func (x *bench) wantTS(seg *wire.Segment, negotiated bool) {
	if seg.Opts.HasTS != (negotiated && !seg.Flags.Has(wire.RST)) {
		x.Fatalf("timestamps %v, negotiated %v: %+v", seg.Opts.HasTS, negotiated, seg)
	}
}

// fromServing translates a segment of the serving leg's; what passes is bytes of
// the server's from the cut on, unchanged but for where they stand.
func (x *bench) fromServing(seg wire.Segment) {
	buf := x.read(&seg, tcb.Serving)
	was, edge, ts := seg, x.cli.RcvEdge, x.cli.TSSent
	if out := x.sp.Client(x.now, &x.cli, &seg); out != splice.Pass {
		if out == splice.Invalid && !x.srv.SndNxt.LessThan(was.Ack) && !x.srv.RcvEdge.LessThan(was.Seq) {
			x.Fatalf("called invalid: %+v", was)
		}
		return
	}
	x.wantWritten(buf, &seg, tcb.Client)
	d := tcb.Seq(x.sp.SeqDelta)
	trimmed := len(was.Payload) - len(seg.Payload)
	if !bytes.Equal(seg.Payload, was.Payload[trimmed:]) || seg.Flags&^wire.URG != was.Flags&^(wire.ECE|wire.CWR|wire.AE|wire.URG) || seg.DF != was.DF {
		x.Fatalf("touched\nwas %+v\nis  %+v", was, seg)
	}
	if seg.Len() > 1 && seg.Seq.LessThan(x.sp.Cut) && !seg.Flags.Has(wire.RST) {
		x.Fatalf("bytes below the cut: %+v", seg)
	}
	if seg.Len() > 0 && seg.Seq-d != was.Seq.Add(tcb.Size(trimmed)) {
		x.Fatalf("SEQ %d became %d", was.Seq, seg.Seq)
	}
	x.wantTS(&seg, x.cli.TS)
	if seg.Opts.HasTS && tcb.TSLess(seg.Opts.TSVal, ts) {
		x.Fatalf("TSval fell from %d to %d", ts, seg.Opts.TSVal)
	}
	if !x.cli.SACK && seg.Opts.NumSACK > 0 {
		x.Fatalf("SACK that was not negotiated: %v", seg.Opts.Blocks())
	}
	if seg.Flags.Has(wire.ACK) {
		x.wantEdge(&seg, edge)
	}
}

// wantEdge: an edge never moves left, unless a field is too small for it, and
// promises S no more than the serving leg does, rounded up to a unit.
func (x *bench) wantEdge(seg *wire.Segment, before tcb.Seq) {
	if seg.Ack.LessThan(x.s + said) {
		x.Fatalf("ACK %d fell below what the client leg had acknowledged", seg.Ack)
	}
	shift := x.cli.RcvShift
	shown := seg.Ack.Add(tcb.Size(seg.Wnd) << shift)
	if shown.LessThan(before) && seg.Wnd != 0xffff && before != seg.Ack {
		if !before.LessThan(seg.Ack) {
			x.Fatalf("the edge moved left, from %d to %d", before, shown)
		}
	}
	most := tcb.Max(tcb.Max(before, x.srv.SndEdge), seg.Ack)
	if tcb.Diff(shown, most) >= 1<<shift {
		x.Fatalf("shown %d, the leg's edge is %d and %d was announced", shown, x.srv.SndEdge, before)
	}
}
