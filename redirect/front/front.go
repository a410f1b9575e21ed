// Package front is the client leg's handshake: the gateway answers the SYN
// itself, in the profile's words, and keeps a small half-open record until the
// acknowledgement comes.
package front

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"sleight/stack/profile"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Config bounds the half-open records.
type Config struct {
	Max     int           // records; at the bound a new SYN is dropped
	Timeout time.Duration // of a handshake
	Secret  [16]byte      // of ISNs and timestamp offsets
	MTU     int           // of the way to the clients, in bytes
	Started time.Time     // origin of the client legs' clocks
}

// Linux sends a SYN-ACK again after 1, 2, 4 … s, five times in all.
const (
	firstRetry = time.Second
	maxRetries = 5
)

// Result is what became of a segment.
type Result uint8

const (
	// None: no half-open record knows the segment.
	None Result = iota
	// Ignored: it changes nothing.
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

// HalfOpen is one handshake.
type HalfOpen struct {
	profile.Negotiated
	ISS, IRS tcb.Seq
	Profile  *profile.Profile
	Tag      uint32 // the caller's
	TSOffset uint32 // of the client leg's clock
	TSRecent uint32 // the client's
	TSSent   uint32 // newest shown to the client
	Started  time.Time
	RTT      time.Duration // SYN-ACK to ACK; 0 if it was sent more than once (Karn)

	sent    time.Time
	due     time.Time
	retries int
	syn     wire.Segment
}

// Table holds the half-open records. Its caller locks it.
type Table struct {
	cfg Config
	m   map[tcb.Tuple]*HalfOpen
}

// New makes an empty table.
func New(cfg Config) *Table { return &Table{cfg: cfg, m: map[tcb.Tuple]*HalfOpen{}} }

// Len is how many handshakes are half open.
func (t *Table) Len() int { return len(t.m) }

// SYN takes a client's SYN. The same one again draws the SYN-ACK again; another
// one on the same pair a challenge ACK (RFC 9293, section 3.10.7.4).
func (t *Table) SYN(now time.Time, seg *wire.Segment, p *profile.Profile, tag uint32, out *wire.Segment) Result {
	key := seg.Tuple()
	if h := t.m[key]; h != nil {
		if h.IRS == seg.Seq {
			t.synack(now, h, out)
			return Reply
		}
		t.challenge(now, h, out)
		return Reply
	}
	if len(t.m) >= t.cfg.Max {
		return Full
	}
	h := &HalfOpen{
		Negotiated: p.Negotiate(seg, t.cfg.MTU), IRS: seg.Seq, Profile: p, Tag: tag,
		TSOffset: t.hash(key, 2), TSRecent: seg.Opts.TSVal, Started: now, syn: *seg,
	}
	h.syn.Payload = nil
	h.ISS = t.iss(now, key)
	t.m[key] = h
	t.synack(now, h, out)
	return Reply
}

// Segment takes a client's segment that is no SYN.
func (t *Table) Segment(now time.Time, seg, out *wire.Segment) (Result, HalfOpen) {
	key := seg.Tuple()
	h := t.m[key]
	switch {
	case h == nil:
		return None, HalfOpen{}
	case seg.Flags.Has(wire.RST):
		return t.reset(now, key, h, seg, out), HalfOpen{}
	case seg.Flags.Has(wire.SYN):
		t.challenge(now, h, out)
		return Reply, HalfOpen{}
	case !seg.Flags.Has(wire.ACK):
		return Ignored, HalfOpen{}
	case seg.Ack != h.ISS+1:
		// RFC 9293, section 3.10.7.4, SYN-RECEIVED: SEQ=SEG.ACK.
		h.Profile.RST(out, seg)
		return Reply, HalfOpen{}
	case tcb.Diff(seg.Seq, h.IRS+1) < 0 || tcb.Diff(seg.End(), h.IRS+1) > int(h.Wnd):
		t.challenge(now, h, out)
		return Reply, HalfOpen{}
	case h.TS && seg.Opts.HasTS && tcb.TSLess(seg.Opts.TSVal, h.TSRecent):
		return Ignored, HalfOpen{} // RFC 7323, section 5.3
	}
	if h.retries == 0 {
		h.RTT = max(now.Sub(h.sent), time.Microsecond)
	}
	if seg.Opts.HasTS {
		h.TSRecent = seg.Opts.TSVal
	}
	delete(t.m, key)
	return Complete, *h
}

// reset takes a RST: exact, or challenged (RFC 5961, section 3.2).
func (t *Table) reset(now time.Time, key tcb.Tuple, h *HalfOpen, seg, out *wire.Segment) Result {
	if seg.Seq == h.IRS+1 {
		delete(t.m, key)
		return Reset
	}
	if d := tcb.Diff(seg.Seq, h.IRS+1); d < 0 || d > int(h.Wnd) {
		return Ignored
	}
	t.challenge(now, h, out)
	return Reply
}

// Advance sends SYN-ACKs again and forgets what has waited too long.
func (t *Table) Advance(now time.Time, send func(*wire.Segment)) {
	var out wire.Segment
	for key, h := range t.m {
		switch {
		case now.Sub(h.Started) >= t.cfg.Timeout:
			delete(t.m, key)
		case !now.Before(h.due) && h.retries < maxRetries:
			h.retries++
			t.synack(now, h, &out)
			send(&out)
		}
	}
}

func (t *Table) synack(now time.Time, h *HalfOpen, out *wire.Segment) {
	h.TSSent = t.clock(now) + h.TSOffset
	h.Profile.SYNACK(out, &h.syn, &h.Negotiated, h.ISS, h.TSSent)
	out.FlowLabel = t.hash(h.syn.Tuple(), 5) & 0xfffff
	h.sent, h.due = now, now.Add(firstRetry<<h.retries)
}

// challenge writes a challenge ACK (RFC 5961, section 4).
func (t *Table) challenge(now time.Time, h *HalfOpen, out *wire.Segment) {
	*out = wire.Segment{
		Src: h.syn.Dst, Dst: h.syn.Src, TTL: h.Profile.TTL, DF: true,
		Seq: h.ISS + 1, Ack: h.IRS + 1, Flags: wire.ACK, Wnd: h.Wnd >> h.RcvShift,
		FlowLabel: t.hash(h.syn.Tuple(), 5) & 0xfffff,
	}
	if h.TS {
		out.Opts.HasTS = true
		out.Opts.TSVal, out.Opts.TSEcr = t.clock(now)+h.TSOffset, h.TSRecent
	}
}

// clock ticks every millisecond.
func (t *Table) clock(now time.Time) uint32 { return uint32(now.Sub(t.cfg.Started).Milliseconds()) }

// iss is RFC 6528's: a clock of 4 µs a tick and a keyed hash of the pair.
func (t *Table) iss(now time.Time, key tcb.Tuple) tcb.Seq {
	return tcb.Seq(uint32(now.Sub(t.cfg.Started).Microseconds()/4) + t.hash(key, 1))
}

// hash is a keyed hash of a socket pair.
func (t *Table) hash(key tcb.Tuple, use byte) uint32 { return Hash(t.cfg.Secret, key, use) }

// Hash is the keyed hash of which ISNs, timestamp offsets and flow labels are
// made; use keeps one from telling of another.
func Hash(secret [16]byte, key tcb.Tuple, use byte) uint32 {
	var b [16 + 36 + 1]byte
	copy(b[:], secret[:])
	copy(b[16:], key.Src[:])
	copy(b[32:], key.Dst[:])
	binary.BigEndian.PutUint16(b[48:], key.SrcPort)
	binary.BigEndian.PutUint16(b[50:], key.DstPort)
	b[52] = use
	sum := sha256.Sum256(b[:])
	return binary.BigEndian.Uint32(sum[:])
}
