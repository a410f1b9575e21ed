package kernel

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"sleight/redirect"
	"sleight/redirect/splice"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// plainSeg is a bare acknowledgement of a side's, as it would repeat it.
func (x *bench) plainSeg(side tcb.Side) wire.Segment {
	seg := wire.Segment{
		Src: x.ends[tcb.Client].Source(), Dst: x.ends[tcb.Client].Dest(), DF: true, TTL: 60, ID: x.srvID,
		Seq: x.cli.RcvMax, Ack: x.cli.SndNxt, Flags: wire.ACK, Wnd: 500,
	}
	l := &x.cli.Leg
	if side == tcb.Serving {
		x.srvID++
		l = x.srv
		seg.Src, seg.Dst = x.ends[tcb.Serving].Source(), x.ends[tcb.Serving].Dest()
		seg.Seq, seg.Ack = x.srv.RcvMax, x.srv.SndNxt
	}
	seg.Opts.HasTS, seg.Opts.TSVal, seg.Opts.TSEcr = l.TS, l.TSRecent, l.TSSent
	return seg
}

// says runs a segment through its side's program. mark is -1 where it was carried.
func (x *bench) says(side tcb.Side, seg wire.Segment) (mark int) {
	x.Helper()
	p := x.c.objs.FromClient
	if side == tcb.Serving {
		p = x.c.objs.FromBackend
	}
	ret, out := x.run(p, build(&seg), 0)
	if ret == redirected {
		return -1
	}
	got, _ := x.reparse(out, wire.Offload{})
	return int(got.Reserved)
}

func (x *bench) want(why string, got, want int) {
	x.Helper()
	if got != want {
		x.Errorf("%s: %d, want %d", why, got, want)
	}
}

const (
	kernels = -1 // carried
	turn0   = 1 << 2
	turn1   = 2 << 2
	backBit = 2
)

// A flow is taken with the packet that finds nothing between the program and the
// gateway, and is the gateway's again with the first that is not plain.
func TestAFlowIsTakenWhenNothingIsOnItsWay(t *testing.T) {
	x := newBench(t, loaded(t), 3)
	x.train()
	const S, D2 = tcb.Client, tcb.Serving
	x.want("watched", x.says(S, x.plainSeg(S)), turn0)
	x.want("watched", x.says(D2, x.plainSeg(D2)), turn0)
	x.seen = [2]uint64{1, 0}
	x.offer()
	x.want("one of the backend's is on its way", x.says(S, x.plainSeg(S)), turn0)
	x.seen = [2]uint64{1, 1}
	x.offer()
	x.want("one of S's is on its way", x.says(D2, x.plainSeg(D2)), turn0)
	x.seen = [2]uint64{2, 2}
	x.offer()
	fin := x.plainSeg(S)
	fin.Flags |= wire.FIN
	x.want("a FIN takes nothing", x.says(S, fin), turn0)
	x.seen[S]++
	x.offer()
	x.want("nothing is on its way", x.says(S, x.plainSeg(S)), kernels)
	x.want("both ways", x.says(D2, x.plainSeg(D2)), kernels)
	x.want("a FIN ends it", x.says(S, fin), turn0|backBit)
	x.want("for both sides", x.says(D2, x.plainSeg(D2)), turn0|backBit)
	var h splice.Handed
	x.hand(&h)
	if !x.c.Recall(x.slot, &h) || h.Pkts != [2]uint64{1, 1} {
		t.Errorf("came back with %v packets", h.Pkts)
	}
	x.turn = 1
	x.c.Begin(x.slot, 1)
	x.want("another turn", x.says(S, x.plainSeg(S)), turn1)
	x.seen = [2]uint64{1, 0}
	x.offer()
	x.want("taken again", x.says(D2, x.plainSeg(D2)), kernels)
	if !x.c.Recall(x.slot, &h) {
		t.Error("the recall of a flow that was taken")
	}
	x.want("recalled", x.says(S, x.plainSeg(S)), turn1|backBit)
	x.c.Forget(x.slot)
	x.want("forgotten", x.says(S, x.plainSeg(S)), 0)
}

// What the gateway writes goes past the queue between the doors: it gets a flow back once
// all that was redirected has left it, or has waited in vain.
func TestARecallWaitsForWhatIsInTheQueue(t *testing.T) {
	x := newBench(t, loaded(t), 8)
	x.train()
	take := func() {
		x.want("watched", x.says(tcb.Client, x.plainSeg(tcb.Client)), int(x.turn%3+1)<<2)
		x.seen = [2]uint64{1, 0}
		x.offer()
		x.adrift = true
		x.want("taken", x.says(tcb.Client, x.plainSeg(tcb.Client)), kernels)
		x.adrift = false
	}
	var h splice.Handed
	x.hand(&h)

	x.c.landing = time.Minute // however busy the machine is
	take()
	landed := make(chan time.Time, 1)
	seg := x.plainSeg(tcb.Client)
	pkt, mark := build(&seg), x.lastMark
	time.AfterFunc(landing/5, func() {
		at := time.Now()
		x.land(pkt, mark)
		landed <- at
	})
	if !x.c.Recall(x.slot, &h) || time.Now().Before(<-landed) || x.c.Stats().Late > 0 {
		t.Error("recalled before it had landed, or late")
	}
	x.turn++
	x.c.Begin(x.slot, x.turn)

	x.c.landing = landing
	take()
	begun := time.Now()
	if !x.c.Recall(x.slot, &h) || time.Since(begun) < landing || x.c.Stats().Late != 1 {
		t.Errorf("came back after %v, %+v", time.Since(begun), x.c.Stats())
	}
	x.turn++
	x.c.Begin(x.slot, x.turn)
	x.land(build(&seg), x.lastMark) // of an earlier turn: it says nothing about this one
	take()
	begun = time.Now()
	if !x.c.Recall(x.slot, &h) || time.Since(begun) < landing || x.c.Stats().Late != 2 {
		t.Errorf("came back after %v, %+v", time.Since(begun), x.c.Stats())
	}
}

// Bits that S sets itself say nothing: of what is watched they are overwritten.
func TestReservedBitsOfOthersAreOverwritten(t *testing.T) {
	x := newBench(t, loaded(t), 4)
	seg := x.plainSeg(tcb.Client)
	b := build(&seg)
	at := ether + seg.IPSize()
	b[at+12] |= 0x0e
	sum := int(b[at+16])<<8 | int(b[at+17])
	if sum -= 0x0e00; sum < 0 {
		sum += 0xffff
	}
	b[at+16], b[at+17] = byte(sum>>8), byte(sum)
	ret, out := x.run(x.c.objs.FromClient, b, 0)
	got, _ := x.reparse(out, wire.Offload{})
	if ret != up || got.Reserved != turn0 {
		t.Errorf("returned %d, marked %x", ret, got.Reserved)
	}
}

// What the gateway knows no flow of passes as it came.
func TestStrangersPassAsTheyCame(t *testing.T) {
	x := newBench(t, loaded(t), 5)
	seg := x.plainSeg(tcb.Client)
	other := seg
	other.Src = x.ends[tcb.Serving].Source()
	options := build(&seg)
	for name, b := range map[string][]byte{
		"another flow": build(&other), "no TCP header": options[:ether+seg.IPSize()+19], "no IP": append(options[:12:12], 0x08, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22),
	} {
		if ret, out := x.run(x.c.objs.FromClient, b, 0); ret != up || !bytes.Equal(b, out) {
			t.Errorf("%s: returned %d\nwas %x\nis  %x", name, ret, b, out)
		}
	}
}

// The slots are bounded; one that was given back serves again.
func TestSlotsAreBounded(t *testing.T) {
	x := newBench(t, loaded(t), 6)
	slots := []uint32{x.slot}
	for range Flows - 1 {
		x.watch()
		slots = append(slots, x.slot)
	}
	if _, ok := x.c.Watch(x.passage()); ok {
		t.Errorf("%d flows are watched", len(slots)+1)
	}
	for _, s := range slots {
		x.c.Forget(s)
	}
	x.watch()
	x.want("watched", x.says(tcb.Client, x.plainSeg(tcb.Client)), turn0)
	if st := x.c.Stats(); st.Watched != 1 || st.Carried != 0 {
		t.Errorf("%d watched, %d carried", st.Watched, st.Carried)
	}
}

// put16 puts a field of the TCP header in place, the checksum with it.
func (x *bench) put16(b []byte, six bool, at int, v uint16) {
	x.Helper()
	n := ether + 20
	if six {
		n = ether + 40
	}
	was := binary.BigEndian.Uint16(b[n+at:])
	binary.BigEndian.PutUint16(b[n+at:], v)
	sum := uint32(^binary.BigEndian.Uint16(b[n+16:])) + uint32(^was) + uint32(v)
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(b[n+16:], ^uint16(sum>>16+sum&0xffff))
}

// What is not watched yet may stand in the door's queue when the watch begins: bits of a
// sender's own must not count as marks then.
func TestReservedBitsOfStrangersAreCleared(t *testing.T) {
	x := newBench(t, loaded(t), 5)
	for side, p := range []*ebpf.Program{x.c.objs.FromClient, x.c.objs.FromBackend} {
		seg := x.plainSeg(tcb.Side(side))
		x.c.Forget(x.slot)
		b := build(&seg)
		want := bytes.Clone(b)
		at := ether + seg.IPSize() + 12
		x.put16(b, !seg.Is4(), 12, binary.BigEndian.Uint16(b[at:])|0x0400)
		if ret, out := x.run(p, b, 0); ret != up || !bytes.Equal(want, out) {
			t.Errorf("returned %d\nwas  %x\nis   %x\nwant %x", ret, b, out, want)
		}
		x.watch()
	}
}

// The sum of the pseudo-header in place of the checksum is what a host leaves that this
// machine has yet to sum up for: on the wire it is a broken one like any other.
func TestAPseudoHeadersSumOffTheWireIsBroken(t *testing.T) {
	for _, seed := range []uint64{3, 5} {
		x := newBench(t, loaded(t), seed)
		seg := x.plainSeg(tcb.Client)
		b := build(&seg)
		sum := uint32(6 + len(b) - ether - seg.IPSize())
		addrs := b[ether+12 : ether+20]
		if x.six {
			addrs = b[ether+8 : ether+40]
		}
		for ; len(addrs) > 0; addrs = addrs[2:] {
			sum += uint32(binary.BigEndian.Uint16(addrs))
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		binary.BigEndian.PutUint16(b[ether+seg.IPSize()+16:], uint16(sum))
		if ret, out := x.run(x.c.objs.FromClient, b, 0); ret != up || !bytes.Equal(b, out) {
			t.Errorf("returned %d\nwas %x\nis  %x", ret, b, out)
		}
	}
}

// A super-packet that a door does not take whole comes to the gateway in pieces: without
// offload, or where GRO has merged what has one IP ID. The flow is taken once all of them
// have been carried, and no later.
func TestASuperPacketMayComeUpInPieces(t *testing.T) {
	x := newBench(t, loaded(t), 3)
	x.train()
	seg := x.plainSeg(tcb.Client)
	seg.Payload = make([]byte, 2000)
	if ret, _ := x.run(x.c.objs.FromClient, build(&seg), 1000); ret != up {
		t.Fatalf("returned %d", ret)
	}
	piece := seg
	piece.Payload = seg.Payload[:1000]
	x.seen[tcb.Client] = redirect.Weight(&piece)
	x.offer()
	x.want("one of two is on its way", x.says(tcb.Serving, x.plainSeg(tcb.Serving)), turn0)
	x.seen[tcb.Serving]++
	x.seen[tcb.Client] += redirect.Weight(&piece)
	x.offer()
	x.want("nothing is on its way", x.says(tcb.Serving, x.plainSeg(tcb.Serving)), kernels)
}
