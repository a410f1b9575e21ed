package suricata

import (
	"errors"
	"fmt"

	"sleight/rules/pattern"
)

// kind is what a matcher does.
type kind uint8

const (
	isContent kind = iota
	isPattern
	isByteTest
	isByteJump
	isDataAt
	isSize
)

// matcher is one condition on a buffer.
type matcher struct {
	kind     kind
	negated  bool
	relative bool // to the end of the match before it
	nocase   bool
	starts   bool // at the buffer's beginning; of a pattern: it may be
	ends     bool // at the buffer's end
	fast     bool
	chained  bool // one behind it is relative to its match

	text             []byte // of a content; lower case if nocase
	offset, depth    int    // depth 0: to the end; offset also of isdataat
	distance, within int    // within 0: to the end
	re               *pattern.Pattern
	num              *numeric
	size             span
}

// moves reports whether what follows may be relative to this.
func (m *matcher) moves() bool {
	return !m.negated && (m.kind == isContent || m.kind == isPattern) || m.kind == isByteJump
}

// absolute reports whether it asks for a place that is counted from the beginning.
func (m *matcher) absolute() bool {
	switch m.kind {
	case isContent:
		return !m.relative && (m.offset > 0 || m.depth > 0 || m.starts)
	case isPattern:
		return !m.relative && m.starts
	}
	return !m.relative
}

// window is where a content may lie; hi is unbounded where only the end ends it.
func (m *matcher) window(at int) (lo, hi int) {
	if m.starts {
		return 0, len(m.text)
	}
	lo, hi = m.offset, unbounded
	if m.depth > 0 {
		hi = m.offset + m.depth
	}
	if m.relative {
		lo = max(lo, at+m.distance)
		if m.within > 0 {
			hi = min(hi, at+m.distance+m.within)
		}
	}
	return lo, hi
}

// part is what a rule asks of one buffer.
type part struct {
	in buffer
	ms []matcher
}

// maxMatchers bounds a rule's conditions, and so how deep an evaluation goes.
const maxMatchers = 64

// finish puts a rule together that has been read to its end.
func (p *parser) finish() error {
	r := p.r
	if len(p.chain) > maxMatchers {
		return fmt.Errorf("more than %d conditions", maxMatchers)
	}
	for _, w := range p.chain {
		if w.in == fileData {
			w.in = httpBody
			if r.app == "smtp" {
				w.in = smtpData
			}
		}
		if app := buffers[w.in].proto; app != "" {
			if err := p.require(app); err != nil {
				return err
			}
		}
		if err := w.check(); err != nil {
			return err
		}
		r.parts = addTo(r.parts, w)
	}
	for i := range r.parts {
		link(r.parts[i].ms)
	}
	r.anchored = r.sized || anchored(r.parts)
	return nil
}

// check refuses what can never hold.
func (w *within) check() error {
	m := &w.matcher
	if m.kind != isContent {
		return nil
	}
	if m.nocase {
		m.text = lower(m.text)
	}
	switch {
	case m.depth > 0 && m.depth < len(m.text):
		return errors.New("depth: it is shorter than the content")
	case m.within > 0 && m.within < len(m.text):
		return errors.New("within: it is shorter than the content")
	case m.starts && (m.relative || m.offset > 0):
		return errors.New("startswith: it cannot be moved")
	}
	return nil
}

// addTo adds a matcher to its buffer's part.
func addTo(parts []part, w *within) []part {
	for i := range parts {
		if parts[i].in == w.in {
			parts[i].ms = append(parts[i].ms, w.matcher)
			return parts
		}
	}
	return append(parts, part{w.in, []matcher{w.matcher}})
}

// link notes which matches others are relative to: there a second try is worth it.
func link(ms []matcher) {
	for i := range ms {
		for j := i + 1; j < len(ms) && !ms[i].chained; j++ {
			ms[i].chained = ms[j].relative
			if ms[j].moves() {
				break
			}
		}
	}
}

// anchored reports whether a rule asks for places within a message.
func anchored(parts []part) bool {
	for i := range parts {
		for j := range parts[i].ms {
			if parts[i].in == payload && parts[i].ms[j].absolute() {
				return true
			}
		}
	}
	return false
}
