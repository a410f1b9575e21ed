package stack

import (
	"errors"
	"fmt"
	"regexp"
	"time"
	"unicode/utf8"
)

// scriptInput bounds what a script keeps of unmatched input, in bytes; beyond
// it the oldest go.
const scriptInput = 16 << 10

const (
	// settleInput is how long a script waits for more before it looks at much
	// input again that has grown by little: one-byte segments must not cost an
	// evaluation of the whole each.
	settleInput = 5 * time.Millisecond
	// settleLine is how long it waits for the end of a line before it answers
	// with otherwise.
	settleLine = 50 * time.Millisecond
)

// scriptTurn is a turn, ready to be played.
type scriptTurn struct {
	expect *regexp.Regexp // nil: speaks at once
	send   template
	delay  time.Duration
}

type script struct {
	turns     []scriptTurn
	otherwise []byte
	close     bool
}

// compileScript reports every mistake of every turn.
func compileScript(s Service) (func(*Peer), error) {
	sc := &script{otherwise: s.Otherwise, close: s.Close}
	var errs []error
	for i, t := range s.Turns {
		turn, err := compileTurn(t)
		if err != nil {
			errs = append(errs, fmt.Errorf("turns[%d]: %w", i, err))
		}
		sc.turns = append(sc.turns, turn)
	}
	return sc.play, errors.Join(errs...)
}

func compileTurn(t Turn) (scriptTurn, error) {
	turn := scriptTurn{delay: t.Delay}
	var names []string
	if t.Expect != "" {
		re, err := regexp.Compile(latin1Pattern(t.Expect))
		if err != nil {
			return turn, fmt.Errorf("expect: %w", err)
		}
		turn.expect, names = re, re.SubexpNames()
	}
	var err error
	if turn.send, err = parseTemplate(t.Send, names); err != nil {
		return turn, fmt.Errorf("send: %w", err)
	}
	return turn, nil
}

// play follows the turns, then listens or closes.
func (s *script) play(p *Peer) {
	in := &scriptInputBuffer{}
	for i := range s.turns {
		if err := s.turn(p, in, &s.turns[i], i == len(s.turns)-1); err != nil {
			return
		}
	}
	if len(s.turns) == 0 && s.close {
		p.Close()
	}
	if s.close {
		return
	}
	s.rest(p, in)
}

// turn waits for what a turn expects and answers it.
func (s *script) turn(p *Peer, in *scriptInputBuffer, t *scriptTurn, last bool) error {
	groups, err := s.wait(p, in, t)
	if err != nil {
		return err
	}
	p.Begin()
	defer p.End()
	if err := pause(p, t.delay); err != nil {
		return err
	}
	if err := p.Write(t.send.expand(groups)); err != nil {
		return err
	}
	if last && s.close {
		p.Close()
	}
	return nil
}

// wait returns the groups of the match, consumed from the input.
func (s *script) wait(p *Peer, in *scriptInputBuffer, t *scriptTurn) ([][]byte, error) {
	if t.expect == nil {
		return nil, nil
	}
	for {
		if groups := in.match(t.expect); groups != nil {
			return groups, nil
		}
		if err := s.unexpected(p, in); err != nil {
			return nil, err
		}
		if err := in.fill(p); err != nil {
			return nil, err
		}
	}
}

// unexpected answers input that no turn wants, once it seems to be whole.
func (s *script) unexpected(p *Peer, in *scriptInputBuffer) error {
	if len(s.otherwise) == 0 || len(in.raw) == 0 {
		return nil
	}
	if in.raw[len(in.raw)-1] != '\n' {
		if err := pause(p, settleLine); err != nil {
			return err
		}
		if p.Readable() {
			return nil
		}
	}
	in.drop()
	return s.say(p, s.otherwise)
}

// say answers what no turn expects.
func (s *script) say(p *Peer, b []byte) error {
	p.Begin()
	defer p.End()
	return p.Write(b)
}

// rest is what follows the last turn: with otherwise, each thing that the
// client says is answered by it.
func (s *script) rest(p *Peer, in *scriptInputBuffer) {
	for {
		if err := s.unexpected(p, in); err != nil {
			return
		}
		if err := in.fill(p); err != nil {
			return
		}
	}
}

// pause waits before an answer; the flow may end meanwhile.
func pause(p *Peer, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-p.Over():
		return errOver
	}
}

// scriptInputBuffer is what the client said and no turn has consumed, as bytes
// and, for matching, each byte as the code point of its value: so that \xff in
// a pattern is the byte.
type scriptInputBuffer struct {
	raw  []byte
	text []byte // raw in UTF-8
	read [4096]byte
}

// fill reads more.
func (in *scriptInputBuffer) fill(p *Peer) error {
	n, err := p.Read(in.read[:])
	if err != nil {
		return err
	}
	in.add(in.read[:n])
	if n < len(in.raw)/16 && len(in.raw) > 1024 {
		return pause(p, settleInput)
	}
	return nil
}

func (in *scriptInputBuffer) add(b []byte) {
	in.raw = append(in.raw, b...)
	if over := len(in.raw) - scriptInput; over > 0 {
		in.raw = append(in.raw[:0], in.raw[over:]...)
		in.text = in.text[:0]
		b = in.raw
	}
	for _, c := range b {
		in.text = utf8.AppendRune(in.text, rune(c))
	}
}

func (in *scriptInputBuffer) drop() { in.raw, in.text = in.raw[:0], in.text[:0] }

// match consumes to the end of the leftmost match and returns its groups as the
// bytes that the client sent; nil: no match.
func (in *scriptInputBuffer) match(re *regexp.Regexp) [][]byte {
	at := re.FindSubmatchIndex(in.text)
	if at == nil {
		return nil
	}
	groups := make([][]byte, len(at)/2)
	for i := range groups {
		if at[2*i] >= 0 {
			groups[i] = fromText(in.text[at[2*i]:at[2*i+1]])
		}
	}
	end := utf8.RuneCount(in.text[:at[1]])
	in.raw = append(in.raw[:0], in.raw[end:]...)
	in.text = append(in.text[:0], in.text[at[1]:]...)
	return groups
}

// fromText turns code points back to the bytes that they stand for.
func fromText(text []byte) []byte {
	b := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		b = append(b, byte(r))
		text = text[n:]
	}
	return b
}

// latin1Pattern makes a pattern's own literal text mean bytes: text in a
// configuration is UTF-8, and the client's é is two bytes.
func latin1Pattern(p string) string {
	b := make([]byte, 0, len(p))
	for i := range len(p) {
		b = utf8.AppendRune(b, rune(p[i]))
	}
	return string(b)
}
