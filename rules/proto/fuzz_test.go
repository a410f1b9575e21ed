package proto

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// real are streams of real clients (curl 7.88 with OpenSSL 3.0, OpenSSH 9.2,
// redis-cli 7.0, psql 15, swaks), each against a server that answers as the
// protocol's does.
func real(t testing.TB) map[string]string {
	t.Helper()
	names, err := filepath.Glob("testdata/real/*")
	if err != nil || len(names) == 0 {
		t.Fatal("no streams", err)
	}
	streams := map[string]string{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		streams[filepath.Base(name)] = string(b)
	}
	return streams
}

func TestRealClients(t *testing.T) {
	want := map[string]string{
		"curl":         `requests=2`,
		"curl-chunked": `body="hello world\n"`,
		// curl 7.88 with OpenSSL 3.0.
		"curl-tls":  `sni="www.example.org" alpn="h2,http/1.1" version="1.3" versions="1.3,1.2,1.1,1.0" ja3="0149f47eabf9a20d0893e2a44e5a6323" ja4="t13d3112h2_e8f1e7e78f70_b26ce05bbdd6"`,
		"openssh":   `software="OpenSSH_9.2p1" hassh="472b5de333ad665af5cbf10ff892c4df"`,
		"psql":      `user="postgres" database="shop" application="psql" query="select version()" tls=1`,
		"redis-cli": `line="CONFIG SET dir /root/.ssh/"`,
		"swaks":     `helo="c.example.net" from="<b@example.net>" to="<a@example.org>" command="QUIT"`,
	}
	for name, stream := range real(t) {
		f := read(stream, len(stream))
		if got := show(f, stream); want[name] == "" || !strings.Contains(got, want[name]) {
			t.Errorf("%s: %s, want %s", name, got, want[name])
		}
	}
}

// messages reads a stream in pieces of n bytes, and notes every message's fields
// where it ends, and the last one's.
func messages(t *testing.T, stream []byte, n int) (f *Flow, seen []string) {
	f = &Flow{}
	for have := 0; have < len(stream); {
		have = min(have+n, len(stream))
		for at := 0; at < have; {
			to := f.Step(stream[:have])
			if to < at || to > have || to == at && at > 0 {
				t.Fatalf("Step went from %d to %d of %d", at, to, have)
			}
			at = to
			if f.end > 0 && (len(seen) == 0 || seen[len(seen)-1] != show(f, string(stream[:have]))) {
				seen = append(seen, show(f, string(stream[:have])))
			}
		}
	}
	return f, seen
}

// No parser panics, keeps more than a bound, or says something else of a stream
// that came in pieces.
func FuzzFlow(f *testing.F) {
	for _, c := range others {
		f.Add([]byte(c.stream), uint8(1))
	}
	for _, stream := range real(f) {
		f.Add([]byte(stream), uint8(7))
	}
	f.Fuzz(func(t *testing.T, b []byte, n uint8) {
		if len(b) > 4<<10 {
			return // each of its beginnings is read
		}
		whole, want := messages(t, b, max(1, len(b)))
		parts, got := messages(t, b, 1+int(n)%64)
		if whole.proto != parts.proto || whole.known != parts.known || len(got) != len(want) {
			t.Fatalf("%s, %d and %d messages, in pieces %s, %d", whole.proto, whole.known, len(want), parts.proto, len(got))
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("message %d in pieces:\n%s\nwhole:\n%s", i, got[i], want[i])
			}
		}
		if a, b := show(whole, string(b)), show(parts, string(b)); a != b {
			t.Fatalf("at the end, in pieces:\n%s\nwhole:\n%s", b, a)
		}
		for _, fl := range []*Flow{whole, parts} {
			if size := len(fl.own) + len(fl.kept); size > 4*len(b)+maxKept {
				t.Fatalf("%d bytes kept of %d", size, len(b))
			}
		}
	})
}
