// Package offline judges captured connections as the gateway would have judged them:
// the same assembly, the same rules, the capture's own time. It does no I/O.
package offline

import (
	"container/list"
	"net/netip"
	"time"

	"sleight/redirect/record"
	"sleight/rules"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Config is how captures are judged.
type Config struct {
	Set *rules.Set
	// Decoy names the decoy that answers a connection; false: none does, and the
	// connection is not judged.
	Decoy     func(client, dialled netip.AddrPort) (string, bool)
	Record    int           // limits.record, in bytes
	Answering time.Duration // timeouts.answering
	// MaxFlows is how many connections are followed at once; the one that was silent
	// for the longest makes room. 0: 16384.
	MaxFlows int
}

// Verdict is what came of one connection.
type Verdict struct {
	Client, Dialled netip.AddrPort
	Decoy           string
	Flow            int       // the connection's number, from 1
	Packet          int       // of the capture, by which it was decided; 0: its end
	Time            time.Time // of that packet
	Bytes           int       // that the client had said by then
	Logged          bool      // it is one of several: a rule that spoke by `log`
	rules.Verdict
}

// Judge follows the connections of a capture.
type Judge struct {
	cfg    Config
	report func(Verdict)
	flows  map[tcb.Tuple]*list.Element // by the client's tuple
	recent list.List                   // of *flow, the latest in front
	seg    wire.Segment

	// Packets counts what was given, Segments what was TCP, Flows the connections.
	Packets, Segments, Flows int
}

// flow is one connection.
type flow struct {
	key      tcb.Tuple
	client   netip.AddrPort
	dialled  netip.AddrPort
	decoy    string
	number   int
	syn      tcb.Seq
	started  time.Time
	spoke    time.Time
	packets  int
	said     *record.Record // nil: the verdict is known
	answered *record.Record // nil: nothing was answered yet
	marks    int            // turns that were answered
	turn     int            // where the newest begins
	asked    bool
	rules    rules.Flow
	facts    rules.Facts
}

// New begins with a capture; each verdict is told to report.
func New(cfg Config, report func(Verdict)) *Judge {
	if cfg.MaxFlows == 0 {
		cfg.MaxFlows = 16384
	}
	return &Judge{cfg: cfg, report: report, flows: map[tcb.Tuple]*list.Element{}}
}

// Packet takes the next packet, from its IP header on. Checksums are not asked for:
// where the sender's hardware fills them in, a capture does not have them.
func (j *Judge) Packet(now time.Time, number int, data []byte) {
	j.Packets++
	s := &j.seg
	if wire.Parse(s, data, wire.Offload{CsumValid: true}) != wire.OK {
		return
	}
	j.Segments++
	f, fromClient := j.find(s)
	if f == nil || s.Flags.Has(wire.SYN) && !s.Flags.Has(wire.ACK) && f.syn != s.Seq {
		if f, fromClient = j.begin(now, s); f == nil {
			return
		}
	}
	if f.said == nil {
		return
	}
	if !fromClient {
		f.hearServer(s)
	} else {
		f.hearClient(now, s)
	}
	j.decide(now, number, f)
}

// Close reports the connections that have no verdict yet.
func (j *Judge) Close() {
	for e := j.recent.Back(); e != nil; e = e.Prev() {
		j.end(e.Value.(*flow))
	}
	j.recent.Init()
	clear(j.flows)
}

// find is the connection that a segment belongs to, and whether it is its client's.
func (j *Judge) find(s *wire.Segment) (f *flow, fromClient bool) {
	t := s.Tuple()
	e, ok := j.flows[t]
	fromClient = ok
	if !ok {
		e, ok = j.flows[tcb.TupleOf(s.Dst, s.Src)]
	}
	if !ok {
		return nil, false
	}
	j.recent.MoveToFront(e)
	return e.Value.(*flow), fromClient
}

// begin follows a new connection. One whose SYN is not in the capture has the end
// with the lower port as its server.
func (j *Judge) begin(now time.Time, s *wire.Segment) (f *flow, fromClient bool) {
	syn, ack := s.Flags.Has(wire.SYN), s.Flags.Has(wire.ACK)
	fromClient = syn && !ack || !syn && s.Dst.Port() <= s.Src.Port()
	f = &flow{client: s.Src, dialled: s.Dst, started: now, spoke: now}
	first := s.Seq
	if syn {
		first++
	}
	if !fromClient {
		f.client, f.dialled, first = s.Dst, s.Src, s.Ack
	}
	f.syn, f.key = first-1, tcb.TupleOf(f.client, f.dialled)
	name, ok := j.cfg.Decoy(f.client, f.dialled)
	if !ok || s.Flags.Has(wire.RST) {
		return nil, false
	}
	f.decoy = name
	f.said = record.New(record.Config{Limit: j.cfg.Record, Ahead: j.cfg.Record}, first)
	if old, ok := j.flows[f.key]; ok {
		j.end(old.Value.(*flow))
		j.recent.Remove(old)
	}
	j.makeRoom()
	j.flows[f.key] = j.recent.PushFront(f)
	j.Flows++
	f.number = j.Flows
	if syn && fromClient {
		f.facts.SYN = synOf(s)
	}
	f.rules.Init(uint64(j.Flows))
	f.describe(now)
	j.cfg.Set.Start(&f.rules, &f.facts)
	return f, fromClient
}

// synOf is what is known of a SYN.
func synOf(s *wire.Segment) rules.SYN {
	o := &s.Opts
	return rules.SYN{
		TTL: s.TTL, Window: s.Wnd, MSS: o.MSS, IPID: s.ID, Seq: uint32(s.Seq),
		Options: rules.SYNOptions(o.HasMSS, o.SACKPermitted, o.HasTS, o.HasWndShift),
	}
}

func (j *Judge) makeRoom() {
	if len(j.flows) < j.cfg.MaxFlows {
		return
	}
	e := j.recent.Back()
	f := e.Value.(*flow)
	j.end(f)
	j.recent.Remove(e)
	delete(j.flows, f.key)
}

// hearClient files what the client says.
func (f *flow) hearClient(now time.Time, s *wire.Segment) {
	if s.Flags.Has(wire.SYN) {
		return
	}
	if out := f.said.Segment(s.Seq, s.Payload, s.Flags.Has(wire.FIN)); out.Grew > 0 {
		f.packets++
		f.spoke = now
	}
}

// hearServer files what was answered; what the client says after it is a new turn.
func (f *flow) hearServer(s *wire.Segment) {
	first := s.Seq
	if s.Flags.Has(wire.SYN) {
		first++
	}
	if f.answered == nil {
		f.answered = record.New(record.Config{Limit: 1 << 20, Ahead: 1 << 16}, first)
	}
	if s.Flags.Has(wire.SYN) {
		return
	}
	if out := f.answered.Segment(s.Seq, s.Payload, s.Flags.Has(wire.FIN)); out.Grew == 0 {
		return
	}
	if n := len(f.said.Stream()); f.marks == 0 || n > f.turn {
		f.marks, f.turn = f.marks+1, n
	}
}

// describe brings the facts up to date.
func (f *flow) describe(now time.Time) {
	v := &f.facts
	v.Src, v.Dst, v.Decoy = f.client, f.dialled, f.decoy
	v.Now, v.Age, v.Idle = now, now.Sub(f.started), now.Sub(f.spoke)
	v.Stream = f.said.Stream()
	v.Last = v.Stream[min(f.turn, len(v.Stream)):]
	v.Packets, v.Bytes, v.Turns = f.packets, len(v.Stream), f.marks
	if len(v.Last) > 0 {
		v.Turns++
	}
	if f.answered != nil {
		v.Answered = f.answered.Stream()
	}
}

// decide asks the rules, as the gateway does.
func (j *Judge) decide(now time.Time, number int, f *flow) {
	before := len(f.facts.Stream)
	f.describe(now)
	late := f.facts.Age > j.cfg.Answering
	if !late && f.asked && len(f.facts.Stream) == before && !j.cfg.Set.Timed(&f.rules) {
		return
	}
	f.asked = true
	v := j.ask(now, number, f)
	switch {
	case v.Action != rules.Wait:
	case late:
		v.Action, v.Reason = rules.Stay, "answering"
	case len(f.facts.Stream) >= j.cfg.Record:
		v.Action, v.Reason = rules.Stay, "record"
	default:
		return
	}
	j.close(now, f)
	if v.Action == rules.Switch {
		j.cfg.Set.Switched(now, f.client.Addr())
	}
	j.report(j.verdict(now, number, f, v))
}

// close leaves to the rules' memory what a connection has said.
func (j *Judge) close(now time.Time, f *flow) {
	f.facts.Now = now
	f.rules.End(&f.facts)
	f.said, f.answered = nil, nil
}

// ask asks until everything is judged, and reports what was logged.
func (j *Judge) ask(now time.Time, number int, f *flow) (v rules.Verdict) {
	for {
		v = j.cfg.Set.Decide(&f.rules, &f.facts)
		for _, l := range v.Logged {
			said := j.verdict(now, number, f, rules.Verdict{Action: rules.Log, Rule: l.Rule, Alert: l.Alert, Suppressed: l.Suppressed, Offset: v.Offset, Reason: "rule"})
			said.Logged = true
			j.report(said)
		}
		if v.Action != rules.Wait || !f.rules.Unfinished() {
			return v
		}
	}
}

func (j *Judge) verdict(now time.Time, number int, f *flow, v rules.Verdict) Verdict {
	return Verdict{
		Client: f.client, Dialled: f.dialled, Decoy: f.decoy, Flow: f.number,
		Packet: number, Time: now, Bytes: len(f.facts.Stream), Verdict: v,
	}
}

// end gives a connection that is over its verdict.
func (j *Judge) end(f *flow) {
	if f.said == nil {
		return
	}
	j.close(f.spoke, f)
	j.report(j.verdict(f.spoke, 0, f, rules.Verdict{Action: rules.Stay, Reason: "end", Offset: len(f.facts.Stream)}))
}
