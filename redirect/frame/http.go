// Package frame finds where a protocol's answers end, so that a replay can
// compare answers one by one where their content differs from one second to the
// next.
package frame

import (
	"bytes"
	"strconv"
)

// HTTP frames HTTP/1 responses (RFC 9112, section 6.3).
type HTTP struct{}

// Answers reports how many whole final responses b begins with, at most limit,
// and how many bytes they take. asked are the requests that they answer.
func (HTTP) Answers(asked, b []byte, limit int) (n, size int) {
	for n < limit {
		method, rest := request(asked)
		asked = rest
		end, interim, ok := response(b[size:], method)
		if !ok {
			return n, size
		}
		for interim {
			var more int
			if more, interim, ok = response(b[size+end:], method); !ok {
				return n, size
			}
			end += more
		}
		size += end
		n++
	}
	return n, size
}

// request returns the method of the first request and what follows it.
func request(b []byte) (method string, rest []byte) {
	for len(b) > 0 && (b[0] == '\r' || b[0] == '\n') {
		b = b[1:] // RFC 9112, section 2.2: empty lines before a request line
	}
	m, _, _ := bytes.Cut(b, []byte(" "))
	if len(m) > 32 {
		m = nil
	}
	h, ok := headers(b)
	if !ok {
		return string(m), nil
	}
	n, ok := body(b[h.end:], h)
	if !ok {
		return string(m), nil
	}
	return string(m), b[h.end+n:]
}

// response measures one response. interim says that another one follows it.
func response(b []byte, method string) (size int, interim, ok bool) {
	h, ok := headers(b)
	if !ok || len(h.first) < 12 || !bytes.HasPrefix(h.first, []byte("HTTP/1.")) {
		return 0, false, false
	}
	status, err := strconv.Atoi(string(h.first[9:12]))
	if err != nil {
		return 0, false, false
	}
	switch {
	case status >= 100 && status < 200 && status != 101:
		return h.end, true, true
	case method == "HEAD", status == 101, status == 204, status == 304:
		return h.end, false, true
	case !h.chunked && h.length < 0:
		return 0, false, false // only the close of the connection ends it
	}
	n, ok := body(b[h.end:], h)
	return h.end + n, false, ok
}

// header is what of a message's head tells its length.
type header struct {
	first   []byte // the request or status line
	length  int    // Content-Length; −1: none
	chunked bool
	end     int // where the body begins
}

// headers reads a message's head; ok is false while it is not whole.
func headers(b []byte) (h header, ok bool) {
	h.length = -1
	at := 0
	for {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 {
			return h, false
		}
		line := bytes.TrimSuffix(b[at:at+n], []byte("\r"))
		at += n + 1
		switch {
		case h.first == nil:
			h.first = line
		case len(line) == 0:
			h.end = at
			return h, true
		default:
			h.field(line)
		}
	}
}

func (h *header) field(line []byte) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimSpace(value)
	switch {
	case bytes.EqualFold(name, []byte("Content-Length")):
		if n, err := strconv.Atoi(string(value)); err == nil && n >= 0 {
			h.length = n
		}
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		h.chunked = bytes.EqualFold(value, []byte("chunked"))
	}
}

// body measures a body; ok is false while it is not whole.
func body(b []byte, h header) (n int, ok bool) {
	if h.chunked {
		return chunks(b)
	}
	n = max(0, h.length)
	return n, len(b) >= n
}

// chunks measures a chunked body with its trailer (RFC 9112, section 7.1).
func chunks(b []byte) (size int, ok bool) {
	at := 0
	for {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 {
			return 0, false
		}
		text, _, _ := bytes.Cut(bytes.TrimSpace(b[at:at+n]), []byte(";"))
		length, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 16, 31)
		if err != nil {
			return 0, false
		}
		at += n + 1
		if length == 0 {
			return trailer(b, at)
		}
		at += int(length)
		end := bytes.IndexByte(b[min(at, len(b)):], '\n')
		if end < 0 {
			return 0, false
		}
		at += end + 1
	}
}

func trailer(b []byte, at int) (size int, ok bool) {
	for {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 {
			return 0, false
		}
		line := bytes.TrimSuffix(b[at:at+n], []byte("\r"))
		at += n + 1
		if len(line) == 0 {
			return at, true
		}
	}
}
