package proto

import (
	"fmt"
	"strings"
	"testing"
)

// read gives a flow the stream in pieces of n bytes, and returns it.
func read(stream string, n int) *Flow {
	f := &Flow{}
	for i := 0; i < len(stream); {
		i = min(i+n, len(stream))
		for at := 0; at < i; {
			at = f.Step([]byte(stream[:i]))
		}
	}
	return f
}

// show writes what is known of a flow's current message.
func show(f *Flow, stream string) string {
	var out []string
	for i := NoField + 1; i < numFields; i++ {
		if fields[i].Protocol != f.proto {
			continue
		}
		st := f.Status(i)
		switch {
		case st < Partial:
			continue
		case fields[i].Kind != Bytes:
			n, _ := f.Int(i)
			out = append(out, fmt.Sprintf("%s=%d", fields[i].Name, n))
			continue
		}
		b, st := f.Bytes([]byte(stream), i)
		text := fmt.Sprintf("%s=%q", fields[i].Name, b)
		if st == Partial {
			text += "…"
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// wantFields reads a stream whole and byte by byte.
func wantFields(t *testing.T, stream, proto, want string) {
	t.Helper()
	for _, n := range []int{len(stream), 1, 7} {
		f := read(stream, max(n, 1))
		if p, _ := f.Protocol(); p.String() != proto {
			t.Fatalf("%.60q in pieces of %d: protocol %q, want %q", stream, n, p, proto)
		}
		if got := show(f, stream); got != want {
			t.Errorf("%.60q in pieces of %d:\n got %s\nwant %s", stream, n, got, want)
		}
	}
}

// "not yet known" is another answer than "no".
func TestNotYetKnownIsNotNo(t *testing.T) {
	for stream, want := range map[string]Status{
		"": Unknown, "G": Unknown, "GET": Unknown, "GET ": Known, "\r\n\r\n": Unknown,
		"BREW /pot": Unknown, "BREW /pot HTTP/1.1\r\n": Known, "BREW /pot\r\n": Absent,
		"S": Unknown, "SSH-": Known, "SSX": Unknown, "SSX\x0d123456789": Absent,
		"\x16": Unknown, "\x16\x03\x01\x02\x00": Unknown, "\x16\x03\x01\x02\x00\x01": Known, "\x16\x02\x01\x00\x01123456789": Absent,
		"\x00": Unknown, "\x00\x00\x00\x08\x01123456789": Absent, "*1\r": Known, "*:\x00123456789": Absent, "\xff": Unknown, "\xff\xfd": Known,
		"\xff\x01\x00\x02123456789": Absent, "PING\r\n": Known, "EHLO": Unknown, "USER a\r\n": Known, "USER a b c :d\r\n": Absent, "PRI * HTTP/2.0\r\n": Absent,
	} {
		if _, got := recognise([]byte(stream)); got != want {
			t.Errorf("%q: %d, want %d", stream, got, want)
		}
	}
}

func TestAFieldOfAnotherProtocolIsAbsent(t *testing.T) {
	f := read("GET / HTTP/1.1\r\n", 100)
	if _, st := f.Bytes(nil, TLSSNI); st != Absent {
		t.Errorf("tls.sni: %d", st)
	}
	if _, st := f.Bytes(nil, HTTPUserAgent); st != Unknown {
		t.Errorf("http.user_agent before the head has ended: %d", st)
	}
	if _, st := (&Flow{}).Bytes(nil, TLSSNI); st != Unknown {
		t.Errorf("tls.sni of an empty stream: %d", st)
	}
}

func TestEveryFieldHasAPlace(t *testing.T) {
	for i := NoField + 1; i < numFields; i++ {
		in := i.Info()
		if got, ok := Lookup(in.Protocol.String(), in.Name); !ok || got != i || in.Protocol == None {
			t.Errorf("field %d is not found as %s", i, i)
		}
		if i-first[in.Protocol] >= maxFields {
			t.Errorf("%s has no place in vals", i)
		}
		if i > 1 && fields[i-1].Protocol != in.Protocol && first[in.Protocol] != i {
			t.Errorf("%s does not stand with its protocol's", i)
		}
	}
}
