package scripted

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// patience is how long a segment may take on a busy machine.
const patience = 20 * time.Second

// End is one end of a connection. Sequence numbers of its methods are relative to its own ISS and to
// the peer's: 0 is the SYN, 1 the first byte.
type End struct {
	testing.TB
	Local, Remote netip.AddrPort

	ISS, IRS tcb.Seq
	Sent     int // next to be sent, relative
	Got      int // received in order, relative: what is acknowledged
	// Unsaid of Got are not acknowledged, until the test sets it to 0.
	Unsaid int
	Wnd    uint16
	SYNWnd uint16
	Opts   wire.Options // of the SYN
	TTL    uint8

	h      *Host
	stream []byte // received in order, not yet heard
	tsRec  uint32
	useTS  bool
	fin    bool // the peer's FIN is in order
	reset  bool
}

// DefaultOpts are those of a Linux host.
var DefaultOpts = wire.Options{HasMSS: true, MSS: 1460, SACKPermitted: true, HasTS: true, HasWndShift: true, WndShift: 7}

// Client is an end that has sent nothing yet.
func (h *Host) Client(t testing.TB, port uint16, to netip.AddrPort) *End {
	return &End{
		TB: t, h: h, Local: netip.AddrPortFrom(h.Addr, port), Remote: to,
		ISS: 0xffffff00, Wnd: 501, SYNWnd: 64240, Opts: DefaultOpts, TTL: 64,
	}
}

// began is where the clock of all timestamps starts.
var began = time.Now()

// Segment makes a segment at rel, with the newest ACK.
func (e *End) Segment(flags wire.Flags, rel int, payload string) *wire.Segment {
	s := &wire.Segment{
		Src: e.Local, Dst: e.Remote, TTL: e.TTL, DF: true, Flags: flags,
		Seq: e.ISS + tcb.Seq(rel), Wnd: e.Wnd, Payload: []byte(payload),
	}
	if flags.Has(wire.ACK) {
		s.Ack = e.IRS + tcb.Seq(e.Got-e.Unsaid)
	}
	if e.useTS && !flags.Has(wire.RST) {
		s.Opts.HasTS, s.Opts.TSVal, s.Opts.TSEcr = true, e.clock(), e.tsRec
	}
	return s
}

func (e *End) clock() uint32 { return 1 + uint32(time.Since(began).Milliseconds()) }

// Put sends a segment.
func (e *End) Put(s *wire.Segment) {
	e.Helper()
	e.h.Inject(e.Remote.Addr(), Packet(s))
}

// Packet is the segment as bytes.
func Packet(s *wire.Segment) []byte {
	buf := make([]byte, wire.MaxHeader+len(s.Payload))
	for i := range buf {
		buf[i] = 0xa5
	}
	return wire.Build(buf, s)
}

// Say sends data behind all that was sent.
func (e *End) Say(text string) {
	e.Helper()
	e.Put(e.Segment(wire.ACK|wire.PSH, e.Sent, text))
	e.Sent += len(text)
}

// Ack sends a bare acknowledgement of all that came.
func (e *End) Ack() { e.Helper(); e.Put(e.Segment(wire.ACK, e.Sent, "")) }

// FIN sends a FIN behind all that was sent.
func (e *End) FIN() {
	e.Helper()
	e.Put(e.Segment(wire.ACK|wire.FIN, e.Sent, ""))
	e.Sent++
}

// RST sends a RST behind all that was sent.
func (e *End) RST() { e.Helper(); e.Put(e.Segment(wire.RST|wire.ACK, e.Sent, "")) }

// SYN makes the first segment.
func (e *End) SYN() *wire.Segment {
	s := e.Segment(wire.SYN, 0, "")
	s.Opts, s.Wnd = e.Opts, e.SYNWnd
	if s.Opts.HasTS {
		s.Opts.TSVal, s.Opts.TSEcr = e.clock(), e.tsRec
	}
	e.Sent = 1
	return s
}

// Open completes a handshake as the client.
func (e *End) Open() {
	e.Helper()
	e.Put(e.SYN())
	e.WantSYNACK()
	e.Ack()
}

// WantSYNACK receives the SYN-ACK.
func (e *End) WantSYNACK() wire.Segment {
	e.Helper()
	s := e.Want("a SYN-ACK", func(s *wire.Segment) bool { return s.Flags.Has(wire.SYN|wire.ACK) && s.Ack == e.ISS+1 })
	e.meet(&s)
	return s
}

// meet begins the peer's sequence space with its SYN.
func (e *End) meet(s *wire.Segment) {
	e.IRS, e.Got = s.Seq, 1
	e.useTS = e.Opts.HasTS && s.Opts.HasTS
	e.tsRec = s.Opts.TSVal
}

// next returns the next segment, waiting until the deadline.
func (e *End) next(deadline time.Time) (s wire.Segment, ok bool) {
	e.Helper()
	for {
		q := e.h.queue[e.Local]
		if segs := q[e.Remote]; len(segs) > 0 {
			q[e.Remote] = segs[1:]
			e.note(&segs[0])
			return segs[0], true
		}
		left := time.Until(deadline)
		if left <= 0 {
			return s, false
		}
		e.h.pump(left)
	}
}

// Heard returns the segments that come until nothing has come for a while.
func (e *End) Heard(quiet time.Duration) (segs []wire.Segment) {
	e.Helper()
	for s, ok := e.next(time.Now().Add(quiet)); ok; s, ok = e.next(time.Now().Add(quiet)) {
		segs = append(segs, s)
	}
	return segs
}

// note takes what is in order.
func (e *End) note(s *wire.Segment) {
	if s.Flags.Has(wire.RST) {
		e.reset = true
		return
	}
	if s.Flags.Has(wire.SYN) {
		e.reset = false // it was of an attempt before
		return
	}
	from := tcb.Diff(s.Seq, e.IRS)
	end := from + len(s.Payload)
	if from > e.Got || end < e.Got {
		return
	}
	if s.Opts.HasTS {
		e.tsRec = s.Opts.TSVal
	}
	e.stream = append(e.stream, s.Payload[e.Got-from:]...)
	e.Got = end
	if s.Flags.Has(wire.FIN) && !e.fin {
		e.fin = true
		e.Got++
	}
}

// Want returns the next segment that is as wanted; others are taken in and passed over.
func (e *End) Want(why string, wanted func(*wire.Segment) bool) wire.Segment {
	e.Helper()
	deadline := time.Now().Add(patience)
	var seen []string
	for {
		s, ok := e.next(deadline)
		if !ok {
			e.Fatalf("%v waits for %s; since then came %q", e.Local, why, seen)
		}
		if wanted(&s) {
			return s
		}
		seen = append(seen, e.describe(&s))
	}
}

func (e *End) describe(s *wire.Segment) string {
	return fmt.Sprintf("%s %d ack %d win %d %s", s.Flags, tcb.Diff(s.Seq, e.IRS), tcb.Diff(s.Ack, e.ISS), s.Wnd, short(string(s.Payload)))
}

// Hear receives data, acknowledging it, and fails unless it is text.
func (e *End) Hear(text string) {
	e.Helper()
	e.receive(text)
	e.Ack()
}

// HearQuietly receives data and acknowledges nothing, also with what is sent later.
func (e *End) HearQuietly(text string) {
	e.Helper()
	e.receive(text)
	e.Unsaid += len(text)
}

// HearAllQuietly is HearQuietly for a peer that may have to wait for an
// acknowledgement: it reports whether all has come without one. If not, what has come
// is acknowledged, and so is the rest as it comes.
func (e *End) HearAllQuietly(text string) bool {
	e.Helper()
	for len(e.stream) < len(text) && !e.reset {
		if _, ok := e.next(time.Now().Add(time.Second)); !ok {
			break
		}
	}
	if len(e.stream) >= len(text) {
		e.HearQuietly(text)
		return true
	}
	for e.Ack(); text != ""; {
		n := min(2000, len(text))
		e.Hear(text[:n])
		text = text[n:]
	}
	return false
}

func (e *End) receive(text string) {
	e.Helper()
	deadline := time.Now().Add(patience)
	for len(e.stream) < len(text) {
		if e.reset {
			e.Fatalf("%v waits for %s and is reset after %s", e.Local, short(text), short(string(e.stream)))
		}
		if _, ok := e.next(deadline); !ok {
			e.Fatalf("%v waits for %s; there is %s", e.Local, short(text), short(string(e.stream)))
		}
	}
	if got := string(e.stream[:len(text)]); got != text {
		e.Fatalf("%v received %s, want %s", e.Local, short(got), short(text))
	}
	e.stream = e.stream[len(text):]
}

// short quotes a text for a message.
func short(text string) string {
	if len(text) > 80 {
		return fmt.Sprintf("%q… of %d bytes", text[:60], len(text))
	}
	return fmt.Sprintf("%q", text)
}

// WantAck waits until all that was sent is acknowledged.
func (e *End) WantAck() {
	e.Helper()
	e.Want("the ACK of all", func(s *wire.Segment) bool {
		return s.Flags.Has(wire.ACK) && tcb.Diff(s.Ack, e.ISS) >= e.Sent
	})
}

// WantFIN receives the peer's FIN, in order, and acknowledges it.
func (e *End) WantFIN() {
	e.Helper()
	if !e.fin {
		e.Want("a FIN", func(*wire.Segment) bool { return e.fin })
	}
	e.Ack()
}

// WantRST receives an exact RST.
func (e *End) WantRST() {
	e.Helper()
	e.Want("an exact RST", func(s *wire.Segment) bool {
		return s.Flags.Has(wire.RST) && tcb.Diff(s.Seq, e.IRS) == e.Got
	})
}

// WantNo fails if a segment comes, within a short while, that is as described. It proves little on a
// slow machine and never fails there by itself.
func (e *End) WantNo(why string, unwanted func(*wire.Segment) bool) {
	e.Helper()
	deadline := time.Now().Add(30 * time.Millisecond)
	for s, ok := e.next(deadline); ok; s, ok = e.next(deadline) {
		if unwanted(&s) {
			e.Errorf("%s: %s", why, e.describe(&s))
		}
	}
}

// IsRST matches a RST.
func IsRST(s *wire.Segment) bool { return s.Flags.Has(wire.RST) }

// HasData matches a segment with payload.
func HasData(s *wire.Segment) bool { return len(s.Payload) > 0 }
