package suricata

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"sleight/rules/proto"
)

// Bounds of what one flow may cost. A step is a byte that a pattern looks at, or
// searchPerStep bytes that a search for a content passes over.
const (
	maxSteps     = 1 << 19 // of one rule's evaluation
	maxCallSteps = 1 << 20 // of all evaluations of one Judge; the others are left to the next
	maxMessages  = 64      // beginnings that are kept
)

// Input is what is known of a flow.
type Input struct {
	Client, Dialled netip.AddrPort
	Now             time.Time
	Stream          []byte // all that the client said; it only grows
	Turn            int    // where in it the newest turn begins
}

// Memory counts matches for all flows together.
type Memory interface {
	// Count notes a match and returns how many there were since the window began,
	// which the first of them does; this one included.
	Count(now time.Time, key Key, window time.Duration) int
}

// Key is what is counted together; an address that does not matter is zero.
type Key struct {
	SID      int
	Src, Dst netip.Addr
}

// Flow reads one client's stream. Its owner guards it.
type Flow struct {
	set    *Set
	proto  proto.Flow
	state  uint32 // of the pass over the stream
	passed int    // bytes
	seen   bitset // outs
	cands  []candidate
	bits   bitset
	fits   []fit // by header
	starts []int // where messages begin, in order
	begun  bool

	message int // where the current message begins, and 1 more; 0: none yet
	resume  int // candidate at which the next Judge goes on, from 1; 0: all were asked
	side    side
	fired   []*Rule
	exam    exam
	left    int  // steps of this Judge
	starved bool // an evaluation was given less than it may have, and that was not enough

	// Steps is what evaluations have cost, and Cut how many were not finished.
	Steps, Cut int
}

// candidate is a rule whose text has occurred.
type candidate struct {
	rule int
	dead int // the message in which it cannot hold any more, and 1 more
	from int // the first message's beginning that it has not matched yet
	hits int
	done bool
}

type fit uint8

const (
	unasked fit = iota
	fits
	unfit
)

// NewFlow begins with a flow.
func (s *Set) NewFlow() *Flow { return &Flow{set: s} }

// Judge reads on and returns the rules that hold and did not before, the most urgent
// first. They are valid until the next call. Without a memory, matches are counted
// within the flow. It allocates nothing while no text occurs.
func (fl *Flow) Judge(in *Input, mem Memory) []*Rule {
	fl.fired, fl.left = fl.fired[:0], maxCallSteps
	if fl.begun && !fl.Unfinished() && fl.passed == len(in.Stream) {
		return nil // nothing new
	}
	fl.begin(in)
	for {
		if !fl.Unfinished() {
			fl.read(in)
		}
		fl.evaluate(in.Stream[:fl.passed], in, mem)
		if fl.Unfinished() || fl.passed == len(in.Stream) {
			break
		}
	}
	fl.Steps += maxCallSteps - max(0, fl.left)
	slices.SortStableFunc(fl.fired, func(a, b *Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	return fl.fired
}

// Unfinished reports whether the last Judge had more to do than it may at once: what
// the client has said is not judged yet, and Judge should be called again.
func (fl *Flow) Unfinished() bool { return fl.resume > 0 }

// read goes on to the end of the stream, or of a message in it.
func (fl *Flow) read(in *Input) {
	to := len(in.Stream)
	if fl.set.readers && to > 0 {
		to = fl.proto.Step(in.Stream)
		fl.follow(in.Stream)
	}
	fl.pass(in.Stream[:to], in)
}

// follow notes that another message has begun: a request once its line is whole,
// since what may stand before it is no part of it.
func (fl *Flow) follow(stream []byte) {
	p, st := fl.proto.Protocol()
	if st != proto.Known || p == proto.HTTP && fl.proto.Status(proto.HTTPMethod) != proto.Known {
		return
	}
	if at := fl.proto.Begin() + 1; at != fl.message {
		fl.message, fl.side = at, side{}
		fl.startAt(at-1, len(stream))
	}
}

// begin notes candidates that need no text, and where messages begin.
func (fl *Flow) begin(in *Input) {
	if !fl.begun {
		fl.begun = true
		for _, i := range fl.set.always {
			fl.candidate(i, in)
		}
	}
	fl.startAt(in.Turn, len(in.Stream))
}

// startAt notes the beginning of a message.
func (fl *Flow) startAt(at, length int) {
	last := 0
	if n := len(fl.starts); n > 0 {
		last = fl.starts[n-1]
	}
	if at > last && at < length && len(fl.starts) < maxMessages {
		fl.starts = append(fl.starts, at)
	}
}

// pass runs the automaton over what the stream has grown by.
func (fl *Flow) pass(stream []byte, in *Input) {
	if fl.passed < len(stream) {
		fl.state = fl.look(fl.state, stream[fl.passed:], in)
		fl.passed = len(stream)
	}
	if fl.set.readers {
		fl.aside(stream, in)
	}
}

// look runs the automaton over some bytes.
func (fl *Flow) look(state uint32, b []byte, in *Input) uint32 {
	a := fl.set.find
	for {
		next, n, hit := a.scan(state, b, fl.seen)
		if hit == 0 {
			return next
		}
		if fl.seen == nil {
			fl.seen = newBitset(len(a.outs))
		}
		for hit != 0 && !fl.seen.has(int(hit)) {
			fl.seen.add(int(hit))
			for _, i := range fl.set.of[a.outs[hit].text] {
				fl.candidate(i, in)
			}
			hit = a.outs[hit].next
		}
		state, b = next, b[n:]
	}
}

// candidate notes a rule, if its header fits.
func (fl *Flow) candidate(rule int, in *Input) {
	if fl.fits == nil {
		fl.fits = make([]fit, len(fl.set.heads))
	}
	h := fl.set.headOf[rule]
	if fl.fits[h] == unasked {
		fl.fits[h] = unfit
		if fl.set.heads[h].fits(in.Client, in.Dialled) {
			fl.fits[h] = fits
		}
	}
	if fl.fits[h] == fits {
		fl.cands = append(fl.cands, candidate{rule: rule})
	}
}

// side is how far buffers were read that are not as they stand in the stream.
type side struct {
	uri, hello bool
	body       int
	bodyState  uint32
}

// aside runs the automaton over buffers whose bytes the stream does not have as they
// are: a URI with %2e in it, a body in chunks, a fingerprint.
func (fl *Flow) aside(stream []byte, in *Input) {
	p, st := fl.proto.Protocol()
	switch {
	case st != proto.Known:
	case p == proto.HTTP:
		fl.asideURI(stream, in)
		fl.asideBody(stream, in, httpBody)
	case p == proto.SMTP:
		fl.asideBody(stream, in, smtpData)
	case !fl.side.hello && (p == proto.TLS || p == proto.SSH):
		for _, b := range [...]buffer{tlsSNI, tlsJA3, tlsJA4, sshHASSH} {
			if !fl.set.uses[b] || buffers[b].proto != p.String() {
				continue
			}
			data, st := b.read(&fl.proto, stream)
			if st == proto.Unknown {
				return
			}
			fl.look(0, data, in)
		}
		fl.side.hello = true
	}
}

func (fl *Flow) asideURI(stream []byte, in *Input) {
	if fl.side.uri || !fl.set.uses[httpURI] || fl.proto.Status(proto.HTTPURI) != proto.Known {
		return
	}
	fl.side.uri = true
	uri, _ := fl.proto.Bytes(stream, proto.HTTPURI)
	if raw, _ := fl.proto.Bytes(stream, proto.HTTPURIRaw); string(raw) != string(uri) {
		fl.look(0, uri, in)
	}
}

// asideBody reads what of a body is not as it stands in the stream.
func (fl *Flow) asideBody(stream []byte, in *Input, b buffer) {
	if !fl.set.uses[b] {
		return
	}
	body, st := b.read(&fl.proto, stream)
	if st < proto.Partial || fl.side.body >= len(body) || offset(stream, body) >= 0 {
		return
	}
	fl.side.bodyState = fl.look(fl.side.bodyState, body[fl.side.body:], in)
	fl.side.body = len(body)
}

// offset is where a piece of others' memory begins in them; −1: it is none.
func offset(whole, piece []byte) int {
	from, at := uintptr(unsafe.Pointer(unsafe.SliceData(whole))), uintptr(unsafe.Pointer(unsafe.SliceData(piece)))
	if at < from || at >= from+uintptr(len(whole)) {
		return -1
	}
	return int(at - from)
}

// view shows bytes as a string without a copy; the bytes of a stream never change.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
