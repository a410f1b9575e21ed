package redirect_test

import (
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sleight/redirect"
	"sleight/redirect/record"
	"sleight/redirect/sim"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// told is what was reported of one flow, each a name.
type told struct{ decoy, rule, backend, result string }

// storm is a gateway, peers that talk to it from goroutines of their own, and what
// it has written to each of them, by the client's port. In mode client a backend sees
// that port as well.
type storm struct {
	g     *redirect.Gateway
	newer atomic.Int64 // the newest policy
	mu    sync.Mutex
	out   map[uint16][]wire.Segment
	seen  map[uint16]*told
}

func (s *storm) of(f redirect.FlowInfo, note func(*told)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	port := f.Client.Port()
	if s.seen[port] == nil {
		s.seen[port] = &told{}
	}
	note(s.seen[port])
}

func (s *storm) FlowStart(_ time.Time, f redirect.FlowInfo, v redirect.Started) {
	s.of(f, func(t *told) { t.decoy = v.Decoy })
}
func (s *storm) Decision(_ time.Time, f redirect.FlowInfo, v redirect.Decided) {
	s.of(f, func(t *told) { t.rule += v.Rule })
}
func (s *storm) Switch(_ time.Time, f redirect.FlowInfo, v redirect.Switched) {
	s.of(f, func(t *told) { t.backend += v.Backend; t.result = v.Result })
}
func (s *storm) FlowEnd(time.Time, redirect.FlowInfo, redirect.Ended) {}

// stormDoor files what is written to it.
type stormDoor struct {
	s    *storm
	side int
}

func (stormDoor) Queues() int                   { return 1 }
func (stormDoor) Super() bool                   { return false }
func (stormDoor) Read(int, []byte) (int, error) { return 0, os.ErrClosed }
func (d stormDoor) Write(_ int, b []byte) (int, error) {
	var seg wire.Segment
	if wire.Parse(&seg, append([]byte(nil), b[redirect.VnetHeader:]...), wire.Offload{}) != wire.OK {
		return len(b), nil
	}
	port := seg.Dst.Port()
	if d.side == 1 {
		port = seg.Src.Port()
	}
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	d.s.out[port] = append(d.s.out[port], seg)
	return len(b), nil
}

// take is the first segment with these flags that was written for a port.
func (s *storm) take(port uint16, flags wire.Flags) (seg wire.Segment, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range s.out[port] {
		if seg.Flags == flags {
			delete(s.out, port)
			return seg, true
		}
	}
	return seg, false
}

// unheard is a decoy whose netstack never answers, and whose gate is free at once.
type unheard struct{}

func (unheard) Expect(redirect.Conn) redirect.Gate                           { return unheard{} }
func (unheard) Inject([]byte)                                                {}
func (unheard) Next([]byte) (int, wire.Offload, error)                       { return 0, wire.Offload{}, os.ErrClosed }
func (unheard) Answered() ([]byte, []record.Mark, bool)                      { return nil, nil, false }
func (unheard) Freeze(time.Duration, func(uint64)) (written uint64, ok bool) { return 0, true }
func (unheard) Release()                                                     {}
func (unheard) Discard()                                                     {}
func (unheard) Forget()                                                      {}
func (unheard) Closed() bool                                                 { return false }

func (s *storm) send(door int, seg wire.Segment) {
	s.g.FromDoor(time.Now(), door, append(make([]byte, redirect.VnetHeader), built(&seg)...))
}

// flow is one connection from its SYN to its switch. It returns the address that its
// SYN went to, and the newest policy when it was judged.
func (s *storm) flow(t *testing.T, src netip.AddrPort) (real netip.AddrPort, newest int64) {
	seg := wire.Segment{Src: src, Dst: decoyAddr, TTL: 60, DF: true, Seq: 1000, Wnd: 500}
	send := func(flags wire.Flags, payload string) {
		seg.Flags, seg.Payload = flags, []byte(payload)
		s.send(0, seg)
		runtime.Gosched()
	}
	send(wire.SYN, "")
	synack, ok := s.take(src.Port(), wire.SYN|wire.ACK)
	if !ok {
		t.Errorf("%v: no SYN-ACK: the connection is lost", src)
		return real, 0
	}
	seg.Seq, seg.Ack = 1001, synack.Seq+1
	send(wire.ACK, "")
	newest = s.newer.Load()
	send(wire.ACK|wire.PSH, sim.Trigger)
	syn, ok := s.take(src.Port(), wire.SYN)
	if !ok {
		t.Errorf("%v: no SYN to a backend", src)
		return real, newest
	}
	s.send(1, wire.Segment{Src: syn.Dst, Dst: syn.Src, TTL: 64, DF: true, Seq: 5000, Ack: syn.Seq + 1, Flags: wire.SYN | wire.ACK, Wnd: 65160})
	if held, ok := s.take(src.Port(), wire.ACK|wire.PSH); !ok || string(held.Payload) != sim.Trigger {
		t.Errorf("%v: the backend was given %+v", src, held)
	}
	seg.Seq = seg.Seq.Add(tcb.Size(len(sim.Trigger)))
	send(wire.RST, "")
	return syn.Dst, newest
}

// "100 reloads …: no connection lost, no verdict from a mixed set", in which policy k
// has decoy k, whose rule k switches to backend k.
func TestNoFlowIsJudgedByAMixedSet(t *testing.T) {
	const peers, flows, policies = 4, 500, 200
	s := &storm{out: map[uint16][]wire.Segment{}, seen: map[uint16]*told{}}
	cfg := sim.GatewayConfig(redirect.ToBackend)
	cfg.Policy, cfg.Started = under(1), time.Now().Add(-time.Hour)
	s.newer.Store(1)
	cfg.Limits.Flows, cfg.Limits.FlowsPerClient, cfg.Limits.HalfOpen = 1<<16, 1<<16, 1<<16
	cfg.Refused = nil
	s.g = redirect.New(cfg, []redirect.Door{stormDoor{s, 0}, stormDoor{s, 1}}, unheard{}, s, time.Now)

	var peersDone, all sync.WaitGroup
	stop := make(chan struct{})
	began := func(wg *sync.WaitGroup, f func()) { wg.Add(1); go called(wg, f) }
	reloads := 0
	began(&all, func() {
		for k := 2; ; k = k%policies + 1 {
			select {
			case <-stop:
				return
			default:
				s.g.Reload(time.Now(), under(k))
				s.newer.Store(int64(k))
				s.g.Tick(time.Now())
				reloads++
			}
		}
	})
	var overtaken atomic.Int64
	for p := range peers {
		began(&peersDone, func() {
			for i := range flows {
				src := netip.AddrPortFrom(clientAddr.Addr(), uint16(1000+p*flows+i))
				real, newest := s.flow(t, src)
				k := real.Addr().As4()[3]
				name := strconv.Itoa(int(k))
				s.mu.Lock()
				if got, want := *s.seen[src.Port()], (told{name, name, name, "ok"}); got != want {
					t.Errorf("%v: switched to %v, and told of %+v", src, real, got)
				}
				s.mu.Unlock()
				if newest != int64(k) {
					overtaken.Add(1)
				}
			}
		})
	}
	peersDone.Wait()
	close(stop)
	all.Wait()
	t.Logf("%d flows, %d reloads; %d flows were judged after a reload", peers*flows, reloads, overtaken.Load())
	if reloads < 100 || overtaken.Load() == 0 {
		t.Error("too few reloads, or none of them came between a SYN and its verdict: nothing was proved")
	}
}

func called(wg *sync.WaitGroup, f func()) {
	defer wg.Done()
	f()
}
