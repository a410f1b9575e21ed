package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sleight/redirect"
	"sleight/stack/wire"
)

// plain is a lossless conversation between ordinary hosts whose second line is
// the trigger.
func plain() *Scenario {
	s := NewScenario(2)
	host := HostConfig{ISS: 1000, MSS: 1460, WndShift: 7, SACK: true, TS: true, Buffer: 200 << 10, Strict: true}
	s.client, s.decoy, s.backend = host, host, host
	s.decoy.ISS, s.backend.ISS = 0x7fffff00, 0xffffff00
	s.decoy.TSBase, s.backend.TSBase = 5, 0xfffff000
	s.carrier, s.odd, s.idle = nil, 0, 0
	s.Lossless, s.refuse, s.mode = true, false, redirect.ToBackend
	s.fault = [2]Fault{{Delay: time.Millisecond}, {Delay: 100 * time.Microsecond}}
	s.lines(true, "hello", Trigger, "more")
	return s
}

// lines sets what the client says; apart, each line waits for the last one's
// answer.
func (s *Scenario) lines(apart bool, lines ...string) {
	s.said, s.want, s.chunks, s.waits, s.switches = nil, nil, nil, nil, false
	for _, l := range lines {
		s.switches = s.switches || strings.Contains(l, Trigger)
		name := "same"
		if s.switches {
			name = map[bool]string{false: "backend", true: "decoy"}[s.refuse]
		}
		s.said = append(s.said, l+"\n"...)
		s.want = append(s.want, answer(name, l)...)
		if apart {
			s.chunks, s.waits = append(s.chunks, []byte(l+"\n")), append(s.waits, true)
		}
	}
	if !apart {
		s.chunks, s.waits = [][]byte{s.said}, []bool{false}
	}
	s.closeLate = true
}

// also has S say one more line, without a wait.
func (s *Scenario) also(line string) {
	s.said = append(s.said, line+"\n"...)
	s.want = append(s.want, answer("backend", line)...)
	s.chunks, s.waits = append(s.chunks, []byte(line+"\n")), append(s.waits, false)
}

func (s *Scenario) must(t *testing.T) {
	t.Helper()
	if out := s.Run(); out.Problem != "" {
		t.Errorf("%s", out.Problem)
	}
}

func TestAnOrdinaryConversation(t *testing.T) { plain().must(t) }

// "decoy and backend with different window scales (0/10, 10/0, 7/14)".
func TestDifferentWindowScales(t *testing.T) {
	for _, v := range [][2]int{{0, 10}, {10, 0}, {7, 14}, {-1, 7}, {7, -1}} {
		s := plain()
		s.decoy.WndShift, s.backend.WndShift = v[0], v[1]
		s.backend.Buffer = 8 << max(0, 14)
		s.lines(true, "hello", strings.Repeat("x", 60000)+Trigger, strings.Repeat("y", 60000))
		t.Run(fmt.Sprint(v), s.must)
	}
}

// "a D2 with an 8 KB window behind scale 14".
func TestASmallWindowBehindALargeScale(t *testing.T) {
	s := plain()
	s.client.WndShift, s.client.Buffer = 14, 1<<20
	s.backend.WndShift, s.backend.Buffer, s.backend.Slow = 0, 8<<10, 4<<10
	s.lines(true, "hello", Trigger+strings.Repeat("x", 100000), strings.Repeat("y", 100000))
	s.must(t)
}

// "six pipelined lines of which the first matches".
func TestSixPipelinedLinesOfWhichTheFirstMatches(t *testing.T) {
	s := plain()
	s.lines(false, Trigger, "2", "3", "4", "5", "6")
	t.Run("in one segment", s.must)
	s = plain()
	s.lines(true, Trigger, "2", "3", "4", "5", "6")
	s.waits = make([]bool, len(s.chunks))
	t.Run("each in its own", s.must)
	// The backend is so far that what is held is acknowledged meanwhile: S will not
	// send it again.
	s.fault[1].Delay = 100 * time.Millisecond
	t.Run("acknowledged before the switch", s.must)
}

// "a match split over two segments".
func TestAMatchSplitOverTwoSegments(t *testing.T) {
	s := plain()
	s.lines(false, "hello "+Trigger+" world")
	at := strings.Index(string(s.said), Trigger) + 3
	s.chunks, s.waits = [][]byte{s.said[:at], s.said[at:]}, []bool{false, false}
	s.must(t)
}

// "a backend that is down": the client keeps the decoy.
func TestABackendThatIsDown(t *testing.T) {
	s := plain()
	s.refuse = true
	s.lines(true, "hello", Trigger, "more")
	s.must(t)
}

// "MSS 536 against 1460", both ways.
func TestDifferentMSS(t *testing.T) {
	for _, v := range [][3]uint16{{536, 1460, 1460}, {1460, 1460, 536}, {1460, 1460, 1200}} {
		s := plain()
		s.client.MSS, s.decoy.MSS, s.backend.MSS = v[0], v[1], v[2]
		s.lines(true, strings.Repeat("a", 5000), strings.Repeat("x", 5000)+Trigger, strings.Repeat("y", 5000))
		t.Run(fmt.Sprint(v), s.must)
	}
}

// "every subset of {timestamps, SACK, scaling} on each leg".
func TestEverySubsetOfOptionsOnEachLeg(t *testing.T) {
	for mask := range 1 << 9 {
		s := plain()
		for i, h := range []*HostConfig{&s.client, &s.decoy, &s.backend} {
			bits := mask >> (3 * i)
			h.TS, h.SACK = bits&1 != 0, bits&2 != 0
			if bits&4 != 0 {
				h.WndShift = -1
			}
		}
		s.lines(true, "hello", strings.Repeat("x", 3000)+Trigger, "more")
		if out := s.Run(); out.Problem != "" {
			t.Errorf("mask %09b: %s", mask, out.Problem)
		}
	}
}

// "one lost SYN in the replay": it is sent again after 200 ms, within the time of
// a replay.
func TestOneLostSYNInTheReplay(t *testing.T) {
	s := plain()
	s.Lossless = false
	s.lose = func(n int) bool { return n == 1 }
	s.must(t)
}

// What S has lost before bytes that the gateway keeps waits for the backend's edge, as
// they do: nothing is sent beyond what it has announced (RFC 9293, section 3.8.6).
func TestWhatIsLostBeforeKeptBytesWaitsForTheEdge(t *testing.T) {
	for seed := range uint64(40) {
		s := plain()
		s.Seed, s.Lossless = seed, false
		for _, h := range []*HostConfig{&s.client, &s.decoy, &s.backend} {
			h.Strict = false
		}
		s.backend.WndShift, s.backend.Buffer = 0, 8<<10
		s.fault[0] = Fault{Lose: .03, Reorder: .05, Delay: 5 * time.Millisecond, Jitter: time.Millisecond}
		s.lines(true, "hello", Trigger)
		for range 30 {
			s.also(strings.Repeat("x", 3000))
		}
		t.Run(fmt.Sprint(seed), s.must)
	}
}

// S uploads more than the backend's window while the backend speaks: what the gateway
// keeps of it is no duplicate acknowledgement to the backend (RFC 5681, section 2), which
// would send again what S has.
func TestWhatIsKeptIsNoDuplicateAcknowledgement(t *testing.T) {
	for _, buffer := range []int{8 << 10, 30 << 10} {
		for _, delay := range []time.Duration{50 * time.Microsecond, 10 * time.Millisecond, 50 * time.Millisecond} {
			s := plain()
			s.fault[0].Delay = delay
			s.client.MSS, s.client.Buffer = 536, buffer
			s.backend.WndShift, s.backend.Buffer = 0, buffer
			s.lines(true, "hello", Trigger, "more")
			for range 30 {
				s.also(strings.Repeat("x", 8000))
			}
			t.Run(fmt.Sprint(buffer, delay), s.must)
		}
	}
}

// abortCarried has a flow end that a carrier has, behind bytes that are still crossing or,
// if it shall be quiet, when nothing is on its way; and reports whether both of its peers
// see it reset.
func abortCarried(t *testing.T, mode redirect.Mode, six bool, queue time.Duration, quiet bool, end func(*Net, *Host)) bool {
	t.Helper()
	src, dst := clientAddr, decoyAddr
	if six {
		src, dst = clientV6, decoyV6
	}
	s := plain()
	n := NewNet(Config{
		Seed: 1, Client: s.fault[0], Backend: s.fault[1], Gateway: GatewayConfig(mode), Carrier: &Fault{Delay: queue},
		NewDecoy:  func(redirect.Conn) (HostConfig, Service) { return s.decoy, &lines{name: "decoy"} },
		NewServer: func(*wire.Segment) (HostConfig, Service, bool) { return s.backend, &lines{name: "backend"}, true },
	})
	h := n.Dial(src, dst, s.client)
	said, sent, aborted := 0, 0, false
	carried := func() bool {
		for _, f := range n.carrier.flows {
			return f.phase == taken
		}
		return false
	}
	n.Drive(time.Millisecond, func(now time.Time) {
		if !h.Open() || aborted || !h.Done() {
			return
		}
		if quiet && said > 60 && carried() {
			aborted = true
			n.After(200*time.Millisecond, func() {
				sent = n.up[0].Sent + n.up[1].Sent
				end(n, h)
			})
			return
		}
		line := Trigger + strings.Repeat("x", 3000) + "\n"
		h.Write(now, []byte(line))
		if said++; !quiet && said > 60 && carried() {
			end(n, h)
			aborted = true
		}
	})
	n.Run(30*time.Second, func() bool { return aborted && h.Reset && n.Servers()[0].Reset })
	if !aborted {
		t.Fatal("the carrier never had the flow")
	}
	if len(n.Servers()) != 1 || len(h.Faults) > 0 || len(n.Servers()[0].Faults) > 0 {
		t.Errorf("S: %v, D2: %v", h.Faults, n.Servers()[0].Faults)
	}
	if quiet && n.up[0].Sent+n.up[1].Sent != sent {
		return false // they did not believe it at once, and asked
	}
	return h.Reset && n.Servers()[0].Reset
}

// A RST of a flow that the carrier has comes behind what was carried; one of the gateway's
// own has the numbers to which the carrier has come, or the peer would not believe it (RFC
// 5961, section 3.2).
func TestARSTBehindWhatIsCarried(t *testing.T) {
	ends := map[string]func(*Net, *Host){
		"S":  func(_ *Net, h *Host) { h.Abort() },
		"D2": func(n *Net, _ *Host) { n.Servers()[0].Abort() },
		"gateway": func(n *Net, _ *Host) {
			flows, _ := n.G.List(n.Now, 0)
			n.G.Kill(n.Now, flows[0].ID)
		},
	}
	for who, end := range ends {
		for _, mode := range []redirect.Mode{redirect.Keep, redirect.ToBackend, redirect.NAT} {
			for _, six := range []bool{false, true} {
				for _, queue := range []time.Duration{0, time.Millisecond} {
					if !abortCarried(t, mode, six, queue, who == "gateway", end) {
						t.Errorf("by %s, mode %v, IPv6 %v, queue of %v: not reset", who, mode, six, queue)
					}
				}
			}
		}
	}
}
