package splice_test

import (
	"fmt"
	"testing"
	"time"

	"sleight/stack/tcb"
)

// The round trip of S is 100 ms here, its variance 0: what a serving leg sends
// again sooner S cannot have answered yet.

const answer = `serving < P. 41:51(10) ack 51 win 64 <TS val 410 ecr 50> "0123456789"`

// passes is answer as S sees it.
const passes = `client > P. 101:111(10) ack 51 win 512 <TS val 1010 ecr 50> "0123456789"`

func (x *bench) wait(d time.Duration) { x.now += d }

// "A serving leg's retransmission of bytes passed on less than SRTT + 4·RTTVAR ago
// is suppressed", nor is one passed on within two round trips and ticks (docs/adr/0012).
func TestARetransmissionThatSDidNotAskFor(t *testing.T) {
	each(t, func(x *bench) {
		x.want(answer, passes)
		x.wait(207 * time.Millisecond)
		x.want(answer, "swallow")
		if x.sp.Echo.Suppressed != 1 {
			x.Errorf("%d suppressed", x.sp.Echo.Suppressed)
		}
		x.wait(time.Millisecond)
		x.want(answer, passes) // S's own host would have sent it again by now
		x.wait(207 * time.Millisecond)
		x.want(answer, "swallow") // which counts from then
	})
}

func TestTheVarianceCountsFourTimes(t *testing.T) {
	x := setup(t, 1000, 1000, 1000)
	x.sp.Echo.Init(100*time.Millisecond, 30*time.Millisecond, 1000)
	x.want(answer, passes)
	x.wait(219 * time.Millisecond)
	x.want(answer, "swallow")
	x.wait(time.Millisecond)
	x.want(answer, passes)
}

// "unless S asked for it by SACK or duplicate ACKs".
func TestARetransmissionThatSAskedFor(t *testing.T) {
	each(t, func(x *bench) {
		x.want(answer, passes)
		x.want(`serving < P. 51:61(10) ack 51 win 64 <TS val 410 ecr 50> "abcdefghij"`,
			`client > P. 111:121(10) ack 51 win 512 <TS val 1010 ecr 50> "abcdefghij"`)
		x.says(`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1000,sack 111:121>`)
		x.want(answer, passes)
	})
	each(t, func(x *bench) {
		x.want(answer, passes)
		for range 2 {
			x.says(`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1000>`)
		}
		x.want(answer, "swallow")
		x.says(`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1000>`)
		x.want(answer, passes)
		x.says(`client < . 51:51(0) ack 111 win 500 <TS val 60 ecr 1000>`)
		x.want(`serving < P. 51:61(10) ack 51 win 64 <TS val 410 ecr 50> "abcdefghij"`,
			`client > P. 111:121(10) ack 51 win 512 <TS val 1010 ecr 50> "abcdefghij"`)
		x.want(`serving < P. 51:61(10) ack 51 win 64 <TS val 410 ecr 50> "abcdefghij"`, "swallow") // asked for no more
	})
}

// A D-SACK below the acknowledgement, and S's data, ask for nothing.
func TestWhatIsNoRequest(t *testing.T) {
	x := setup(t, 1000, 1000, 1000)
	x.want(answer, passes)
	x.says(`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1000,sack 91:101>`)
	x.want(answer, "swallow")
	for i := range 3 {
		x.says(fmt.Sprintf(`client < . %d:%d(1) ack 101 win 500 <TS val 60 ecr 1000> "x"`, 51+i, 52+i))
	}
	x.want(answer, "swallow")

	x = setup(t, 1000, 1000, 1000)
	const long = `serving < P. 41:61(20) ack 51 win 64 <TS val 410 ecr 50> "0123456789abcdefghij"`
	x.hears(long)
	x.says(`client < . 51:51(0) ack 111 win 500 <TS val 60 ecr 1000,sack 101:111>`) // half of it, twice
	x.want(long, "swallow")
}

// What S has acknowledged the serving leg is told, however late it asks; a
// keep-alive is S's to answer.
func TestWhatSHasAcknowledgedAlready(t *testing.T) {
	each(t, func(x *bench) {
		x.want(answer, passes)
		x.says(`client < . 51:51(0) ack 111 win 500 <TS val 60 ecr 1000>`)
		const last = `serving < . 50:51(1) ack 51 win 64 <TS val 410 ecr 50> "9"`
		x.want(last, "answer") // crossed with the acknowledgement
		x.wait(time.Hour)
		x.want(answer, "answer")
		// A keep-alive (RFC 9293, section 3.8.4).
		x.want(last, `client > . 110:111(1) ack 51 win 512 <TS val 1010 ecr 50> "9"`)
	})
}

// Duplicate acknowledgements of all that was sent (keep-alives, window updates)
// ask for nothing; nor does a SACK block that is reported no more.
func TestRequestsEnd(t *testing.T) {
	const next, nextPasses = `serving < P. 51:61(10) ack 51 win 64 <TS val 410 ecr 50> "abcdefghij"`,
		`client > P. 111:121(10) ack 51 win 512 <TS val 1010 ecr 50> "abcdefghij"`
	x := setup(t, 1000, 1000, 1000)
	x.want(answer, passes)
	for range 4 {
		x.says(`client < . 51:51(0) ack 111 win 500 <TS val 60 ecr 1000>`)
	}
	x.want(next, nextPasses)
	x.want(next, "swallow")

	x = setup(t, 1000, 1000, 1000)
	x.want(answer, passes)
	x.want(next, nextPasses)
	x.says(`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1000,sack 111:121>`)
	x.says(`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1000>`)
	x.want(answer, "swallow")
}

// What lies below the highest block is missing, whatever the blocks' order.
func TestTheHighestBlockCounts(t *testing.T) {
	x := setup(t, 1000, 1000, 1000)
	seg := func(i int) string {
		return fmt.Sprintf(`serving < P. %d:%d(10) ack 51 win 64 <TS val 410 ecr 50> "0123456789"`, 41+10*i, 51+10*i)
	}
	for i := range 4 {
		x.hears(seg(i))
	}
	x.says(`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1000,sack 131:141 111:121>`)
	x.want(seg(2), `client > P. 121:131(10) ack 51 win 512 <TS val 1010 ecr 50> "0123456789"`)
}

// A flight ends where its last byte is acknowledged, not with each segment.
func TestManySegmentsAreOneFlight(t *testing.T) {
	x := setup(t, 1000, 1000, 1000)
	seg := func(i int) string {
		return fmt.Sprintf(`serving < P. %d:%d(10) ack 51 win 64 <TS val 410 ecr 50> "0123456789"`, 41+10*i, 51+10*i)
	}
	for i := range 15 {
		x.hears(seg(i))
	}
	for i := range 14 {
		x.says(fmt.Sprintf(`client < . 51:51(0) ack %d win 500 <TS val 60 ecr 1000>`, 111+10*i))
	}
	x.want(seg(14), "swallow")
}

// One burst is one round trip.
func TestABurstIsMeasuredOnce(t *testing.T) {
	x := setup(t, 1000, 1000, 1000)
	for i := range 3 {
		x.hears(fmt.Sprintf(`serving < P. %d:%d(10) ack 51 win 64 <TS val 410 ecr 50> "0123456789"`, 41+10*i, 51+10*i))
	}
	x.wait(180 * time.Millisecond)
	x.says(`client < . 51:51(0) ack 131 win 500 <TS val 60 ecr 1000>`)
	if x.sp.Echo.SRTT() != 110*time.Millisecond {
		x.Errorf("SRTT %v, want 110 ms: 7/8 of 100 and 1/8 of 180", x.sp.Echo.SRTT())
	}
}

// A retransmission that has something new passes whole.
func TestARetransmissionWithNews(t *testing.T) {
	x := setup(t, 1000, 1000, 1000)
	x.want(answer, passes)
	x.want(`serving < P. 46:56(10) ack 51 win 64 <TS val 410 ecr 50> "56789abcde"`,
		`client > P. 106:116(10) ack 51 win 512 <TS val 1010 ecr 50> "56789abcde"`)
}

// One byte that S has not acknowledged is a retransmission like any other.
func TestTheLastByteSentAgain(t *testing.T) {
	x := setup(t, 1000, 1000, 1000)
	x.want(answer, passes)
	x.want(`serving < . 50:51(1) ack 51 win 64 <TS val 410 ecr 50> "9"`, "swallow")
}

// A RST is never suppressed.
func TestRSTsPass(t *testing.T) {
	x := setup(t, 1000, 1000, 1000)
	x.want(answer, passes)
	x.want(`serving < R. 41:51(10) ack 51 win 64 "0123456789"`, `client > R. 101:111(10) ack 51 win 512 "0123456789"`)
}

// "This holds until ten flights have been acknowledged."
func TestAfterTenFlightsTheTimersAreTrusted(t *testing.T) {
	each(t, func(x *bench) {
		for i := range 11 {
			x.sp.Echo.Init(100*time.Millisecond, 0, 1000)
			*x = *setup(x.T, x.s, x.c, x.b)
			for j := range i {
				x.exchange(j)
			}
			in := fmt.Sprintf(`serving < P. %d:%d(10) ack 51 win 64 <TS val 410 ecr 50> "0123456789"`, 41+10*i, 51+10*i)
			out := fmt.Sprintf(`client > P. %d:%d(10) ack 51 win 512 <TS val 1010 ecr 50> "0123456789"`, 101+10*i, 111+10*i)
			x.want(in, out)
			if i == 10 {
				x.want(in, out)
			} else {
				x.want(in, "swallow")
			}
		}
	})
}

// exchange is the j-th flight, and its acknowledgement after S's round trip.
func (x *bench) exchange(j int) {
	x.hears(fmt.Sprintf(`serving < P. %d:%d(10) ack 51 win 64 <TS val 410 ecr 50> "0123456789"`, 41+10*j, 51+10*j))
	x.wait(100 * time.Millisecond)
	x.says(fmt.Sprintf(`client < . 51:51(0) ack %d win 500 <TS val 60 ecr 1000>`, 111+10*j))
}

// "The first ACK of S that covers suppressed bytes carries a D-SACK for them to
// that leg (RFC 2883), so that it undoes its back-off."
func TestSuppressedBytesAreReportedOnce(t *testing.T) {
	each(t, func(x *bench) {
		x.want(answer, passes)
		x.want(`serving < P. 51:61(10) ack 51 win 64 <TS val 410 ecr 50> "abcdefghij"`,
			`client > P. 111:121(10) ack 51 win 512 <TS val 1010 ecr 50> "abcdefghij"`)
		x.want(answer, "swallow")
		x.want(`serving < P. 51:61(10) ack 51 win 64 <TS val 410 ecr 50> "abcdefghij"`, "swallow")
		x.want(`client < . 51:51(0) ack 111 win 500 <TS val 60 ecr 1000>`,
			`serving > . 51:51(0) ack 51 win 500 <TS val 60 ecr 400>`) // not all of it
		x.want(`client < P. 51:53(2) ack 121 win 500 <TS val 60 ecr 1000> "hi"`,
			`serving > P. 51:53(2) ack 61 win 500 <TS val 60 ecr 400> "hi"`) // no room beside data
		x.want(`client < . 53:53(0) ack 121 win 500 <TS val 60 ecr 1000>`,
			`serving > . 53:53(0) ack 61 win 500 <TS val 60 ecr 400,sack 41:61>`)
		x.want(`client < . 53:53(0) ack 121 win 500 <TS val 60 ecr 1000>`,
			`serving > . 53:53(0) ack 61 win 500 <TS val 60 ecr 400>`)
	})
}

// The D-SACK comes first, S's blocks behind it (RFC 2883, section 4).
func TestTheDSACKStandsFirst(t *testing.T) {
	x := setup(t, 1000, 1000, 1000)
	x.want(answer, passes)
	x.want(answer, "swallow")
	x.want(`client < . 51:51(0) ack 111 win 500 <TS val 60 ecr 1000,sack 131:141>`,
		`serving > . 51:51(0) ack 51 win 500 <TS val 60 ecr 400,sack 41:51 71:81>`)
}

// RFC 6298, section 2.3, from what S acknowledges.
func TestRoundTripsAreMeasured(t *testing.T) {
	x := setup(t, 1000, 0xffffff00, 0x7fffff00)
	x.want(answer, passes)
	x.wait(180 * time.Millisecond)
	x.says(`client < . 51:51(0) ack 110 win 500 <TS val 60 ecr 1000>`) // not all of it
	if x.sp.Echo.SRTT() != 100*time.Millisecond {
		x.Errorf("SRTT %v", x.sp.Echo.SRTT())
	}
	x.says(`client < . 51:51(0) ack 111 win 500 <TS val 60 ecr 1000>`)
	if e := &x.sp.Echo; e.SRTT() != 110*time.Millisecond || e.RTTVar() != 20*time.Millisecond || e.Timeout() != 228*time.Millisecond {
		x.Errorf("SRTT %v, RTTVAR %v", e.SRTT(), e.RTTVar())
	}
	x.sp.Echo.Init(0, 0, 0)
	x.sp.Echo.Sample(40 * time.Millisecond) // section 2.2
	if e := &x.sp.Echo; e.SRTT() != 40*time.Millisecond || e.RTTVar() != 20*time.Millisecond {
		x.Errorf("the first: SRTT %v, RTTVAR %v", e.SRTT(), e.RTTVar())
	}
}

// "RTT samples MUST NOT be made using segments that were retransmitted" (RFC 6298, section
// 3), nor of what waited at S for one that was.
func TestNoRoundTripOfWhatWasSentAgain(t *testing.T) {
	const more = `serving < P. 51:61(10) ack 51 win 64 <TS val 410 ecr 50> "abcdefghij"`
	const moreToS = `client > P. 111:121(10) ack 51 win 512 <TS val 1010 ecr 50> "abcdefghij"`
	both := func(x *bench) {
		x.want(answer, passes)
		x.wait(2 * time.Millisecond)
		x.want(more, moreToS)
	}
	acked := func(x *bench) {
		x.want(answer, passes)
		x.wait(100 * time.Millisecond)
		x.says(`client < . 51:51(0) ack 121 win 500 <TS val 60 ecr 1000>`)
		if e := &x.sp.Echo; e.SRTT() != 100*time.Millisecond {
			x.Errorf("SRTT %v", e.SRTT())
		}
		x.hears(`serving < P. 61:71(10) ack 51 win 64 <TS val 410 ecr 50> "0123456789"`)
		x.wait(180 * time.Millisecond)
		x.says(`client < . 51:51(0) ack 131 win 500 <TS val 60 ecr 1000>`)
		if e := &x.sp.Echo; e.SRTT() != 110*time.Millisecond {
			x.Errorf("of what was sent once afterwards: SRTT %v", e.SRTT())
		}
	}
	each(t, func(x *bench) { // by its timer
		both(x)
		x.wait(time.Second)
		acked(x)
	})
	each(t, func(x *bench) { // asked for
		both(x)
		for range 3 {
			x.says(`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1000>`)
		}
		acked(x)
	})
}

// What was passed on long ago is forgotten, oldest first: marks are bounded.
func TestMarksAreBounded(t *testing.T) {
	x := setup(t, 1000, 1000, 1000)
	x.cli.SndEdge = x.cli.SndEdge.Add(tcb.Size(1 << 20))
	for i := range 20 {
		x.hears(fmt.Sprintf(`serving < P. %d:%d(10) ack 51 win 64 <TS val 410 ecr 50> "0123456789"`, 41+10*i, 51+10*i))
		x.wait(2 * time.Millisecond)
	}
	// The newest 16 are known each by itself: the first mark left ends at 91.
	x.want(`serving < P. 221:231(10) ack 51 win 64 <TS val 410 ecr 50> "0123456789"`, "swallow")
	x.wait(170 * time.Millisecond)
	// 210 ms after the first, 200 after the sixth.
	x.want(`serving < P. 91:101(10) ack 51 win 64 <TS val 410 ecr 50> "0123456789"`, "swallow")
	x.wait(8 * time.Millisecond)
	x.want(`serving < P. 81:91(10) ack 51 win 64 <TS val 410 ecr 50> "0123456789"`,
		`client > P. 141:151(10) ack 51 win 512 <TS val 1010 ecr 50> "0123456789"`)
}

// STYLE, "Tests": translate does not allocate.
func TestTranslationDoesNotAllocate(t *testing.T) {
	x := setup(t, 1000, 0x7fffff00, 0xffffff00)
	in, _ := x.parse(`client < P. 51:56(5) ack 141 win 500 <TS val 60 ecr 1000,sack 161:171> "hello"`)
	out, _ := x.parse(answer)
	if n := testing.AllocsPerRun(100, func() {
		s := in.Segment
		x.sp.HeardClient(x.now, &s)
		x.sp.Serving(&x.cli, &s)
		s = out.Segment
		x.sp.Client(x.now, &x.cli, &s)
		x.sp.FillClient(x.now, &x.cli, &s)
		x.sp.FillServing(&x.cli, &s)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A netstack probes earlier than any host, however many flights S has acknowledged.
func TestADecoysTimersAreNeverTrusted(t *testing.T) {
	for _, distrusted := range []bool{false, true} {
		x := setup(t, 1000, 1000, 1000)
		if distrusted {
			x.sp.Echo.Distrust()
		}
		for i := range 11 {
			x.hears(fmt.Sprintf(`serving < P. %d:%d(10) ack 51 win 64 <TS val 410 ecr 50> "0123456789"`, 41+10*i, 51+10*i))
			x.says(fmt.Sprintf(`client < . 51:51(0) ack %d win 500 <TS val 60 ecr 1000>`, 111+10*i))
		}
		const next = `serving < P. 151:161(10) ack 51 win 64 <TS val 410 ecr 50> "0123456789"`
		const passes = `client > P. 211:221(10) ack 51 win 512 <TS val 1010 ecr 50> "0123456789"`
		x.want(next, passes)
		if distrusted {
			x.want(next, "swallow")
		} else {
			x.want(next, passes)
		}
	}
}
