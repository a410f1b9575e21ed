package suricata

import (
	"bytes"
	"slices"

	"sleight/rules/pattern"
)

// extent says what more bytes can change.
type extent uint8

const (
	// whole: the buffer will not grow.
	whole extent = iota
	// growing: its rest is to come; what asks for its end waits.
	growing
	// opening: the stream. A rule holds if it does for any beginning of it, so what
	// asks for the end is asked where the rule's last match ends.
	opening
)

// exam is one evaluation of a part.
type exam struct {
	buf    []byte
	extent extent
	end    int     // where the last match ends, so far
	later  []doubt // of an opening
	steps  int     // left
	more   bool    // more bytes may change the answer
	vain   bool    // a content does not occur in the rest: a later place to begin does not help
}

// doubt is a negation that is asked once it is known where the last match ends.
type doubt struct {
	m  *matcher
	at int
}

// wait says that more bytes may change the answer, which is no.
func (x *exam) wait() bool {
	x.more = x.more || x.extent != whole
	return false
}

// run reports whether all of ms hold, at being the end of the match before.
func (x *exam) run(ms []matcher, at int) bool {
	if x.steps--; x.steps < 0 {
		return false
	}
	if len(ms) == 0 {
		return x.settle()
	}
	m := &ms[0]
	switch m.kind {
	case isContent:
		if m.negated {
			return x.absent(ms, at)
		}
		return x.content(ms, at)
	case isPattern:
		if m.negated {
			return x.unmatched(ms, at)
		}
		return x.pattern(ms, at)
	case isByteTest:
		return x.byteTest(ms, at)
	case isByteJump:
		return x.byteJump(ms, at)
	case isDataAt:
		return x.dataAt(ms, at)
	}
	if x.extent != whole {
		return x.wait()
	}
	return m.size.has(len(x.buf)) && x.run(ms[1:], at)
}

// behind goes on behind a match; what it has noted is taken back if that fails.
func (x *exam) behind(ms []matcher, end int) bool {
	last, doubts := x.end, len(x.later)
	x.end = max(x.end, end)
	if x.run(ms[1:], end) {
		return true
	}
	x.end, x.later = last, x.later[:doubts]
	return false
}

// content tries each place where the content stands.
func (x *exam) content(ms []matcher, at int) bool {
	m := &ms[0]
	lo, hi := m.window(at)
	for {
		i := x.find(m, lo, hi)
		if i < 0 {
			x.vain = hi >= len(x.buf)
			return x.wait()
		}
		end := i + len(m.text)
		switch {
		case !m.ends || x.extent == opening || x.extent == whole && end == len(x.buf):
			if x.behind(ms, end) {
				return true
			}
			if !m.chained || x.vain || x.steps < 0 {
				return false
			}
		case x.extent == growing:
			return x.wait()
		}
		lo = i + 1
	}
}

// absent holds where a content is not found.
func (x *exam) absent(ms []matcher, at int) bool {
	m := &ms[0]
	lo, hi := m.window(at)
	if x.extent == opening && hi == unbounded {
		x.later = append(x.later, doubt{m, at})
		return x.run(ms[1:], at)
	}
	if x.present(m, lo, hi) {
		return false
	}
	if x.extent != whole && hi > len(x.buf) {
		return x.wait()
	}
	return x.run(ms[1:], at)
}

// present looks for a content that must not be there.
func (x *exam) present(m *matcher, lo, hi int) bool {
	for i := x.find(m, lo, hi); i >= 0; i = x.find(m, i+1, hi) {
		if !m.ends || i+len(m.text) == len(x.buf) {
			return true
		}
	}
	return false
}

// maxPattern bounds how far one pattern looks, in bytes; a dear one looks less far.
const maxPattern = 64 << 10

// view is what a pattern looks at; nothing where the steps do not suffice.
func (x *exam) view(re *pattern.Pattern, from, to int) string {
	to = min(to, from+maxPattern, from+maxSteps/4*3/re.Cost())
	if from > to || x.steps < 0 {
		return ""
	}
	if x.steps -= (to - from) * re.Cost(); x.steps < 0 {
		return ""
	}
	return view(x.buf[from:to])
}

// pattern tries each place where the pattern matches.
func (x *exam) pattern(ms []matcher, at int) bool {
	m := &ms[0]
	from := 0
	if m.relative {
		from = min(max(0, at), len(x.buf))
	}
	for {
		i, j := m.re.Find(x.view(m.re, from, len(x.buf)))
		if i < 0 {
			return x.wait()
		}
		if x.behind(ms, from+j) {
			return true
		}
		x.vain = false // the next match may end before this one
		if !m.chained || x.steps < 0 || from+i >= len(x.buf) {
			return x.wait()
		}
		from += i + 1
	}
}

// unmatched holds where a pattern does not match.
func (x *exam) unmatched(ms []matcher, at int) bool {
	m := &ms[0]
	switch x.extent {
	case opening:
		x.later = append(x.later, doubt{m, at})
	case growing:
		return x.wait()
	case whole:
		if x.matches(m, at, len(x.buf)) {
			return false
		}
	}
	return x.run(ms[1:], at)
}

func (x *exam) matches(m *matcher, at, end int) bool {
	from := 0
	if m.relative {
		from = min(max(0, at), end)
	}
	return m.re.Match(x.view(m.re, from, end))
}

func (x *exam) byteTest(ms []matcher, at int) bool {
	m := &ms[0]
	pos := m.num.offset
	if m.relative {
		pos += at
	}
	if pos+m.num.size > len(x.buf) {
		return x.wait()
	}
	v, ok := m.num.at(x.buf, pos)
	if !ok || m.num.holds(v) == m.negated {
		return false
	}
	x.end = max(x.end, pos+m.num.size)
	return x.run(ms[1:], at)
}

func (x *exam) byteJump(ms []matcher, at int) bool {
	m := &ms[0]
	pos := m.num.offset
	if m.relative {
		pos += at
	}
	if pos+m.num.size > len(x.buf) || m.num.end && x.extent != whole {
		return x.wait()
	}
	v, ok := m.num.at(x.buf, pos)
	if m.num.size == 0 {
		v, ok = 0, pos >= 0
	}
	if !ok {
		return false
	}
	to, ok := m.num.jump(v, pos, len(x.buf))
	switch {
	case !ok:
		return false
	case to > len(x.buf):
		return x.wait()
	}
	ok = x.behind(ms, max(to, 0))
	x.vain = false // a later number may lead to an earlier place
	return ok
}

// far is where isdataat asks for bytes up to.
func (m *matcher) far(at int) int {
	if m.relative {
		return at + m.offset
	}
	return m.offset + 1
}

func (x *exam) dataAt(ms []matcher, at int) bool {
	m := &ms[0]
	switch {
	case !m.negated && m.far(at) > len(x.buf):
		return x.wait()
	case !m.negated:
		x.end = max(x.end, m.far(at))
	case x.extent == growing:
		return x.wait()
	case x.extent == opening:
		x.later = append(x.later, doubt{m, at})
	case m.far(at) <= len(x.buf):
		return false
	}
	return x.run(ms[1:], at)
}

// settle asks the doubts, now that it is known where the last match ends.
func (x *exam) settle() bool {
	for _, d := range x.later {
		switch d.m.kind {
		case isContent:
			lo, _ := d.m.window(d.at)
			if x.find(d.m, lo, x.end) >= 0 {
				return false
			}
		case isPattern:
			if x.matches(d.m, d.at, x.end) {
				return false
			}
		case isDataAt:
			if d.m.far(d.at) <= x.end {
				return false
			}
		}
	}
	return true
}

// find is the first place of a content that lies in [lo, hi); −1: there is none.
func (x *exam) find(m *matcher, lo, hi int) int {
	lo, hi = max(lo, 0), min(hi, len(x.buf))
	if hi-lo < len(m.text) || x.steps < 0 {
		return -1
	}
	b := x.buf[lo:hi]
	i := -1
	if m.nocase {
		i = x.indexFold(b, m.text)
	} else {
		i = bytes.Index(b, m.text)
		x.charge(i, len(b))
	}
	if i < 0 {
		return -1
	}
	return lo + i
}

// charge counts what a search has read.
func (x *exam) charge(i, n int) {
	if i >= 0 {
		n = i
	}
	x.steps -= n/searchPerStep + 1
}

// searchPerStep is how many bytes of a plain search count as a step.
const searchPerStep = 8

// indexFold is bytes.Index for a text in lower case, without regard to case.
func (x *exam) indexFold(b, text []byte) int {
	rare := slices.IndexFunc(text, func(c byte) bool { return c < 'a' || c > 'z' })
	last := len(b) - len(text)
	for i := 0; i <= last; i++ {
		if rare >= 0 {
			n := bytes.IndexByte(b[i+rare:last+rare+1], text[rare])
			x.charge(n, last-i)
			if n < 0 {
				return -1
			}
			i += n
		}
		n := 0
		for n < len(text) && fold[b[i+n]] == text[n] {
			n++
		}
		if n == len(text) {
			return i
		}
		if x.steps -= n/searchPerStep + 1; x.steps < 0 {
			return -1
		}
	}
	return -1
}

// fold is each byte in lower case.
var fold = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if 'A' <= i && i <= 'Z' {
			t[i] += 'a' - 'A'
		}
	}
	return t
}()

// lower is a text in lower case, of which bytes beyond ASCII have none.
func lower(text []byte) []byte {
	out := make([]byte, len(text))
	for i, c := range text {
		out[i] = fold[c]
	}
	return out
}
