package front

import (
	"container/heap"
	"hash/maphash"
	"time"

	"sleight/stack/profile"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Linux sends a SYN-ACK again after 1, 2, 4 … s, five times in all
// (tcp_synack_retries).
const (
	firstRetry = time.Second
	maxRetries = 5
)

// record is one handshake. A flood of SYNs makes as many as Config.Max, so it
// is small; times are since Config.Started.
type record struct {
	leg      tcb.Tuple
	iss, irs tcb.Seq
	tsOffset uint32
	tsRecent uint32 // the client's
	tsFirst  uint32 // first and newest that the client was shown
	tsSent   uint32
	place    int32 // in the schedule
	n        profile.Negotiated
	retries  uint8
	copies   uint8 // of the SYN-ACK, up to 2
	syn      SYN
	host     *Host
	started  time.Duration
	sent     time.Duration // the last SYN-ACK
	due      time.Duration
	quiet    time.Duration // no answer to what is not acceptable before this
}

// schedule is a heap of the records by due.
type schedule []*record

// Len, Less, Swap, Push and Pop are heap.Interface's.
func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].due < s[j].due }
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].place, s[j].place = int32(i), int32(j)
}
func (s *schedule) Push(x any) {
	h := x.(*record)
	h.place = int32(len(*s))
	*s = append(*s, h)
}
func (s *schedule) Pop() any {
	end := len(*s) - 1
	h := (*s)[end]
	(*s)[end] = nil
	*s = (*s)[:end]
	return h
}

func (t *Table) slot(leg tcb.Tuple) uint64 { return maphash.Comparable(t.seed, leg) }

// find is the record of a pair; nil: there is none.
func (t *Table) find(leg tcb.Tuple) *record {
	if h := t.m[t.slot(leg)]; h != nil && h.leg == leg {
		return h
	}
	return nil
}

func (t *Table) add(h *record) {
	t.m[t.slot(h.leg)] = h
	heap.Push(&t.due, h)
}

func (t *Table) drop(h *record) {
	delete(t.m, t.slot(h.leg))
	heap.Remove(&t.due, int(h.place))
}

// Deadline is when Advance wants to be called; false: there is nothing to do.
func (t *Table) Deadline() (time.Time, bool) {
	if len(t.due) == 0 {
		return time.Time{}, false
	}
	return t.cfg.Started.Add(t.due[0].due), true
}

// Advance sends SYN-ACKs again and forgets what has waited too long. It looks at
// those only whose time has come. send must not keep the segment.
func (t *Table) Advance(now time.Time, send func(*wire.Segment)) {
	for t.AdvanceSome(now, 1<<10, send) {
	}
}

// AdvanceSome does the same for at most n records, so that a caller can write
// what comes of it without its lock. It reports whether more are due.
func (t *Table) AdvanceSome(now time.Time, n int, send func(*wire.Segment)) (more bool) {
	var out wire.Segment
	at := t.since(now)
	due := func() bool { return len(t.due) > 0 && t.due[0].due <= at }
	for ; n > 0 && due(); n-- {
		h := t.due[0]
		if h.retries == maxRetries || at >= h.started+t.cfg.Timeout {
			t.drop(h)
			continue
		}
		h.retries++
		t.synack(now, h, &out)
		heap.Fix(&t.due, 0)
		send(&out)
	}
	return due()
}

// again answers the same SYN once more, as often as Linux does.
func (t *Table) again(now time.Time, h *record, out *wire.Segment) Result {
	if !t.mayRepeat(now, h) {
		return Ignored
	}
	t.synack(now, h, out)
	heap.Fix(&t.due, int(h.place))
	return Reply
}

// synack writes the SYN-ACK and sets the time of the next one.
func (t *Table) synack(now time.Time, h *record, out *wire.Segment) {
	syn := wire.Segment{Src: h.leg.Source(), Dst: h.leg.Dest(), Seq: h.irs}
	syn.Opts.TSVal = h.tsRecent
	h.tsSent = t.clock(now) + h.tsOffset
	h.host.Profile.SYNACK(out, &syn, &h.n, h.iss, h.tsSent)
	out.FlowLabel = t.label(h)
	h.copies = min(h.copies+1, 2)
	h.sent = t.since(now)
	h.due = min(h.sent+firstRetry<<h.retries, h.started+t.cfg.Timeout)
}

// challenge writes the acknowledgement that answers what is not acceptable
// (RFC 9293, section 3.10.7.4, first; RFC 5961, sections 3 and 4). It is limited
// for each handshake by itself: a limit for all would tell one client of another
// (CVE-2016-5696).
func (t *Table) challenge(now time.Time, h *record, out *wire.Segment) Result {
	if !t.mayRepeat(now, h) {
		return Ignored
	}
	*out = wire.Segment{
		Src: h.leg.Dest(), Dst: h.leg.Source(), TTL: h.host.Profile.TTL, DF: true, FlowLabel: t.label(h),
		Seq: h.iss + 1, Ack: h.irs + 1, Flags: wire.ACK, Wnd: h.n.Wnd >> h.n.RcvShift,
	}
	if h.n.TS {
		h.tsSent = t.clock(now) + h.tsOffset
		out.Opts.HasTS, out.Opts.TSVal, out.Opts.TSEcr = true, h.tsSent, h.tsRecent
	}
	return Reply
}

// mayRepeat reports whether the host would answer once more, and counts it.
func (t *Table) mayRepeat(now time.Time, h *record) bool {
	at := t.since(now)
	if at < h.quiet {
		return false
	}
	h.quiet = at + h.host.Profile.Limits.Repeat
	return true
}
