// Package suricata reads Suricata's rules and matches them against what a client
// says. It does no I/O and knows no clock.
//
// Parse makes rules of a file's text; what a rule uses that is not known here makes
// it skipped, with the reason. Compile puts the rules that are wanted together into
// a Set. A Flow then reads a client's stream as it grows: one pass of an automaton
// over all the rules' patterns, whose state is kept between calls, finds candidates,
// and only these are evaluated.
//
// Suricata judges packets and pieces of a stream; what is judged here is the stream
// itself, so that the verdict is the same however it was cut. Where a rule's words
// mean a packet, they mean a message here: it begins where the stream does, where
// the client speaks again after an answer, or where a request begins. A rule holds
// as soon as there is a beginning of the stream for which it holds; a negation with
// a window waits until the window is full, and one of a request's field until the
// field is whole.
package suricata

import "fmt"

// Rule is one rule that can be used.
type Rule struct {
	File       string
	Line       int // from 1
	GID        int
	SID        int
	Rev        int
	Msg        string
	Classtype  string
	Priority   int // from 1, the most urgent
	References []string
	Protocol   string // as the rule's header names it
	Text       string // as it was written

	header   *header
	app      string // application protocol that has to be recognised; empty: any
	notApp   string // that must not be
	parts    []part
	anchored bool // has to be tried at every message's beginning
	size     span // dsize
	sized    bool
	bits     []flowbit
	asksBits bool // one of them is a condition
	noAlert  bool
	limit    *threshold
	fast     fast
}

// Skipped is a rule that cannot be used.
type Skipped struct {
	File     string
	Line     int
	SID      int
	Msg      string
	Protocol string
	Content  bool // it has a content to look for
	Reason   string
}

// String is file:line: sid: reason.
func (s Skipped) String() string {
	return fmt.Sprintf("%s:%d: sid %d: %s", s.File, s.Line, s.SID, s.Reason)
}

// span is a range of lengths that are asked for: (least, most), both excluded.
type span struct{ over, under int }

const unbounded = 1 << 30

func (s span) has(n int) bool { return n > s.over && n < s.under }
