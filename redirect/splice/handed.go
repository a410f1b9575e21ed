package splice

import (
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Handed is a splice that is carried elsewhere for a while: all that moves when a plain
// segment is translated. A segment is plain if it has no flag but ACK and PSH, no option
// but timestamps and SACK, and nothing that the splice or its flow would do more with
// than translate it.
type Handed struct {
	Cli ClientLeg
	Srv tcb.Leg

	SeqDelta, TSDelta uint32
	Cut               tcb.Seq

	Last  uint32        // newest TSecr of S
	Top   tcb.Seq       // after the highest byte that went to S, in the serving leg's numbers
	Una   tcb.Seq       // what S has acknowledged of them
	UnaAt time.Duration // since the gateway's clock began
	// Trained: the serving leg's retransmissions are S's to judge. Before that no
	// segment of it with bytes is plain.
	Trained bool

	// The rest is not the splice's, but its caller's.

	PAWS  uint32        // TS.Recent of the client leg (RFC 7323, section 4.3)
	Heard time.Duration // when anything came, since the gateway's clock began; 0: nothing
	// By the side that they came from, since it was handed on.
	Pkts, Bytes [2]uint64
}

// Plain reports whether nothing is outstanding that only the splice knows of: a plain
// segment needs no more than what Hand tells.
func (sp *Splice) Plain(cli *ClientLeg) bool {
	e := &sp.Echo
	return e.begun && (e.trained() || !e.una.LessThan(e.top)) && e.back == wire.Block{} &&
		!sp.TrueWindow && cli.TS == sp.Srv.TS && !cli.SndUna.LessThan(sp.Cut)
}

// Hand tells a carrier where the splice stands. It is asked for a plain one.
func (sp *Splice) Hand(cli *ClientLeg, h *Handed) {
	e := &sp.Echo
	*h = Handed{
		Cli: *cli, Srv: sp.Srv, SeqDelta: sp.SeqDelta, TSDelta: sp.TSDelta, Cut: sp.Cut,
		Last: e.last, Top: e.top, Una: e.una, UnaAt: time.Duration(e.unaAt) * unit,
		Trained: e.trained(),
	}
}

// Take goes on with a splice that was handed down, for a carrier that is written in Go.
func (sp *Splice) Take(cli *ClientLeg, h *Handed) {
	sp.Echo.Forget()
	*sp = Splice{SeqDelta: h.SeqDelta, TSDelta: h.TSDelta}
	sp.Return(cli, h)
	sp.Echo.begun = true
	if h.Trained {
		sp.Echo.flights = trainFlights
	}
}

// Return takes in how far a carrier has come. Round trips were not measured meanwhile:
// the serving leg's timers are trusted since before.
func (sp *Splice) Return(cli *ClientLeg, h *Handed) {
	*cli, sp.Srv, sp.Cut = h.Cli, h.Srv, h.Cut
	e := &sp.Echo
	e.Forget()
	e.last, e.top, e.una, e.unaAt = h.Last, h.Top, h.Una, momentOf(h.UnaAt)
	e.flightEnd, e.dups, e.hasSack = h.Top, 0, false
}
