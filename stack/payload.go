package stack

import "io"

// payload is a stream in parts; it implements tcpip.Payloader. Values of it may
// be copied: taking from one leaves the parts of another alone.
type payload [][]byte

// Len is how many bytes are left.
func (q *payload) Len() int {
	n := 0
	for _, b := range *q {
		n += len(b)
	}
	return n
}

// Read takes bytes from the front.
func (q *payload) Read(b []byte) (int, error) {
	parts, n := q.take(len(b))
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	at := 0
	for _, p := range parts {
		at += copy(b[at:], p)
	}
	return at, nil
}

// take takes at most n bytes from the front, without a copy.
func (q *payload) take(n int) (parts [][]byte, taken int) {
	rest := *q
	for taken < n && len(rest) > 0 {
		b := rest[0][:min(len(rest[0]), n-taken)]
		parts = append(parts, b)
		taken += len(b)
		if len(b) == len(rest[0]) {
			rest = rest[1:]
			continue
		}
		rest = append([][]byte{rest[0][len(b):]}, rest[1:]...)
		break
	}
	*q = rest
	return parts, taken
}
