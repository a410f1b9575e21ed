package suricata

import (
	"bytes"

	"sleight/rules/proto"
)

// Buffers that are put together from what the parser knows of a request.

// withoutCookies is all header fields but cookies.
func withoutCookies(f *proto.Flow, stream []byte) ([]byte, proto.Status) {
	head, st := f.Bytes(stream, proto.HTTPHeaders)
	if st != proto.Known {
		return nil, st
	}
	if _, has := f.Header(stream, "cookie"); has != proto.Known {
		return head, proto.Known
	}
	var out []byte
	for line := range bytes.Lines(head) {
		if name, _, _ := bytes.Cut(line, []byte(":")); !bytes.EqualFold(name, []byte("cookie")) {
			out = append(out, line...)
		}
	}
	return out, proto.Known
}

// headerNames is CR LF, then each name and CR LF, then CR LF.
func headerNames(f *proto.Flow, stream []byte) ([]byte, proto.Status) {
	head, st := f.Bytes(stream, proto.HTTPHeaders)
	if st != proto.Known {
		return nil, st
	}
	out := []byte("\r\n")
	for line := range bytes.Lines(head) {
		if name, _, ok := bytes.Cut(line, []byte(":")); ok {
			out = append(append(out, bytes.TrimSpace(name)...), "\r\n"...)
		}
	}
	return append(out, "\r\n"...), proto.Known
}

// protocolVersion is "HTTP/1.1".
func protocolVersion(f *proto.Flow, stream []byte) ([]byte, proto.Status) {
	v, st := f.Bytes(stream, proto.HTTPVersion)
	if st != proto.Known {
		return nil, st
	}
	return append([]byte("HTTP/"), v...), proto.Known
}

// requestLine is the request line without its end.
func requestLine(f *proto.Flow, stream []byte) ([]byte, proto.Status) {
	method, st := f.Bytes(stream, proto.HTTPMethod)
	if st != proto.Known {
		return nil, st
	}
	uri, st := f.Bytes(stream, proto.HTTPURIRaw)
	if st != proto.Known {
		return nil, st
	}
	out := append(append(bytes.Clone(method), ' '), uri...)
	if v, st := protocolVersion(f, stream); st == proto.Known {
		out = append(append(out, ' '), v...)
	}
	return out, proto.Known
}

// requestStart is the request line and the header fields, up to the empty line.
func requestStart(f *proto.Flow, stream []byte) ([]byte, proto.Status) {
	head, st := f.Bytes(stream, proto.HTTPHeaders)
	if st != proto.Known {
		return nil, st
	}
	line, _ := requestLine(f, stream)
	out := append(append(line, "\r\n"...), head...)
	return append(out, "\r\n"...), proto.Known
}
