package redirect_test

import (
	"strings"
	"testing"
	"time"

	"sleight/redirect"
	"sleight/redirect/sim"
	"sleight/stack/wire"
)

// narrow is a spliced flow whose backend has a window of 1,000 bytes.
func (b *bench) narrow() (s, d *peer) {
	b.Helper()
	s, d = b.spliced(func(s *wire.Segment) { s.Opts.HasWndShift, s.Opts.WndShift, s.Wnd = false, 0, 1000 })
	d.wnd = 1000
	d.took()
	return s, d
}

// payloads is what was written to a door, segment by segment, by its length.
func (b *bench) payloads(door int) (ns []int) {
	for _, s := range b.doors[door].take() {
		ns = append(ns, len(s.Payload))
	}
	return ns
}

// Bytes that were kept and are on their way do not keep out what lies beyond the next edge.
func TestWhatWasKeptMakesRoomOnceItIsSent(t *testing.T) {
	b := setup(t, nil)
	s, d := b.narrow()
	s.say(strings.Repeat("a", 1500)) // 500 are kept
	d.acks(d.ack + 1000)             // and sent
	s.say(strings.Repeat("b", 400))  // passes
	s.say(strings.Repeat("c", 300))  // 100 of it; 200 are kept
	b.wantCount("kept_full", 0)
	b.doors[1].take()
	d.acks(s.seq - 200)
	if a := b.one(1); string(a.Payload) != strings.Repeat("c", 200) || a.End() != s.seq {
		t.Errorf("%+v, want the 200 bytes beyond the edge", a)
	}
}

// What the gateway has acknowledged in the decoy's name it keeps until the backend has it.
func TestWhatWasAcknowledgedStaysKept(t *testing.T) {
	b := setup(t, nil)
	s := b.dial(1)
	s.say(sim.Trigger + strings.Repeat("a", 1400))
	b.wait(100 * time.Millisecond) // acknowledged by now
	d := b.answers(func(s *wire.Segment) { s.Opts.HasWndShift, s.Opts.WndShift, s.Wnd = false, 0, 1000 })
	d.wnd = 1000
	d.acks(d.ack + 1000) // the rest is on its way
	s.say(strings.Repeat("b", 400))
	s.say(strings.Repeat("c", 600)) // beyond the edge
	b.doors[1].take()
	b.wait(time.Second)
	if ns := b.payloads(1); len(ns) == 0 || ns[0] != len(sim.Trigger)+400 {
		t.Errorf("sent again: %v, want what nobody else would", ns)
	}
}

// "It is sent at SND.NXT": a bare acknowledgement beyond the edge would not be taken (RFC
// 9293, section 3.10.7.4).
func TestAnAcknowledgementBehindKeptBytesIsTaken(t *testing.T) {
	b := setup(t, nil)
	s, d := b.narrow()
	s.say(strings.Repeat("a", 1500))
	edge := d.ack + 1000
	b.doors[1].take()
	d.say("word")
	s.hears(b.last(0))
	if a := b.one(1); a.Len() != 0 || a.Seq != edge || a.Ack != d.seq {
		t.Errorf("%+v, want it at %v", a, edge)
	}
}

// mind counts what a decoy is told without a byte.
type mind struct {
	*sim.Decoy
	bare *int
}

func (m mind) Inject(pkt []byte) {
	var s wire.Segment
	if wire.Parse(&s, pkt, wire.Offload{CsumValid: true}) == wire.OK && s.Len() == 0 {
		*m.bare++
	}
	m.Decoy.Inject(pkt)
}

// Bytes that a decoy does not get are no duplicate acknowledgements to it (RFC 5681,
// section 2): three of them, and it sends again what S has.
func TestHeldBytesAreNoDuplicateAcknowledgements(t *testing.T) {
	var bare int
	b := &bench{T: t, w: sim.NewWorld(1)}
	b.hosts = sim.NewDecoy(b.w, func(redirect.Conn) (sim.HostConfig, sim.Service) { return decoyHost, &echoes{} })
	b.make(nil, mind{b.hosts, &bare})
	b.hosts.Attach(b.g, false)
	s := b.dial(1)
	s.say("hello")
	b.wait(time.Millisecond)
	s.say(sim.Trigger)
	bare = 0
	for range 5 {
		s.say("more")
	}
	if bare != 0 {
		t.Errorf("the decoy was told %d times what it knew", bare)
	}
	s.hears(b.last(0)) // this is news
	if bare != 1 {
		t.Errorf("the decoy was told %d times of what S acknowledged", bare)
	}
}
