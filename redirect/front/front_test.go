package front

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sleight/stack/profile"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// linux answers every handshake here.
var linux = Host{Profile: profile.Linux, Of: 7}

var (
	t0   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	host = netip.MustParseAddrPort("203.0.113.1:80")
	isns = []tcb.Seq{1000, 0x7fffff00, 0xffffffff}
)

// dialogue is a client that talks to a table.
type dialogue struct {
	*testing.T
	tab    *Table
	now    time.Time
	client netip.AddrPort
	isn    tcb.Seq // the client's
	iss    tcb.Seq // the host's, once known
	tsval  uint32  // the host's newest
	out    wire.Segment
	res    Result
	half   HalfOpen
}

func config() Config {
	return Config{Max: 100, Timeout: 10 * time.Second, Secret: [16]byte{1, 2, 3}, MTU: 1500, Started: t0}
}

func talk(t *testing.T, isn tcb.Seq) *dialogue {
	return &dialogue{
		T: t, tab: New(config()), now: t0.Add(time.Hour), isn: isn,
		client: netip.MustParseAddrPort("198.51.100.7:40000"),
	}
}

// each holds the same conversation in each corner of sequence space.
func each(t *testing.T, f func(d *dialogue)) {
	for _, isn := range isns {
		f(talk(t, isn))
	}
}

func (d *dialogue) wait(by time.Duration) { d.now = d.now.Add(by) }

func (d *dialogue) segment(flags wire.Flags, off int, ack tcb.Seq, payload string) *wire.Segment {
	s := &wire.Segment{
		Src: d.client, Dst: host, Seq: d.isn.Add(tcb.Size(off)), Ack: ack, Flags: flags, Wnd: 512,
		Payload: []byte(payload),
	}
	return s
}

func withTS(s *wire.Segment, val, ecr uint32) *wire.Segment {
	s.Opts.HasTS, s.Opts.TSVal, s.Opts.TSEcr = true, val, ecr
	return s
}

// syn is a SYN with all options.
func (d *dialogue) syn() *wire.Segment {
	s := withTS(d.segment(wire.SYN, 0, 0, ""), 500, 0)
	s.Opts.HasMSS, s.Opts.MSS, s.Opts.SACKPermitted = true, 1400, true
	s.Opts.HasWndShift, s.Opts.WndShift = true, 9
	return s
}

// ack is the acknowledgement that completes.
func (d *dialogue) ack(payload string) *wire.Segment {
	return withTS(d.segment(wire.ACK, 1, d.iss+1, payload), 510, d.tsval)
}

// says sends what a client sends, to where the gateway would.
func (d *dialogue) says(s *wire.Segment) {
	d.out = wire.Segment{Flags: 0xa5, Seq: 0xa5a5a5a5, Payload: []byte{0xa5}}
	d.half = HalfOpen{}
	if s.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN {
		d.res = d.tab.SYN(d.now, s, &linux, &d.out)
	} else {
		d.res, d.half = d.tab.Segment(d.now, s, &d.out)
	}
}

func (d *dialogue) want(why string, res Result) {
	d.Helper()
	if d.res != res {
		d.Fatalf("%s: result %d, want %d", why, d.res, res)
	}
}

func (d *dialogue) wantIdle(why string) { d.Helper(); d.want(why, Ignored) }

func (d *dialogue) wantSYNACK(why string) {
	d.Helper()
	d.want(why, Reply)
	d.checkSYNACK(why, &d.out)
}

func (d *dialogue) checkSYNACK(why string, s *wire.Segment) {
	d.Helper()
	if d.iss == 0 {
		d.iss = s.Seq
	}
	if s.Flags != wire.SYN|wire.ACK || s.Seq != d.iss || s.Ack != d.isn+1 || s.Src != host || s.Dst != d.client {
		d.Fatalf("%s: %v seq %d ack %d from %v to %v", why, s.Flags, s.Seq, s.Ack, s.Src, s.Dst)
	}
	d.tsval = s.Opts.TSVal
}

// wantChallenge wants the bare ACK that says where the handshake stands.
func (d *dialogue) wantChallenge(why string) {
	d.Helper()
	d.want(why, Reply)
	s := &d.out
	if s.Flags != wire.ACK || s.Seq != d.iss+1 || s.Ack != d.isn+1 || s.Wnd != 65160>>7 || len(s.Payload) != 0 {
		d.Fatalf("%s: %v seq %d ack %d win %d", why, s.Flags, s.Seq, s.Ack, s.Wnd)
	}
	if !s.Opts.HasTS || s.Opts.TSEcr != 500 {
		d.Fatalf("%s: TSEcr %d", why, s.Opts.TSEcr)
	}
}

func (d *dialogue) open() {
	d.Helper()
	d.says(d.syn())
	d.wantSYNACK("a SYN")
}

func TestHandshake(t *testing.T) {
	each(t, func(d *dialogue) {
		d.open()
		began := d.now
		d.wait(30 * time.Millisecond)
		d.says(d.ack("GET / HTTP/1.1"))
		d.want("the ACK, with data, completes", Complete)
		want := HalfOpen{
			Negotiated: profile.Negotiated{
				SndMSS: 1400, RcvMSS: 1460, SndShift: 9, RcvShift: 7, Scaled: true, SACK: true, TS: true, Wnd: 65160,
			},
			ISS: d.iss, IRS: d.isn, Host: &linux,
			TSOffset: d.half.TSOffset, TSRecent: 510, TSSent: d.tsval, Started: began, RTT: 30 * time.Millisecond,
			SYN: SYN{SACK: true, TS: true, Scaled: true, Wnd: 512, MSS: 1400},
		}
		if diff := cmp.Diff(want, d.half); diff != "" {
			t.Error(diff)
		}
		// The flow's clock goes on where the handshake's stood.
		if want := uint32(began.Sub(t0).Milliseconds()) + d.half.TSOffset; want != d.tsval {
			t.Errorf("TSVal %d, the flow's clock says %d", d.tsval, want)
		}
		d.says(d.ack(""))
		d.want("there is no record any more", None)
		if _, ok := d.tab.Deadline(); ok || d.tab.Len() != 0 {
			t.Error("something is left")
		}
	})
}

func TestIPv6(t *testing.T) {
	d := talk(t, 1000)
	d.client = netip.MustParseAddrPort("[2001:db8::7]:40000")
	s := d.syn()
	s.Dst = netip.MustParseAddrPort("[2001:db8:1::1]:80")
	d.says(s)
	d.want("a SYN", Reply)
	label := d.out.FlowLabel
	if d.out.Src != s.Dst || d.out.Dst != s.Src || label == 0 || d.out.Opts.MSS != 1440 {
		t.Errorf("from %v to %v, label %#x, MSS %d", d.out.Src, d.out.Dst, label, d.out.Opts.MSS)
	}
	d.iss = d.out.Seq
	a := withTS(d.segment(wire.ACK, 1, d.iss+99, ""), 510, d.out.Opts.TSVal)
	a.Dst = s.Dst
	d.says(a)
	d.want("a wrong ACK", Reply)
	if d.out.FlowLabel != label {
		t.Errorf("label %#x, before %#x", d.out.FlowLabel, label)
	}
}

// Lost SYN-ACK, or impatient client: the answer is the same, its time newer; as
// Linux, not more often than each half second.
func TestTheSameSYNAgain(t *testing.T) {
	each(t, func(d *dialogue) {
		d.open()
		first := d.tsval
		d.wait(100 * time.Millisecond)
		d.says(d.syn())
		d.wantSYNACK("the same SYN draws the SYN-ACK again")
		if d.tsval != first+100 {
			t.Errorf("TSVal %d after %d", d.tsval, first)
		}
		d.wait(400 * time.Millisecond)
		d.says(d.syn())
		d.wantIdle("the limit")
		d.wait(100 * time.Millisecond)
		d.says(d.syn())
		d.wantSYNACK("half a second has passed")
		d.says(withTS(d.segment(wire.ACK, 1, d.iss+1, ""), 510, first))
		d.want("an echo of the first SYN-ACK serves as well", Complete)
		if d.half.RTT != 0 {
			t.Errorf("RTT %v of one of three SYN-ACKs (Karn)", d.half.RTT)
		}
	})
}

func TestAnotherSYNDrawsAChallenge(t *testing.T) {
	each(t, func(d *dialogue) {
		d.open()
		for _, off := range []int{-5000, -1, 1 + 65160, 100_000} {
			other := d.syn()
			other.Seq += tcb.Seq(off)
			d.says(other)
			d.wantChallenge("another ISN")
			d.says(other)
			d.wantIdle("a challenge each half second (RFC 5961, section 7)")
			d.wait(500 * time.Millisecond)
		}
		old := d.syn()
		old.Seq += 777
		old.Opts.TSVal--
		d.says(old)
		d.wantChallenge("in the window, but an old duplicate")
		d.wait(500 * time.Millisecond)
		d.says(d.segment(wire.SYN|wire.ACK, 0, d.iss+1, ""))
		d.wantChallenge("a SYN-ACK")
		d.says(d.ack(""))
		d.want("the handshake is where it was", Complete)
	})
}

// "If the SYN is in the window it is an error, send a reset" (RFC 793, section 3.9):
// Linux has kept that for SYN-RECEIVED.
func TestASYNInTheWindowEndsTheHandshake(t *testing.T) {
	each(t, func(d *dialogue) {
		for _, off := range []int{1, 777, 65160} {
			d.iss = 0
			d.open()
			other := d.syn()
			other.Seq += tcb.Seq(off)
			d.says(other)
			d.want("another SYN", Reply)
			if o := &d.out; o.Flags != wire.RST|wire.ACK || o.Seq != 0 || o.Ack != other.Seq+1 {
				t.Errorf("%v seq %d ack %d", o.Flags, o.Seq, o.Ack)
			}
			d.says(d.ack(""))
			d.want("there is no handshake any more", None)
		}
		d.iss = 0
		d.open()
		d.says(d.segment(wire.SYN|wire.ACK, 1, d.iss+1, ""))
		d.want("a SYN-ACK", Reply)
		if o := &d.out; o.Flags != wire.RST || o.Seq != d.iss+1 {
			t.Errorf("%v seq %d", o.Flags, o.Seq)
		}
		d.says(d.ack(""))
		d.want("there is no handshake any more", None)
	})
}

// "If the connection is in ... SYN-RECEIVED ... if SEG.ACK is not acceptable, then
// form a reset segment <SEQ=SEG.ACK><CTL=RST> and send it." (RFC 9293, 3.10.7.4)
func TestAWrongACKDrawsAReset(t *testing.T) {
	each(t, func(d *dialogue) {
		d.open()
		for _, off := range []tcb.Seq{0, 2, 0x80000000, 0xfffffff0} {
			a := d.ack("")
			a.Ack = d.iss + off
			d.says(a)
			d.want("a wrong ACK", Reply)
			if d.out.Flags != wire.RST || d.out.Seq != d.iss+off || d.out.Ack != 0 {
				t.Errorf("%v seq %d", d.out.Flags, d.out.Seq)
			}
		}
		d.says(d.ack(""))
		d.want("the handshake is where it was", Complete)
	})
}

func TestWhatIsNotAcceptable(t *testing.T) {
	each(t, func(d *dialogue) {
		d.open()
		shown := d.tsval
		for _, tt := range []struct {
			why string
			seg *wire.Segment
		}{
			{"beyond the window", withTS(d.segment(wire.ACK, 1+65160, d.iss+1, "x"), 510, shown)},
			{"before it", withTS(d.segment(wire.ACK, 0, d.iss+1, ""), 510, shown)},
			{"data before it", withTS(d.segment(wire.ACK, -9, d.iss+1, "0123456789"), 510, shown)},
			{"an old time (RFC 7323, section 5.3)", withTS(d.segment(wire.ACK, 1, d.iss+1, ""), 499, shown)},
			{"an echo of what was never shown", withTS(d.segment(wire.ACK, 1, d.iss+1, ""), 510, shown-1)},
			{"an echo of the future", withTS(d.segment(wire.ACK, 1, d.iss+1, ""), 510, shown+100_000)},
		} {
			d.says(tt.seg)
			d.wantChallenge(tt.why)
			d.says(tt.seg)
			d.wantIdle(tt.why + ", again")
			d.wait(time.Second)
		}
		d.says(d.segment(wire.PSH, 1, 0, "data"))
		d.wantIdle("no ACK")
		d.says(d.ack(""))
		d.want("the handshake is where it was", Complete)
	})
}

func TestWhatElseCompletes(t *testing.T) {
	each(t, func(d *dialogue) {
		for why, seg := range map[string]func() *wire.Segment{
			"no timestamps, though agreed (as Linux)": func() *wire.Segment { return d.segment(wire.ACK, 1, d.iss+1, "x") },
			"an echo of 0": func() *wire.Segment { return withTS(d.segment(wire.ACK, 1, d.iss+1, ""), 510, 0) },
			"the ACK and the first data were lost": func() *wire.Segment {
				return withTS(d.segment(wire.ACK, 1+500, d.iss+1, "late"), 510, d.tsval)
			},
			"FIN":                       func() *wire.Segment { return withTS(d.segment(wire.ACK|wire.FIN, 1, d.iss+1, ""), 510, d.tsval) },
			"more than the window":      func() *wire.Segment { return d.ack(string(make([]byte, 65_300))) },
			"an echo of a challenge":    func() *wire.Segment { return d.challenged() },
			"its time is the SYN's own": func() *wire.Segment { return withTS(d.segment(wire.ACK, 1, d.iss+1, ""), 500, d.tsval) },
		} {
			d.iss = 0
			d.open()
			d.says(seg())
			d.want(why, Complete)
			if ahead := why == "the ACK and the first data were lost"; ahead && d.half.TSRecent != 500 {
				t.Errorf("TS.Recent %d from a segment ahead of a hole", d.half.TSRecent)
			}
		}
	})
}

// challenged draws a challenge and echoes its time.
func (d *dialogue) challenged() *wire.Segment {
	d.wait(50 * time.Millisecond)
	d.says(d.segment(wire.ACK, 0, d.iss+1, ""))
	d.wantChallenge("a keep-alive before the handshake is done")
	if d.out.Opts.TSVal != d.tsval+50 {
		d.Fatalf("TSVal %d, 50 ms after %d", d.out.Opts.TSVal, d.tsval)
	}
	return withTS(d.segment(wire.ACK, 1, d.iss+1, ""), 510, d.out.Opts.TSVal)
}

// "If the RST bit is set and the sequence number exactly matches the next
// expected sequence number (RCV.NXT), then TCP endpoints MUST reset the
// connection"; in the window "MUST send an acknowledgment (challenge ACK)"; outside,
// "silently discard" (RFC 9293, section 3.10.7.4).
func TestReset(t *testing.T) {
	each(t, func(d *dialogue) {
		d.open()
		for _, off := range []int{0, -1000, 1 + 65160} {
			d.says(d.segment(wire.RST, off, 0, ""))
			d.wantIdle("outside the window")
		}
		d.says(d.segment(wire.RST, 2, 0, ""))
		d.wantChallenge("in the window")
		d.says(d.segment(wire.RST, 65160, 0, ""))
		d.wantIdle("challenges are limited")
		d.says(d.segment(wire.RST|wire.ACK, 1, d.iss+1, ""))
		d.want("exact", Reset)
		if d.tab.Len() != 0 {
			t.Error("the record is still there")
		}
	})
}

// RFC 9293, section 3.10.7.2: LISTEN answers an ACK with a reset, which is the
// caller's, and drops what has neither SYN nor ACK.
func TestStrangers(t *testing.T) {
	d := talk(t, 1000)
	for _, tt := range []struct {
		flags wire.Flags
		want  Result
	}{
		{wire.ACK, None}, {wire.ACK | wire.FIN, None}, {wire.SYN | wire.ACK, None}, {wire.RST, None},
		{0, Ignored}, {wire.FIN, Ignored}, {wire.FIN | wire.PSH | wire.URG, Ignored}, {wire.SYN | wire.FIN, Ignored},
	} {
		d.says(d.segment(tt.flags, 0, 5, ""))
		d.want(tt.flags.String(), tt.want)
	}
	if d.tab.Len() != 0 {
		t.Errorf("%d records of nothing", d.tab.Len())
	}
}
