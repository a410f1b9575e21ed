package proto

import "bytes"

// isSIP knows a request by its version (RFC 3261, section 7.1).
func isSIP(b []byte) Status {
	n := methodEnd(b)
	switch {
	case n < 0:
		return Absent
	case n == len(b):
		return Unknown
	}
	text, _, st := line(b, maxLine)
	if st == Known && !bytes.HasSuffix(text, []byte(" SIP/2.0")) {
		return Absent
	}
	return st
}

// sip reads one request with its body. The request line is a line; then the head
// is like HTTP's.
func (f *Flow) sip(b []byte) {
	if f.stage == 0 {
		from, to, ok := f.textLine(b)
		if !ok {
			return
		}
		f.end = 0
		text := bytes.TrimSuffix(b[from:to], []byte(" SIP/2.0"))
		n := methodEnd(text)
		if len(text) == to-from || n < 0 || n == len(text) {
			f.lose()
			return
		}
		f.stage = 1
		f.set(SIPMethod, from, from+n)
		f.set(SIPURI, from+n+1, from+len(text))
		f.slot(SIPHeaders).from = f.scan
	}
	if f.stage == 1 {
		f.sipHead(b)
	}
	if f.stage == 2 && len(b) >= f.scan+f.need {
		f.end = f.scan + f.need
	}
}

func (f *Flow) sipHead(b []byte) {
	for {
		lf, ok := f.lineEnd(b)
		if !ok {
			return
		}
		end := f.scan
		f.scan = lf + 1
		if lf == end || lf == end+1 && b[end] == '\r' {
			f.set(SIPHeaders, f.slot(SIPHeaders).from, end)
			break
		}
	}
	f.stage = 2
	head := f.slot(SIPHeaders)
	block := b[head.from:head.to]
	for _, h := range sipNames {
		if at, ok := header(block, h.name); ok && f.slot(h.Field).status == Unknown {
			f.set(h.Field, head.from+at.from, head.from+at.to)
		}
	}
	for _, name := range []string{"content-length", "l"} {
		if at, ok := header(block, name); ok {
			f.need, _ = decimal(block[at.from:at.to])
			break
		}
	}
	f.rest()
}

// sipNames are header fields, also in their short forms (section 7.3.3).
var sipNames = []struct {
	name string
	Field
}{
	{"user-agent", SIPUserAgent}, {"from", SIPFrom}, {"f", SIPFrom}, {"to", SIPTo}, {"t", SIPTo},
}
