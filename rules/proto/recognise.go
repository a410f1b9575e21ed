package proto

import (
	"bytes"
	"slices"
)

// probes ask whether a stream is a protocol's, in the order of who is believed.
// Each is monotone: what it once has said stays true of every longer stream.
var probes = []struct {
	Protocol
	ask func([]byte) Status
}{
	{TLS, isTLS}, {SSH, isSSH}, {Telnet, isTelnet}, {SMB, isSMB}, {RDP, isRDP},
	{PostgreSQL, isPostgreSQL}, {MQTT, isMQTT}, {HTTP, isHTTP}, {SIP, isSIP}, {FTP, isFTP}, {SMTP, isSMTP},
	{Redis, isRedis}, {MySQL, isMySQL}, {MongoDB, isMongoDB},
}

// recognise names the protocol of a stream. A later probe is believed only when
// all before it have said no: else the answer would depend on where the stream was
// cut.
func recognise(b []byte) (Protocol, Status) {
	if len(b) == 0 {
		return None, Unknown
	}
	for _, p := range probes {
		switch p.ask(b) {
		case Known:
			return p.Protocol, Known
		case Unknown:
			return None, Unknown
		}
	}
	return None, Absent
}

// begins compares a stream's beginning with a text of the protocol.
func begins(b []byte, text string) Status {
	n := min(len(b), len(text))
	switch {
	case string(b[:n]) != text[:n]:
		return Absent
	case n < len(text):
		return Unknown
	}
	return Known
}

// alike compares a stream's beginning with what the protocol has there: any is any
// byte.
func alike(b []byte, want ...int) Status {
	for i, w := range want {
		if i == len(b) {
			return Unknown
		}
		if w != any && int(b[i]) != w {
			return Absent
		}
	}
	return Known
}

const any = -1

// either is what several ways to be one protocol come to.
func either(ways ...Status) (st Status) {
	st = Absent
	for _, w := range ways {
		if w == Known {
			return Known
		}
		if w == Unknown {
			st = Unknown
		}
	}
	return st
}

// verb is the first word, in capitals, if it has at most 16 letters.
func verb(b []byte) (word string, st Status) {
	n := 0
	for n < len(b) && n <= 16 && isLetter(b[n]) {
		n++
	}
	switch {
	case n == 0 || n > 16:
		return "", Absent
	case n == len(b):
		return "", Unknown
	case b[n] != ' ' && b[n] != '\r' && b[n] != '\n':
		return "", Absent
	}
	return string(bytes.ToUpper(b[:n])), Known
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// oneOf knows a protocol by the verb of its first line, once the line is whole.
func oneOf(b []byte, verbs ...string) Status {
	word, st := verb(b)
	if st != Known {
		return st
	}
	if !slices.Contains(verbs, word) {
		return Absent
	}
	_, _, st = line(b, maxLine)
	return st
}

// line is b up to its first LF, without the end of line; next is where the
// following one begins. ok is false while there is no LF. A line has at most most
// bytes; a longer one is none, and never will be.
func line(b []byte, most int) (text []byte, next int, st Status) {
	n := bytes.IndexByte(b[:min(len(b), most)], '\n')
	switch {
	case n >= 0:
		return bytes.TrimSuffix(b[:n], []byte("\r")), n + 1, Known
	case len(b) >= most:
		return nil, 0, Absent
	}
	return nil, 0, Unknown
}
