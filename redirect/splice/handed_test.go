package splice_test

import (
	"testing"
	"time"

	"sleight/redirect/splice"
)

// trained has S acknowledge ten flights.
func trained(x *bench) {
	for range 12 {
		x.wait(10 * time.Millisecond)
		x.hears(`serving < P. 141:146(5) ack 51 win 64 <TS val 420 ecr 50> "hello"`)
		x.b, x.c = x.b+5, x.c+5
		x.says(`client < . 51:51(0) ack 201 win 500 <TS val 60 ecr 1020>`)
	}
}

// A splice that was handed on and came back unmoved goes on as if it had not been.
func TestHandedThereAndBackIsTheIdentity(t *testing.T) {
	each(t, func(x *bench) {
		trained(x)
		if !x.sp.Plain(&x.cli) {
			t.Fatal("it is not plain")
		}
		cli, srv, cut := x.cli, x.sp.Srv, x.sp.Cut
		var h splice.Handed
		x.sp.Hand(&x.cli, &h)
		x.sp.Return(&x.cli, &h)
		if x.cli != cli || x.sp.Srv != srv || x.sp.Cut != cut || !h.Trained || !x.sp.Plain(&x.cli) {
			t.Errorf("came back as\n%+v\n%+v\nwas\n%+v\n%+v", x.cli, x.sp.Srv, cli, srv)
		}
	})
}

// Until S has acknowledged ten flights, a splice with bytes on their way to S is not
// plain; with none it is, and says so.
func TestASpliceWithBytesUnderWayIsNotPlain(t *testing.T) {
	x := setup(t, 1000, 1000, 1000)
	x.hears(`serving < P. 141:146(5) ack 51 win 64 <TS val 420 ecr 50> "hello"`)
	if x.sp.Plain(&x.cli) {
		t.Error("five bytes are on their way")
	}
	x.says(`client < . 51:51(0) ack 206 win 500 <TS val 60 ecr 1020>`)
	if !x.sp.Plain(&x.cli) {
		t.Error("S has acknowledged all")
	}
	var h splice.Handed
	if x.sp.Hand(&x.cli, &h); h.Trained {
		t.Error("one flight trains nobody")
	}
	x.sp.TrueWindow = true
	if x.sp.Plain(&x.cli) {
		t.Error("S is shown the true window")
	}
}
