package replay

import (
	"bytes"
	"regexp"
	"unicode/utf8"
)

// compare holds what the peer has answered to the current turn against the
// decoy's answer. ok: the answer is whole and its first size bytes are
// swallowed. A difference fails the machine.
func (m *Machine) compare(decoy, peer []byte) (size int, ok bool) {
	switch m.cfg.Mode {
	case Length:
		return len(decoy), len(peer) >= len(decoy)
	case Framed:
		return m.framed(decoy, peer)
	case Off:
		return 0, false // the quiet timer decides
	}
	if len(m.cfg.Except) > 0 {
		return m.blanked(decoy, peer)
	}
	n := min(len(decoy), len(peer))
	for i := range n {
		if decoy[i] != peer[i] {
			m.differ(i, decoy, peer)
			return 0, false
		}
	}
	return len(decoy), n == len(decoy)
}

// framed counts whole answers.
func (m *Machine) framed(decoy, peer []byte) (size int, ok bool) {
	asked := m.cfg.Turns[m.turn].Client
	want, _ := m.cfg.Framer.Answers(asked, decoy, len(decoy))
	if want == 0 {
		want = 1 // an answer that only the close of the connection ends
	}
	n, size := m.cfg.Framer.Answers(asked, peer, want)
	return size, n >= want
}

// blanked compares with the patterns of Except taken out of both. At the end of
// what has come a pattern may still be growing, however the peer's segments are
// cut: a difference is final, and a match that touches the end is whole, only once
// the peer is silent. A difference also waits until the peer has said as much as
// the decoy.
func (m *Machine) blanked(decoy, peer []byte) (size int, ok bool) {
	want, wantGone := blank(m.cfg.Except, decoy)
	got, gone := blank(m.cfg.Except, peer)
	final := m.silent || m.in.fin
	n := min(len(want), len(got))
	if i := firstDifference(want[:n], got[:n]); i < n {
		if final && len(peer) >= len(decoy) {
			m.differ(i, want, got)
		}
		return 0, false
	}
	if len(got) < len(want) || len(peer) == 0 {
		return 0, false
	}
	size = ends(gone, len(want))
	matched := size > 0 && gone[size-1]
	if len(decoy) > 0 && wantGone[len(decoy)-1] {
		return size, final || matched && size < len(peer)
	}
	return size, final || !matched || size < len(peer)
}

// blank takes every match of the patterns out of b; gone says of each byte whether
// it was in one.
func blank(patterns []*regexp.Regexp, b []byte) (left []byte, gone []bool) {
	gone = make([]bool, len(b))
	text, byteAt := latin1(b)
	for _, re := range patterns {
		for _, at := range re.FindAllStringIndex(text, -1) {
			for i := byteAt[at[0]]; i < byteAt[at[1]]; i++ {
				gone[i] = true
			}
		}
	}
	for i, c := range b {
		if !gone[i] {
			left = append(left, c)
		}
	}
	return left, gone
}

// ends maps a length n of what is left back to a length of the whole, matches that
// follow it directly included.
func ends(gone []bool, n int) int {
	for i, g := range gone {
		if g {
			continue
		}
		if n == 0 {
			return i
		}
		n--
	}
	return len(gone)
}

// latin1 makes each byte a rune, so that \xff in a pattern is the byte. byteAt maps
// an offset of the text, its end included, to one of b.
func latin1(b []byte) (text string, byteAt []int) {
	out := make([]byte, 0, len(b))
	for i, c := range b {
		out = utf8.AppendRune(out, rune(c))
		for len(byteAt) < len(out) {
			byteAt = append(byteAt, i)
		}
	}
	return string(out), append(byteAt, len(b))
}

func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return len(a)
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// differ ends the replay at the first byte that differs.
func (m *Machine) differ(i int, decoy, peer []byte) {
	m.mismatch = Mismatched{Turn: m.turn, Offset: i, Decoy: int(decoy[i]), Peer: int(peer[i])}
	m.fail(Mismatch)
}

// certain is how many bytes beyond what was compared are sure to be swallowed:
// those may be acknowledged before the turn is whole, so that a long answer
// keeps flowing.
func (m *Machine) certain() int {
	got := len(m.in.bytes) - m.compared
	switch {
	case m.cfg.Mode == Off:
		return got
	case m.cfg.Mode == Framed:
		return got // not whole, or it would have been closed: all of it belongs
	}
	return min(got, len(m.cfg.Turns[m.turn].Answer))
}
