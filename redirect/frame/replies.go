package frame

import "bytes"

// Replies frames the replies of SMTP (RFC 5321, section 4.2) and FTP (RFC 959,
// section 4.2): three digits, and a hyphen where more lines follow. The greeting is
// a reply to nothing.
type Replies struct{}

// Answers counts whole final replies. A preliminary one (1yz) is part of the one
// after it.
func (Replies) Answers(_, b []byte, limit int) (n, size int) {
	for at := 0; n < limit; {
		end, interim, ok := reply(b[at:])
		if !ok {
			return n, size
		}
		at += end
		if !interim {
			n, size = n+1, at
		}
	}
	return n, size
}

// reply measures one reply; ok is false while it is not whole, or if it is none.
func reply(b []byte) (size int, interim, ok bool) {
	if len(b) < 4 || !digits(b[:3]) {
		return 0, false, false
	}
	code := b[:3]
	for at := 0; ; {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 {
			return 0, false, false
		}
		line := b[at : at+n]
		at += n + 1
		// FTP's lines between may begin with anything.
		last := bytes.HasPrefix(line, code) && (len(line) == 3 || line[3] == ' ' || line[3] == '\r')
		if last {
			return at, code[0] == '1', true
		}
		if at == n+1 && (len(line) < 4 || line[3] != '-') {
			return 0, false, false
		}
	}
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
