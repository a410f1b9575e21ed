package seam

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Kind names an anomaly.
type Kind string

// The anomalies. "Lossless" marks those that are found on a lossless wire only.
const (
	Unsolicited   Kind = "unsolicited"    // a segment of a connection that S has not opened
	HiddenAddress Kind = "hidden_address" // S is shown an address that it must not see
	BadChecksum   Kind = "bad_checksum"   // IPv4 header or TCP
	Malformed     Kind = "malformed"      // impossible lengths, or a fragment

	TTLChanged       Kind = "ttl_changed"
	FlowLabelChanged Kind = "flow_label_changed"
	DFChanged        Kind = "df_changed"
	IPID             Kind = "ip_id" // out of the series that a Linux socket counts
	ECN              Kind = "ecn"   // ECE, CWR or a code point that was not agreed on

	Flags          Kind = "flags"           // a combination that no host sends
	PushEmpty      Kind = "push_empty"      // PSH on a segment without payload
	UrgentField    Kind = "urgent_field"    // urgent pointer without URG, or the reverse
	SYNACKChanged  Kind = "synack_changed"  // a SYN-ACK unlike the one before
	SYNACKNumber   Kind = "synack_number"   // acknowledges something else than the SYN
	OptionMissing  Kind = "option_missing"  // timestamps were agreed on, and this segment has none
	OptionUnagreed Kind = "option_unagreed" // an option that was not agreed on, or has no place here
	BadOptions     Kind = "bad_options"     // a length or a value that is impossible

	TSValFell  Kind = "tsval_fell"
	TSValJump  Kind = "tsval_jump"   // faster than any host's clock runs
	TSEcrBogus Kind = "tsecr_bogus"  // S has never sent it
	TSEcrFell  Kind = "tsecr_fell"   // lossless
	AckUnsent  Kind = "ack_unsent"   // of bytes that S has not sent
	AckFell    Kind = "ack_fell"     // lossless
	SACKRange  Kind = "sack_range"   // of bytes that S has not sent, empty, or below the ACK
	EdgeMoved  Kind = "edge_retract" // S's kernel takes it: the edge of the server's window moves left

	BeyondWindow   Kind = "beyond_window" // data that S's window has no room for
	Oversize       Kind = "oversize"      // longer than the MSS that S announced
	Duplicate      Kind = "duplicate"     // lossless: bytes, FIN or SYN-ACK that S has seen, without its doing
	Hole           Kind = "hole"          // lossless: bytes before it are missing
	AckPlace       Kind = "ack_place"     // lossless: a bare ACK whose SEQ is not the next
	DifferentBytes Kind = "different_bytes"
	FINMoved       Kind = "fin_moved"
	DataAfterFIN   Kind = "data_after_fin"

	Reset        Kind = "reset"         // Options.ForbidReset
	ResetBare    Kind = "reset_bare"    // an RST without ACK that answers nothing S did
	ResetInexact Kind = "reset_inexact" // its SEQ is not what S expects next
	AfterReset   Kind = "after_reset"   // lossless: the server goes on after its RST
)

// Anomaly is one finding.
type Anomaly struct {
	Kind   Kind
	Packet int // number of its frame in the capture
	Time   time.Time
	Flow   Pair // the zero Pair if it belongs to none
	Detail string
}

// String is the anomaly in one line.
func (a Anomaly) String() string {
	return fmt.Sprintf("#%d %s %v %s: %s", a.Packet, a.Time.Format("15:04:05.000000"), a.Flow, a.Kind, a.Detail)
}

// Stats count what the capture holds.
type Stats struct {
	Packets       uint64 // IP packets
	Flows         uint64
	SegmentsOut   uint64 // that S sent
	SegmentsIn    uint64 // that reached S
	BytesOut      uint64 // of payload that S sent
	BytesIn       uint64 // of payload that reached S, each counted once
	Retransmitted uint64 // bytes that reached S more than once
	Resets        uint64 // flows that the server has reset
	Damaged       uint64 // packets that the wire has damaged
	Unacted       uint64 // retracted edges that S's kernel ignores
	PAWS          uint64 // segments that PAWS makes S's kernel drop since the wire reorders
	Probes        uint64 // duplicates that S has asked for by acknowledging late
	MinRTT        time.Duration
	MedianRTT     time.Duration
	MaxRTT        time.Duration

	// What could not be checked.
	Truncated     uint64 // packets that the capture has cut short
	Unfollowed    uint64 // segments of flows beyond Options.MaxFlows
	Partial       uint64 // flows whose handshake the capture does not have
	OtherProtocol uint64 // packets that are not TCP
	OtherAddress  uint64 // packets that are not S's and the server's
}

// Report is what Check found.
type Report struct {
	Anomalies []Anomaly    // in the order of the capture, at most Options.MaxAnomalies and perFlow of a kind in a flow
	Counts    map[Kind]int // all of them
	Stats     Stats
	Flows     []Flow // in the order in which they ended, then by their start

	rtts []time.Duration
}

// perFlow is how many anomalies of one kind are listed for one flow.
const perFlow = 8

func newReport() *Report { return &Report{Counts: map[Kind]int{}} }

// OK reports whether there was something to check, all of it was, and nothing
// was found.
func (r *Report) OK() bool {
	return len(r.Counts) == 0 && r.Stats.SegmentsIn > 0 && r.Stats.Truncated == 0 && r.Stats.Unfollowed == 0
}

// Total is the number of anomalies.
func (r *Report) Total() int {
	n := 0
	for _, k := range r.Counts {
		n += k
	}
	return n
}

// String is the report for a terminal: one line, then a line for each anomaly.
func (r *Report) String() string {
	var b strings.Builder
	s := &r.Stats
	fmt.Fprintf(&b, "%d anomalies in %d flows: %d segments and %d bytes to S, %d segments and %d bytes from S",
		r.Total(), s.Flows, s.SegmentsIn, s.BytesIn, s.SegmentsOut, s.BytesOut)
	if s.MaxRTT > 0 {
		fmt.Fprintf(&b, ", round trip %v to %v", s.MinRTT, s.MaxRTT)
	}
	b.WriteByte('\n')
	for _, n := range []struct {
		n    uint64
		what string
	}{
		{s.Truncated, "packets were cut short by the capture and not checked"},
		{s.Unfollowed, "segments belong to flows beyond the bound and were not checked"},
		{s.Partial, "flows have no handshake in the capture and were checked in part"},
		{s.Damaged, "packets were damaged by the wire"},
		{s.Retransmitted, "bytes reached S more than once"},
		{s.PAWS, "segments were dropped by S's kernel (PAWS) since the wire reorders"},
		{s.Probes, "segments came again since S was late to acknowledge"},
	} {
		if n.n > 0 {
			fmt.Fprintf(&b, "  %d %s\n", n.n, n.what)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(r.Counts)) {
		fmt.Fprintf(&b, "  %6d %s\n", r.Counts[k], k)
	}
	for _, a := range r.Anomalies {
		fmt.Fprintf(&b, "  %v\n", a)
	}
	return b.String()
}

// found adds an anomaly of the packet at hand.
func (c *checker) found(kind Kind, format string, args ...any) {
	c.report.Counts[kind]++
	a := Anomaly{Kind: kind, Packet: c.number, Time: c.now}
	if f := c.flow; f != nil {
		if f.listed == nil {
			f.listed = map[Kind]int{}
		}
		if f.listed[kind]++; f.listed[kind] > perFlow {
			return
		}
		a.Flow = f.Pair
	}
	if len(c.report.Anomalies) == c.o.MaxAnomalies {
		return
	}
	a.Detail = fmt.Sprintf(format, args...)
	c.report.Anomalies = append(c.report.Anomalies, a)
}

// close takes a flow into the report.
func (c *checker) close(f *flow) {
	s := &c.report.Stats
	c.report.Flows = append(c.report.Flows, f.Flow)
	s.Flows++
	s.SegmentsOut += f.SegmentsOut
	s.SegmentsIn += f.SegmentsIn
	s.BytesOut += f.BytesOut
	s.BytesIn += f.BytesIn
	s.Retransmitted += f.Retransmitted
	c.count(&s.Resets, f.Reset)
	c.count(&s.Partial, f.Partial)
	if f.RTT > 0 {
		c.report.rtts = append(c.report.rtts, f.RTT)
	}
}

// finish closes what is open and sums up.
func (c *checker) finish() {
	open := slices.SortedFunc(maps.Values(c.flows), func(a, b *flow) int {
		if n := a.Start.Compare(b.Start); n != 0 {
			return n
		}
		return strings.Compare(a.Pair.String(), b.Pair.String())
	})
	for _, f := range open {
		c.close(f)
	}
	if rtts := c.report.rtts; len(rtts) > 0 {
		slices.Sort(rtts)
		s := &c.report.Stats
		s.MinRTT, s.MedianRTT, s.MaxRTT = rtts[0], rtts[len(rtts)/2], rtts[len(rtts)-1]
	}
}
