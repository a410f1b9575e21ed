package frame

import (
	"fmt"
	"testing"
)

// framers are all, as replay.Framer has them.
var framers = map[string]interface {
	Answers(asked, b []byte, limit int) (n, size int)
}{"http": HTTP{}, "replies": Replies{}, "resp": RESP{}, "mqtt": MQTT{}}

// answers are whole answers, by framer.
var answers = map[string][]string{
	"replies": {
		"220 mx ESMTP\r\n", "250-mx\r\n250-SIZE 1\r\n250 HELP\r\n", "354 go\n", "250\r\n",
		"211-Features:\r\n MDTM\r\n 211 not yet\r\n211 End\r\n",
		"150 here it comes\r\n226 done\r\n",
	},
	"resp": {
		"+OK\r\n", "-ERR no\r\n", ":7\r\n", "$5\r\na\r\nbc\r\n", "$0\r\n\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n",
		"*2\r\n$1\r\na\r\n*2\r\n:1\r\n+b\r\n", "%1\r\n+k\r\n*1\r\n_\r\n", "|1\r\n+k\r\n+v\r\n#t\r\n", "=6\r\ntxt:ab\r\n",
	},
	"mqtt": {"\x20\x02\x00\x00", "\xd0\x00", "\x90\x03\x00\x01\x00", "\x30\x81\x00x"},
	"http": {five, chunk},
}

// An answer is whole with its last byte, and not before; and so are two.
func TestAnswers(t *testing.T) {
	for name, list := range answers {
		f := framers[name]
		for i, a := range list {
			t.Run(fmt.Sprint(name, " ", i), func(t *testing.T) {
				asked := []byte(get + get)
				for cut := range len(a) {
					if n, size := f.Answers(asked, []byte(a[:cut]), 9); n != 0 || size != 0 {
						t.Errorf("%q: %d answers of %d bytes", a[:cut], n, size)
					}
				}
				if n, size := f.Answers(asked, []byte(a+a), 9); n != 2 || size != 2*len(a) {
					t.Errorf("%q twice: %d answers of %d bytes", a, n, size)
				}
				if n, size := f.Answers(asked, []byte(a+a), 1); n != 1 || size != len(a) {
					t.Errorf("%q, at most one: %d answers of %d bytes", a, n, size)
				}
			})
		}
	}
}

// What is no answer is never one.
func TestWhatIsNoAnswer(t *testing.T) {
	for name, list := range map[string][]string{
		"replies": {"HTTP/1.1 200 OK\r\n\r\n", "25 x\r\n", "250_x\r\n250 y\r\n", "\r\n\r\n"},
		"resp":    {"220 x\r\n", "$x\r\n", "\n\n", "*999999999\r\n", "$999999999999999999999\r\n"},
		"mqtt":    {"\x20\xff\xff\xff\xff\x01", "\x20"},
		"http":    {"220 x\r\n\r\n"},
	} {
		for _, b := range list {
			if n, size := framers[name].Answers(nil, []byte(b), 9); n != 0 || size != 0 {
				t.Errorf("%s: %q: %d answers of %d bytes", name, b, n, size)
			}
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(get), []byte(five))
	f.Add([]byte(head+get), []byte(chunk))
	for _, list := range answers {
		for _, a := range list {
			f.Add([]byte(get), []byte(a+a))
		}
	}
	f.Fuzz(func(t *testing.T, asked, b []byte) {
		for name, fr := range framers {
			n, size := fr.Answers(asked, b, 100)
			if size > len(b) || n > 100 || n > 0 && size == 0 {
				t.Fatalf("%s: %d answers of %d bytes in %d", name, n, size, len(b))
			}
			if m, s := fr.Answers(asked, b[:size], 100); m != n || s != size {
				t.Fatalf("%s: %d answers of %d bytes, alone %d of %d", name, n, size, m, s)
			}
		}
	})
}
