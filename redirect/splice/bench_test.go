package splice_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sleight/redirect/splice"
	"sleight/stack/tcb"
	"sleight/stack/wire"
	"sleight/stack/wire/wiretest"
)

var isns = []tcb.Seq{1000, 0x7fffff00, 0xffffff00}

// Where a bench's flow stands, relative to the three ISNs. The decoy has said
// 100 bytes, of which the backend's answer was 40: what is 41 to the backend is
// 101 to S, the cut. The backend has said 100 bytes since. S has said 50.
const (
	said    = 51  // next of S
	cut     = 101 // in the client leg's numbers
	swallow = 41  // the same in the serving leg's
)

// bench is a splice whose dialogues are written relative to the ISNs of S, of
// the client leg and of the serving leg.
type bench struct {
	*testing.T
	s, c, b tcb.Seq // those ISNs
	cli     splice.ClientLeg
	srv     *tcb.Leg // in sp
	sp      splice.Splice
	ends    [2]tcb.Tuple  // the legs by their sides, as their peers send them
	now     time.Duration // since the gateway's clock began
}

// address sets a translated segment's addresses, as the caller's duty is.
func (x *bench) address(side tcb.Side, s *wire.Segment) {
	s.Src, s.Dst = x.ends[side].Dest(), x.ends[side].Source()
}

func setup(t *testing.T, s, c, b tcb.Seq) *bench {
	x := &bench{T: t, s: s, c: c, b: b}
	x.srv = &x.sp.Srv
	x.cli = splice.ClientLeg{TSOffset: 5000, TSEchoed: 50, ID: 0xffff, TTL: 64, FlowLabel: 0x54321}
	x.cli.Leg = tcb.Leg{
		SndShift: 7, RcvShift: 7, SACK: true, TS: true, MSS: 1460,
		ISS: c, SndUna: c + cut, SndNxt: c + cut + 100, SndEdge: c + cut + 64000,
		IRS: s, RcvNxt: s + said, RcvMax: s + said, RcvEdge: s + said + 65280,
		TSFirst: 10, TSRecent: 50, TSSent: 1000,
	}
	x.sp = splice.Splice{
		Cut: c + cut, FlowLabel: 0x12345,
		SeqDelta: uint32(c + cut - (b + swallow)), TSDelta: 600,
	}
	x.sp.Srv = tcb.Leg{
		SndShift: 10, RcvShift: 7, SACK: true, TS: true, MSS: 1460,
		ISS: s, SndUna: s + said, SndNxt: s + said, SndEdge: s + said + 65536,
		IRS: b, RcvNxt: b + swallow, RcvMax: b + swallow + 100, RcvEdge: b + swallow + 64000,
		TSFirst: 300, TSRecent: 400, TSSent: 50,
	}
	for side := range x.ends {
		x.ends[side] = tcb.TupleOf(wiretest.Legs[side].Peer, wiretest.Legs[side].Gateway)
	}
	x.sp.Echo.Init(100*time.Millisecond, 0, 1000)
	return x
}

// each runs f for all ISNs of the three hosts.
func each(t *testing.T, f func(*bench)) {
	t.Helper()
	for _, s := range isns {
		for _, c := range isns {
			for _, b := range isns {
				t.Run(fmt.Sprintf("%#x/%#x/%#x", uint32(s), uint32(c), uint32(b)), func(t *testing.T) { f(setup(t, s, c, b)) })
			}
		}
	}
}

// bases are what is added to a line's numbers: its own stream's and the one
// that it acknowledges.
func (x *bench) bases(side tcb.Side, dir wiretest.Dir) (seq, ack tcb.Seq) {
	own := map[tcb.Side]tcb.Seq{tcb.Client: x.c, tcb.Serving: x.b}[side]
	if fromS := (side == tcb.Client) == (dir == wiretest.In); fromS {
		return x.s, own
	}
	return own, x.s
}

func (x *bench) shift(l *wiretest.Line, seq, ack tcb.Seq) {
	l.Segment.Seq += seq
	if l.Segment.Flags.Has(wire.ACK) {
		l.Segment.Ack += ack
	}
	for i := range l.Segment.Opts.Blocks() {
		l.Segment.Opts.SACK[i].Start += ack
		l.Segment.Opts.SACK[i].End += ack
	}
}

// parse reads a line with relative numbers as a packet that came in, out of a
// dirty buffer.
func (x *bench) parse(text string) (wiretest.Line, []byte) {
	x.Helper()
	l, err := wiretest.Parse(text)
	if err != nil {
		x.Fatal(err)
	}
	seq, ack := x.bases(l.Side, l.Dir)
	x.shift(&l, seq, ack)
	l.Segment.DF = true
	buf := bytes.Repeat([]byte{0xa5}, 2*wire.MaxHeader+len(l.Segment.Payload)+10)
	pkt := wire.Build(buf[wire.MaxHeader:], &l.Segment)
	if r := wire.Parse(&l.Segment, buf[wire.MaxHeader:wire.MaxHeader+len(pkt)], wire.Offload{}); r != wire.OK {
		x.Fatalf("%q: %v", text, r)
	}
	return l, buf
}

// format writes a translated segment with relative numbers.
func (x *bench) format(side tcb.Side, s wire.Segment) string {
	l := wiretest.Line{Side: side, Dir: wiretest.Out, Segment: s}
	seq, ack := x.bases(side, wiretest.Out)
	x.shift(&l, -seq, -ack)
	return strings.Replace(l.String(), "client  ", "client ", 1) // padded to a column
}

// written is the segment as it is on the wire after Rewrite, whose incremental
// checksum is verified.
func (x *bench) written(buf []byte, s *wire.Segment) (out wire.Segment) {
	x.Helper()
	at := wire.Rewrite(buf, s)
	if r := wire.Parse(&out, buf[at:at+s.HeaderSize()+len(s.Payload)], wire.Offload{}); r != wire.OK {
		x.Fatalf("what was written does not parse: %v", r)
	}
	return out
}

// says translates what S sends. The client leg has heard it, as the caller's
// duty is.
func (x *bench) says(text string) (wire.Segment, string) {
	x.Helper()
	l, buf := x.parse(text)
	seg := &l.Segment
	if seg.Flags.Has(wire.ACK) {
		x.cli.HeardAck(seg.Ack, seg.Wnd)
	}
	if seg.Opts.HasTS {
		x.cli.HeardTS(seg.Opts.TSVal)
	}
	x.cli.HeardData(seg.End())
	x.sp.HeardClient(x.now, seg)
	x.srv.SndNxt = tcb.Max(x.srv.SndNxt, seg.End())
	x.sp.Serving(&x.cli, seg)
	x.address(tcb.Serving, seg)
	out := x.written(buf, seg)
	return out, x.format(tcb.Serving, out)
}

// hears translates what the serving leg sends.
func (x *bench) hears(text string) (wire.Segment, splice.Outcome, string) {
	x.Helper()
	l, buf := x.parse(text)
	out := x.sp.Client(x.now, &x.cli, &l.Segment)
	if out != splice.Pass {
		return wire.Segment{}, out, ""
	}
	x.address(tcb.Client, &l.Segment)
	seg := x.written(buf, &l.Segment)
	return seg, out, x.format(tcb.Client, seg)
}

// want gives a line of either side and compares what comes of it: a line, or the
// outcome's name.
func (x *bench) want(in, want string) {
	x.Helper()
	var got string
	if in[0] == 'c' {
		_, got = x.says(in)
	} else {
		var out splice.Outcome
		if _, out, got = x.hears(in); out != splice.Pass {
			got = names[out]
		}
	}
	if got != want {
		x.Errorf("%s\ngot  %s\nwant %s", in, got, want)
	}
}

var names = [...]string{splice.Swallow: "swallow", splice.Answer: "answer", splice.Invalid: "invalid"}

func at(addr string) netip.AddrPort { return netip.MustParseAddrPort(addr) }
