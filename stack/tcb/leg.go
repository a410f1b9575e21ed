package tcb

// Leg holds the sequence-space variables of one leg (RFC 9293, section 3.3.1).
// The gateway stands at one end of it, a peer at the other: S on the client
// leg, the decoy or the backend on a serving leg. Snd is what the gateway sends
// to that peer, Rcv what the peer sends.
//
// The owner of the flow's lock owns its legs.
type Leg struct {
	// What the handshake of this leg agreed.
	SndShift uint8  // of the windows that the peer announces (RFC 7323, 2.2)
	RcvShift uint8  // of the windows that we announce to the peer
	SACK     bool   // both ends sent SACK-permitted
	TS       bool   // both ends sent timestamps
	MSS      uint16 // the peer's: most payload and options in a segment to it, in bytes

	ISS     Seq // ours
	SndUna  Seq // oldest that the peer has not acknowledged
	SndNxt  Seq // after the highest that was sent to the peer
	SndEdge Seq // right edge of the window that the peer has announced; it never moves left

	IRS     Seq // the peer's
	RcvNxt  Seq // highest acknowledgement that was sent to the peer
	RcvMax  Seq // after the highest acceptable sequence number that the peer has sent
	RcvEdge Seq // right edge of the window that was announced to the peer

	TSFirst  uint32 // first TSval of the peer
	TSRecent uint32 // newest TSval of the peer
	TSSent   uint32 // newest TSval that was shown to the peer
}

// MaxWnd is the largest window that a leg with this shift can announce, in bytes.
func MaxWnd(shift uint8) Size { return Size(0xffff) << shift }

// HeardAck takes in an acknowledgement and window of the peer's, as they stood
// in its segment. It reports whether the acknowledgement covers something that
// was not acknowledged before. One that covers what was never sent changes
// nothing (RFC 9293, section 3.10.7.4).
func (l *Leg) HeardAck(ack Seq, wnd uint16) (advanced bool) {
	if l.SndNxt.LessThan(ack) {
		return false
	}
	edge := ack.Add(Size(wnd) << l.SndShift)
	// Far below the oldest unacknowledged one lies a number of another life.
	if Diff(l.SndUna, ack) > int(MaxWnd(l.SndShift)) {
		return false
	}
	l.SndEdge = Max(l.SndEdge, edge)
	if l.SndUna.LessThan(ack) {
		l.SndUna = ack
		return true
	}
	return false
}

// InWindow reports whether a segment [seq, end) of the peer's is acceptable:
// some of it lies in the window that was announced, or, if it is empty, it
// stands in the window or directly before it (RFC 9293, section 3.4; a
// keep-alive stands at RCV.NXT − 1).
func (l *Leg) InWindow(seq, end Seq) bool {
	if l.RcvEdge.LessThan(seq) {
		return false
	}
	return !end.LessThan(l.RcvNxt - 1)
}

// HeardData notes that the peer has sent up to end.
func (l *Leg) HeardData(end Seq) { l.RcvMax = Max(l.RcvMax, end) }

// HeardTS notes the peer's TSval, if it is newer than what was heard before
// (RFC 7323, section 5.3: modulo 2^32).
func (l *Leg) HeardTS(val uint32) {
	if TSLess(l.TSRecent, val) {
		l.TSRecent = val
	}
}

// TSLess compares timestamp values modulo 2^32 (RFC 7323, section 5.2).
func TSLess(a, b uint32) bool { return int32(a-b) < 0 }
