package suricata

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	client  = netip.MustParseAddrPort("198.51.100.7:40001")
	dialled = netip.MustParseAddrPort("203.0.113.9:80")
)

// words are what generated rules are made of, so that they are like each other.
var words = strings.Fields("admin login config cgi-bin shell exec passwd wget curl upload index.php setup goform device " +
	"diag ping cmd command system debug include file path download backup users wp-content plugins struts action " +
	"jndi ldap rmi class loader eval base64 assert xmlrpc soap invoke actuator env jenkins script console manager")

// generated makes n rules of the kinds that public rule sets are full of.
func generated(n int) string {
	rnd := rand.New(rand.NewPCG(1, 2))
	word := func() string { return words[rnd.IntN(len(words))] }
	var b strings.Builder
	for i := range n {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, `alert http any any -> any any (msg:"g%d"; flow:established,to_server; content:"POST"; http_method; content:"/%s/%s%d"; fast_pattern; http_uri; nocase; pcre:"/%s=[a-z0-9]{%d,}/Ui"; classtype:web-application-attack; sid:%d; rev:1;)`, i, word(), word(), i, word(), 4+i%9, 1000000+i)
		case 1:
			fmt.Fprintf(&b, `alert http $EXTERNAL_NET any -> $HTTP_SERVERS $HTTP_PORTS (msg:"g%d"; flow:to_server; http.uri; content:"/%s%d.php?%s="; startswith; http.user_agent; content:!"Mozilla"; classtype:attempted-user; sid:%d; rev:1;)`, i, word(), i, word(), 1000000+i)
		case 2:
			fmt.Fprintf(&b, `alert tcp any any -> any any (msg:"g%d"; flow:to_server; content:"|%02x %02x 00 %02x|%s"; depth:64; content:"%s"; distance:2; within:40; sid:%d; rev:1;)`, i, rnd.IntN(256), rnd.IntN(256), rnd.IntN(256), word(), word(), 1000000+i)
		case 3:
			fmt.Fprintf(&b, `alert http any any -> any any (msg:"g%d"; http.header; content:"X-%s-%d|3a 20|"; http.request_body; content:"%s%d"; nocase; byte_test:2,>,%d,4,relative; sid:%d; rev:1;)`, i, word(), i, word(), i, i, 1000000+i)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func compiled(tb testing.TB, text string) *Set {
	tb.Helper()
	vars, err := NewVars(nil)
	if err != nil {
		tb.Fatal(err)
	}
	rules, skipped := Parse("test.rules", text, vars)
	if len(skipped) > 0 {
		tb.Fatalf("%v", skipped)
	}
	set, skipped := Compile(rules)
	if len(skipped) > 0 {
		tb.Fatalf("%v", skipped)
	}
	return set
}

// harmless is a client that asks for pages and sends a form.
func harmless(size int) []byte {
	var b bytes.Buffer
	rnd := rand.New(rand.NewPCG(3, 4))
	for b.Len() < size {
		fmt.Fprintf(&b, "GET /images/%s/photo%d.jpg?size=large HTTP/1.1\r\nHost: www.example.com\r\n"+
			"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"+
			"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.5\r\n"+
			"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nCookie: session=%x; theme=dark\r\n\r\n", words[rnd.IntN(len(words))], rnd.IntN(1000), rnd.Uint64())
	}
	return b.Bytes()[:size]
}

func BenchmarkLoad15000(b *testing.B) {
	text := generated(15000)
	for b.Loop() {
		if compiled(b, text).Len() != 15000 {
			b.Fatal("rules are missing")
		}
	}
}

// judgeAll gives a stream in segments to a new flow.
func judgeAll(set *Set, stream []byte, segment int) (fired int) {
	fl := set.NewFlow()
	in := Input{Client: client, Dialled: dialled}
	for n := 0; n < len(stream); {
		n = min(len(stream), n+segment)
		in.Stream = stream[:n]
		fired += len(fl.Judge(&in, nil))
		for fl.Unfinished() {
			fired += len(fl.Judge(&in, nil))
		}
	}
	return fired
}

func BenchmarkHarmless(b *testing.B) {
	set := compiled(b, generated(15000))
	for _, size := range []int{1 << 10, 64 << 10} {
		stream := harmless(size)
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				judgeAll(set, stream, 1460)
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			for name, at := range map[string]int{"median-µs/KiB": len(took) / 2, "least-µs/KiB": 0} {
				b.ReportMetric(float64(took[at].Nanoseconds())/1e3/float64(size>>10), name)
			}
		})
	}
}
