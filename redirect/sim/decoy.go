package sim

import (
	"bytes"
	"os"
	"time"

	"sleight/redirect"
	"sleight/redirect/record"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Service is what an application does with its connection: it is called
// whenever its host has read something, and once when the connection is open.
// say writes an answer, end closes.
type Service interface {
	Serve(got []byte, say func([]byte), end func())
}

// Decoy stands for the netstack: simulated hosts behind gates.
type Decoy struct {
	w      *World
	g      *redirect.Gateway
	emit   func(pkt []byte)
	New    func(redirect.Conn) (HostConfig, Service)
	gates  map[tcb.Tuple]*gate
	Faults []string
	Live   int
}

// NewDecoy makes one; Attach gives it its gateway.
func NewDecoy(w *World, n func(redirect.Conn) (HostConfig, Service)) *Decoy {
	return &Decoy{w: w, New: n, gates: map[tcb.Tuple]*gate{}}
}

// Attach connects what the decoy emits to the gateway, merged to super-packets if
// super says so.
func (d *Decoy) Attach(g *redirect.Gateway, super bool) {
	d.g = g
	d.emit = func(pkt []byte) { g.FromDecoy(d.w.Now, pkt, wire.Offload{}) }
	if super {
		m := &merger{w: d.w, deliver: func(p []byte, off wire.Offload) { g.FromDecoy(d.w.Now, p, off) }}
		d.emit = m.take
	}
}

// gate stands between one service and its host.
type gate struct {
	d      *Decoy
	key    tcb.Tuple
	host   *Host
	svc    Service
	frozen bool
	dead   bool
	closed bool
	parked []func()
	said   []byte
	marks  []record.Mark
}

// Expect announces a flow.
func (d *Decoy) Expect(c redirect.Conn) redirect.Gate {
	hc, svc := d.New(c)
	hc.Local, hc.Peer, hc.AnyLength = c.Leg.Dest(), c.Leg.Source(), true
	gt := &gate{d: d, key: c.Leg, svc: svc}
	gt.host = NewHost(hc, func(s *wire.Segment) {
		pkt := wire.Build(make([]byte, wire.MaxHeader+len(s.Payload)), s)
		d.w.After(20*time.Microsecond, func() { d.emit(pkt) })
	})
	d.gates[c.Leg] = gt
	d.Live++
	return gt
}

// Inject gives a host a packet.
func (d *Decoy) Inject(pkt []byte) {
	var s wire.Segment
	// The gateway has verified the checksum, and may have left it partial.
	if wire.Parse(&s, pkt, wire.Offload{CsumValid: true}) != wire.OK {
		d.Faults = append(d.Faults, "a packet that does not parse")
		return
	}
	s.Payload = append([]byte(nil), s.Payload...)
	d.w.After(20*time.Microsecond, func() { d.take(&s) })
}

func (d *Decoy) take(s *wire.Segment) {
	gt := d.gates[s.Tuple()]
	if gt == nil {
		return
	}
	if s.Flags.Has(wire.RST) && s.Seq != gt.host.rcv && !gt.dead {
		gt.host.fault("RST at %d, not exactly RCV.NXT %d", s.Seq, gt.host.rcv)
	}
	gt.host.Segment(d.w.Now, s)
	gt.serve()
}

// Next is for goroutines, of which there are none here.
func (d *Decoy) Next([]byte) (int, wire.Offload, error) { return 0, wire.Offload{}, os.ErrClosed }

// Advance lets the hosts' time pass.
func (d *Decoy) Advance(now time.Time) {
	for _, gt := range d.gates {
		gt.host.Advance(now)
	}
}

func (gt *gate) serve() {
	if !gt.host.Open() || gt.dead {
		return
	}
	gt.svc.Serve(gt.host.Got, gt.say, gt.end)
	if gt.host.PeerFIN {
		gt.end()
	}
}

func (gt *gate) say(b []byte) {
	b = bytes.Clone(b)
	read := uint64(len(gt.host.Got))
	if gt.frozen {
		gt.parked = append(gt.parked, func() { gt.write(b, read) })
		return
	}
	gt.write(b, read)
}

func (gt *gate) write(b []byte, read uint64) {
	gt.said = append(gt.said, b...)
	gt.marks = append(gt.marks, record.Mark{Read: read, Written: uint64(len(gt.said))})
	gt.host.Write(gt.d.w.Now, b)
}

func (gt *gate) end() {
	if gt.frozen {
		gt.parked = append(gt.parked, gt.end)
		return
	}
	gt.closed = true
	gt.host.Close(gt.d.w.Now)
}

func (gt *gate) Answered() ([]byte, []record.Mark, bool) { return gt.said, gt.marks, false }

func (gt *gate) Freeze(time.Duration, func(uint64)) (uint64, bool) {
	gt.frozen = true
	return uint64(len(gt.said)), true
}

func (gt *gate) Release() {
	gt.frozen = false
	parked := gt.parked
	gt.parked = nil
	for _, f := range parked {
		gt.d.w.After(0, f)
	}
}

func (gt *gate) Discard()     { gt.dead, gt.parked = true, nil }
func (gt *gate) Closed() bool { return gt.closed }

func (gt *gate) Forget() {
	gt.dead = true
	if gt.d.gates[gt.key] != nil {
		gt.d.Faults = append(gt.d.Faults, gt.host.Faults...)
		delete(gt.d.gates, gt.key)
		gt.d.Live--
	}
}
