package redirect_test

import (
	"testing"
	"time"

	"sleight/redirect"
	"sleight/redirect/sim"
	"sleight/rules"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// deaf is a decoy that, once told, hears no more: what it would keep of a packet
// is not the gateway's.
type deaf struct {
	*sim.Decoy
	now *bool
}

func (d deaf) Inject(pkt []byte) {
	if !*d.now {
		d.Decoy.Inject(pkt)
	}
}

// stream says segments of n bytes, each acknowledged by the other end, without
// allocating.
type stream struct {
	b        *bench
	from, to *peer
	n        int
	pkt      []byte
	read     [2]func(time.Time, []byte)
}

func (x *stream) step() {
	f, t := x.from, x.to
	s := f.segment(wire.ACK, "")
	s.Payload = x.pkt[wire.MaxHeader:][:x.n]
	x.read[f.door](x.b.w.Now, x.whole(&s))
	f.seq = f.seq.Add(tcb.Size(x.n))
	if t == nil {
		return
	}
	t.ack = t.ack.Add(tcb.Size(x.n))
	a := t.segment(wire.ACK, "")
	x.read[t.door](x.b.w.Now, x.whole(&a))
}

// whole is a segment's packet behind its virtio_net_hdr.
func (x *stream) whole(s *wire.Segment) []byte {
	h := x.pkt[:redirect.VnetHeader]
	clear(h)
	if len(s.Payload) > 1448 {
		h[0], h[1], h[4], h[5] = 1, 1, 1448&0xff, 1448>>8 // TSO over IPv4, its checksum partial
	}
	pkt := wire.Build(x.pkt[redirect.VnetHeader:], s)
	return x.pkt[:redirect.VnetHeader+len(pkt)]
}

// "Zero allocation from read to write": DESIGN, the data path.
func TestAPacketsWayAllocatesNothing(t *testing.T) {
	quiet := func(b *bench) {
		b.doors[0].silent, b.doors[1].silent = true, true
	}
	none := func(t *testing.T, x *stream) {
		x.read = [...]func(time.Time, []byte){x.b.g.Reader(0), x.b.g.Reader(1)}
		x.pkt = make([]byte, redirect.VnetHeader+wire.MaxHeader+0xffff)
		if n := testing.AllocsPerRun(500, x.step); n != 0 {
			t.Errorf("%v allocations per segment of %d bytes", n, x.n)
		}
		if got, want := x.b.doors[1-x.from.door].bytes, 500*x.n; x.to != nil && got < want {
			t.Errorf("%d bytes were written, want %d: the packets took another way", got, want)
		}
	}
	t.Run("spliced, from S", func(t *testing.T) {
		b := setup(t, nil)
		s, d := b.spliced(nil)
		d.took()
		quiet(b)
		none(t, &stream{b: b, from: s, to: d, n: 1400})
	})
	t.Run("spliced, from D2", func(t *testing.T) {
		b := setup(t, nil)
		s, d := b.spliced(nil)
		d.took()
		quiet(b)
		none(t, &stream{b: b, from: d, to: s, n: 1400})
	})
	t.Run("spliced, super-packets", func(t *testing.T) {
		b := setup(t, nil)
		b.doors[0].super, b.doors[1].super = true, true
		s, d := b.spliced(nil)
		d.took()
		quiet(b)
		none(t, &stream{b: b, from: s, to: d, n: 60_000})
	})
	t.Run("answering, its verdict is to stay", func(t *testing.T) {
		var off bool
		b := &bench{T: t, w: sim.NewWorld(1)}
		b.hosts = sim.NewDecoy(b.w, func(redirect.Conn) (sim.HostConfig, sim.Service) { return decoyHost, mute{} })
		b.make(func(c *redirect.Config) { c.Rules = always(rules.Stay) }, deaf{b.hosts, &off})
		b.hosts.Attach(b.g, false)
		s := b.dial(40000)
		s.say(sim.Trigger)
		b.wait(time.Second)
		off = true
		quiet(b)
		none(t, &stream{b: b, from: s, n: 100})
	})
}
