package proto

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
)

// hello builds a record with a ClientHello of these numbers. Extensions that the
// fingerprints look into get their content from the lists.
func hello(version int, ciphers, extensions, groups, points, versions, signatures []int, alpn string) string {
	two := func(vs []int) string {
		s := ""
		for _, v := range vs {
			s += be(v, 2)
		}
		return s
	}
	ext := ""
	for _, e := range extensions {
		body := ""
		switch e {
		case extSNI:
			body = sized(2, "\x00"+sized(2, "example.org"))
		case extGroups:
			body = sized(2, two(groups))
		case extPoints:
			for _, p := range points {
				body += be(p, 1)
			}
			body = sized(1, body)
		case extSignatures:
			body = sized(2, two(signatures))
		case extALPN:
			body = sized(2, sized(1, alpn))
		case extVersions:
			body = sized(1, two(versions))
		}
		ext += be(e, 2) + sized(2, body)
	}
	b := be(version, 2) + strings.Repeat("r", 32) + sized(1, "") + sized(2, two(ciphers)) + sized(1, "\x00")
	if extensions != nil {
		b += sized(2, ext)
	}
	return "\x16\x03\x01" + sized(2, "\x01"+sized(3, b))
}

func be(v, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[n-1-i] = byte(v >> (8 * i))
	}
	return string(b)
}

func sized(n int, s string) string { return be(len(s), n) + s }

func field(t *testing.T, stream string, f Field) string {
	t.Helper()
	b, st := read(stream, len(stream)).Bytes([]byte(stream), f)
	if st != Known {
		t.Fatalf("%s: %d", f, st)
	}
	return string(b)
}

// The examples of https://github.com/salesforce/ja3, README.
func TestJA3OfItsReadme(t *testing.T) {
	full := hello(769, []int{47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4}, []int{0, 10, 11}, []int{23, 24, 25}, []int{0}, nil, nil, "")
	bare := hello(769, []int{4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99}, nil, nil, nil, nil, nil, "")
	for stream, want := range map[string]string{full: "ada70206e40642a3e4461f35503241d5", bare: "de350869b8c85de67a350c8d186f11e6"} {
		if got := field(t, stream, TLSJA3); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// The example of https://github.com/FoxIO-LLC/ja4, technical_details/JA4.md, with
// GREASE among the lists.
func TestJA4OfItsSpecification(t *testing.T) {
	stream := hello(0x303,
		[]int{0x3a3a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x9c, 0x9d, 0x2f, 0x35},
		[]int{0x8a8a, 0x1b, 0, 0x33, 0x10, 0x4469, 0x17, 0x2d, 0xd, 5, 0x23, 0x12, 0x2b, 0xff01, 0xb, 0xa, 0x15},
		[]int{0x1d}, []int{0}, []int{0x2a2a, 0x304, 0x303},
		[]int{0x403, 0x804, 0x401, 0x503, 0x805, 0x501, 0x806, 0x601}, "h2")
	if got, want := field(t, stream, TLSJA4), "t13d1516h2_8daaf6152771_e5627efa2ab1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	bare := hello(0x301, []int{4}, nil, nil, nil, nil, nil, "")
	if got := field(t, bare, TLSJA4); !strings.HasPrefix(got, "t10i010000_") || !strings.HasSuffix(got, "_000000000000") {
		t.Errorf("no extensions: %s", got)
	}
}

// goHello is what crypto/tls says first.
func goHello(t testing.TB, cfg *tls.Config) string {
	t.Helper()
	a, b := net.Pipe()
	go handshake(tls.Client(a, cfg))
	buf := make([]byte, 16<<10)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	return string(buf[:n])
}

func handshake(c *tls.Conn) { c.Handshake() }

func TestARealClientHello(t *testing.T) {
	stream := goHello(t, &tls.Config{ServerName: "db.example.org", NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12})
	for f, want := range map[Field]string{TLSSNI: "db.example.org", TLSALPN: "h2,http/1.1", TLSVersion: "1.3", TLSVersions: "1.3,1.2"} {
		if got := field(t, stream, f); got != want {
			t.Errorf("%s: %q, want %q", f, got, want)
		}
	}
	if ja4 := field(t, stream, TLSJA4); !strings.HasPrefix(ja4, "t13d") || ja4[8:11] != "h2_" {
		t.Errorf("ja4 %s", ja4)
	}
	// A record may hold any part of a message (RFC 8446, section 5.1).
	var cut string
	for body := stream[5:]; body != ""; {
		n := min(100, len(body))
		cut += stream[:3] + sized(2, body[:n])
		body = body[n:]
	}
	for _, n := range []int{1, 64, len(cut)} {
		f := read(cut, n)
		for _, field2 := range []Field{TLSSNI, TLSJA3, TLSJA4} {
			if got, _ := f.Bytes([]byte(cut), field2); string(got) != field(t, stream, field2) {
				t.Errorf("%s in several records: %q", field2, got)
			}
		}
	}
}
