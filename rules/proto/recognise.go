package proto

import "bytes"

// probes ask whether a stream is a protocol's, in the order of who is believed.
// Each is monotone: what it once has said stays true of every longer stream.
var probes = []struct {
	Protocol
	ask func([]byte) Status
}{
	{TLS, isTLS}, {SSH, isSSH}, {HTTP, isHTTP},
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
