package stack

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// maxLine bounds a request line and a header line, in bytes.
const maxLine = 8 << 10

// httpLimits are a server's own.
type httpLimits struct {
	headers int   // bytes of all header lines
	fields  int   // number of header lines
	body    int64 // bytes of a request's body
}

// request is what is known of one request; of a bad one as much as was read.
type request struct {
	method, target string
	old            bool // HTTP/0.9: no version, no headers
	minor          int  // of HTTP/1.x
	host           string
	hosts          int
	keepAlive      bool
	asked          bool // the client said Connection: keep-alive
	length         int64
	lengths        int
	chunked        bool
	expect         bool // 100-continue
}

// requestReader reads one request after the other. Bodies are read and thrown
// away: what they say is for the rules.
type requestReader struct {
	r      *bufio.Reader
	limits *httpLimits
	goOn   func() error // says 100 Continue
}

// next returns the next request, and the status that a mistake in it draws, 0
// if there is none.
func (r *requestReader) next() (*request, int) {
	req := &request{}
	if status := r.line(req); status != 0 {
		return req, status
	}
	if req.old {
		return req, 0
	}
	if status := r.headers(req); status != 0 {
		return req, status
	}
	if status := req.check(); status != 0 {
		return req, status
	}
	return req, r.body(req)
}

// readLine returns a line without its end; tooLong is the status for one that
// does not fit.
func (r *requestReader) readLine(tooLong int) ([]byte, int) {
	b, err := r.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, tooLong
	}
	if err != nil {
		return nil, gone(err)
	}
	return bytes.TrimSuffix(b[:len(b)-1], []byte("\r")), 0
}

// line reads the request line (RFC 9112, section 3).
func (r *requestReader) line(req *request) int {
	if status := r.firstByte(); status != 0 {
		return status
	}
	b, status := r.readLine(http.StatusRequestURITooLong)
	if status != 0 {
		return status
	}
	method, rest, ok := strings.Cut(string(b), " ")
	if !ok || !isMethod(method) {
		return http.StatusBadRequest
	}
	req.method = method
	target, version, ok := strings.Cut(strings.TrimLeft(rest, " "), " ")
	if !validTarget(target) {
		return http.StatusBadRequest
	}
	req.target = target
	if !ok {
		req.old = true
		if method != "GET" {
			return http.StatusBadRequest
		}
		return 0
	}
	return req.version(strings.TrimSpace(version))
}

// firstByte skips the empty lines that may precede a request (RFC 9112, section
// 2.2) and refuses at once what cannot begin one, such as a TLS hello: it may
// never end in a line break.
func (r *requestReader) firstByte() int {
	for {
		b, err := r.r.Peek(1)
		if err != nil {
			return gone(err)
		}
		switch {
		case b[0] == '\r' || b[0] == '\n':
			r.r.Discard(1)
		case b[0] < 'A' || b[0] > 'Z':
			return http.StatusBadRequest
		default:
			return 0
		}
	}
}

// isMethod: nginx takes capitals, '_' and '-'.
func isMethod(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}

func validTarget(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return strings.HasPrefix(s, "/") || strings.Contains(s, "://") || s == "*"
}

func (req *request) version(v string) int {
	major, minor, ok := strings.Cut(strings.TrimPrefix(v, "HTTP/"), ".")
	n, err := strconv.ParseUint(minor, 10, 8)
	if !strings.HasPrefix(v, "HTTP/") || !ok || err != nil {
		return http.StatusBadRequest
	}
	if major != "1" {
		if m, err := strconv.ParseUint(major, 10, 8); err == nil && m > 1 {
			return http.StatusHTTPVersionNotSupported
		}
		return http.StatusBadRequest
	}
	req.minor = int(n)
	req.keepAlive = n >= 1
	return 0
}

// headers reads the header lines up to the empty one.
func (r *requestReader) headers(req *request) int {
	bytesLeft := r.limits.headers
	for fields := 0; ; fields++ {
		b, status := r.readLine(http.StatusBadRequest)
		if status != 0 {
			return status
		}
		if len(b) == 0 {
			return 0
		}
		if bytesLeft -= len(b); bytesLeft < 0 || fields == r.limits.fields {
			return http.StatusBadRequest
		}
		name, value, ok := strings.Cut(string(b), ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return http.StatusBadRequest
		}
		if status := req.header(strings.ToLower(name), strings.TrimSpace(value)); status != 0 {
			return status
		}
	}
}

// header takes note of the few headers that decide anything.
func (req *request) header(name, value string) int {
	switch name {
	case "host":
		req.host = value
		req.hosts++
	case "connection":
		req.connection(strings.ToLower(value))
	case "content-length":
		n, err := strconv.ParseUint(value, 10, 62)
		if err != nil {
			return http.StatusBadRequest
		}
		req.length = int64(n)
		req.lengths++
	case "transfer-encoding":
		if !strings.EqualFold(value, "chunked") || req.chunked {
			return http.StatusNotImplemented
		}
		req.chunked = true
	case "expect":
		req.expect = strings.EqualFold(value, "100-continue")
	}
	return 0
}

func (req *request) connection(value string) {
	for token := range strings.SplitSeq(value, ",") {
		switch strings.TrimSpace(token) {
		case "close":
			req.keepAlive, req.asked = false, false
		case "keep-alive":
			req.keepAlive, req.asked = true, true
		}
	}
}

// check looks at the headers together. RFC 9112, section 3.2: a 1.1 request
// without exactly one Host is bad; section 6.1: with both lengths it may be
// smuggled.
func (req *request) check() int {
	if req.hosts > 1 || req.hosts == 0 && req.minor >= 1 {
		return http.StatusBadRequest
	}
	if req.lengths > 1 || req.chunked && (req.lengths > 0 || req.minor == 0) {
		return http.StatusBadRequest
	}
	return 0
}

// body throws the body away.
func (r *requestReader) body(req *request) int {
	if req.length > r.limits.body {
		return http.StatusRequestEntityTooLarge
	}
	if req.expect && req.minor >= 1 && (req.length > 0 || req.chunked) && r.r.Buffered() == 0 {
		if err := r.goOn(); err != nil {
			return statusGone
		}
	}
	if req.chunked {
		return r.chunks()
	}
	return r.discard(req.length)
}

func (r *requestReader) discard(n int64) int {
	if _, err := io.CopyN(io.Discard, r.r, n); err != nil {
		return gone(err)
	}
	return 0
}

// chunks throws a chunked body away (RFC 9112, section 7.1).
func (r *requestReader) chunks() int {
	for total := int64(0); ; {
		b, status := r.readLine(http.StatusBadRequest)
		if status != 0 {
			return status
		}
		digits, _, _ := strings.Cut(string(b), ";")
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 16, 62)
		if err != nil {
			return http.StatusBadRequest
		}
		if n == 0 {
			return r.trailer()
		}
		if total += int64(n); total > r.limits.body || total < 0 {
			return http.StatusRequestEntityTooLarge
		}
		if status := r.discard(int64(n)); status != 0 {
			return status
		}
		b, status = r.readLine(http.StatusBadRequest)
		if status != 0 {
			return status
		}
		if len(b) != 0 {
			return http.StatusBadRequest
		}
	}
}

// trailer reads the lines after the last chunk.
func (r *requestReader) trailer() int {
	left := r.limits.headers
	for {
		b, status := r.readLine(http.StatusBadRequest)
		if status != 0 || len(b) == 0 {
			return status
		}
		if left -= len(b) + 2; left < 0 {
			return http.StatusBadRequest
		}
	}
}
