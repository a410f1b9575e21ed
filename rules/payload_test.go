package rules

import (
	"bytes"
	"slices"
	"testing"
)

// However a stream is cut, its beginnings have the same hashes; and an address is the
// same as any other.
func FuzzPayload(f *testing.F) {
	f.Add([]byte("GET http://192.0.2.1:80/ HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n"), 9)
	f.Add([]byte("1.2.3.4.5 ::1: deadbeef 0.0.0.0"), 3)
	f.Add([]byte("::::::"+string(bytes.Repeat([]byte("a1."), 40))+" 10.0.0.1"), 50)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		cut = max(0, min(cut, len(b)))
		var whole, parts payload
		var all, some []uint64
		whole.feed(b, false, &all)
		parts.feed(b[:cut], false, &some)
		parts.feed(b, false, &some)
		if whole != parts || !slices.Equal(all, some) {
			t.Fatalf("%q: %+v, cut at %d %+v", b, whole, cut, parts)
		}
		if whole.at > len(b) || whole.units > whole.at || len(b)-whole.at > maxRun {
			t.Fatalf("%q: %+v of %d bytes", b, whole, len(b))
		}
		var one, other payload
		one.feed([]byte(string(b)+" 192.0.2.1 "), true, nil)
		other.feed([]byte(string(b)+" 203.0.113.254 "), true, nil)
		if one.hash != other.hash {
			t.Fatalf("%q: the address behind it counts", b)
		}
	})
}
