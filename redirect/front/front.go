// Package front is the client leg's handshake: the gateway answers the SYN
// itself, in the profile's words, and keeps a small half-open record until the
// acknowledgement comes.
package front

import (
	"hash/maphash"
	"time"

	"sleight/stack/profile"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Config bounds the half-open records.
type Config struct {
	Max     int           // records; at the bound a new SYN is dropped
	Timeout time.Duration // of a handshake
	Secret  [16]byte      // of ISNs, timestamp offsets and flow labels
	MTU     int           // of the way to the clients, in bytes
	Started time.Time     // origin of the client legs' clocks
}

// Result is what became of a segment.
type Result uint8

const (
	// None: no half-open record knows the segment.
	None Result = iota
	// Ignored: it changes nothing, and the host would say nothing.
	Ignored
	// Reply: out is to be sent.
	Reply
	// Full: the bound was reached, the SYN was dropped.
	Full
	// Complete: the handshake is done; the record is gone.
	Complete
	// Reset: the client gave up; the record is gone.
	Reset
)

// Host is who answers a handshake: how it looks, and what the caller knows of it. A
// handshake keeps the one that it began with.
type Host struct {
	Profile *profile.Profile
	Of      any
}

// HalfOpen is a handshake as it was when it completed.
type HalfOpen struct {
	profile.Negotiated
	ISS, IRS tcb.Seq
	Host     *Host
	TSOffset uint32 // of the client leg's clock
	TSRecent uint32 // the client's
	TSSent   uint32 // newest shown to the client
	Started  time.Time
	RTT      time.Duration // SYN-ACK to ACK; 0 if it was sent more than once (Karn)
	SYN      SYN
}

// SYN is how the client's SYN looked, as far as nothing else tells.
type SYN struct {
	TTL              uint8
	SACK, TS, Scaled bool // options that it had
	Wnd              uint16
	MSS              uint16 // 0: not said
	ID               uint16 // IPv4 only
}

func synOf(seg *wire.Segment) SYN {
	return SYN{
		TTL: seg.TTL, SACK: seg.Opts.SACKPermitted, TS: seg.Opts.HasTS, Scaled: seg.Opts.HasWndShift,
		Wnd: seg.Wnd, MSS: seg.Opts.MSS, ID: seg.ID,
	}
}

// Table holds the half-open records. Its caller locks it.
type Table struct {
	cfg  Config
	seed maphash.Seed
	m    map[uint64]*record // by a seeded hash of the pair: a third of the room
	due  schedule
}

// New makes an empty table.
func New(cfg Config) *Table {
	return &Table{cfg: cfg, seed: maphash.MakeSeed(), m: map[uint64]*record{}}
}

// Len is how many handshakes are half open.
func (t *Table) Len() int { return len(t.m) }

// Knows reports whether the segment's pair has a handshake under way.
func (t *Table) Knows(seg *wire.Segment) bool { return t.find(seg.Tuple()) != nil }

// SYN takes a client's SYN, which host answers if it is the first. The same one
// again draws the SYN-ACK again; for another one on the same pair see otherSYN.
func (t *Table) SYN(now time.Time, seg *wire.Segment, host *Host, out *wire.Segment) Result {
	key := seg.Tuple()
	h := t.m[t.slot(key)]
	switch {
	case h != nil && h.leg != key:
		return Full // two pairs with one hash of 64 bits: the later one has to wait
	case h != nil && h.irs == seg.Seq:
		return t.again(now, h, out)
	case h != nil:
		return t.otherSYN(now, h, seg, out)
	case seg.Flags.Has(wire.FIN):
		return Ignored // no connection begins with its end; Linux is silent
	case len(t.m) >= t.cfg.Max:
		return Full
	}
	h = t.open(now, key, seg, host)
	t.synack(now, h, out)
	t.add(h)
	return Reply
}

// open makes the record of a new handshake.
func (t *Table) open(now time.Time, key tcb.Tuple, seg *wire.Segment, host *Host) *record {
	h := &record{
		leg: key, irs: seg.Seq, iss: t.iss(now, key), host: host,
		n:        host.Profile.Negotiate(seg, t.cfg.MTU),
		tsOffset: t.hash(key, useTS), tsRecent: seg.Opts.TSVal, started: t.since(now),
		syn: synOf(seg),
	}
	h.tsFirst = t.clock(now) + h.tsOffset
	return h
}

// Segment takes a client's segment that is no SYN of its own.
func (t *Table) Segment(now time.Time, seg, out *wire.Segment) (Result, HalfOpen) {
	h := t.find(seg.Tuple())
	switch {
	case h == nil && !seg.Flags.Any(wire.ACK|wire.RST):
		// RFC 9293, section 3.10.7.2, fourth: LISTEN drops it. A closed port would
		// answer, and that is what FIN, NULL and Xmas scans look for.
		return Ignored, HalfOpen{}
	case h == nil:
		return None, HalfOpen{}
	case seg.Flags.Has(wire.RST):
		return t.reset(now, h, seg, out), HalfOpen{}
	case seg.Flags.Has(wire.SYN) && (!seg.Flags.Has(wire.ACK) || seg.Ack == h.iss+1):
		return t.otherSYN(now, h, seg, out), HalfOpen{}
	case !seg.Flags.Has(wire.ACK):
		return Ignored, HalfOpen{}
	case seg.Ack != h.iss+1:
		// RFC 9293, section 3.10.7.4, fifth, SYN-RECEIVED: <SEQ=SEG.ACK><CTL=RST>.
		h.host.Profile.RST(out, seg)
		out.FlowLabel = t.label(h)
		return Reply, HalfOpen{}
	case !h.acceptable(seg):
		return t.challenge(now, h, out), HalfOpen{}
	}
	t.drop(h)
	return Complete, t.completed(now, h, seg)
}

// acceptable reports whether an acknowledgement completes the handshake.
func (h *record) acceptable(seg *wire.Segment) bool {
	if h.n.TS && seg.Opts.HasTS {
		// RFC 7323, section 5.3: an old duplicate.
		if tcb.TSLess(seg.Opts.TSVal, h.tsRecent) {
			return false
		}
		// An echo of what was never shown: the acknowledgement is a guess. Linux
		// asks for this since 6.14 (TSEcrRejected).
		if e := seg.Opts.TSEcr; e != 0 && e-h.tsFirst > h.tsSent-h.tsFirst {
			return false
		}
	}
	return h.inWindow(seg)
}

// inWindow reports whether some of a segment lies in the window (RFC 9293, section
// 3.4).
func (h *record) inWindow(seg *wire.Segment) bool {
	at, end, wnd := tcb.Diff(seg.Seq, h.irs+1), tcb.Diff(seg.End(), h.irs+1), int(h.n.Wnd)
	return at == 0 || end > 0 && at < wnd || at == wnd && end == wnd
}

// completed is what the caller goes on with.
func (t *Table) completed(now time.Time, h *record, seg *wire.Segment) HalfOpen {
	o := HalfOpen{
		Negotiated: h.n, ISS: h.iss, IRS: h.irs, Host: h.host,
		TSOffset: h.tsOffset, TSRecent: h.tsRecent, TSSent: h.tsSent,
		Started: t.cfg.Started.Add(h.started), SYN: h.syn,
	}
	// RFC 7323, section 4.3: only what stands at the left edge.
	if seg.Opts.HasTS && !(h.irs + 1).LessThan(seg.Seq) {
		o.TSRecent = seg.Opts.TSVal
	}
	if h.copies == 1 {
		o.RTT = max(t.since(now)-h.sent, time.Microsecond)
	}
	return o
}

// otherSYN takes a SYN that did not begin this handshake. Before the window, or
// beyond it, it draws a challenge ACK (RFC 5961, section 4). For one within Linux has
// kept RFC 793's rule (tcp_check_req): a RST, and the handshake is over.
func (t *Table) otherSYN(now time.Time, h *record, seg, out *wire.Segment) Result {
	old := h.n.TS && seg.Opts.HasTS && tcb.TSLess(seg.Opts.TSVal, h.tsRecent)
	if old || seg.Seq == h.irs || !h.inWindow(seg) {
		return t.challenge(now, h, out)
	}
	h.host.Profile.RST(out, seg)
	out.FlowLabel = t.label(h)
	t.drop(h)
	return Reply
}

// reset takes a RST: exact, or challenged (RFC 5961, section 3.2).
func (t *Table) reset(now time.Time, h *record, seg, out *wire.Segment) Result {
	switch d := tcb.Diff(seg.Seq, h.irs+1); {
	case d == 0:
		t.drop(h)
		return Reset
	case d < 0 || d >= int(h.n.Wnd):
		return Ignored
	}
	return t.challenge(now, h, out)
}
