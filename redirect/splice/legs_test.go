package splice_test

import (
	"testing"

	"sleight/stack/tcb"
)

func (x *bench) wantSeq(what string, got, want tcb.Seq) {
	x.Helper()
	if got != want {
		x.Errorf("%s is off by %d", what, tcb.Diff(got, want))
	}
}

// What the legs remember of a translated segment (RFC 9293, section 3.3.1). An old
// duplicate takes nothing back.
func TestWhatTheServingLegWasTold(t *testing.T) {
	each(t, func(x *bench) {
		scales(7, 14)(x)
		x.says(`client < . 51:51(0) ack 141 win 500 <TS val 60 ecr 1000>`)
		for range 2 {
			x.wantSeq("RCV.NXT", x.srv.RcvNxt, x.b+81)
			x.wantSeq("the edge", x.srv.RcvEdge, x.b+81+3<<14)
			if x.srv.TSSent != 60 {
				x.Errorf("TSval %d", x.srv.TSSent)
			}
			x.says(`client < . 51:51(0) ack 101 win 500 <TS val 60 ecr 1000>`)
		}
	})
}

func TestWhatTheServingLegSaid(t *testing.T) {
	each(t, func(x *bench) {
		x.srv.SndNxt += 5
		x.hears(`serving < P. 141:146(5) ack 56 win 64 <TS val 420 ecr 50> "hello"`)
		for range 2 {
			x.wantSeq("the serving leg's SND.UNA", x.srv.SndUna, x.s+56)
			x.wantSeq("the serving leg's edge", x.srv.SndEdge, x.s+56+64<<10)
			x.wantSeq("the highest from the server", x.srv.RcvMax, x.b+146)
			x.wantSeq("SND.NXT toward S", x.cli.SndNxt, x.c+206)
			x.wantSeq("RCV.NXT toward S", x.cli.RcvNxt, x.s+56)
			if x.srv.TSRecent != 420 || x.cli.TSSent != 1020 {
				x.Errorf("TSval %d, shown %d", x.srv.TSRecent, x.cli.TSSent)
			}
			x.want(`serving < . 41:41(0) ack 51 win 10 <TS val 410 ecr 50>`,
				`client > . 101:101(0) ack 56 win 512 <TS val 1020 ecr 50>`)
		}
		// An echo of what was only now shown is one that the leg knows.
		x.want(`client < . 56:56(0) ack 206 win 500 <TS val 61 ecr 1020>`,
			`serving > . 56:56(0) ack 146 win 500 <TS val 61 ecr 420>`)
	})
}

// The edge that S was shown counts, rounded up as it was.
func TestTheEdgeThatSWasShownIsKept(t *testing.T) {
	each(t, func(x *bench) {
		announced(14, 0, 0)(x)
		x.hears(`serving < . 41:41(0) ack 51 win 8192 <TS val 410 ecr 50>`)
		x.wantSeq("the edge", x.cli.RcvEdge, x.s+51+1<<14)
	})
}
