package frame

import "testing"

const (
	get   = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	head  = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
	post  = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
	five  = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\n\r\n"
)

// RFC 9112, section 6.3: message body length.
func TestHTTPAnswers(t *testing.T) {
	headAnswer := "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
	for _, tt := range []struct {
		name, asked, answer string
		n, size             int
	}{
		{"content-length", get, five, 1, len(five)},
		{"one byte short", get, five[:len(five)-1], 0, 0},
		{"chunked", get, chunk, 1, len(chunk)},
		{"chunked, last line missing", get, chunk[:len(chunk)-2], 0, 0},
		{"HEAD has no body", head, headAnswer, 1, len(headAnswer)},
		{"pipelined: HEAD, then GET", head + get, headAnswer + five, 2, len(headAnswer) + len(five)},
		{"pipelined: POST with a body, then HEAD", post + head, five + headAnswer, 2, len(five) + len(headAnswer)},
		{"100 is not the answer", post, "HTTP/1.1 100 Continue\r\n\r\n" + five, 1, 25 + len(five)},
		{"100 alone", post, "HTTP/1.1 100 Continue\r\n\r\n", 0, 0},
		{"204", get, "HTTP/1.1 204 No Content\r\n\r\n", 1, 27},
		{"304 with a length", get, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 1, 48},
		{"ends with the connection", get, "HTTP/1.0 200 OK\r\n\r\nhello", 0, 0},
		{"not HTTP", get, "SSH-2.0-x\r\n\r\n", 0, 0},
		{"second not whole", get + get, five + five[:20], 1, len(five)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, size := HTTP{}.Answers([]byte(tt.asked), []byte(tt.answer), 10)
			if n != tt.n || size != tt.size {
				t.Errorf("got %d answers of %d bytes, want %d of %d", n, size, tt.n, tt.size)
			}
		})
	}
}
