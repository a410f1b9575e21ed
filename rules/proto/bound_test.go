package proto

import (
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// spent is what f allocates, in bytes.
func spent(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// ask asks for every field of a flow's protocol.
func ask(f *Flow, stream []byte) {
	p, _ := f.Protocol()
	for i := first[p]; i < numFields && fields[i].Protocol == p; i++ {
		f.Bytes(stream, i)
		f.Int(i)
	}
	f.Header(stream, "x")
}

// feed gives a flow a stream, and asks for everything at each message's end.
func feed(stream []byte, piece int) {
	var f Flow
	for have := 0; have < len(stream); {
		have = min(have+piece, len(stream))
		for at := 0; at < have; {
			at = f.Step(stream[:have])
			if f.end > 0 || have == len(stream) {
				ask(&f, stream[:have])
			}
		}
	}
}

// What a stream makes the parsers allocate is bounded by its length, also byte by
// byte: each byte is copied a few times at most, however it is cut.
func TestAllocationsAreBounded(t *testing.T) {
	const size = 64 << 10
	fill := func(head, again string) string {
		return head + strings.Repeat(again, (size-len(head))/len(again))
	}
	for name, stream := range map[string]string{
		"a ClientHello in records of one byte": "\x16\x03\x01\x00\x01\x01" + fill("\x16\x03\x01\x00\x01\x00", "\x16\x03\x01\x00\x01\x7f"),
		"a line without an end":                fill("GET /", "%41"),
		"a field without an end":               fill("GET / HTTP/1.1\r\n", "a"),
		"empty fields":                         fill("GET / HTTP/1.1\r\n", ":\n"),
		"small chunks":                         fill("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
		"small requests":                       fill("", "GET /%41 HTTP/1.1\r\nHost: A\r\n\r\n"),
		"a password":                           fill("\xff\xfb\x01", "p"),
		"an option":                            fill("\xff\xfa", "p"),
		"typed lines":                          fill("\xff\xfb\x01", "p\n"),
		"a Redis command of many words":        fill("*9999\r\n", "$1\r\na\r\n"),
		"Redis commands":                       fill("", "*1\r\n$1\r\na\r\n"),
		"a mail in one line":                   fill("EHLO a\r\nDATA\r\n", "x"),
		"SMTP commands":                        fill("EHLO a\r\n", "rset\n"),
		"SIP fields":                           fill("OPTIONS sip:a SIP/2.0\r\n", "t: a\n"),
		"SMB dialects":                         smb1(smbNegotiate, false, "", strings.Repeat("\x02a\x00", 20000)),
		"MQTT packets":                         fill(mqttPacket(0x10, sized(2, "MQTT")+"\x04\x02\x00\x3c\x00\x00"), "\x30\x02\x00\x00"),
		"a BSON document":                      mongo(mongoMsg, le(0, 4)+"\x00"+bsonDoc(slices.Repeat([]string{"a", "1"}, 8000)...)),
	} {
		for _, piece := range []int{1, 100, size} {
			if got := spent(func() { feed([]byte(stream), piece) }); got > 8*size {
				t.Errorf("%s, in pieces of %d: %d bytes for %d", name, piece, got, len(stream))
			}
		}
	}
}

// Malformed inputs, drawn from real ones: no parser panics, or allocates more than
// its bound. With SLEIGHT_FULL there are ten million.
func TestMalformedInputs(t *testing.T) {
	inputs, seeds := 20_000, [][]byte{}
	if os.Getenv("SLEIGHT_FULL") != "" {
		inputs = 10_000_000
	}
	for _, c := range others {
		seeds = append(seeds, []byte(c.stream))
	}
	for _, s := range real(t) {
		seeds = append(seeds, []byte(s))
	}
	slices.SortFunc(seeds, slices.Compare[[]byte])
	rnd := rand.New(rand.NewPCG(5, 0))
	var buf []byte
	for done := 0; done < inputs; {
		said := 0
		got := spent(func() {
			for range 1000 {
				buf = malform(rnd, buf[:0], seeds)
				said += len(buf)
				feed(buf, 1+rnd.IntN(len(buf)+1))
				done++
			}
		})
		// Beside copies: a Flow, and the lists of a fingerprint.
		if bound := 8*said + 1000*4096; got > bound {
			t.Fatalf("%d bytes for %d of 1000 inputs, bound %d", got, said, bound)
		}
	}
	t.Logf("%d inputs", inputs)
}

// malform writes a damaged input: a seed with bytes changed, cut out, or another
// seed's put in.
func malform(rnd *rand.Rand, dst []byte, seeds [][]byte) []byte {
	dst = append(dst, seeds[rnd.IntN(len(seeds))]...)
	for range 1 + rnd.IntN(4) {
		i := rnd.IntN(len(dst) + 1)
		switch rnd.IntN(5) {
		case 0:
			dst = append(dst[:i], byte(rnd.Uint32()))
		case 1:
			other := seeds[rnd.IntN(len(seeds))]
			dst = append(dst[:i], other[rnd.IntN(len(other)):]...)
		case 2:
			if i < len(dst) {
				dst[i] = []byte{0, 1, 0x7f, 0x80, 0xff, '\n', '\r', ' '}[rnd.IntN(8)]
			}
		case 3:
			if i < len(dst) {
				dst[i] ^= 1 << rnd.IntN(8)
			}
		case 4:
			j := i + rnd.IntN(len(dst)-i+1)
			dst = append(dst[:i], dst[j:]...)
		}
	}
	return dst
}
