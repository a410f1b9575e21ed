// Package ladder draws a flow as a sequence diagram: what S and the decoy said to
// each other until the gateway took over, and what the gateway and the backend did,
// with the numbers of both legs. The drawing is made from captures alone. The decoy
// lives within the gateway, so no capture has its leg: what S says goes to it, and
// answers come from it, until the switch. The handshake is drawn as the decoy's too,
// whose host S has dialled; it is the gateway that sends it, in that host's name.
package ladder

import (
	"bytes"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Place is one of the parties of a ladder diagram.
type Place uint8

// The parties, from left to right.
const (
	AtClient Place = iota
	AtDecoy
	AtGateway
	AtBackend
)

// Mark says what a step has to do with the switch.
type Mark uint8

// The marks.
const (
	Plain      Mark = iota
	Decoy           // the decoy's answer
	Held            // no serving leg gets it, nobody acknowledges it
	Replayed        // the gateway tells the backend what the client said
	Swallowed       // the backend's answer to what was replayed: S has it from the decoy
	Committed       // the moment of the switch: no segment
	RolledBack      // the backend is given up, the decoy goes on: no segment
	LeftOut         // steps that are not drawn: no segment
)

// Step is one segment, or one moment, of a ladder diagram.
type Step struct {
	Time           time.Time
	From, To       Place // the ends of one leg; equal: a moment at one place
	Flags          string
	Seq, Ack       uint32 // as on the wire
	RelSeq, RelAck uint32 // from the sender's and the receiver's ISN of this leg
	HasAck         bool
	Len            int    // of the payload, in bytes
	Payload        []byte // its beginning
	Mark           Mark
	Note           string
}

// moment reports whether the step is no segment.
func (s *Step) moment() bool { return s.From == s.To }

// left reports whether the step belongs to the client leg.
func (s *Step) left() bool { return min(s.From, s.To) == AtClient }

// end is the sequence number after the payload, from the ISN.
func (s *Step) end() uint32 { return s.RelSeq + uint32(s.Len) }

// Captured is one leg of a flow in a capture.
type Captured struct {
	Client, Server netip.AddrPort // as the leg's packets name its ends
	Packets        iter.Seq2[time.Time, []byte]
}

// Ladder is a sequence diagram.
type Ladder struct {
	Title string
	// What stands beneath the names of the columns: addresses.
	Client, Decoy, Gateway, Backend string
	Steps                           []Step
}

const (
	excerpt = 96      // bytes of a payload that are kept
	maxRead = 1 << 18 // segments that are read of one leg
	// MaxSteps is how many steps are drawn; of a longer flow, those in the middle
	// are left out.
	MaxSteps = 400
)

// New draws a flow from a capture at S and, where there is one, a capture at
// the backend's side. Both have the same clock. Moments of the caller's are put
// between the segments by their time.
func New(title string, client Captured, backend *Captured, moments ...Step) *Ladder {
	l := &Ladder{Title: title, Client: client.Client.String(), Decoy: client.Server.String()}
	steps := client.steps(AtClient, AtGateway)
	if backend != nil {
		l.Backend = backend.Server.String()
		steps = append(steps, backend.steps(AtGateway, AtBackend)...)
	}
	byTime := func(a, b Step) int { return a.Time.Compare(b.Time) }
	slices.SortStableFunc(steps, byTime)
	steps = append(answerers(annotate(steps)), moments...)
	slices.SortStableFunc(steps, byTime)
	l.Steps = leaveOut(steps)
	return l
}

// steps reads a leg's segments.
func (c Captured) steps(client, server Place) (all []Step) {
	var isn [2]tcb.Seq // of client and server
	var known [2]bool
	for at, packet := range c.Packets {
		var s wire.Segment
		if len(all) == maxRead {
			break
		}
		if wire.Parse(&s, packet, wire.Offload{CsumValid: true}) != wire.OK {
			continue
		}
		from := 0
		switch {
		case s.Src == c.Client && s.Dst == c.Server:
		case s.Src == c.Server && s.Dst == c.Client:
			from = 1
		default:
			continue
		}
		// Without a SYN, count as if it had come just before.
		if !known[from] || s.Flags.Has(wire.SYN) {
			isn[from], known[from] = s.Seq, true
			if !s.Flags.Has(wire.SYN) {
				isn[from]--
			}
		}
		if s.Flags.Has(wire.ACK) && !known[1-from] {
			isn[1-from], known[1-from] = s.Ack-1, true
		}
		step := Step{
			Time: at, From: client, To: server, Flags: names(s.Flags),
			Seq: uint32(s.Seq), RelSeq: uint32(s.Seq - isn[from]), Len: len(s.Payload),
			Payload: bytes.Clone(s.Payload[:min(len(s.Payload), excerpt)]),
		}
		if from == 1 {
			step.From, step.To = server, client
		}
		if s.Flags.Has(wire.ACK) {
			step.HasAck, step.Ack, step.RelAck = true, uint32(s.Ack), uint32(s.Ack-isn[1-from])
		}
		all = append(all, step)
	}
	return all
}

// names spells a segment's flags out.
func names(f wire.Flags) string {
	var all []string
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE"} {
		if f.Has(1 << i) {
			all = append(all, name)
		}
	}
	return strings.Join(all, " ")
}

// leaveOut takes steps out of the middle of a long flow.
func leaveOut(steps []Step) []Step {
	if len(steps) <= MaxSteps {
		return steps
	}
	const tail = MaxSteps / 8
	from, to := MaxSteps-tail-1, len(steps)-tail
	gap := Step{
		Time: steps[from].Time, From: AtGateway, To: AtGateway, Mark: LeftOut,
		Note: fmt.Sprintf("%d segments are not drawn", to-from),
	}
	return slices.Concat(steps[:from], []Step{gap}, steps[to:])
}

// label is a segment in one line, its numbers from the ISN.
func (s *Step) label() string {
	var b strings.Builder
	b.WriteString(s.Flags)
	fmt.Fprintf(&b, " %d", s.RelSeq)
	if s.Len > 0 {
		fmt.Fprintf(&b, ":%d", s.end())
	}
	if s.HasAck {
		fmt.Fprintf(&b, " ack %d", s.RelAck)
	}
	return b.String()
}

// wire is a segment's numbers as they are on the wire.
func (s *Step) wire() string {
	if !s.HasAck {
		return fmt.Sprintf("seq %d", s.Seq)
	}
	return fmt.Sprintf("seq %d ack %d", s.Seq, s.Ack)
}

// below is what stands beneath an arrow: its numbers on the wire and the beginning
// of its payload, in one line of at most n characters if the whole of it fits.
func (s *Step) below(n int) []string {
	numbers := s.wire()
	if s.Len == 0 {
		return []string{numbers}
	}
	if q := quote(s.Payload, s.Len, excerpt*4); len(numbers)+1+len(q) <= n && len(s.Payload) == s.Len {
		return []string{numbers + " " + q}
	}
	return []string{numbers, quote(s.Payload, s.Len, n)}
}

// remark is what is said of a step beside its arrow.
func (s *Step) remark() string {
	if s.Note != "" {
		return s.Note
	}
	return [...]string{Decoy: "the decoy's", Held: "held", Replayed: "replayed", Swallowed: "swallowed", LeftOut: ""}[s.Mark]
}

// quote is the beginning of a payload in at most n characters.
func quote(payload []byte, length, n int) string {
	if length == 0 {
		return ""
	}
	const rest = "…"
	var b strings.Builder
	b.WriteByte('"')
	size, whole := 1, true
	for _, v := range payload {
		c := character(v)
		if size+len(c)+2 > n {
			whole = false
			break
		}
		b.WriteString(c)
		size += len(c)
	}
	if !whole || len(payload) < length {
		b.WriteString(rest)
	}
	b.WriteByte('"')
	return b.String()
}

// character is a byte as Go's source would have it.
func character(v byte) string {
	switch {
	case v == '\n':
		return `\n`
	case v == '\r':
		return `\r`
	case v == '\t':
		return `\t`
	case v < ' ' || v > '~':
		return fmt.Sprintf(`\x%02x`, v)
	}
	return string(rune(v))
}

// count is a number of bytes in words.
func count(n int) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

// ms is a step's time since the first one, in milliseconds.
func (l *Ladder) ms(s *Step) string {
	return fmt.Sprintf("%.3f", float64(s.Time.Sub(l.Steps[0].Time).Microseconds())/1000)
}

// numbers names the segments: 1, 2, 3 on the client leg, a, b, c on the other.
func (l *Ladder) numbers() []string {
	all := make([]string, len(l.Steps))
	var left, right int
	for i := range l.Steps {
		switch s := &l.Steps[i]; {
		case s.moment():
		case s.left():
			left++
			all[i] = fmt.Sprint(left)
		default:
			all[i] = letters(right)
			right++
		}
	}
	return all
}

// letters counts a, b … z, aa, ab …
func letters(n int) string {
	if n < 26 {
		return string(rune('a' + n))
	}
	return letters(n/26-1) + letters(n%26)
}
