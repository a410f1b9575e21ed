package proto

import "bytes"

func isTelnet(b []byte) Status {
	switch {
	case b[0] != iac:
		return Absent
	case len(b) == 1:
		return Unknown
	case b[1] < 240 || b[1] == iac:
		return Absent
	}
	return Known
}

// Telnet's commands (RFC 854).
const (
	iac  = 255
	sb   = 250
	se   = 240
	will = 251

	maxOption = 1 << 10 // bytes of one option's negotiation
)

// telnet reads one line that was typed. Commands between its bytes are left out:
// need counts them.
func (f *Flow) telnet(b []byte) {
	for f.scan < len(b) && f.end == 0 {
		c := b[f.scan]
		n := 1
		switch {
		case c == iac:
			n = telnetCommand(b[f.scan:])
		case c == '\r': // CR LF or CR NUL
			n = telnetReturn(b[f.scan:])
		}
		if n == 0 {
			return
		}
		f.scan += n
		switch {
		case c == iac && n == 2 && b[f.scan-1] == iac:
			f.own = append(f.own, iac)
		case c == iac, c == 0:
		case c == '\n' || c == '\r':
			f.telnetLine(b)
		default:
			f.own = append(f.own, c)
		}
	}
}

// telnetLine ends a line; an empty one, as between CR and LF, is none.
func (f *Flow) telnetLine(b []byte) {
	if len(f.own) == 0 {
		f.at = f.scan
		return
	}
	f.setOwn(TelnetLine, 0)
	f.end = f.scan
	for _, field := range [...]Field{TelnetLogin, TelnetPassword} {
		if f.slot(field).status == Unknown {
			f.keep(field, f.own[:min(len(f.own), maxKept/2)])
			return
		}
	}
}

// telnetReturn measures a carriage return with what belongs to it; 0: more has to
// come.
func telnetReturn(b []byte) int {
	switch {
	case len(b) < 2:
		return 0
	case b[1] == '\n', b[1] == 0:
		return 2
	}
	return 1
}

// telnetCommand measures a command; 0: it is not whole.
func telnetCommand(b []byte) int {
	switch {
	case len(b) < 2:
		return 0
	case b[1] >= will && b[1] < iac: // WILL, WONT, DO, DONT and an option
		if len(b) < 3 {
			return 0
		}
		return 3
	case b[1] == sb:
		if i := bytes.Index(b[:min(len(b), maxOption)], []byte{iac, se}); i >= 0 {
			return i + 2
		}
		if len(b) < maxOption {
			return 0
		}
	}
	return 2
}
