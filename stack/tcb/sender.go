package tcb

import "time"

// Timing of a Sender. A serving leg's peer is near, so the first timeout is
// short; it doubles as RFC 6298, section 5.5, has it.
const (
	FirstRTO = 200 * time.Millisecond
	MaxRTO   = 4 * time.Second
	// MaxRetries ends a Sender's own retransmissions; whoever is responsible
	// for the bytes beside it goes on.
	MaxRetries = 8
	dupThresh  = 3 // duplicate acknowledgements (RFC 5681, section 3.2)
)

// Sender keeps bytes that the gateway itself sends on a leg, and sends again
// until the peer has acknowledged them: the record in a replay, held bytes
// after the commit, bytes beyond an edge that has not moved yet. It respects
// the peer's window; the caller bounds what it appends.
type Sender struct {
	una  Seq   // sequence number of the oldest byte that is kept
	kept *kept // nil while everything is acknowledged: of most legs, all the time
}

// kept is what the peer has not acknowledged, and the timer of it.
type kept struct {
	nxt  Seq // next to be sent
	top  Seq // after the highest that was ever sent
	buf  []byte
	fin  bool
	dups int

	rto     time.Duration
	due     time.Time // of the retransmission; zero: nothing in flight
	retries int
}

// Init makes an empty sender whose first byte has sequence number seq.
func (s *Sender) Init(seq Seq) { *s = Sender{una: seq} }

// keep is what the sender keeps, from now on something.
func (s *Sender) keep() *kept {
	if s.kept == nil {
		s.kept = &kept{nxt: s.una, top: s.una, rto: FirstRTO}
	}
	return s.kept
}

// Append adds bytes behind the last one.
func (s *Sender) Append(b []byte) {
	if len(b) > 0 {
		k := s.keep()
		k.buf = append(k.buf, b...)
	}
}

// AppendFIN ends the stream.
func (s *Sender) AppendFIN() { s.keep().fin = true }

// Start is the sequence number of the oldest byte that is still kept.
func (s *Sender) Start() Seq { return s.una }

// End is the sequence number after the last byte, and after the FIN if there is one.
func (s *Sender) End() Seq {
	end := s.una.Add(Size(s.Len()))
	if s.HasFIN() {
		end++
	}
	return end
}

// Sent is the sequence number after the highest that was sent.
func (s *Sender) Sent() Seq {
	if s.kept == nil {
		return s.una
	}
	return s.kept.top
}

// Empty reports whether everything was acknowledged.
func (s *Sender) Empty() bool { return s.kept == nil }

// Ack takes in an acknowledgement of the peer's.
func (s *Sender) Ack(now time.Time, ack Seq, bare bool) {
	n := Diff(ack, s.una)
	switch {
	case n <= 0:
		if n == 0 && bare && s.una != s.Sent() {
			s.duplicate()
		}
		return
	case n > Diff(s.End(), s.una):
		n = Diff(s.End(), s.una)
	}
	s.drop(n)
	k := s.kept
	if k == nil {
		return
	}
	k.nxt, k.top = Max(k.nxt, s.una), Max(k.top, s.una)
	k.dups, k.retries, k.rto = 0, 0, FirstRTO
	k.due = time.Time{}
	if s.una != k.top {
		k.due = now.Add(k.rto)
	}
}

// drop forgets the first n of what is kept, the FIN counted.
func (s *Sender) drop(n int) {
	if n == Diff(s.End(), s.una) {
		s.una, s.kept = s.End(), nil
		return
	}
	s.kept.buf = s.kept.buf[n:]
	s.una = s.una.Add(Size(n))
}

// Skip moves an empty sender on to seq: bytes that others have sent.
func (s *Sender) Skip(seq Seq) {
	if s.Empty() && s.una.LessThan(seq) {
		s.Init(seq)
	}
}

// duplicate counts a duplicate acknowledgement; the third sends the first
// missing segment again (RFC 5681, section 3.2).
func (s *Sender) duplicate() {
	s.kept.dups++
	if s.kept.dups == dupThresh {
		s.kept.nxt = s.una
	}
}

// Again asks for everything from seq on to be sent again.
func (s *Sender) Again(seq Seq) {
	if k := s.kept; k != nil && seq.LessThan(k.nxt) {
		k.nxt = Max(seq, s.una)
	}
}

// Next returns the next piece to send, at most mss bytes and nothing beyond
// edge; ok is false if there is none now. Its bytes alias the sender's.
func (s *Sender) Next(now time.Time, edge Seq, mss int) (seq Seq, payload []byte, fin, ok bool) {
	k := s.kept
	if k == nil {
		return 0, nil, false, false
	}
	off := Diff(k.nxt, s.una)
	n := min(len(k.buf)-off, mss, Diff(edge, k.nxt))
	if n < 0 {
		n = 0
	}
	// A FIN has a place in the window, too; at its very edge it is the probe.
	fin = k.fin && off+n == len(k.buf) && off <= len(k.buf) && !edge.LessThan(k.nxt.Add(Size(n)))
	if n == 0 && !fin {
		s.arm(now)
		return 0, nil, false, false
	}
	seq, payload = k.nxt, k.buf[off:off+n]
	k.nxt = k.nxt.Add(Size(n))
	if fin {
		k.nxt++
	}
	k.top = Max(k.top, k.nxt)
	s.arm(now)
	return seq, payload, fin, true
}

// arm starts the retransmission timer if something is outstanding: in flight,
// or waiting for a window to open (RFC 9293, section 3.8.6.1: the probe).
func (s *Sender) arm(now time.Time) {
	if k := s.kept; k != nil && k.due.IsZero() && k.retries < MaxRetries {
		k.due = now.Add(k.rto)
	}
}

// Deadline is when Timeout wants to be called; zero: never.
func (s *Sender) Deadline() time.Time {
	if s.kept == nil {
		return time.Time{}
	}
	return s.kept.due
}

// Timeout backs off and starts again at the oldest byte (RFC 6298, section 5.4
// to 5.6). It reports whether the caller should send; probe says that the
// window is closed, so that one byte goes beyond it.
func (s *Sender) Timeout(now time.Time, edge Seq) (fire, probe bool) {
	k := s.kept
	if k == nil || k.due.IsZero() || now.Before(k.due) {
		return false, false
	}
	k.due = time.Time{}
	k.retries++
	k.rto = min(2*k.rto, MaxRTO)
	k.nxt = s.una
	return true, !s.una.LessThan(edge)
}

// HasFIN reports whether the stream ends with a FIN.
func (s *Sender) HasFIN() bool { return s.kept != nil && s.kept.fin }

// Len is how many bytes are kept.
func (s *Sender) Len() int {
	if s.kept == nil {
		return 0
	}
	return len(s.kept.buf)
}

// Arm starts the timer for bytes that wait for a window.
func (s *Sender) Arm(now time.Time) { s.arm(now) }
