package redirect_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"sleight/redirect"
	"sleight/redirect/sim"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

var (
	clientAddr = netip.MustParseAddrPort("198.51.100.7:40000")
	decoyAddr  = netip.MustParseAddrPort("203.0.113.5:23")
	realAddr   = netip.MustParseAddrPort("10.0.2.2:23")
)

// bench is a gateway between doors that keep what is written to them. Decoys are
// simulated hosts in virtual time; S and D2 say what the test makes them say.
type bench struct {
	*testing.T
	w     *sim.World
	g     *redirect.Gateway
	doors [2]*door
	ev    sim.Events
	hosts *sim.Decoy
}

// door keeps what is written to it, or, if it is silent, its length.
type door struct {
	b      *bench
	out    [][]byte
	fail   bool
	silent bool
	super  bool
	bytes  int
}

func (d *door) Queues() int                   { return 1 }
func (d *door) Super() bool                   { return d.super }
func (d *door) Read(int, []byte) (int, error) { select {} }
func (d *door) Write(_ int, p []byte) (int, error) {
	if d.b.g.FrontLocked() {
		d.b.Error("a packet is written with the lock of the half-open records held")
	}
	if d.fail {
		return 0, errors.New("no room")
	}
	if d.bytes += len(p); d.silent {
		return len(p), nil
	}
	d.out = append(d.out, append([]byte(nil), p[redirect.VnetHeader:]...))
	return len(p), nil
}

// take returns the TCP segments that were written since the last call.
func (d *door) take() (segs []wire.Segment) {
	for _, p := range d.out {
		var s wire.Segment
		if r := wire.Parse(&s, p, wire.Offload{}); r == wire.OK {
			segs = append(segs, s)
		}
	}
	d.out = nil
	return segs
}

// mute is a service that says nothing.
type mute struct{}

func (mute) Serve([]byte, func([]byte), func()) {}

// echoes answers all that it reads.
type echoes struct{ done int }

func (e *echoes) Serve(got []byte, say func([]byte), _ func()) {
	if len(got) > e.done {
		say(got[e.done:])
		e.done = len(got)
	}
}

var decoyHost = sim.HostConfig{ISS: 0x7fffff00, MSS: 1460, WndShift: 7, SACK: true, TS: true, TSBase: 5, Buffer: 64 << 10}

// setup makes a gateway whose rule switches at sim.Trigger.
func setup(t *testing.T, edit func(*redirect.Config)) *bench {
	b := &bench{T: t, w: sim.NewWorld(1)}
	b.hosts = sim.NewDecoy(b.w, func(redirect.Conn) (sim.HostConfig, sim.Service) { return decoyHost, mute{} })
	b.make(edit, b.hosts)
	b.hosts.Attach(b.g, false)
	return b
}

func (b *bench) make(edit func(*redirect.Config), d redirect.Decoy) {
	cfg := sim.GatewayConfig(redirect.ToBackend)
	cfg.Started = b.w.Now.Add(-time.Hour)
	if edit != nil {
		edit(&cfg)
	}
	b.doors = [2]*door{{b: b}, {b: b}}
	b.g = redirect.New(cfg, []redirect.Door{b.doors[0], b.doors[1]}, d, &b.ev, func() time.Time { return b.w.Now })
	b.w.Drive(5*time.Millisecond, func(now time.Time) {
		b.g.Tick(now)
		b.hosts.Advance(now)
	})
}

// wait lets virtual time pass.
func (b *bench) wait(d time.Duration) { b.w.Run(d, func() bool { return false }) }

// packet gives a door a packet as it is.
func (b *bench) packet(door int, pkt []byte) {
	b.g.FromDoor(b.w.Now, door, append(make([]byte, redirect.VnetHeader), pkt...))
}

// built is a segment's packet, written into a dirty buffer.
func built(s *wire.Segment) []byte {
	buf := make([]byte, wire.MaxHeader+len(s.Payload))
	for i := range buf {
		buf[i] = 0xa5
	}
	return wire.Build(buf, s)
}

func (b *bench) counted(reason string) (n uint64) {
	b.g.Each(func(r string, c uint64) {
		if r == reason {
			n = c
		}
	})
	return n
}

func (b *bench) wantCount(reason string, n uint64) {
	b.Helper()
	if got := b.counted(reason); got != n {
		b.g.Each(func(r string, c uint64) { b.Logf("counted %s: %d", r, c) })
		b.Errorf("%s counted %d times, want %d", reason, got, n)
	}
}

// wantSilence: nothing was written to a door.
func (b *bench) wantSilence(door int) {
	b.Helper()
	if segs := b.doors[door].take(); len(segs) > 0 {
		b.Errorf("door %d: silence was wanted, not %d segments: %+v", door, len(segs), segs)
	}
}

// one is the only segment that was written to a door.
func (b *bench) one(door int) wire.Segment {
	b.Helper()
	segs := b.doors[door].take()
	if len(segs) != 1 {
		b.Fatalf("door %d: %d segments, want one: %+v", door, len(segs), segs)
	}
	return segs[0]
}

// last is the newest segment that was written to a door.
func (b *bench) last(door int) wire.Segment {
	b.Helper()
	segs := b.doors[door].take()
	if len(segs) == 0 {
		b.Fatalf("door %d: nothing was written", door)
	}
	return segs[len(segs)-1]
}

// peer is one end that the test speaks for.
type peer struct {
	b        *bench
	door     int
	src, dst netip.AddrPort
	seq, ack tcb.Seq
	wnd      uint16
	ts, ecr  uint32
	hasTS    bool
}

func (p *peer) segment(flags wire.Flags, payload string) wire.Segment {
	s := wire.Segment{
		Src: p.src, Dst: p.dst, TTL: 60, DF: true, Seq: p.seq, Ack: p.ack, Flags: flags,
		Wnd: p.wnd, Payload: []byte(payload),
	}
	if p.hasTS {
		s.Opts.HasTS, s.Opts.TSVal, s.Opts.TSEcr = true, p.ts, p.ecr
	}
	return s
}

// send gives the gateway a segment of this peer's as it is.
func (p *peer) send(s wire.Segment) { p.b.packet(p.door, built(&s)) }

// say sends bytes in order.
func (p *peer) say(text string) {
	p.send(p.segment(wire.ACK|wire.PSH, text))
	p.seq = p.seq.Add(tcb.Size(len(text)))
}

// acks acknowledges up to a number.
func (p *peer) acks(to tcb.Seq) {
	p.ack = to
	p.send(p.segment(wire.ACK, ""))
}

// hears acknowledges what a segment carried.
func (p *peer) hears(s wire.Segment) { p.acks(s.End()) }

// caller is a client before its SYN.
func (b *bench) caller(port uint16) *peer {
	return &peer{b: b, src: netip.AddrPortFrom(clientAddr.Addr(), port), dst: decoyAddr, seq: 1000, wnd: 500, ts: 7, hasTS: true}
}

func (p *peer) syn() wire.Segment {
	s := p.segment(wire.SYN, "")
	s.Wnd = 0xffff
	s.Opts = wire.Options{
		HasMSS: true, MSS: 1460, HasWndShift: true, WndShift: 7, SACKPermitted: true,
		HasTS: p.hasTS, TSVal: p.ts,
	}
	return s
}

// dial makes a flow and waits until its decoy is there.
func (b *bench) dial(port uint16) *peer {
	b.Helper()
	p := b.caller(port)
	p.shake()
	b.wait(10 * time.Millisecond)
	if p.ack == 0 {
		b.Fatal("no flow")
	}
	b.doors[0].take()
	return p
}

// shake is the three-way handshake.
func (p *peer) shake() {
	p.send(p.syn())
	for _, s := range p.b.doors[0].take() {
		if s.Dst == p.src && s.Flags.Has(wire.SYN|wire.ACK) {
			p.seq++
			p.ecr = s.Opts.TSVal
			p.acks(s.Seq + 1)
		}
	}
}

// answers makes the backend's end of the flow that just began to switch: it has
// taken the SYN and answers it, and the commit has come if nothing was recorded.
func (b *bench) answers(edit func(*wire.Segment)) *peer {
	b.Helper()
	syn := b.one(1)
	if syn.Flags != wire.SYN {
		b.Fatalf("%+v is no SYN", syn)
	}
	d := &peer{b: b, door: 1, src: syn.Dst, dst: syn.Src, seq: 0xffffff00, ack: syn.Seq + 1, wnd: 500, ts: 900, ecr: syn.Opts.TSVal, hasTS: true}
	s := d.segment(wire.SYN|wire.ACK, "")
	s.Wnd = 65160
	s.Opts.HasMSS, s.Opts.MSS, s.Opts.SACKPermitted, s.Opts.HasWndShift, s.Opts.WndShift = true, 1460, true, true, 7
	if edit != nil {
		edit(&s)
		d.hasTS = s.Opts.HasTS
	}
	d.send(s)
	d.seq++
	return d
}

// spliced is a flow that was switched by its first words.
func (b *bench) spliced(edit func(*wire.Segment)) (s, d *peer) {
	b.Helper()
	s = b.dial(40000)
	s.say(sim.Trigger)
	d = b.answers(edit)
	if len(b.ev.Switches) != 1 || b.ev.Switches[0].Result != "ok" {
		b.Fatalf("switches: %+v", b.ev.Switches)
	}
	return s, d
}

// took acknowledges, as the backend, what the trigger was.
func (d *peer) took() {
	d.ack = d.ack.Add(tcb.Size(len(sim.Trigger)))
	d.acks(d.ack)
	d.b.doors[0].take()
	d.b.doors[1].take()
}

func (b *bench) wantSwitch(result string) {
	b.Helper()
	if n := len(b.ev.Switches); n == 0 || b.ev.Switches[n-1].Result != result {
		b.Errorf("switches: %+v, want the last to be %q", b.ev.Switches, result)
	}
}

func (b *bench) wantDecision(verdict, reason string) {
	b.Helper()
	if n := len(b.ev.Decisions); n == 0 || b.ev.Decisions[n-1].Verdict != verdict || b.ev.Decisions[n-1].Reason != reason {
		b.Errorf("decisions: %+v, want %s: %s", b.ev.Decisions, verdict, reason)
	}
}

func end(s wire.Segment) tcb.Seq { return s.End() }
