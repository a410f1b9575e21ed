package sim

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sleight/redirect"
	"sleight/redirect/replay"
	"sleight/rules"
	"sleight/stack/profile"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Trigger is what the rule looks for.
const Trigger = "EXPLOIT"

// lines is a service that answers each line. Until the trigger decoy and backend
// answer alike; from it on each by its own name.
type lines struct {
	name  string
	done  int
	moved bool
}

func (l *lines) Serve(got []byte, say func([]byte), _ func()) {
	for {
		n := bytes.IndexByte(got[l.done:], '\n')
		if n < 0 {
			return
		}
		line := string(got[l.done : l.done+n])
		l.done += n + 1
		l.moved = l.moved || strings.Contains(line, Trigger)
		name := "same"
		if l.moved {
			name = l.name
		}
		say([]byte(answer(name, line)))
	}
}

// answer is a line's, of a length that depends on it.
func answer(name, line string) string {
	return fmt.Sprintf("%s: %s%s\n", name, line, strings.Repeat("+", len(line)*7%97))
}

// Outcome is what a scenario has come to; Problem is empty if all is well.
type Outcome struct {
	Problem string
	Result  string // of the switch; empty: none was asked for
	Handed  redirect.HandDowns
}

// Scenario is one conversation, drawn from a seed.
type Scenario struct {
	Seed      uint64
	Lossless  bool
	Trace     func(string)
	said      []byte
	want      []byte
	chunks    [][]byte
	waits     []bool // wait for the answers so far before this chunk
	switches  bool
	refuse    bool
	mode      redirect.Mode
	client    HostConfig
	decoy     HostConfig
	backend   HostConfig
	fault     [2]Fault
	closeLate bool
	offload   bool
	carrier   *Fault  // of the queue between a carrier and the gateway; nil: none
	odd       float64 // the chance that a segment of S's or D2's is not plain
	idleAt    int     // before this chunk S is silent for idle
	idle      time.Duration
	lose      func(n int) bool // of the packets to D2
	loseS     func(n int) bool // of the packets to S
	pause     time.Duration    // between two chunks
	config    func(*redirect.Config)
	service   func(name string) Service // nil: lines
}

var isns = []tcb.Seq{1000, 0x7fffff00, 0xffffff00}

func draw[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// NewScenario draws a conversation.
func NewScenario(seed uint64) *Scenario {
	r := rand.New(rand.NewPCG(seed, 77))
	s := &Scenario{Seed: seed, Lossless: r.IntN(3) == 0, refuse: r.IntN(8) == 0, mode: draw(r, redirect.Keep, redirect.ToBackend, redirect.NAT),
		offload: seed/2%2 == 0}
	host := func() HostConfig {
		h := HostConfig{
			ISS: draw(r, isns...), MSS: draw[uint16](r, 536, 1200, 1460), WndShift: draw(r, -1, 0, 2, 7, 10, 14),
			SACK: r.IntN(3) > 0, TS: r.IntN(3) > 0, TSBase: draw(r, 0, 1, uint32(0xfffff000)),
			Buffer: draw(r, 8<<10, 30<<10, 64<<10, 200<<10), Strict: s.Lossless,
		}
		// No kernel takes a scale in which its buffer is less than a few units.
		h.Buffer = max(h.Buffer, 8<<max(0, h.WndShift))
		return h
	}
	s.client, s.decoy, s.backend = host(), host(), host()
	s.decoy.MSS = 1460
	if !s.Lossless {
		for i := range s.fault {
			s.fault[i] = Fault{Lose: .03, Duplicate: .02, Reorder: .05, Flip: .01, Delay: time.Duration(r.IntN(20)) * time.Millisecond, Jitter: time.Millisecond}
		}
	} else {
		s.fault[0].Delay = draw(r, 50*time.Microsecond, 10*time.Millisecond, 50*time.Millisecond)
		s.fault[1].Delay = draw(r, 50*time.Microsecond, time.Millisecond)
	}
	s.say(r)
	if r.IntN(16) == 0 {
		s.handDown(r)
	}
	return s
}

// handDown draws a carrier, and goes on for long enough that a flow is worth one.
func (s *Scenario) handDown(r *rand.Rand) {
	s.carrier = &Fault{Delay: draw(r, 0, 50*time.Microsecond, time.Millisecond, 10*time.Millisecond), Jitter: draw(r, 0, time.Millisecond)}
	if !s.Lossless {
		s.carrier.Lose = draw(r, 0, .002, .03)
	}
	s.odd = draw(r, 0, .002, .02)
	s.backend.FixedID = r.IntN(8) == 0
	name := "same"
	if s.switches {
		name = map[bool]string{false: "backend", true: "decoy"}[s.refuse]
	}
	var more []byte
	for i := range 50 + r.IntN(150) {
		line := fmt.Sprintf("more %d %s", i, strings.Repeat("y", draw(r, 0, 300, 3000, 8000)))
		more = append(more, line+"\n"...)
		s.want = append(s.want, answer(name, line)...)
	}
	s.said = append(s.said, more...)
	begun := len(s.chunks)
	for len(more) > 0 {
		k := min(len(more), 1+r.IntN(draw(r, 400, 5000, 20000)))
		s.chunks, s.waits, more = append(s.chunks, more[:k]), append(s.waits, r.IntN(3) == 0), more[k:]
	}
	if r.IntN(6) == 0 { // longer than the gateway watches
		s.idleAt, s.idle = begun+r.IntN(len(s.chunks)-begun), 35*time.Second
	}
}

// say draws what the client says and what it should hear.
func (s *Scenario) say(r *rand.Rand) {
	n := 1 + r.IntN(8)
	trigger := r.IntN(n + 2) // beyond n: none
	moved := false
	for i := range n {
		line := fmt.Sprintf("line %d %s", i, strings.Repeat("x", draw(r, 0, 5, 300, 3000)))
		if i == trigger {
			line += Trigger
			moved = true
		}
		s.said = append(s.said, line+"\n"...)
		name := "same"
		if moved {
			name = map[bool]string{false: "backend", true: "decoy"}[s.refuse]
		}
		s.want = append(s.want, answer(name, line)...)
	}
	s.switches = moved
	rest := s.said
	for len(rest) > 0 {
		k := min(len(rest), 1+r.IntN(draw(r, 10, 400, 5000)))
		s.chunks = append(s.chunks, rest[:k])
		s.waits = append(s.waits, r.IntN(3) == 0)
		rest = rest[k:]
	}
	s.closeLate = r.IntN(2) == 0
}

var (
	clientAddr = netip.MustParseAddrPort("198.51.100.7:40000")
	decoyAddr  = netip.MustParseAddrPort("203.0.113.5:23")
	realAddr   = netip.MustParseAddr("10.0.2.2")
	clientV6   = netip.MustParseAddrPort("[2001:db8:51::7]:40000")
	decoyV6    = netip.MustParseAddrPort("[2001:db8:113::5]:23")
	realV6     = netip.MustParseAddr("fd00:2::2")
)

// GatewayConfig is a gateway with one line-wise decoy and one backend.
func GatewayConfig(mode redirect.Mode) redirect.Config {
	set, errs := rules.Compile([]rules.Rule{{Name: "exploit", When: `stream contains "` + Trigger + `"`, Action: rules.Switch, Backend: "real"}})
	if errs != nil {
		panic(errs)
	}
	return redirect.Config{
		Policy: redirect.Policy{
			Refused: []netip.Prefix{netip.PrefixFrom(realAddr, 32)},
			Decoys: []redirect.DecoyConfig{{
				Name: "lines", Profile: profile.Linux, Compare: replay.Exact,
				Quiet: 50 * time.Millisecond, Timeout: 10 * time.Second,
			}},
			Backends: []redirect.Backend{{Name: "real", V4: realAddr, V6: realV6, Mode: mode, Door: 1}},
			Rules:    set,
		},
		Claimed: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:113::/64")},
		Pool:    []netip.Prefix{netip.MustParsePrefix("100.64.0.0/28"), netip.MustParsePrefix("2001:db8:64::/124")},
		MTU:     1500,
		Limits: redirect.Limits{
			Flows: 1000, FlowsPerClient: 100, PrefixV4: 32, PrefixV6: 64, HalfOpen: 100,
			Record: 64 << 10, DecoyRecord: 1 << 20, RecordTotal: 64 << 20, Held: 256 << 10,
		},
		Timeouts: redirect.Timeouts{
			Handshake: 30 * time.Second, Answering: 120 * time.Second, Established: 2 * time.Hour,
			Closing: 4 * time.Minute, Drain: 30 * time.Second,
		},
	}
}

// Run plays the scenario.
func (s *Scenario) Run() (out Outcome) {
	src, dst := clientAddr, decoyAddr
	if s.Seed%2 == 1 {
		src, dst = clientV6, decoyV6
	}
	service := s.service
	if service == nil {
		service = func(name string) Service { return &lines{name: name} }
	}
	cfg := GatewayConfig(s.mode)
	if s.config != nil {
		s.config(&cfg)
	}
	n := NewNet(Config{
		Seed: s.Seed, Client: s.fault[0], Backend: s.fault[1], Gateway: cfg, Offload: s.offload,
		Carrier: s.carrier, Odd: s.odd,
		NewDecoy: func(redirect.Conn) (HostConfig, Service) { return s.decoy, service("decoy") },
		NewServer: func(*wire.Segment) (HostConfig, Service, bool) {
			return s.backend, service("backend"), !s.refuse
		},
	})
	defer func() {
		if p := recover(); p != nil {
			panic(fmt.Sprintf("seed %d: %v", s.Seed, p))
		}
	}()
	n.trace(s.Trace)
	n.down[1].Drop, n.down[0].Drop = s.lose, s.loseS
	h := n.Dial(src, dst, s.client)
	next, wrote, answered := 0, n.Now, s.answered()
	n.Drive(time.Millisecond, func(now time.Time) {
		h.Read(now)
		for next < len(s.chunks) && h.Open() && (!s.waits[next] || len(h.Got) >= answered[next]) && now.Sub(wrote) >= s.before(next) {
			h.Write(now, s.chunks[next])
			next, wrote = next+1, now
		}
		if next == len(s.chunks) && h.Open() && (!s.closeLate || len(h.Got) >= len(s.want)) {
			h.Close(now)
		}
	})
	n.Run(5*time.Minute, func() bool { return h.Reset || h.PeerFIN && h.Done() && len(h.Got) >= len(s.want) })
	out.Problem = s.problem(n, h)
	out.Handed = n.G.HandDowns()
	if len(n.Events.Switches) > 0 {
		out.Result = n.Events.Switches[0].Result
	}
	return out
}

// before is how long S is silent before chunk i.
func (s *Scenario) before(i int) time.Duration {
	if s.idle > 0 && i == s.idleAt {
		return s.idle
	}
	return s.pause
}

// answered is, for each chunk, how many bytes of answers belong to the whole lines
// before it.
func (s *Scenario) answered() (at []int) {
	n := 0
	for _, c := range s.chunks {
		at = append(at, n)
		for range bytes.Count(c, []byte("\n")) {
			n += bytes.IndexByte(s.want[n:], '\n') + 1
		}
	}
	return at
}

// faults is what S has to find fault with. Who was shown the true window, since what lies
// beyond it came again, has seen its edge taken back (RFC 9293, MUST-34).
func faults(n *Net, h *Host) []string {
	shown := uint64(0)
	n.G.Each(func(reason string, count uint64) {
		if reason == "true_window" {
			shown = count
		}
	})
	if shown == 0 {
		return h.Faults
	}
	return slices.DeleteFunc(slices.Clone(h.Faults), func(f string) bool { return strings.HasPrefix(f, "edge retracted") })
}

func (s *Scenario) problem(n *Net, h *Host) string {
	var bad []string
	note := func(who string, faults []string) {
		for _, f := range faults {
			bad = append(bad, who+": "+f)
		}
	}
	note("gateway", n.Faults)
	note("S", faults(n, h))
	note("decoy", n.Decoy.Faults)
	for _, gt := range n.Decoy.gates {
		note("decoy", gt.host.Faults)
	}
	for _, d := range n.Servers() {
		note("D2", d.Faults)
		if s.switches && !s.refuse && !bytes.Equal(d.Got, s.said) {
			bad = append(bad, fmt.Sprintf("D2 has read %d bytes, S said %d", len(d.Got), len(s.said)))
		}
	}
	if h.Reset {
		bad = append(bad, "S was reset")
	}
	if !bytes.Equal(h.Got, s.want) {
		bad = append(bad, fmt.Sprintf("S has read %d bytes, should have %d; differ at %d", len(h.Got), len(s.want), differ(h.Got, s.want)))
	}
	if !h.PeerFIN || !h.Done() {
		bad = append(bad, "the connection did not close")
	}
	if s.Lossless && h.Repeats > 0 {
		bad = append(bad, fmt.Sprintf("S was sent %d segments that it had", h.Repeats))
	}
	if len(bad) > 0 {
		n.G.Each(func(r string, c uint64) { bad = append(bad, fmt.Sprintf("counted %s: %d", r, c)) })
	}
	want := "ok"
	if s.refuse {
		want = "refused"
	}
	if s.switches && (len(n.Events.Switches) != 1 || n.Events.Switches[0].Result != want) {
		bad = append(bad, fmt.Sprintf("switches %+v, want one %s", n.Events.Switches, want))
	}
	return strings.Join(bad, "\n")
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
