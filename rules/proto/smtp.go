package proto

import "bytes"

func isSMTP(b []byte) Status { return oneOf(b, "EHLO", "HELO", "LHLO") }

// smtp reads one command, or a mail (RFC 5321, section 4.1).
func (f *Flow) smtp(b []byte) {
	switch {
	case f.mail:
		f.smtpData(b)
		return
	case f.stage == smtpChunk:
		f.endChunk(b)
		return
	}
	from, to, ok := f.textLine(b)
	if !ok {
		return
	}
	args := f.command(b, from, to, SMTPCommand, SMTPLine)
	switch name, _ := f.Bytes(b, SMTPCommand); string(name) {
	case "EHLO", "HELO", "LHLO":
		f.set(SMTPHelo, args, to)
	case "MAIL":
		f.set(SMTPFrom, path(b, args, to), to)
	case "RCPT":
		f.set(SMTPTo, path(b, args, to), to)
	case "DATA":
		f.mail = f.addressed()
	case "BDAT":
		f.smtpChunk(b[args:to])
		f.endChunk(b)
	}
	f.rest()
}

// smtpChunk is the stage in which a chunk of need bytes follows the line.
const smtpChunk = 1

// smtpChunk passes over what BDAT announces (RFC 3030, section 2).
func (f *Flow) smtpChunk(args []byte) {
	size, _, _ := bytes.Cut(args, []byte(" "))
	if n, ok := decimal(size); ok && n > 0 && f.addressed() {
		f.stage, f.need, f.end = smtpChunk, f.end+n, 0
	}
}

func (f *Flow) endChunk(b []byte) {
	if f.stage == smtpChunk && len(b) >= f.need {
		f.end = f.need
	}
}

// addressed reports whether a mail may follow. A server refuses one without sender
// and recipient, and reads what comes as commands.
func (f *Flow) addressed() bool {
	return f.slot(SMTPFrom).status == Known && f.slot(SMTPTo).status == Known
}

// path is where the address begins in "FROM: <a@b>".
func path(b []byte, from, to int) int {
	if i := bytes.IndexByte(b[from:to], ':'); i >= 0 {
		from += i + 1
	}
	for from < to && b[from] == ' ' {
		from++
	}
	return from
}

// smtpData takes a mail up to the line that is a dot (section 4.5.2).
func (f *Flow) smtpData(b []byte) {
	v := f.slot(SMTPData)
	for {
		lf, ok := f.lineEnd(b)
		if !ok {
			*v = value{from: f.at, to: len(b), status: Partial}
			return
		}
		if text := bytes.TrimSuffix(b[f.scan:lf], []byte("\r")); string(text) == "." {
			*v = value{from: f.at, to: f.scan, status: Known}
			f.end = lf + 1
			f.mail = false
			f.rest()
			return
		}
		f.scan = lf + 1
	}
}
