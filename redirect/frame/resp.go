package frame

import (
	"bytes"
	"strconv"
)

// RESP frames Redis's answers
// (https://redis.io/docs/latest/develop/reference/protocol-spec/), RESP 2 and 3.
type RESP struct{}

// Answers counts whole values.
func (RESP) Answers(_, b []byte, limit int) (n, size int) {
	for n < limit {
		end, ok := value(b[size:])
		if !ok {
			return n, size
		}
		size += end
		n++
	}
	return n, size
}

// value measures one value with all that is in it; ok is false while it is not
// whole, or if it is none.
func value(b []byte) (size int, ok bool) {
	for left := 1; left > 0; left-- {
		end, more, ok := item(b[size:])
		if !ok || more > len(b) { // each of them takes a byte or more
			return 0, false
		}
		size += end
		left += more
	}
	return size, true
}

// item measures one line, with its text if it announces one, and says how many
// values belong to it.
func item(b []byte) (size, more int, ok bool) {
	end := bytes.IndexByte(b, '\n')
	if end < 1 {
		return 0, 0, false
	}
	line := bytes.TrimSuffix(b[1:end], []byte("\r"))
	size = end + 1
	switch b[0] {
	case '+', '-', ':', '_', '#', ',', '(':
		return size, 0, true
	case '$', '!', '=', '*', '~', '>', '%', '|':
	default:
		return 0, 0, false
	}
	n, err := strconv.ParseInt(string(line), 10, 31)
	switch {
	case err != nil:
		return 0, 0, false
	case n < 0: // null
		return size, 0, true
	}
	switch b[0] {
	case '$', '!', '=':
		size += int(n) + 2
		return size, 0, size <= len(b)
	case '%':
		return size, 2 * int(n), true
	case '|': // attributes, and the value that has them
		return size, 2*int(n) + 1, true
	}
	return size, int(n), true
}
