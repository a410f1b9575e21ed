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
	una  Seq // sequence number of buf[0]
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
func (s *Sender) Init(seq Seq) { *s = Sender{una: seq, nxt: seq, top: seq, rto: FirstRTO} }

// Append adds bytes behind the last one.
func (s *Sender) Append(b []byte) { s.buf = append(s.buf, b...) }

// AppendFIN ends the stream.
func (s *Sender) AppendFIN() { s.fin = true }

// Start is the sequence number of the oldest byte that is still kept.
func (s *Sender) Start() Seq { return s.una }

// End is the sequence number after the last byte, and after the FIN if there is one.
func (s *Sender) End() Seq {
	end := s.una.Add(Size(len(s.buf)))
	if s.fin {
		end++
	}
	return end
}

// Sent is the sequence number after the highest that was sent.
func (s *Sender) Sent() Seq { return s.top }

// Empty reports whether everything was acknowledged.
func (s *Sender) Empty() bool { return len(s.buf) == 0 && !s.fin }

// Ack takes in an acknowledgement of the peer's.
func (s *Sender) Ack(now time.Time, ack Seq, bare bool) {
	n := Diff(ack, s.una)
	switch {
	case n <= 0:
		if n == 0 && bare && s.una != s.top {
			s.duplicate()
		}
		return
	case n > Diff(s.End(), s.una):
		n = Diff(s.End(), s.una)
	}
	if s.fin && n > len(s.buf) {
		s.fin = false
		s.buf, s.una = nil, s.una.Add(Size(n))
	} else {
		s.drop(n)
	}
	s.nxt, s.top = Max(s.nxt, s.una), Max(s.top, s.una)
	s.dups, s.retries, s.rto = 0, 0, FirstRTO
	s.due = time.Time{}
	if s.una != s.top {
		s.due = now.Add(s.rto)
	}
}

// drop forgets the first n bytes; the room is given back when none are left.
func (s *Sender) drop(n int) {
	s.buf = s.buf[n:]
	if len(s.buf) == 0 {
		s.buf = nil
	}
	s.una = s.una.Add(Size(n))
}

// Skip moves an empty sender on to seq: bytes that others have sent.
func (s *Sender) Skip(seq Seq) {
	if s.Empty() && s.una.LessThan(seq) {
		s.una, s.nxt, s.top = seq, seq, seq
		s.due = time.Time{}
	}
}

// duplicate counts a duplicate acknowledgement; the third sends the first
// missing segment again (RFC 5681, section 3.2).
func (s *Sender) duplicate() {
	s.dups++
	if s.dups == dupThresh {
		s.nxt = s.una
	}
}

// Again asks for everything from seq on to be sent again.
func (s *Sender) Again(seq Seq) {
	if !seq.LessThan(s.nxt) {
		return
	}
	s.nxt = Max(seq, s.una)
}

// Next returns the next piece to send, at most mss bytes and nothing beyond
// edge; ok is false if there is none now. Its bytes alias the sender's.
func (s *Sender) Next(now time.Time, edge Seq, mss int) (seq Seq, payload []byte, fin, ok bool) {
	off := Diff(s.nxt, s.una)
	n := min(len(s.buf)-off, mss, Diff(edge, s.nxt))
	if n < 0 {
		n = 0
	}
	fin = s.fin && off+n == len(s.buf) && off <= len(s.buf)
	if n == 0 && !fin {
		s.arm(now)
		return 0, nil, false, false
	}
	seq, payload = s.nxt, s.buf[off:off+n]
	s.nxt = s.nxt.Add(Size(n))
	if fin {
		s.nxt++
	}
	s.top = Max(s.top, s.nxt)
	s.arm(now)
	return seq, payload, fin, true
}

// arm starts the retransmission timer if something is outstanding: in flight,
// or waiting for a window to open (RFC 9293, section 3.8.6.1: the probe).
func (s *Sender) arm(now time.Time) {
	if s.due.IsZero() && !s.Empty() && s.retries < MaxRetries {
		s.due = now.Add(s.rto)
	}
}

// Deadline is when Timeout wants to be called; zero: never.
func (s *Sender) Deadline() time.Time { return s.due }

// Timeout backs off and starts again at the oldest byte (RFC 6298, section 5.4
// to 5.6). It reports whether the caller should send; probe says that the
// window is closed, so that one byte goes beyond it.
func (s *Sender) Timeout(now time.Time, edge Seq) (fire, probe bool) {
	if s.due.IsZero() || now.Before(s.due) {
		return false, false
	}
	s.due = time.Time{}
	if s.Empty() {
		return false, false
	}
	s.retries++
	s.rto = min(2*s.rto, MaxRTO)
	s.nxt = s.una
	return true, !s.una.LessThan(edge)
}

// HasFIN reports whether the stream ends with a FIN.
func (s *Sender) HasFIN() bool { return s.fin }

// Len is how many bytes are kept.
func (s *Sender) Len() int { return len(s.buf) }

// Arm starts the timer for bytes that wait for a window.
func (s *Sender) Arm(now time.Time) { s.arm(now) }
