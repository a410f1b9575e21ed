package splice_test

import (
	"testing"
	"time"

	"sleight/redirect/splice"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// rule is one sentence, a state and what becomes of a segment in it.
type rule struct {
	name     string
	edit     func(*bench)
	in, want string
}

func check(t *testing.T, rules []rule) {
	t.Helper()
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			each(t, func(x *bench) {
				if r.edit != nil {
					r.edit(x)
				}
				x.want(r.in, r.want)
			})
		})
	}
}

func TestSequenceNumbersToTheServer(t *testing.T) {
	check(t, []rule{
		{"SEQ unchanged, ACK less SeqDelta", nil,
			`client < P. 51:56(5) ack 141 win 500 <TS val 60 ecr 1000> "hello"`,
			`serving > P. 51:56(5) ack 81 win 500 <TS val 60 ecr 400> "hello"`},
		{"ACK never below what was swallowed", nil,
			`client < . 51:51(0) ack 91 win 500 <TS val 60 ecr 1000>`,
			`serving > . 51:51(0) ack 41 win 500 <TS val 60 ecr 400>`},
		{"PSH, FIN and URG kept after the commit", nil,
			`client < FP.U 51:54(3) ack 101 win 500 urg 2 <TS val 60 ecr 1000> "bye"`,
			`serving > FP.U 51:54(3) ack 41 win 500 urg 2 <TS val 60 ecr 400> "bye"`},
		{"no ECN that was not agreed", nil,
			`client < .EW 51:51(0) ack 101 win 500 <TS val 60 ecr 1000>`,
			`serving > . 51:51(0) ack 41 win 500 <TS val 60 ecr 400>`},
		{"a RST carries no timestamps", nil,
			`client < R. 51:51(0) ack 101 win 500 <TS val 60 ecr 1000>`,
			`serving > R. 51:51(0) ack 41 win 500`},
		{"without ACK there is nothing to translate", nil,
			`client < R 51:51(0) win 500 <sack 121:131>`,
			`serving > R 51:51(0) win 500`},
	})
}

func TestSACKToTheServer(t *testing.T) {
	check(t, []rule{
		{"SACK edges as ACK", nil,
			`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1000,sack 161:171 121:131>`,
			`serving > . 51:51(0) ack 41 win 500 <TS val 60 ecr 400,sack 101:111 61:71>`},
		{"D-SACK edges as ACK (RFC 2883, section 4)", nil,
			`client < . 51:51(0) ack 141 win 500 <TS val 60 ecr 1000,sack 101:111 161:171>`,
			`serving > . 51:51(0) ack 81 win 500 <TS val 60 ecr 400,sack 41:51 101:111>`},
		{"a D-SACK within a block", nil,
			`client < . 51:51(0) ack 111 win 500 <TS val 60 ecr 1000,sack 131:141 121:151>`,
			`serving > . 51:51(0) ack 51 win 500 <TS val 60 ecr 400,sack 71:81 61:91>`},
		{"what lies below the cut was the decoy's", nil,
			`client < . 51:51(0) ack 141 win 500 <TS val 60 ecr 1000,sack 81:91>`,
			`serving > . 51:51(0) ack 81 win 500 <TS val 60 ecr 400>`},
		{"dropped where it would start at the ACK sent", nil,
			`client < . 51:51(0) ack 91 win 500 <TS val 60 ecr 1000,sack 101:111 121:131>`,
			`serving > . 51:51(0) ack 41 win 500 <TS val 60 ecr 400,sack 61:71>`},
		{"a block that is acknowledged, and no D-SACK, goes", nil,
			`client < . 51:51(0) ack 141 win 500 <TS val 60 ecr 1000,sack 161:171 121:131>`,
			`serving > . 51:51(0) ack 81 win 500 <TS val 60 ecr 400,sack 101:111>`},
		{"the first block survives a lack of room: four without timestamps become three with", func(x *bench) { x.cli.TS = false },
			`client < . 51:51(0) ack 101 win 500 <sack 191:201 171:181 151:161 121:131>`,
			`serving > . 51:51(0) ack 41 win 500 <TS val 50 ecr 400,sack 131:141 111:121 91:101>`},
		{"a leg without SACK carries none", func(x *bench) { x.srv.SACK = false },
			`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1000,sack 121:131>`,
			`serving > . 51:51(0) ack 41 win 500 <TS val 60 ecr 400>`},
	})
}

// RFC 7323, section 3.2: once negotiated, every non-RST segment carries them.
func TestTimestampsToTheServer(t *testing.T) {
	check(t, []rule{
		{"TSval: the newest that S has sent", func(x *bench) { x.cli.TSRecent = 70 },
			`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1000>`,
			`serving > . 51:51(0) ack 41 win 500 <TS val 70 ecr 400>`},
		{"TSval modulo 2^32", func(x *bench) { x.cli.TSRecent = 0xfffffff0 },
			`client < . 51:51(0) ack 101 win 500 <TS val 5 ecr 1000>`,
			`serving > . 51:51(0) ack 41 win 500 <TS val 5 ecr 400>`},
		{"TSecr less TSDelta", func(x *bench) { x.srv.TSRecent = 500 },
			`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1050>`,
			`serving > . 51:51(0) ack 41 win 500 <TS val 60 ecr 450>`},
		{"TSecr at most the newest TSval of the leg", nil,
			`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1050>`,
			`serving > . 51:51(0) ack 41 win 500 <TS val 60 ecr 400>`},
		{"TSecr at least the first TSval of the leg", nil,
			`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 899>`,
			`serving > . 51:51(0) ack 41 win 500 <TS val 60 ecr 300>`},
		{"TSecr across the wrap", func(x *bench) { x.srv.TSFirst, x.srv.TSRecent, x.sp.TSDelta = 0xfffffff0, 16, 0x80000000 },
			`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 2147483640>`,
			`serving > . 51:51(0) ack 41 win 500 <TS val 60 ecr 4294967288>`},
		{"supplied where S has none", func(x *bench) { x.cli.TS = false },
			`client < . 51:51(0) ack 101 win 500`,
			`serving > . 51:51(0) ack 41 win 500 <TS val 50 ecr 400>`},
		{"stripped where the leg has none", func(x *bench) { x.srv.TS = false },
			`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1000>`,
			`serving > . 51:51(0) ack 41 win 500`},
	})
}

func scales(cliSnd, srvRcv uint8) func(*bench) {
	return func(x *bench) {
		x.cli.SndShift, x.srv.RcvShift = cliSnd, srvRcv
		x.cli.SndEdge, x.srv.RcvEdge = x.cli.SndUna, x.b+swallow
	}
}

// "Toward the serving leg: S's edge minus the translated ACK, rounded down, at
// least 0."
func TestWindowsToTheServer(t *testing.T) {
	check(t, []rule{
		{"scales 0 and 10", scales(0, 10),
			`client < . 51:51(0) ack 101 win 65535 <TS val 60 ecr 1000>`,
			`serving > . 51:51(0) ack 41 win 63 <TS val 60 ecr 400>`},
		{"scales 10 and 0", scales(10, 0),
			`client < . 51:51(0) ack 101 win 100 <TS val 60 ecr 1000>`,
			`serving > . 51:51(0) ack 41 win 65535 <TS val 60 ecr 400>`},
		{"scales 7 and 14", scales(7, 14),
			`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1000>`,
			`serving > . 51:51(0) ack 41 win 3 <TS val 60 ecr 400>`},
		{"scales 14 and 7", scales(14, 7),
			`client < . 51:51(0) ack 101 win 3 <TS val 60 ecr 1000>`,
			`serving > . 51:51(0) ack 41 win 384 <TS val 60 ecr 400>`},
		{"less than a unit is nothing", scales(0, 10),
			`client < . 51:51(0) ack 101 win 1023 <TS val 60 ecr 1000>`,
			`serving > . 51:51(0) ack 41 win 0 <TS val 60 ecr 400>`},
		{"a zero window", scales(7, 7),
			`client < . 51:51(0) ack 101 win 0 <TS val 60 ecr 1000>`,
			`serving > . 51:51(0) ack 41 win 0 <TS val 60 ecr 400>`},
		{"an old acknowledgement shows the edge from above the cut", nil,
			`client < . 51:51(0) ack 91 win 500 <TS val 60 ecr 1000>`,
			`serving > . 51:51(0) ack 41 win 500 <TS val 60 ecr 400>`},
		{"an edge that S retracts stays where it was", nil,
			`client < . 51:51(0) ack 101 win 10 <TS val 60 ecr 1000>`,
			`serving > . 51:51(0) ack 41 win 500 <TS val 60 ecr 400>`},
		{"S's edge below the cut", func(x *bench) { x.cli.SndUna, x.cli.SndEdge = x.c+51, x.c+51 },
			`client < . 51:51(0) ack 51 win 0 <TS val 60 ecr 1000>`,
			`serving > . 51:51(0) ack 41 win 0 <TS val 60 ecr 400>`},
		{"a SYN's is never scaled (RFC 7323, section 2.2)", scales(7, 7),
			`client < S. 50:50(0) ack 101 win 500 <mss 1460,TS val 60 ecr 1000>`,
			`serving > S. 50:50(0) ack 41 win 64000 <mss 1460,TS val 60 ecr 400>`},
	})
}

func TestSequenceNumbersToTheClient(t *testing.T) {
	check(t, []rule{
		{"SEQ and SeqDelta, ACK unchanged", func(x *bench) { x.srv.SndNxt += 5 },
			`serving < P. 41:46(5) ack 56 win 64 <TS val 410 ecr 50> "hello"`,
			`client > P. 101:106(5) ack 56 win 512 <TS val 1010 ecr 50> "hello"`},
		{"ACK never below what the client leg acknowledged", nil,
			`serving < . 41:41(0) ack 31 win 64 <TS val 410 ecr 50>`,
			`client > . 101:101(0) ack 51 win 512 <TS val 1010 ecr 50>`},
		{"FIN kept", nil,
			`serving < FP. 41:44(3) ack 51 win 64 <TS val 410 ecr 50> "bye"`,
			`client > FP. 101:104(3) ack 51 win 512 <TS val 1010 ecr 50> "bye"`},
		{"a segment that straddles the cut is trimmed to it, the urgent pointer too", nil,
			`serving < P.U 36:46(10) ack 51 win 64 urg 7 <TS val 410 ecr 50> "swallHELLO"`,
			`client > P.U 101:106(5) ack 51 win 512 urg 2 <TS val 1010 ecr 50> "HELLO"`},
		{"what was swallowed is acknowledged, not passed on", nil,
			`serving < . 31:41(10) ack 51 win 64 <TS val 410 ecr 50> "swallowed."`, "answer"},
		{"a FIN directly before the cut was swallowed", nil,
			`serving < F. 40:40(0) ack 51 win 64 <TS val 410 ecr 50>`, "answer"},
		{"a bare acknowledgement below the cut still tells of its edge", func(x *bench) { x.cli.SndNxt = x.c + 101 },
			`serving < . 21:21(0) ack 51 win 100 <TS val 410 ecr 50>`,
			`client > . 101:101(0) ack 51 win 800 <TS val 1010 ecr 50>`},
		{"one that was overtaken has nothing to tell (RFC 9293, section 3.10.7.4)", nil,
			`serving < . 21:21(0) ack 51 win 100 <TS val 410 ecr 50>`, "swallow"},
		{"a keep-alive directly before the cut is S's (RFC 9293, section 3.8.4)", nil,
			`serving < . 40:40(0) ack 51 win 64 <TS val 410 ecr 50>`,
			`client > . 100:100(0) ack 51 win 512 <TS val 1010 ecr 50>`},
		{"with a byte it may be the last one below the cut, sent again", nil,
			`serving < . 40:41(1) ack 51 win 64 <TS val 410 ecr 50> "x"`, "answer"},
		{"an ACK of what was never sent", nil,
			`serving < . 41:41(0) ack 52 win 64 <TS val 410 ecr 50>`, "invalid"},
		{"data beyond every window", nil,
			`serving < . 64042:64047(5) ack 51 win 64 <TS val 410 ecr 50> "hello"`, "invalid"},
		{"a RST passes, without timestamps", nil,
			`serving < R. 41:41(0) ack 51 win 0 <TS val 410 ecr 50>`,
			`client > R. 101:101(0) ack 51 win 512`},
		{"a RST that acknowledges too much passes with what S has said", nil,
			`serving < R. 41:41(0) ack 99 win 0`,
			`client > R. 101:101(0) ack 51 win 512`},
		{"a RST without ACK carries nothing else", nil,
			`serving < R 41:41(0) win 0 <sack 21:31>`,
			`client > R 101:101(0) win 0`},
		{"no ECN that was not agreed", nil,
			`serving < .EW 41:41(0) ack 51 win 64 <TS val 410 ecr 50>`,
			`client > . 101:101(0) ack 51 win 512 <TS val 1010 ecr 50>`},
	})
}

func TestSACKToTheClient(t *testing.T) {
	check(t, []rule{
		{"SACK and D-SACK edges as ACK: unchanged", func(x *bench) { x.srv.SndNxt += 100 },
			`serving < . 41:41(0) ack 61 win 64 <TS val 410 ecr 50,sack 51:61 81:91>`,
			`client > . 101:101(0) ack 61 win 512 <TS val 1010 ecr 50,sack 51:61 81:91>`},
		{"a leg without SACK carries none", func(x *bench) { x.srv.SndNxt += 100; x.cli.SACK = false },
			`serving < . 41:41(0) ack 61 win 64 <TS val 410 ecr 50,sack 81:91>`,
			`client > . 101:101(0) ack 61 win 512 <TS val 1010 ecr 50>`},
	})
}

func TestTimestampsToTheClient(t *testing.T) {
	check(t, []rule{
		{"TSval never less than the last one shown", func(x *bench) { x.cli.TSSent = 1011 },
			`serving < . 41:41(0) ack 51 win 64 <TS val 410 ecr 50>`,
			`client > . 101:101(0) ack 51 win 512 <TS val 1011 ecr 50>`},
		{"TSval modulo 2^32", func(x *bench) { x.cli.TSSent, x.sp.TSDelta = 0xfffffff0, 0xfffffe70 },
			`serving < . 41:41(0) ack 51 win 64 <TS val 410 ecr 50>`,
			`client > . 101:101(0) ack 51 win 512 <TS val 10 ecr 50>`},
		{"supplied from the client leg's clock where the leg has none", func(x *bench) { x.srv.TS = false },
			`serving < . 41:41(0) ack 51 win 64`,
			`client > . 101:101(0) ack 51 win 512 <TS val 5000 ecr 50>`},
		{"stripped where S has none", func(x *bench) { x.cli.TS = false },
			`serving < . 41:41(0) ack 51 win 64 <TS val 410 ecr 50>`,
			`client > . 101:101(0) ack 51 win 512`},
	})
}

func announced(cliRcv, srvSnd uint8, edge int) func(*bench) {
	return func(x *bench) {
		x.cli.RcvShift, x.srv.SndShift = cliRcv, srvSnd
		x.cli.RcvEdge, x.srv.SndEdge = (x.s + said).Add(tcb.Size(edge)), x.s+said
	}
}

// "Toward S: the edge shown is max(the edge already announced, the serving leg's
// edge), rounded up to a unit."
func TestWindowsToTheClient(t *testing.T) {
	check(t, []rule{
		{"scales 0 and 10", announced(0, 10, 0),
			`serving < . 41:41(0) ack 51 win 63 <TS val 410 ecr 50>`,
			`client > . 101:101(0) ack 51 win 64512 <TS val 1010 ecr 50>`},
		{"scales 0 and 10, wider than a field", announced(0, 10, 0),
			`serving < . 41:41(0) ack 51 win 64 <TS val 410 ecr 50>`,
			`client > . 101:101(0) ack 51 win 65535 <TS val 1010 ecr 50>`},
		{"scales 10 and 0", announced(10, 0, 0),
			`serving < . 41:41(0) ack 51 win 65535 <TS val 410 ecr 50>`,
			`client > . 101:101(0) ack 51 win 64 <TS val 1010 ecr 50>`},
		{"scales 7 and 14", announced(7, 14, 0),
			`serving < . 41:41(0) ack 51 win 3 <TS val 410 ecr 50>`,
			`client > . 101:101(0) ack 51 win 384 <TS val 1010 ecr 50>`},
		{"less than a unit must not become a zero window for ever", announced(14, 0, 0),
			`serving < . 41:41(0) ack 51 win 8192 <TS val 410 ecr 50>`,
			`client > . 101:101(0) ack 51 win 1 <TS val 1010 ecr 50>`},
		{"a zero window", announced(7, 7, 0),
			`serving < . 41:41(0) ack 51 win 0 <TS val 410 ecr 50>`,
			`client > . 101:101(0) ack 51 win 0 <TS val 1010 ecr 50>`},
		{"an edge never moves left (RFC 9293, section 3.8.6)", announced(7, 7, 12800),
			`serving < . 41:41(0) ack 51 win 10 <TS val 410 ecr 50>`,
			`client > . 101:101(0) ack 51 win 100 <TS val 1010 ecr 50>`},
		{"the true window where S has sent again what lies beyond (RFC 9293, MUST-34)", func(x *bench) {
			announced(7, 7, 12800)(x)
			x.sp.TrueWindow = true
		},
			`serving < . 41:41(0) ack 51 win 10 <TS val 410 ecr 50>`,
			`client > . 101:101(0) ack 51 win 10 <TS val 1010 ecr 50>`},
	})
}

// "TTL / hop limit", "IP ID, DF, ToS, flow label".
func TestWhatLiesBelowTCP(t *testing.T) {
	x := setup(t, 1000, 0x7fffff00, 0xffffff00)
	for _, ttl := range [][2]uint8{{1, 64}, {64, 64}, {128, 128}} {
		s := wire.Segment{TTL: ttl[0], TOS: 0x2b, DF: true, FlowLabel: 7, ID: 9, Flags: wire.ACK}
		x.sp.Serving(&x.cli, &s)
		if s.TTL != ttl[1] || s.TOS != 0x28 || !s.DF || s.FlowLabel != 0x12345 {
			t.Errorf("to the server: %+v", s)
		}
	}
	for i, ttl := range []uint8{1, 255} {
		s := wire.Segment{TTL: ttl, TOS: 0x2b, DF: i == 0, ID: 9, Flags: wire.ACK, Seq: x.b + swallow, Ack: x.s + said}
		if x.sp.Client(x.now, &x.cli, &s) != splice.Pass {
			t.Fatal("not passed")
		}
		// "ID continues one series", over its wrap; TTL "what the profile shows".
		if s.TTL != 64 || s.TOS != 0x28 || s.DF != (i == 0) || s.FlowLabel != 0x54321 || s.ID != uint16(0xffff+i) {
			t.Errorf("to the client: %+v", s)
		}
	}
}

// "unknown options: dropped after the SYN".
func TestUnknownOptionsAreDropped(t *testing.T) {
	x := setup(t, 1000, 1000, 1000)
	s := wire.Segment{Flags: wire.ACK, Opts: wire.Options{Unknown: 3}}
	x.sp.Serving(&x.cli, &s)
	back := wire.Segment{Flags: wire.ACK, Opts: wire.Options{Unknown: 3}, Seq: x.b + swallow, Ack: x.s + said}
	x.sp.Client(x.now, &x.cli, &back)
	if s.Opts.Unknown != 0 || back.Opts.Unknown != 0 {
		t.Errorf("%d and %d are left", s.Opts.Unknown, back.Opts.Unknown)
	}
}

// The gateway's own segments look as the flow's do.
func TestOwnSegments(t *testing.T) {
	each(t, func(x *bench) {
		x.says(`client < . 51:51(0) ack 141 win 500 <TS val 61 ecr 980>`)
		s := wire.Segment{Seq: x.s + said, Payload: []byte("held")}
		x.sp.FillServing(&x.cli, &s)
		if got, want := x.format(tcb.Serving, s), `serving > . 51:55(4) ack 81 win 500 <TS val 61 ecr 380> "held"`; got != want {
			x.Errorf("to the server\ngot  %s\nwant %s", got, want)
		}
		s = wire.Segment{}
		s.Opts.AddBlock(wire.Block{Start: x.s + 61, End: x.s + 71})
		x.sp.FillClient(x.now, &x.cli, &s)
		if got, want := x.format(tcb.Client, s), `client > . 201:201(0) ack 51 win 512 <TS val 1000 ecr 50,sack 61:71>`; got != want {
			x.Errorf("to the client\ngot  %s\nwant %s", got, want)
		}
		if !s.DF || s.TTL != 64 || s.ID != 0xffff {
			x.Errorf("%+v", s)
		}
	})
}

// The echo of the gateway's own segments never passes what the server's host may still
// send: while something is under way it is what S was shown last.
func TestOwnSegmentsEchoWhatTheServersHostHasHeard(t *testing.T) {
	each(t, func(x *bench) {
		echo := func() uint32 {
			var s wire.Segment
			x.sp.FillClient(x.now, &x.cli, &s)
			return s.Opts.TSEcr
		}
		want := func(why string, val uint32) {
			x.Helper()
			if got := echo(); got != val {
				x.Errorf("%s: %d, want %d", why, got, val)
			}
		}
		x.says(`client < . 51:51(0) ack 141 win 500 <TS val 61 ecr 980>`)
		want("the server's bytes are under way", 50)
		x.says(`client < . 51:51(0) ack 201 win 500 <TS val 62 ecr 980>`)
		want("more may be", 50)
		x.now += 60 * time.Millisecond
		want("nothing is", 62)
		x.cli.HeardTS(63)
		x.cli.HeardData(x.s + 61)
		want("S's bytes are under way", 62)
		if x.cli.TSEchoed != 62 {
			x.Errorf("the newest is %d", x.cli.TSEchoed)
		}
	})
}
