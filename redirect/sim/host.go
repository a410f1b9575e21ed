// Package sim runs the whole gateway in virtual time between simulated TCP
// hosts, from a seed: no goroutine, no clock, no kernel. A run that fails
// prints its seed and fails again with it.
package sim

import (
	"fmt"
	"net/netip"
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// HostConfig is one TCP connection's end.
type HostConfig struct {
	Local, Peer netip.AddrPort
	ISS         tcb.Seq
	MSS         uint16
	WndShift    int // −1: no scaling
	SACK, TS    bool
	TSBase      uint32 // of the timestamp clock, 1 ms a tick
	Buffer      int    // receive buffer, in bytes
	Slow        int    // the application reads so much in a millisecond, in bytes; 0: all at once
	AnyLength   bool   // takes segments beyond its MSS, as a netstack does
	FixedID     bool   // all of its IP IDs are 0
	Strict      bool   // no packet was lost or reordered: hold the peer to the letter
}

// Host is a small, strict TCP end: what Linux drops it drops, and what a peer
// must not send it notes in Faults.
type Host struct {
	cfg  HostConfig
	emit func(*wire.Segment)

	open, dialled bool
	Reset         bool // the peer has reset the connection
	Faults        []string
	Repeats       int // data segments that came although their bytes were there

	una, nxt, edge tcb.Seq
	top            tcb.Seq // after the highest that was ever sent
	sndShift       uint8
	peerMSS        int
	buf            []byte // from una on
	closeAsked     bool
	finSent        bool
	finAcked       bool
	dups           int
	rto            time.Duration
	due            time.Time
	cwnd           int

	irs, rcv  tcb.Seq
	rcvShift  uint8
	announced tcb.Seq
	unread    int
	pieces    []piece
	Got       []byte // what the application has read
	pending   []byte
	readAt    time.Time // of a slow application; zero: it waits for data
	PeerFIN   bool
	hasTS     bool
	stamped   bool
	sack      bool
	recent    uint32
	lastTS    uint32
	firstTS   uint32 // of our own clock, in the handshake
	lastEdge  tcb.Seq
	id        uint16 // the last IP ID
}

type piece struct {
	seq  tcb.Seq
	data []byte
	fin  bool
}

const (
	firstRTO = 200 * time.Millisecond
	maxRTO   = 3 * time.Second
)

// NewHost makes an end that sends by emit.
func NewHost(cfg HostConfig, emit func(*wire.Segment)) *Host {
	return &Host{cfg: cfg, emit: emit, una: cfg.ISS, nxt: cfg.ISS, top: cfg.ISS, edge: cfg.ISS, rto: firstRTO, peerMSS: 536, cwnd: 10}
}

// Dial sends the SYN.
func (h *Host) Dial(now time.Time) {
	h.dialled = true
	h.nxt, h.top = h.cfg.ISS+1, h.cfg.ISS+1
	h.sendSYN(now, wire.SYN)
	h.due = now.Add(h.rto)
}

// Open reports whether the handshake is complete.
func (h *Host) Open() bool { return h.open }

// Write appends to what is to be sent.
func (h *Host) Write(now time.Time, b []byte) {
	h.buf = append(h.buf, b...)
	h.push(now)
}

// Close sends a FIN behind what was written.
func (h *Host) Close(now time.Time) {
	h.closeAsked = true
	h.push(now)
}

// Abort resets the connection.
func (h *Host) Abort() {
	h.emit(h.fresh(h.top, wire.RST))
	h.Reset = true
}

// Done reports whether everything that was written, FIN included, is
// acknowledged.
func (h *Host) Done() bool {
	return h.open && len(h.buf) == 0 && (!h.closeAsked || h.finAcked)
}

// Acked is how many bytes the peer has acknowledged.
func (h *Host) Acked() int { return tcb.Diff(h.una, h.cfg.ISS+1) }

// Deadline is when Advance wants to be called; zero: never.
func (h *Host) Deadline() time.Time {
	if !h.readAt.IsZero() && (h.due.IsZero() || h.readAt.Before(h.due)) {
		return h.readAt
	}
	return h.due
}

func (h *Host) fault(format string, args ...any) {
	if len(h.Faults) < 8 {
		h.Faults = append(h.Faults, fmt.Sprintf(format, args...))
	}
}

func (h *Host) stamp(now time.Time) uint32 {
	return h.cfg.TSBase + uint32(now.UnixMilli())
}

func (h *Host) sendSYN(now time.Time, flags wire.Flags) {
	s := h.fresh(h.cfg.ISS, flags)
	s.Opts.HasMSS, s.Opts.MSS = true, h.cfg.MSS
	answer := flags.Has(wire.ACK)
	s.Opts.SACKPermitted = h.cfg.SACK && (!answer || h.sack)
	if h.cfg.WndShift >= 0 && (!answer || h.sndShift|h.rcvShift > 0 || h.cfg.WndShift == 0) {
		s.Opts.HasWndShift, s.Opts.WndShift = true, uint8(h.cfg.WndShift)
	}
	if h.cfg.TS && (!answer || h.hasTS) {
		s.Opts.HasTS, s.Opts.TSVal = true, h.stamp(now)
		if !h.stamped {
			h.firstTS, h.stamped = s.Opts.TSVal, true
		}
		if answer {
			s.Opts.TSEcr = h.recent
		}
	}
	w := min(h.cfg.Buffer, 0xffff)
	s.Wnd = uint16(w)
	if answer {
		s.Ack = h.rcv
		h.announced = h.rcv.Add(tcb.Size(w))
	}
	h.emit(s)
}

func (h *Host) fresh(seq tcb.Seq, flags wire.Flags) *wire.Segment {
	if !h.cfg.FixedID {
		h.id++
	}
	return &wire.Segment{Src: h.cfg.Local, Dst: h.cfg.Peer, TTL: 64, DF: true, ID: h.id, Seq: seq, Flags: flags}
}

// send sends a segment with acknowledgement, window and timestamps.
func (h *Host) send(now time.Time, s *wire.Segment) {
	s.Flags |= wire.ACK
	s.Ack = h.rcv
	w := min(max(0, h.cfg.Buffer-h.unread)>>h.rcvShift, 0xffff)
	// An edge never moves left (RFC 9293, section 3.8.6).
	if have := tcb.Diff(h.announced, h.rcv); have > w<<h.rcvShift {
		w = min((have+1<<h.rcvShift-1)>>h.rcvShift, 0xffff)
	}
	s.Wnd = uint16(w)
	h.announced = tcb.Max(h.announced, h.rcv.Add(tcb.Size(w<<h.rcvShift)))
	if h.hasTS {
		s.Opts.HasTS, s.Opts.TSVal, s.Opts.TSEcr = true, h.stamp(now), h.recent
	}
	if h.sack {
		h.report(&s.Opts)
	}
	h.emit(s)
}

func (h *Host) ack(now time.Time) { h.send(now, h.fresh(h.nxtToShow(), 0)) }

// nxtToShow is SND.NXT, after a time-out too.
func (h *Host) nxtToShow() tcb.Seq { return h.top }

// push sends what the window allows.
func (h *Host) push(now time.Time) {
	if !h.open || h.Reset {
		return
	}
	room := h.peerMSS
	if h.hasTS {
		room -= 12
	}
	for {
		off := tcb.Diff(h.nxt, h.una)
		n := min(len(h.buf)-off, room, tcb.Diff(h.edge, h.nxt), h.cwnd*room-off)
		fin := h.closeAsked && !h.finAcked && off+max(n, 0) == len(h.buf) && off <= len(h.buf)
		if n <= 0 && !fin {
			break
		}
		n = max(n, 0)
		s := h.fresh(h.nxt, wire.PSH)
		s.Payload = append([]byte(nil), h.buf[off:off+n]...)
		h.nxt = h.nxt.Add(tcb.Size(n))
		if fin {
			s.Flags |= wire.FIN
			h.finSent = true
			h.nxt++
		}
		h.top = tcb.Max(h.top, h.nxt)
		h.send(now, s)
	}
	if h.due.IsZero() && (h.una != h.top || len(h.buf) > 0 || h.closeAsked && !h.finAcked) {
		h.due = now.Add(h.rto)
	}
}

// Advance lets time pass.
func (h *Host) Advance(now time.Time) {
	if !h.readAt.IsZero() && !now.Before(h.readAt) {
		h.readAt = time.Time{}
		h.readSlowly(now)
		h.ack(now)
	}
	if h.due.IsZero() || now.Before(h.due) || h.Reset {
		return
	}
	h.due = time.Time{}
	h.rto = min(2*h.rto, maxRTO)
	switch {
	case !h.open && h.dialled:
		h.sendSYN(now, wire.SYN)
	case !h.open && h.irs != 0:
		h.sendSYN(now, wire.SYN|wire.ACK)
	case !h.open:
		return
	case len(h.buf) > 0 && !h.una.LessThan(h.edge):
		h.probe(now)
	default:
		h.nxt, h.cwnd = h.una, 2
		h.push(now)
	}
	h.due = now.Add(h.rto)
}

// probe asks a closed window by one byte (RFC 9293, section 3.8.6.1).
func (h *Host) probe(now time.Time) {
	s := h.fresh(h.una, 0)
	s.Payload = append([]byte(nil), h.buf[:1]...)
	h.nxt = tcb.Max(h.nxt, h.una+1)
	h.top = tcb.Max(h.top, h.nxt)
	h.send(now, s)
}
