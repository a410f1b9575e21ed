package proto

import "bytes"

// methods are those by which a request is known before its line is whole.
var methods = []string{
	"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "TRACE ", "PATCH ",
	"PROPFIND ", "PROPPATCH ", "MKCOL ", "COPY ", "MOVE ", "LOCK ", "UNLOCK ", "SEARCH ", "REPORT ",
}

const (
	maxMethod = 32      // bytes of a method
	maxLine   = 8 << 10 // bytes of a first line by which a protocol is recognised
)

// isHTTP knows a request by its method, or by the version at its line's end.
func isHTTP(b []byte) Status {
	b = b[emptyLines(b):]
	if len(b) == 0 {
		return Unknown
	}
	for _, m := range methods {
		if begins(b, m) == Known {
			return Known
		}
	}
	sp := methodEnd(b)
	switch {
	case sp < 0:
		return Absent
	case sp == len(b):
		return Unknown
	}
	text, _, st := line(b, maxLine)
	if st != Known {
		return st
	}
	if _, v := version(text); v == nil || !bytes.HasPrefix(v, []byte("1.")) {
		return Absent
	}
	return Known
}

// emptyLines measures what may stand before a request line (RFC 9112, section
// 2.2).
func emptyLines(b []byte) (n int) {
	for n < len(b) && n < 16 && (b[n] == '\r' || b[n] == '\n') {
		n++
	}
	return n
}

// methodEnd is where the method ends; len(b): not yet; −1: it is none (RFC 9110,
// section 5.6.2: a token).
func methodEnd(b []byte) int {
	for i, c := range b[:min(len(b), maxMethod+1)] {
		switch {
		case c == ' ' && i > 0:
			return i
		case !isToken(c):
			return -1
		}
	}
	if len(b) > maxMethod {
		return -1
	}
	return len(b)
}

func isToken(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' ||
		c > ' ' && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}

// version splits a request line before its version; nil: it has none.
func version(text []byte) (before, v []byte) {
	i := bytes.LastIndex(text, []byte(" HTTP/"))
	if i < 0 {
		return text, nil
	}
	return text[:i], text[i+len(" HTTP/"):]
}

// Stages of a request.
const (
	httpLine uint8 = iota
	httpHead
	httpLength // the body's length is known
	httpChunks
	httpClose // the body has no end
)

// http reads one request (RFC 9112).
func (f *Flow) http(b []byte) {
	if f.stage == httpLine {
		f.httpLine(b)
	}
	if f.stage == httpHead && !f.lost && f.end == 0 {
		f.httpHead(b)
	}
	switch f.stage {
	case httpLength:
		f.httpBody(f.need, len(b))
	case httpChunks:
		f.chunks(b)
	case httpClose:
		if v := f.slot(HTTPBody); v.in == inStream {
			v.to, v.status = len(b), Partial
		}
	}
}

// httpLine reads the request line.
func (f *Flow) httpLine(b []byte) {
	for f.at < len(b) && (b[f.at] == '\r' || b[f.at] == '\n') {
		f.at++ // RFC 9112, section 2.2
	}
	f.scan = f.at
	lf, ok := f.lineEnd(b)
	if !ok {
		return
	}
	next := lf + 1
	text := bytes.TrimSuffix(b[f.at:next-1], []byte("\r"))
	before, v := version(text)
	sp := methodEnd(before)
	if sp < 0 || sp == len(before) || v == nil && f.messages > 0 {
		f.lose()
		return
	}
	f.messages++
	f.setInt(HTTPRequests, f.messages)
	f.set(HTTPMethod, f.at, f.at+sp)
	uri := before[sp+1:]
	from := f.at + sp + 1 + len(uri) - len(bytes.TrimLeft(uri, " "))
	to := max(from, f.at+len(bytes.TrimRight(before, " ")))
	f.set(HTTPURIRaw, from, to)
	f.setLater(HTTPURI, from, to)
	if plainURI(b[from:to]) {
		f.set(HTTPURI, from, to)
	}
	f.scan, f.stage = next, httpHead
	if v == nil { // HTTP/0.9 is this line and no more
		f.rest()
		f.end = next
		return
	}
	f.set(HTTPVersion, next-(next-f.at-len(text))-len(v), f.at+len(text))
	*f.slot(HTTPHeaders) = value{from: next}
}

// httpHead looks for the empty line, from scan on: the beginning of a line.
func (f *Flow) httpHead(b []byte) {
	for {
		lf, ok := f.lineEnd(b)
		if !ok {
			return
		}
		next := lf + 1
		if lf == f.scan || lf == f.scan+1 && b[f.scan] == '\r' {
			f.set(HTTPHeaders, f.slot(HTTPHeaders).from, f.scan)
			f.httpFields(b)
			f.bodyFollows(b, next)
			return
		}
		f.scan = next
	}
}

// httpFields notes the header fields that are facts by themselves.
func (f *Flow) httpFields(b []byte) {
	head := f.slot(HTTPHeaders)
	host, ok := header(b[head.from:head.to], "host")
	if ok {
		host.from += head.from
		host.to = host.from + len(withoutPort(b[host.from:head.from+host.to]))
		f.setLater(HTTPHost, host.from, host.to)
		if !hasUpper(b[host.from:host.to]) {
			f.set(HTTPHost, host.from, host.to)
		}
	}
	if ua, ok := header(b[head.from:head.to], "user-agent"); ok {
		f.set(HTTPUserAgent, head.from+ua.from, head.from+ua.to)
	}
	for _, field := range [...]Field{HTTPHost, HTTPUserAgent} {
		if f.slot(field).status == Unknown {
			f.slot(field).status = Absent
		}
	}
}

// bodyFollows says how the body ends (RFC 9112, section 6.3).
func (f *Flow) bodyFollows(b []byte, at int) {
	head := f.slot(HTTPHeaders)
	f.scan = at
	*f.slot(HTTPBody) = value{from: at, to: at}
	f.stage, f.need = httpLength, 0
	if te, ok := header(b[head.from:head.to], "transfer-encoding"); ok {
		f.stage = httpClose
		last := bytes.ToLower(b[head.from+te.from : head.from+min(te.to, te.from+64)])
		if bytes.HasSuffix(bytes.TrimSpace(last), []byte("chunked")) {
			f.stage, f.need = httpChunks, chunkSize
			*f.slot(HTTPBody) = value{from: len(f.own), to: len(f.own), in: inOwn}
		}
		return
	}
	if cl, ok := header(b[head.from:head.to], "content-length"); ok {
		n, ok := decimal(b[head.from+cl.from : head.from+cl.to])
		f.need = n
		if !ok {
			f.stage = httpClose
		}
	}
}

// httpBody takes as much of a body of n bytes as there is.
func (f *Flow) httpBody(n, have int) {
	v := f.slot(HTTPBody)
	v.to, v.status = min(have, v.from+n), Partial
	if have >= v.from+n {
		v.status = Known
		f.end = v.to
	}
}

// span is a half-open part of some bytes.
type span struct{ from, to int }

// header finds the first header field of a name, which is in lower case, in a
// block of them, and its value without the space around it.
func header(block []byte, name string) (at span, ok bool) {
	for from := 0; from < len(block); {
		n := bytes.IndexByte(block[from:], '\n')
		if n < 0 {
			n = len(block) - from
		}
		l := block[from : from+n]
		if len(l) > len(name) && l[len(name)] == ':' && equalFold(l[:len(name)], name) {
			v := l[len(name)+1:]
			at.from = from + len(name) + 1 + len(v) - len(bytes.TrimLeft(v, " \t"))
			at.to = max(at.from, from+len(bytes.TrimRight(l, " \t\r")))
			return at, true
		}
		from += n + 1
	}
	return at, false
}

// Header is the value of the first header field of this name, in lower case, of
// the current HTTP request or SIP message.
func (f *Flow) Header(stream []byte, name string) ([]byte, Status) {
	block, st := f.Bytes(stream, HTTPHeaders)
	if st != Known {
		return nil, st
	}
	at, ok := header(block, name)
	if !ok {
		return nil, Absent
	}
	return block[at.from:at.to:at.to], Known
}

// decimal reads a whole number below 2^30.
func decimal(b []byte) (n int, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + int(c-'0'); n > 1<<30 {
			return 0, false
		}
	}
	return n, len(b) > 0
}

// equalFold compares ASCII without case; lower is in lower case.
func equalFold(b []byte, lower string) bool {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func hasUpper(b []byte) bool {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			return true
		}
	}
	return false
}

func appendLower(dst, b []byte) []byte {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// withoutPort cuts ":80" off; the colons of "[::1]" stay.
func withoutPort(host []byte) []byte {
	i := bytes.LastIndexByte(host, ':')
	if i < 0 || bytes.IndexByte(host[i:], ']') >= 0 {
		return host
	}
	return host[:i]
}
