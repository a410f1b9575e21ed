// Package rules is the decision engine: facts of a flow in, a verdict out. It
// does no I/O and knows no time; each flow's memory is its caller's.
package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"github.com/expr-lang/expr/vm"

	"sleight/rules/proto"
	"sleight/rules/suricata"
)

// Action is what a rule asks for.
type Action uint8

// The actions. Wait is the verdict while no rule has spoken.
const (
	Wait Action = iota
	Stay
	Switch
	Drop
	Reset
	Log
)

var actionNames = [...]string{"wait", "stay", "switch", "drop", "reset", "log"}

// String is the action's name in a configuration and in events.
func (a Action) String() string { return actionNames[a] }

// ParseAction reads an action's name.
func ParseAction(s string) (Action, error) {
	if i := slices.Index(actionNames[1:], s); i >= 0 {
		return Action(i + 1), nil
	}
	return 0, fmt.Errorf("unknown action %q: use switch, stay, drop, reset or log", s)
}

// PortRange is inclusive.
type PortRange struct{ First, Last uint16 }

// Match is a rule's or a decoy's cheap part; what is empty matches anything.
type Match struct {
	Dst, Src []netip.Prefix
	Ports    []PortRange
}

// Fits reports whether a connection from src to dst matches.
func (m *Match) Fits(src, dst netip.AddrPort) bool {
	if !m.FitsAddr(src.Addr(), dst.Addr()) {
		return false
	}
	return len(m.Ports) == 0 || slices.ContainsFunc(m.Ports, func(r PortRange) bool {
		return r.First <= dst.Port() && dst.Port() <= r.Last
	})
}

// FitsAddr is Fits for what has no ports.
func (m *Match) FitsAddr(src, dst netip.Addr) bool { return in(m.Src, src) && in(m.Dst, dst) }

func in(ps []netip.Prefix, a netip.Addr) bool {
	return len(ps) == 0 || slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Rule is one rule as configured.
type Rule struct {
	Name  string
	Match Match
	When  string // empty: always
	// Suricata: and one of Suricata's rules that it picks has matched. nil: not asked.
	Suricata *suricata.Selector
	Action   Action
	Backend  string

	On        Occasion // 0: any
	Tag       Tag      // given to the client when the rule speaks
	Threshold Threshold
	OncePer   time.Duration // it speaks for a client once in that time; 0: always
}

// Facts are what is known of a flow.
type Facts struct {
	Src, Dst               netip.AddrPort
	Decoy                  string
	Stream, Last, Answered []byte
	Packets, Bytes, Turns  int
	Now                    time.Time // when it is asked
	Age, Idle              time.Duration
	SYN                    SYN
}

// SYN is what is known of the client's SYN.
type SYN struct {
	TTL     uint8  // or hop limit
	Window  uint16 // unscaled
	MSS     uint16 // 0: not said
	IPID    uint16 // 0 in IPv6
	Seq     uint32
	Options Options
}

// Options are a SYN's, in a byte.
type Options uint8

// SYNOptions notes which options a SYN has.
func SYNOptions(mss, sack, ts, ws bool) (o Options) {
	for bit, has := range [...]bool{mss, sack, ts, ws} {
		if has {
			o |= 1 << bit
		}
	}
	return o
}

// String names them, in this order: "mss,sack,ts,ws".
func (o Options) String() string { return synOptions[o&15] }

var synOptions = [16]string{
	"", "mss", "sack", "mss,sack", "ts", "mss,ts", "sack,ts", "mss,sack,ts",
	"ws", "mss,ws", "sack,ws", "mss,sack,ws", "ts,ws", "mss,ts,ws", "sack,ts,ws", "mss,sack,ts,ws",
}

// Verdict is what the rules say.
type Verdict struct {
	Action  Action
	Rule    string
	Backend string
	Offset  int    // bytes of the stream that were judged
	Reason  string // why, beyond the rule's name
	Alert   *Alert // of Suricata's, that the rule has picked; nil: none
	// Suppressed is how often the rule kept silent for the client, for OncePer, since it
	// spoke last.
	Suppressed int

	Logged []Said // rules that spoke by `log`
}

// Set is a compiled list of rules. A nil set never speaks.
type Set struct {
	rules  []compiled
	client sampler
	heard  *suricata.Set // nil: no rule picks any
	counts suricata.Memory
	memory Memory            // nil: nothing is remembered
	silent func(rule string) // nil: nobody asks
}

// SetClients gives sample its key and says what one client is: the lengths of
// the IPv4 and IPv6 prefixes (limits.client_prefix), 32 and 64 unless set. It is
// called before the first flow.
func (s *Set) SetClients(key [32]byte, ip4, ip6 int) { s.client = sampler{key, ip4, ip6} }

// SetCounts gives the set what Suricata's thresholds are counted with: a set that
// takes another's place goes on with its counts. It is called before the first flow.
func (s *Set) SetCounts(m suricata.Memory) { s.counts = m }

// SetSilent gives the set what is told of each flow in which OncePer kept a rule silent,
// by any goroutine. It is called before the first flow.
func (s *Set) SetSilent(f func(rule string)) { s.silent = f }

type compiled struct {
	Rule
	program *vm.Program
	literal string // the stream has to contain it; empty: unknown
	needs   proto.Protocol
	late    proto.Field // without which it is not true, and after which nothing can be switched
	uses    uses
	timed   bool
	// novelStream: it asks whether the stream is new.
	novelStream bool
	horizon     time.Duration // the longest time that it asks the memory about

	cost    int // how often an evaluation may read the stream, or the message
	account *Cost

	thresholdKey, onceKey uint64
}

// Flow is what a set remembers of one flow; the flow's owner guards it.
type Flow struct {
	set    *Set // that began with the flow, and stays its set over a reload
	seed   uint64
	fits   []uint16 // candidates, in file order
	logged []bool   // by candidate
	state  []seen   // by candidate
	work   int      // bytes that evaluations have read
	Errors int      // evaluations that failed, and counted as false
	env    *env
	proto  *proto.Flow    // nil: no rule asks for its facts
	hears  *suricata.Flow // nil: no rule asks for Suricata's
	alerts []*Alert       // that were raised and are picked

	began   int64   // nanoseconds since 1970
	saying  *saying // nil: no rule has asked whether something is new
	heard   int32   // bytes of the stream when the rules were asked last
	dialled uint16
	on      Occasion // why they are asked
	opened  bool     // they were asked before
}

// seen is how far a rule's literal was looked for.
type seen struct {
	upTo       int
	alerts     int32 // that were logged
	suppressed int32
	found      bool
	counted    counted
}

// Init gives a flow its chance.
func (f *Flow) Init(seed uint64) { *f = Flow{seed: seed} }

// Exhausted reports whether evaluations have read more than budget bytes of the
// flow: then they should be put together.
func (f *Flow) Exhausted(budget int) bool { return f.work > budget }

// Start picks the rules whose match fits the flow.
func (s *Set) Start(fl *Flow, f *Facts) {
	if s == nil {
		return
	}
	fl.set, fl.fits = s, nil
	for i := range s.rules {
		if s.rules[i].Match.Fits(f.Src, f.Dst) {
			fl.fits = append(fl.fits, uint16(i))
		}
	}
	fl.proto = nil
	if slices.ContainsFunc(fl.fits, func(i uint16) bool { return s.rules[i].uses.fields }) {
		fl.proto = &proto.Flow{}
	}
	if s.heard.Len() > 0 && slices.ContainsFunc(fl.fits, func(i uint16) bool { return s.rules[i].Suricata != nil }) {
		fl.hears = s.heard.NewFlow()
	}
	fl.begin(f)
	if len(fl.fits) > 0 {
		fl.logged, fl.state = make([]bool, len(fl.fits)), make([]seen, len(fl.fits))
	}
}

// Timed reports whether a rule that may still speak names age or idle.
func (s *Set) Timed(fl *Flow) bool {
	for n, i := range fl.fits {
		if fl.set.rules[i].timed && !fl.logged[n] {
			return true
		}
	}
	return false
}

// passWork bounds, in bytes read, the work after which a pipelined message is judged
// only by the rules that name fields, and messageWork that after which it is not
// judged at all.
const (
	passWork    = 8 << 20
	messageWork = 64 << 20
)

// evaluation is what one evaluation costs beyond what it reads, in bytes.
const evaluation = 256

// Decide asks the flow's rules in file order; the first true one speaks. What has
// come is judged message by message, as if each had come by itself, so that none
// hides behind a later one.
func (s *Set) Decide(fl *Flow, f *Facts) (v Verdict) {
	fl.occasion(f)
	if fl.proto == nil {
		fl.pass(f, &v, false)
		return v
	}
	for {
		at := fl.proto.Step(f.Stream)
		if at == len(f.Stream) {
			fl.pass(f, &v, false)
			return v
		}
		if fl.Exhausted(messageWork) {
			continue
		}
		part := f.until(at)
		if fl.pass(&part, &v, fl.Exhausted(passWork)); v.Action != Wait {
			return v
		}
	}
}

// until is the facts when the client had said only so much.
func (f *Facts) until(at int) Facts {
	part := *f
	part.Stream, part.Bytes = f.Stream[:at], at
	part.Last = f.Last[:max(0, len(f.Last)-(len(f.Stream)-at))]
	return part
}

// pass asks the rules once, or only those that name fields.
func (fl *Flow) pass(f *Facts, v *Verdict, fields bool) {
	v.Offset = len(f.Stream)
	fl.listen(f)
	for n, i := range fl.fits {
		r := &fl.set.rules[i]
		switch {
		case fl.logged[n] || !fl.asks(r):
			continue
		case r.Suricata != nil:
			if !fl.alarmed(r, &fl.state[n], f, v) {
				continue
			}
		case fields && !r.uses.fields || !fl.holds(r, &fl.state[n], f) || !fl.may(r, &fl.state[n], f):
			continue
		case r.Action == Log:
			fl.logged[n] = true
			v.Logged = append(v.Logged, Said{Rule: r.Name, Suppressed: int(fl.state[n].suppressed)})
			fl.spoke(r, f)
			continue
		}
		fl.spoke(r, f)
		v.Suppressed = int(fl.state[n].suppressed)
		v.Action, v.Rule, v.Backend, v.Reason = r.Action, r.Name, r.Backend, "rule"
		return
	}
}

// holds evaluates one rule, and keeps its account.
func (fl *Flow) holds(r *compiled, st *seen, f *Facts) bool {
	if r.account == nil {
		return fl.evaluate(r, st, f)
	}
	before := fl.work
	held := fl.evaluate(r, st, f)
	r.account.add(fl.work-before, held)
	return held
}

// evaluate evaluates one rule. What fails at run time is false.
func (fl *Flow) evaluate(r *compiled, st *seen, f *Facts) bool {
	if !fl.mayHold(r, st, f.Stream) {
		return false
	}
	if r.program == nil {
		return true
	}
	fl.work += r.cost * fl.reads(r, f)
	if fl.env == nil {
		fl.env = newEnv(fl.seed, &fl.set.client, fl.proto)
		if slices.ContainsFunc(fl.fits, func(i uint16) bool { return fl.set.rules[i].uses.memory }) {
			fl.env.remember(fl)
		}
	}
	fl.env.fill(f)
	defer fl.env.forget()
	machine := vm.VM{MemoryBudget: memoryBudget}
	out, err := machine.Run(r.program, fl.env)
	if err != nil {
		fl.Errors++
		return false
	}
	yes, _ := out.(bool)
	return yes
}

// reads is what a rule's evaluation may read once: of a rule that names fields only,
// the message.
func (fl *Flow) reads(r *compiled, f *Facts) int {
	if r.uses.fields && !r.uses.bytes {
		return evaluation + len(f.Stream) - fl.proto.Begin()
	}
	return len(f.Stream)
}

// mayHold asks for the rule's protocol, and looks for its literal in what the stream
// has grown by.
func (fl *Flow) mayHold(r *compiled, st *seen, stream []byte) bool {
	if r.needs != proto.None {
		if p, _ := fl.proto.Protocol(); p != r.needs {
			return false
		}
	}
	if r.literal == "" || st.found {
		return true
	}
	from := max(0, min(st.upTo, len(stream))-len(r.literal)+1)
	fl.work += len(stream) - from
	st.upTo, st.found = len(stream), containsString(stream[from:], r.literal)
	return st.found
}

// view shows bytes as a string without a copy; the bytes of a record never
// change.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
