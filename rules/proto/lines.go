package proto

import "bytes"

// lineEnd finds the LF of the line that begins at scan. No byte is looked at twice.
func (f *Flow) lineEnd(b []byte) (end int, ok bool) {
	from := max(f.scan, f.seen)
	n := bytes.IndexByte(b[from:], '\n')
	if n < 0 {
		f.seen = len(b)
		return 0, false
	}
	return from + n, true
}

// textLine is the next line that is not empty, which is the message: [from, to)
// without its end. Empty ones are passed over.
func (f *Flow) textLine(b []byte) (from, to int, ok bool) {
	for {
		// Whether a server has agreed to TLS is not known here: the next bytes tell.
		if f.at < len(b) && b[f.at] == tlsHandshake {
			f.lose()
			return 0, 0, false
		}
		lf, ok := f.lineEnd(b)
		if !ok {
			return 0, 0, false
		}
		f.scan = lf + 1
		from, to = f.at, lf
		for to > from && b[to-1] == '\r' {
			to--
		}
		if to > from {
			f.end = f.scan
			return from, to, true
		}
		f.at = f.scan
	}
}

// command notes a line and its first word, and returns where the arguments begin.
func (f *Flow) command(b []byte, from, to int, command, whole Field) (args int) {
	n := bytes.IndexByte(b[from:to], ' ')
	if n < 0 {
		n = to - from
	}
	f.setUpper(command, b, from, from+n)
	if whole != NoField {
		f.set(whole, from, to)
	}
	args = from + n
	for args < to && b[args] == ' ' {
		args++
	}
	return args
}

// isFTP knows what a client says first: also a POP3 client's USER.
func isFTP(b []byte) Status {
	if st := oneOf(b, "USER", "AUTH", "FEAT", "SYST", "OPTS"); st != Known {
		return st
	}
	text, _, _ := line(b, maxLine)
	args := bytes.TrimSpace(text[4:])
	switch b[0] &^ 0x20 {
	case 'U':
		if bytes.Count(args, []byte(" ")) >= 3 { // IRC has three more
			return Absent
		}
	case 'A': // else Redis
		if !equalWord(args, "tls") && !equalWord(args, "ssl") {
			return Absent
		}
	}
	return Known
}

func equalWord(b []byte, lower string) bool { return len(b) == len(lower) && equalFold(b, lower) }

// ftp reads one command (RFC 959, section 4.1).
func (f *Flow) ftp(b []byte) {
	from, to, ok := f.textLine(b)
	if !ok {
		return
	}
	args := f.command(b, from, to, FTPCommand, FTPLine)
	switch name, _ := f.Bytes(b, FTPCommand); string(name) {
	case "USER":
		f.set(FTPUser, args, to)
	case "PASS":
		f.set(FTPPassword, args, to)
	}
}
