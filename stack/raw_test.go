package stack

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// rawPeer is a client that speaks in single segments.
type rawPeer struct {
	t        *testing.T
	d        *Decoy
	src, dst netip.AddrPort
	opts     wire.Options // of data segments
	seq, ack tcb.Seq
	wnd      uint16
	out      chan []byte
	buf      []byte
}

func newRawPeer(t *testing.T, iss tcb.Seq, s Service, edit func(*Conn)) (*rawPeer, *Gate) {
	t.Helper()
	d := newDecoy(t, Config{})
	c, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	p := &rawPeer{t: t, d: d, src: client4, dst: decoy4, seq: iss, wnd: 65535,
		out: make(chan []byte, 1<<12), buf: bytes.Repeat([]byte{0xa5}, 4096)}
	conn := Conn{Leg: tcb.TupleOf(p.src, p.dst), Client: trueClient, Dialled: trueDialled, Service: c, Record: 1 << 20}
	if edit != nil {
		edit(&conn)
	}
	g := d.Expect(conn)
	go p.read()
	return p, g
}

func (p *rawPeer) read() {
	buf := make([]byte, 65536)
	for {
		n, _, err := p.d.Next(buf)
		if err != nil {
			return
		}
		p.out <- bytes.Clone(buf[:n])
	}
}

func (p *rawPeer) send(f wire.Flags, opts wire.Options, payload string) {
	seg := &wire.Segment{Src: p.src, Dst: p.dst, TTL: 64, Seq: p.seq, Ack: p.ack, Flags: f, Wnd: p.wnd,
		Opts: opts, Payload: []byte(payload)}
	p.d.Inject(wire.Build(p.buf, seg))
	p.seq = seg.End()
}

// next is the next segment that the decoy emits.
func (p *rawPeer) next() wire.Segment {
	p.t.Helper()
	select {
	case pkt := <-p.out:
		var seg wire.Segment
		if r := wire.Parse(&seg, pkt, wire.Offload{}); r != wire.OK {
			p.t.Fatalf("the decoy emitted %s", r)
		}
		return seg
	case <-time.After(patience):
		p.t.Fatal("the decoy emitted nothing")
	}
	panic("unreachable")
}

// wantIdle: the decoy emits nothing for a while.
func (p *rawPeer) wantIdle(why string) {
	p.t.Helper()
	select {
	case pkt := <-p.out:
		var seg wire.Segment
		wire.Parse(&seg, pkt, wire.Offload{})
		p.t.Fatalf("%s: the decoy emitted flags %#x seq %d ack %d", why, seg.Flags, seg.Seq, seg.Ack)
	case <-time.After(50 * time.Millisecond):
	}
}

// open makes the handshake and returns the SYN-ACK.
func (p *rawPeer) open(opts wire.Options) wire.Segment {
	p.t.Helper()
	p.send(wire.SYN, opts, "")
	sa := p.next()
	p.ack = sa.Seq + 1
	if opts.HasTS {
		p.opts = wire.Options{HasTS: true, TSVal: opts.TSVal, TSEcr: sa.Opts.TSVal}
	}
	p.send(wire.ACK, p.opts, "")
	return sa
}

// data reads segments until n bytes have come, and acknowledges them.
func (p *rawPeer) data(n int) (segs []wire.Segment) {
	p.t.Helper()
	for n > 0 {
		s := p.next()
		if len(s.Payload) == 0 {
			continue
		}
		n -= len(s.Payload)
		p.ack = s.End()
		segs = append(segs, s)
		p.send(wire.ACK, p.opts, "")
	}
	return segs
}

var isns = []tcb.Seq{1000, 0x7fffff00, 0xffffff00}

func TestSegmentReserveMakesLinuxLengths(t *testing.T) {
	tests := []struct {
		name     string
		ts, sack bool
		want     int
	}{
		{"timestamps and SACK", true, true, 1448},
		{"timestamps", true, false, 1448},
		{"SACK", false, true, 1460},
		{"neither", false, false, 1460},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			segments := 3
			if tt.ts {
				segments = 500 // the send buffer fills several times
			}
			big := bytes.Repeat([]byte("x"), segments*tt.want)
			p, g := newRawPeer(t, 0xffffff00, Service{Kind: Banner, Banner: big}, nil)
			defer g.Forget()
			sa := p.open(wire.Options{HasMSS: true, MSS: 1460 + SegmentReserve(tt.ts, tt.sack), HasTS: tt.ts, TSVal: 7,
				SACKPermitted: tt.sack, HasWndShift: true, WndShift: 7})
			if sa.Wnd < 65160 {
				t.Errorf("the first window is %d, a Linux host shows 65160", sa.Wnd)
			}
			for i, s := range p.data(len(big)) {
				if len(s.Payload) != tt.want {
					t.Errorf("segment %d has %d bytes, want %d", i, len(s.Payload), tt.want)
				}
			}
		})
	}
}

// TCP.md 6: a forged RST with SEQ exactly its RCV.NXT; nothing comes out, the
// endpoint is gone.
func TestForgedResetDetachesInSilence(t *testing.T) {
	for _, iss := range isns {
		p, g := newRawPeer(t, iss, Service{Kind: Banner, Banner: []byte("hi")}, nil)
		p.open(wire.Options{HasMSS: true, MSS: 1460})
		p.data(2)
		p.send(wire.ACK|wire.PSH, p.opts, "trigger")
		p.next() // its ACK
		freeze(g)
		g.Discard()
		eventually(t, "the service ends", func() bool { return p.d.Stats().Goroutines == 0 })
		p.send(wire.RST, p.opts, "")
		eventually(t, "the endpoint is gone", func() bool { return p.d.Stats().Registered == 0 })
		p.wantIdle("after the RST")
		g.Forget()
		p.wantIdle("after Forget")
		if s := p.d.Stats(); s.Flows+s.Endpoints != 0 {
			t.Errorf("left over: %+v", s)
		}
	}
}

// freeze waits until the gate is frozen: a segment may be out before its service
// has said that the answer is whole.
func freeze(g *Gate) uint64 {
	done := make(chan uint64, 1)
	if w, frozen := g.Freeze(0, func(w uint64) { done <- w }); frozen {
		return w
	}
	return <-done
}

// What S has not acknowledged stays the decoy's business after a commit.
func TestDiscardedFlowStillResends(t *testing.T) {
	p, g := newRawPeer(t, 1000, Service{Kind: Banner, Banner: []byte("hi")}, nil)
	p.open(wire.Options{HasMSS: true, MSS: 1460})
	first := p.next()
	if w := freeze(g); w != 2 {
		t.Fatalf("Freeze: %d", w)
	}
	g.Discard()
	again := p.next()
	if again.Seq != first.Seq || string(again.Payload) != "hi" {
		t.Errorf("resent %q at %d, want hi at %d", again.Payload, again.Seq, first.Seq)
	}
	g.Forget()
}

// A SYN that nobody announced, or whose flow was forgotten, and any other
// segment for no endpoint, draw nothing.
func TestUnannouncedSegmentsDrawNothing(t *testing.T) {
	p, g := newRawPeer(t, 1000, Service{Kind: Silent}, nil)
	g.Forget()
	p.send(wire.SYN, wire.Options{HasMSS: true, MSS: 1460}, "")
	p.send(wire.ACK, wire.Options{}, "x")
	p.send(wire.RST, wire.Options{}, "")
	p.d.Inject([]byte{0x00, 1, 2})
	p.d.Inject(nil)
	p.wantIdle("nobody announced it")
	if s := p.d.Stats(); s.Unknown != 5 || s.Registered != 0 {
		t.Errorf("%+v, want 5 unknown", s)
	}
}

func TestForgetEndsAHandshake(t *testing.T) {
	p, g := newRawPeer(t, 1000, Service{Kind: Silent}, nil)
	p.send(wire.SYN, wire.Options{HasMSS: true, MSS: 1460}, "")
	p.next()
	g.Forget()
	eventually(t, "the half-open endpoint is gone", func() bool {
		s := p.d.Stats()
		return s.Goroutines == 0 && s.Registered == 0 && s.Flows == 0
	})
}

// A client's segments that come as its flow is forgotten: gVisor panics where they
// reach an endpoint in SYN-RCVD whose handshake was given up.
func TestForgetAmongSegmentsOfAHandshake(t *testing.T) {
	p, g := newRawPeer(t, 1000, Service{Kind: Silent}, nil)
	g.Forget()
	for i := range 2000 {
		p.src = netip.AddrPortFrom(p.src.Addr(), uint16(i+1))
		conn := g.conn
		conn.Leg = tcb.TupleOf(p.src, p.dst)
		flow := p.d.Expect(conn)
		p.seq, p.ack = 1000, 0
		p.send(wire.SYN, wire.Options{HasMSS: true, MSS: 1460}, "")
		p.ack = p.next().Seq + 1
		done := make(chan struct{})
		go func() {
			flow.Forget()
			close(done)
		}()
		p.ack++ // nothing that ends a handshake
		for range 20 {
			p.send(wire.ACK, wire.Options{}, "x")
		}
		<-done
		for len(p.out) > 0 {
			<-p.out
		}
	}
	eventually(t, "nothing leaks", func() bool {
		s := p.d.Stats()
		return s.Goroutines == 0 && s.Registered == 0 && s.Endpoints == 0
	})
}

// DESIGN 5: the switch may be faster than the endpoint's creation.
func TestSwitchFasterThanTheEndpoint(t *testing.T) {
	for _, then := range []string{"handshake ends", "reset", "forgotten"} {
		t.Run(then, func(t *testing.T) {
			p, g := newRawPeer(t, 0x7fffff00, Service{Kind: Banner, Banner: []byte("hi")}, nil)
			p.send(wire.SYN, wire.Options{HasMSS: true, MSS: 1460}, "")
			p.ack = p.next().Seq + 1
			if w, frozen := g.Freeze(0, nil); w != 0 || !frozen {
				t.Fatalf("Freeze: %d %v", w, frozen)
			}
			g.Discard()
			switch then {
			case "handshake ends":
				p.send(wire.ACK, wire.Options{}, "")
			case "reset":
				p.send(wire.RST|wire.ACK, wire.Options{}, "")
			}
			if then == "forgotten" {
				g.Forget()
			}
			eventually(t, "nothing leaks", func() bool {
				s := p.d.Stats()
				return s.Goroutines == 0 && s.Registered == 0 && s.Endpoints == 0
			})
			if g.Written() != 0 {
				t.Error("the service has spoken")
			}
			g.Forget()
		})
	}
}

// A leg that draws a wrong SYN-ACK is reset and opened again.
func TestHandshakeMayBeginAgain(t *testing.T) {
	p, g := newRawPeer(t, 1000, Service{Kind: Banner, Banner: []byte("hi")}, nil)
	defer g.Forget()
	p.send(wire.SYN, wire.Options{HasMSS: true, MSS: 1460}, "")
	p.next()
	p.send(wire.RST, wire.Options{}, "")
	eventually(t, "the first is gone", func() bool { return p.d.Stats().Goroutines == 0 })
	p.seq, p.ack = 1000, 0
	p.open(wire.Options{HasMSS: true, MSS: 1460})
	p.data(2)
}

func TestRingDropsAtItsBound(t *testing.T) {
	d := newDecoy(t, Config{RingBytes: 1000})
	c, _ := Compile(Service{Kind: Banner, Banner: bytes.Repeat([]byte("x"), 100_000)})
	g := d.Expect(Conn{Leg: tcb.TupleOf(client4, decoy4), Service: c})
	defer g.Forget()
	p := &rawPeer{t: t, d: d, src: client4, dst: decoy4, seq: 1000, wnd: 65535, buf: make([]byte, 200)}
	p.send(wire.SYN, wire.Options{HasMSS: true, MSS: 1460}, "")
	buf := make([]byte, 65536)
	n, _, err := d.Next(buf)
	if err != nil {
		t.Fatal(err)
	}
	var sa wire.Segment
	wire.Parse(&sa, buf[:n], wire.Offload{})
	p.ack = sa.Seq + 1
	p.send(wire.ACK, wire.Options{}, "")
	eventually(t, "packets are dropped", func() bool { return d.Stats().RingDrops > 0 })
	if s := d.Stats(); s.RingBytes > 1000 {
		t.Errorf("%d bytes in a ring of 1000", s.RingBytes)
	}
}

func TestCloseEndsWhatRuns(t *testing.T) {
	p, _ := newRawPeer(t, 1000, Service{Kind: Banner, Banner: []byte("hi")}, nil)
	p.open(wire.Options{HasMSS: true, MSS: 1460})
	p.data(2)
	p.d.Close()
	if s := p.d.Stats(); s.Goroutines+s.Flows+s.Endpoints != 0 {
		t.Errorf("left over: %+v", s)
	}
	p.d.Inject([]byte{0x45})
	p.d.Expect(Conn{}).Forget()
}
