package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"sleight/redirect"
	"sleight/redirect/splice"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// ether is a link header, as a test run of the kernel has it.
const ether = 14

// verdict of a program, as a test run returns it.
const (
	up         = 0xffffffff // TCX_NEXT
	redirected = 7          // TC_ACT_REDIRECT
)

// TestMain leaves it at a word where the kernel or the user cannot have the programs: e2e
// looks at what the gateway does then. What the verifier refuses is a mistake of ours.
func TestMain(m *testing.M) {
	c, err := load(ether, time.Now())
	var refused *ebpf.VerifierError
	if err != nil && !errors.As(err, &refused) {
		fmt.Printf("nothing to compare, these tests need Linux 6.6 and CAP_BPF: %v\n", err)
		return
	}
	if err == nil {
		_ = c.Close()
	}
	m.Run()
}

// loaded are the programs, for packets behind a link header. The loopback device stands
// for both doors.
func loaded(t testing.TB) *Carrier {
	t.Helper()
	c, err := load(ether, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c.doors = []uint32{1, 1}
	t.Cleanup(func() { c.Close() })
	return c
}

// bench is one flow, carried twice: by the splice, with what redirect notes beside it,
// and by the kernel's programs.
type bench struct {
	*testing.T
	*rand.Rand
	c         *Carrier
	sp        splice.Splice
	cli       splice.ClientLeg
	srv       *tcb.Leg // in sp
	paws      uint32
	ends      [2]tcb.Tuple  // the legs by their sides, as their peers send them
	now       time.Duration // since the gateway's clock began
	slot      uint32
	turn      uint32
	seen      [2]uint64
	srvID     uint16
	six       bool
	down, ups int
	wide      int // of windows, in bytes
	lastID    int // of what the backend has sent; -1: nothing yet

	adrift   bool   // what is redirected stays in the queue between the doors
	lastMark uint32 // of what stays there
}

var isns = []uint32{1000, 0x7fffff00, 0xffffff00}

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func newBench(t *testing.T, c *Carrier, seed uint64) *bench {
	x := &bench{lastID: -1, wide: []int{40000, 3000}[seed%2], T: t, Rand: rand.New(rand.NewPCG(seed, 44)), c: c}
	x.srv = &x.sp.Srv
	pick := func() tcb.Seq { return tcb.Seq(isns[x.IntN(3)]) }
	s, cs, b := pick(), pick(), pick()
	shift := func() uint8 { return uint8(x.IntN(15)) }
	ts, sack := x.IntN(4) > 0, x.IntN(4) > 0
	x.cli.Leg = tcb.Leg{
		SndShift: shift(), RcvShift: shift(), SACK: sack, TS: ts, MSS: 1460,
		ISS: cs, SndUna: cs + 101, SndNxt: cs + 101, SndEdge: cs + 101 + 50000,
		IRS: s, RcvNxt: s + 51, RcvMax: s + 51, RcvEdge: s + 51 + 60000,
		TSFirst: 50, TSRecent: 60, TSSent: 1000,
	}
	x.sp.Srv = tcb.Leg{
		SndShift: shift(), RcvShift: shift(), SACK: sack, TS: ts, MSS: 1460,
		ISS: s, SndUna: s + 51, SndNxt: s + 51, SndEdge: s + 51 + 60000,
		IRS: b, RcvNxt: b + 41, RcvMax: b + 41, RcvEdge: b + 41 + 50000,
		TSFirst: 400, TSRecent: 400, TSSent: 60,
	}
	if x.IntN(3) == 0 {
		x.cli.SndShift = x.srv.RcvShift
		x.srv.SndShift = x.cli.RcvShift
	}
	x.cli.ID, x.cli.FlowLabel, x.cli.TTL = uint16(x.Uint32()), x.Uint32()&0xfffff, uint8(60+x.IntN(100))
	x.sp.SeqDelta, x.sp.TSDelta, x.sp.Cut = uint32(x.cli.SndNxt-x.srv.RcvNxt), x.Uint32(), x.cli.SndNxt
	x.sp.FlowLabel = x.Uint32() & 0xfffff
	x.ends = [2]tcb.Tuple{tcb.TupleOf(at("198.51.100.7:40000"), at("203.0.113.5:80")), tcb.TupleOf(at("10.0.2.2:8080"), at("198.51.100.7:40001"))}
	if x.six = x.IntN(2) == 0; x.six {
		x.ends = [2]tcb.Tuple{tcb.TupleOf(at("[2001:db8::7]:40000"), at("[2001:db8:1::5]:80")), tcb.TupleOf(at("[fd00:2::2]:8080"), at("[2001:db8::7]:40001"))}
	}
	if x.wide < 5000 {
		x.cli.SndEdge, x.srv.SndEdge = x.cli.SndUna+4000, x.srv.SndUna+4000
		x.cli.RcvEdge, x.srv.RcvEdge = x.srv.SndEdge, x.srv.RcvNxt+4000
	}
	x.cli.TSSent = x.srv.TSRecent + x.sp.TSDelta
	x.sp.Echo.Init(time.Millisecond, time.Millisecond, x.cli.TSSent)
	x.watch()
	return x
}

func (x *bench) passage() redirect.Passage {
	return redirect.Passage{
		Client: x.ends[tcb.Client], Serving: x.ends[tcb.Serving], Door: 1,
		LabelToServer: x.sp.FlowLabel, LabelToClient: x.cli.FlowLabel, TTL: x.cli.TTL,
	}
}

func (x *bench) watch() {
	slot, ok := x.c.Watch(x.passage())
	if !ok {
		x.Fatalf("no room: %d errors", x.c.errs.Load())
	}
	x.slot = slot
}

// offer hands the flow down, as the gateway would.
func (x *bench) offer() {
	if !x.sp.Plain(&x.cli) {
		return
	}
	var h splice.Handed
	x.hand(&h)
	x.c.Offer(x.slot, x.turn, x.seen, &h)
}

func (x *bench) hand(h *splice.Handed) {
	x.sp.Hand(&x.cli, h)
	h.PAWS = x.paws
}

// near is seq, or a little beside it.
func (x *bench) near(seq tcb.Seq, by int) tcb.Seq {
	if x.IntN(3) > 0 {
		return seq
	}
	return seq + tcb.Seq(x.IntN(2*by+1)-by)
}

// fromS is a segment of S's, plain or nearly.
func (x *bench) fromS() wire.Segment {
	seg := wire.Segment{
		Src: x.ends[tcb.Client].Source(), Dst: x.ends[tcb.Client].Dest(), TTL: uint8(1 + x.IntN(255)), ID: uint16(x.Uint32()), DF: x.IntN(4) > 0,
		Seq: x.near(x.cli.RcvMax, 3000), Ack: x.near(x.cli.SndNxt, 4000), Flags: wire.ACK,
		Wnd: uint16(x.wide >> x.cli.SndShift),
	}
	if x.wide > 5000 && x.IntN(3) == 0 {
		seg.Wnd = uint16(x.Uint32())
	}
	x.common(&seg, &x.cli.Leg)
	return seg
}

func (x *bench) fromBackend() wire.Segment {
	x.srvID += uint16(x.IntN(4))
	seg := wire.Segment{
		Src: x.ends[tcb.Serving].Source(), Dst: x.ends[tcb.Serving].Dest(), TTL: uint8(1 + x.IntN(255)), ID: x.srvID, DF: x.IntN(4) > 0,
		Seq: x.near(x.srv.RcvMax, 3000), Ack: x.near(x.srv.SndNxt, 4000), Flags: wire.ACK,
		Wnd: uint16(x.wide >> x.srv.SndShift),
	}
	if x.wide > 5000 && x.IntN(3) == 0 {
		seg.Wnd = uint16(x.Uint32())
	}
	x.common(&seg, x.srv)
	return seg
}

func (x *bench) common(seg *wire.Segment, l *tcb.Leg) {
	if x.IntN(2) == 0 {
		seg.Payload = make([]byte, x.IntN(1500))
		for i := range seg.Payload {
			seg.Payload[i] = byte(x.Uint32())
		}
		if x.IntN(2) == 0 {
			seg.Flags |= wire.PSH
		}
	}
	if x.IntN(40) == 0 {
		seg.Flags = wire.Flags(x.Uint32()&0x1ff) &^ (wire.SYN | wire.RST)
	}
	if x.IntN(40) == 0 {
		seg.TOS = uint8(x.Uint32())
	}
	seg.FlowLabel = x.Uint32() & 0xfffff
	seg.Opts.HasTS = l.TS != (x.IntN(60) == 0)
	if seg.Opts.HasTS {
		seg.Opts.TSVal = l.TSRecent + uint32(x.IntN(20)-3)
		seg.Opts.TSEcr = l.TSSent - uint32(x.IntN(600)) + 20
	}
	if x.IntN(4) == 0 && l.SACK != (x.IntN(60) == 0) {
		for range 1 + x.IntN(4) {
			start := seg.Ack + tcb.Seq(x.IntN(3000)-300)
			seg.Opts.AddBlock(wire.Block{Start: start, End: start + tcb.Seq(1+x.IntN(2000))})
		}
	}
}

// build is a packet as it stands before a program, behind a link header.
func build(seg *wire.Segment) []byte {
	b := make([]byte, ether+wire.MaxHeader+len(seg.Payload))
	pkt := wire.Build(b[ether:], seg)
	b = b[:ether+len(pkt)]
	b[12], b[13] = 0x08, 0x00
	if !seg.Is4() {
		b[12], b[13] = 0x86, 0xdd
	}
	return b
}

// run has a program look at a packet.
func (x *bench) run(p *ebpf.Program, b []byte, gso int) (ret uint32, out []byte) {
	x.Helper()
	ret, out, mark := x.runMarked(p, b, gso, 0)
	switch {
	case ret != redirected:
	case x.adrift:
		x.lastMark = mark
	default:
		x.land(out, mark)
	}
	return ret, out
}

// land has a packet come to the other door.
func (x *bench) land(b []byte, mark uint32) {
	x.Helper()
	ret, out, mark := x.runMarked(x.c.objs.Landed, b, 0, mark)
	if ret != up || mark != 0 || !bytes.Equal(b, out) {
		x.Fatalf("landed: returned %d with mark %x\nwas %x\nis  %x", ret, mark, b, out)
	}
}

func (x *bench) runMarked(p *ebpf.Program, b []byte, gso int, mark uint32) (ret uint32, out []byte, after uint32) {
	x.Helper()
	opts := &ebpf.RunOptions{Data: b, DataOut: make([]byte, len(b)+256), Context: skb(gso, mark), ContextOut: make([]byte, 192)}
	ret, err := p.Run(opts)
	if err != nil {
		x.Fatal(err)
	}
	return ret, opts.DataOut, binary.NativeEndian.Uint32(opts.ContextOut.([]byte)[8:])
}

// skb is a struct __sk_buff that says only what marks the packet, and that it is a
// super-packet.
func skb(gso int, mark uint32) []byte {
	b := make([]byte, 192)
	binary.NativeEndian.PutUint32(b[8:], mark)
	binary.NativeEndian.PutUint32(b[176:], uint32(gso))
	return b
}

// reparse is the segment as the gateway reads it.
func (x *bench) reparse(b []byte, off wire.Offload) (seg wire.Segment, buf []byte) {
	buf = bytes.Repeat([]byte{0xa5}, wire.MaxHeader+len(b)-ether)
	copy(buf[wire.MaxHeader:], b[ether:])
	if r := wire.Parse(&seg, buf[wire.MaxHeader:], off); r != wire.OK {
		x.Fatalf("%v", r)
	}
	return seg, buf
}

// splicedToServer is what redirect.relay does with a segment of S's: it reports false
// where that is not all.
func (x *bench) splicedToServer(seg *wire.Segment) (translated bool) {
	if !seg.Flags.Has(wire.ACK) {
		return false // redirect calls it unacceptable
	}
	translated = true
	cli := &x.cli
	if cli.TS && seg.Opts.HasTS && tcb.TSLess(seg.Opts.TSVal, x.paws) || tcb.Diff(cli.SndUna, seg.Ack) > int(tcb.MaxWnd(cli.SndShift)) {
		return false // redirect.worker.current
	}
	cli.HeardAck(seg.Ack, seg.Wnd)
	if cli.InWindow(seg.Seq, seg.End()) {
		if seg.Opts.HasTS {
			cli.HeardTS(seg.Opts.TSVal)
			if !cli.RcvNxt.LessThan(seg.Seq) && !tcb.TSLess(seg.Opts.TSVal, x.paws) {
				x.paws = seg.Opts.TSVal
			}
		}
		cli.HeardData(seg.End())
		translated = seg.Flags&wire.FIN == 0
	}
	x.sp.HeardClient(x.now, seg)
	if seg.Len() > 0 && x.srv.SndEdge.LessThan(seg.End()) {
		n := max(0, min(len(seg.Payload), tcb.Diff(x.srv.SndEdge, seg.Seq)))
		seg.TrimBack(n)
		translated = false
	}
	x.srv.SndNxt = tcb.Max(x.srv.SndNxt, seg.End())
	x.sp.Serving(cli, seg)
	seg.Src, seg.Dst = x.ends[tcb.Serving].Dest(), x.ends[tcb.Serving].Source()
	return translated
}

func (x *bench) step() {
	x.now += time.Duration(x.IntN(3000)) * time.Microsecond
	side, p, seg := tcb.Client, x.c.objs.FromClient, x.fromS
	if x.IntN(2) == 0 {
		side, p, seg = tcb.Serving, x.c.objs.FromBackend, x.fromBackend
	}
	sg := seg()
	b := build(&sg)
	gso := 0
	var off wire.Offload
	if len(sg.Payload) > 600 && x.IntN(2) == 0 {
		gso = 100 + x.IntN(1500)
		off = wire.Offload{CsumValid: true, GSOSize: uint16(gso)}
	}
	broken := gso == 0 && x.IntN(30) == 0
	if broken {
		b[len(b)-1-x.IntN(len(sg.Payload)+16)] ^= 1 << x.IntN(8)
	}
	ret, got := x.run(p, b, gso)
	if broken {
		// The gateway drops it before it looks for a flow.
		if ret != up || !bytes.Equal(b, got) {
			x.Fatalf("a broken checksum: returned %d\nwas %x\nis  %x", ret, b, got)
		}
		return
	}

	was, buf := x.reparse(b, off)
	cur := was
	pass, most := true, 0
	size := len(cur.Payload)
	if gso > 0 && gso < size {
		size = gso
	}
	if side == tcb.Client {
		pass = x.splicedToServer(&cur)
		most = int(x.srv.MSS)
	} else {
		pass = x.sp.Client(x.now, &x.cli, &cur) == splice.Pass && cur.Flags&wire.FIN == 0
		most = int(x.cli.MSS)
		if pass {
			cur.Src, cur.Dst = x.ends[tcb.Client].Dest(), x.ends[tcb.Client].Source()
			x.cli.ID += uint16(max(1, (len(cur.Payload)+size-1)/max(size, 1)) - 1)
		}
	}
	switch ret {
	case redirected:
		x.down++
		if side == tcb.Serving && !x.six && int(was.ID) == x.lastID {
			x.Fatalf("taken, though the backend's IDs stand still at %d", was.ID)
		}
		if !pass || size+cur.Opts.Size(false) > most {
			x.Fatalf("the kernel took what is more than translated: %v %+v", side, was)
		}
		at := wire.Rewrite(buf, &cur)
		if want := buf[at : at+len(b)-ether]; !bytes.Equal(want, got[ether:]) {
			x.Fatalf("%v, super-packet of %d: %+v\nsplice %x\nkernel %x", side, gso, was, want[:min(len(want), 100)], got[ether:min(len(got), 114)])
		}
		x.same()
	case up:
		x.ups++
		marked, _ := x.reparse(got, off)
		if marked.Reserved&0x0c != uint8(x.turn%3+1)<<2 {
			x.Fatalf("marked %x in turn %d", marked.Reserved, x.turn)
		}
		x.again(side, redirect.Weight(&marked), marked.Reserved&0x02 != 0)
	default:
		x.Fatalf("program returned %d", ret)
	}
	if side == tcb.Serving {
		x.lastID = int(was.ID)
	}
}

// same: the kernel has come as far as the splice.
func (x *bench) same() {
	var want, got splice.Handed
	x.hand(&want)
	got = want
	if !x.c.Peek(x.slot, &got) {
		x.Fatal("the kernel does not have the flow")
	}
	got.UnaAt, got.Heard = want.UnaAt, want.Heard
	got.Pkts, got.Bytes = want.Pkts, want.Bytes
	if d := cmp.Diff(want, got); d != "" {
		x.Fatalf("after %d packets (-splice +kernel):\n%s", x.down, d)
	}
}

// again takes the flow back and offers it once more.
func (x *bench) again(side tcb.Side, weight uint64, back bool) {
	var h splice.Handed
	x.hand(&h)
	taken := x.c.Recall(x.slot, &h)
	if taken != back {
		x.Fatalf("marked as back: %v, recalled: %v", back, taken)
	}
	if taken {
		x.turn++
		x.seen = [2]uint64{}
		x.c.Begin(x.slot, x.turn)
	} else {
		x.seen[side] += weight
	}
	x.offer()
}

// train has S acknowledge enough flights.
func (x *bench) train() {
	for range 12 {
		x.now += 5 * time.Millisecond
		seg := wire.Segment{Src: x.ends[tcb.Serving].Source(), Dst: x.ends[tcb.Serving].Dest(), Seq: x.srv.RcvMax, Ack: x.srv.SndNxt, Flags: wire.ACK, Wnd: 500, Payload: make([]byte, 100)}
		seg.Opts.HasTS, seg.Opts.TSVal = x.srv.TS, x.srv.TSRecent+1
		if out := x.sp.Client(x.now, &x.cli, &seg); out != splice.Pass {
			x.Fatal("not passed", out)
		}
		ack := wire.Segment{Src: x.ends[tcb.Client].Source(), Dst: x.ends[tcb.Client].Dest(), Seq: x.cli.RcvMax, Ack: x.cli.SndNxt, Flags: wire.ACK, Wnd: 500}
		ack.Opts.HasTS, ack.Opts.TSVal, ack.Opts.TSEcr = x.cli.TS, x.cli.TSRecent+1, x.cli.TSSent
		x.splicedToServer(&ack)
	}
	if !x.sp.Plain(&x.cli) {
		x.Fatal("twelve flights have not trained it")
	}
}

// Before S has acknowledged enough flights, what the backend sends may be its timer's
// work, which is the splice's to judge.
func TestBytesOfABackendThatIsNotTrainedGoUp(t *testing.T) {
	x := newBench(t, loaded(t), 1)
	x.cli.TS, x.srv.TS = false, false
	say := func(n int) uint32 {
		seg := wire.Segment{
			Src: x.ends[tcb.Serving].Source(), Dst: x.ends[tcb.Serving].Dest(), ID: x.srvID, Flags: wire.ACK,
			Seq: x.srv.RcvMax, Ack: x.srv.SndNxt, Wnd: 100, Payload: make([]byte, n),
		}
		x.srvID++
		b := build(&seg)
		ret, got := x.run(x.c.objs.FromBackend, b, 0)
		seg, _ = x.reparse(b, wire.Offload{})
		if x.sp.Client(x.now, &x.cli, &seg) != splice.Pass {
			t.Fatal("not passed")
		}
		if ret == up {
			m, _ := x.reparse(got, wire.Offload{})
			x.again(tcb.Serving, redirect.Weight(&m), m.Reserved&0x02 != 0)
		}
		return ret
	}
	acknowledge := func() {
		ack := wire.Segment{Seq: x.cli.RcvMax, Ack: x.cli.SndNxt, Flags: wire.ACK, Wnd: 500}
		x.splicedToServer(&ack)
	}
	say(10)
	acknowledge()
	x.offer()
	if ret := say(0); ret != redirected {
		t.Errorf("an acknowledgement: %d", ret)
	}
	if ret := say(10); ret != up {
		t.Errorf("ten bytes: %d", ret)
	}
}

// The kernel's translation is the splice's, byte for byte, and so is what it remembers;
// what the splice would do more with than translate goes up.
func TestTheKernelTranslatesAsTheSpliceDoes(t *testing.T) {
	c := loaded(t)
	down, ups := 0, 0
	for seed := range uint64(400) {
		x := newBench(t, c, seed)
		x.train()
		if seed%5 == 0 { // the cut has to follow
			x.sp.Cut = x.cli.SndUna - 1<<30 + 3000
		}
		x.offer()
		for range 100 {
			x.step()
		}
		x.c.Forget(x.slot)
		down, ups = down+x.down, ups+x.ups
	}
	t.Logf("%d segments were carried by the kernel, %d went up", down, ups)
	if down < 10000 || ups < 1000 {
		t.Errorf("%d segments were carried by the kernel, %d went up: too few to say anything", down, ups)
	}
}
