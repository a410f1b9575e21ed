package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sleight/e2e/bed"
)

const exploit = "() { :; }; echo"

// httpConfig has a web decoy and one real host in the given mode.
func httpConfig(mode string) string {
	return fmt.Sprintf(`
version: 1
tun: {name: sl}
routes: [203.0.113.0/24, "2001:db8:113::/64"]
nat: {pool: [100.64.0.0/28, "2001:db8:64::/124"]}
decoys:
  - name: web
    match: {ports: [80]}
    service: {type: http, server: nginx/1.22.1, pages: [{path: /, body: "the decoy's page\n"}]}
backends:
  - {name: real, addresses: [10.0.2.2, "fd00:2::2"], mode: %s}
rules:
  - {name: shellshock, when: 'stream contains "() {"', action: switch, backend: real}
`, mode)
}

// realWeb is the real host's server: it says who asked, and carries bulk.
type realWeb struct {
	mu   sync.Mutex
	seen []netip.Addr
}

func (r *realWeb) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	r.seen = append(r.seen, netip.MustParseAddrPort(q.RemoteAddr).Addr().Unmap())
	r.mu.Unlock()
	switch {
	case q.Method == http.MethodPut:
		h := sha256.New()
		n, _ := io.Copy(h, q.Body)
		fmt.Fprintf(w, "%d %x\n", n, h.Sum(nil))
	case sized(q.URL.Path) > 0:
		_, _ = w.Write(bulk[:sized(q.URL.Path)])
	case strings.HasPrefix(q.URL.Path, "/bulk"):
		w.Header().Set("Content-Length", fmt.Sprint(len(bulk)))
		_, _ = w.Write(bulk)
	default:
		fmt.Fprintf(w, "the real host's page\n")
	}
}

// sized is the number that a path consists of.
func sized(path string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(path, "/"))
	return n
}

// bulk is 20 MB that compress badly.
var bulk = func() []byte {
	b := make([]byte, 20<<20)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}()

func newBed(t *testing.T, cfg bed.Config) *bed.Bed {
	t.Helper()
	b, err := bed.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	explain(t, b)
	return b
}

// explain keeps what has passed S in a file of its own if the test fails.
func explain(t *testing.T, b *bed.Bed) {
	t.Helper()
	recent, err := b.Attacker.Recent(bed.AttackerDevice)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := recent.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			save(t, recent)
		}
	})
}

func save(t *testing.T, recent *bed.Recent) {
	t.Helper()
	f, err := os.CreateTemp(os.Getenv("SLEIGHT_CAPTURES"), strings.ReplaceAll(t.Name(), "/", "-")+"-*.pcapng")
	if err != nil {
		t.Error(err)
		return
	}
	n, seen, err := recent.Save(f.Name())
	if err = errors.Join(err, f.Close()); err != nil {
		t.Error(err)
	}
	t.Logf("at S: %s, %d of %d frames", f.Name(), n, seen)
}

func serveWeb(t *testing.T, b *bed.Bed) *realWeb {
	t.Helper()
	return serveWebIn(t, b.Backends[0])
}

func serveWebIn(t *testing.T, ns *bed.Namespace) *realWeb {
	t.Helper()
	r := &realWeb{}
	l, err := ns.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: r}
	go serveOn(srv, l)
	t.Cleanup(func() { _ = srv.Close() })
	return r
}

func serveOn(s *http.Server, l net.Listener) { _ = s.Serve(l) }

func dial(t *testing.T, b *bed.Bed, addr string) net.Conn {
	t.Helper()
	return dialFrom(t, b.Attacker, addr)
}

func dialFrom(t *testing.T, ns *bed.Namespace, addr string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := ns.DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	return c
}

// ask sends one request on a connection and returns its answer.
func ask(t *testing.T, c net.Conn, r *bufio.Reader, method, path, header string, body []byte) (*http.Response, []byte) {
	t.Helper()
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\n%s", method, path, header)
	if body != nil {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	go send(c, []byte(head+"\r\n"), body)
	res, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v after %d bytes", method, path, err, len(got))
	}
	return res, got
}

func send(c net.Conn, head, body []byte) {
	_, _ = c.Write(head)
	_, _ = c.Write(body)
}

func eachCell(t *testing.T, f func(t *testing.T, mode, addr string)) {
	for _, mode := range []string{"keep", "client", "nat"} {
		for _, addr := range []string{"203.0.113.7:80", "[2001:db8:113::7]:80"} {
			family := map[bool]string{true: "4", false: "6"}[addr[0] != '[']
			t.Run(mode+family, func(t *testing.T) { f(t, mode, addr) })
		}
	}
}

// A keep-alive connection whose third request matches is taken over by the real
// host; what follows, bulk both ways included, is between S and it.
func TestKeepAliveConnectionIsSwitched(t *testing.T) {
	eachCell(t, func(t *testing.T, mode, addr string) {
		b := newBed(t, bed.Config{Offloads: true})
		if mode == "keep" {
			if err := b.OwnClaimed(0); err != nil {
				t.Fatal(err)
			}
		}
		web := serveWeb(t, b)
		g := start(t, b, httpConfig(mode))
		c := dial(t, b, addr)
		r := bufio.NewReader(c)
		for range 2 {
			res, body := ask(t, c, r, "GET", "/", "", nil)
			if res.Header.Get("Server") != "nginx/1.22.1" || string(body) != "the decoy's page\n" {
				t.Fatalf("before the switch: %v %q", res.Header, body)
			}
		}
		if _, body := ask(t, c, r, "GET", "/cgi", "User-Agent: "+exploit+"\r\n", nil); string(body) != "the real host's page\n" {
			t.Fatalf("the exploit's answer: %q", body)
		}
		if _, body := ask(t, c, r, "GET", "/bulk", "", nil); !bytes.Equal(body, bulk) {
			t.Fatalf("download: %d bytes differ", len(body))
		}
		want := fmt.Sprintf("%d %x\n", len(bulk), sha256.Sum256(bulk))
		if _, body := ask(t, c, r, "PUT", "/up", "", bulk); string(body) != want {
			t.Fatalf("upload: %q, want %q", body, want)
		}
		g.wantSwitches(1, "ok")
		client := netip.MustParseAddrPort(c.LocalAddr().String()).Addr()
		for _, a := range web.seen {
			if mode != "nat" && a != client || mode == "nat" && a == client {
				t.Errorf("the real host saw %v; the client is %v", a, client)
			}
		}
		if len(web.seen) != 5 {
			t.Errorf("the real host saw %d requests, want 5", len(web.seen))
		}
		// Super-packets went through whole: what is cut short has no checksum that fits.
		g.stop()
		if n := g.drops("malformed", "bad_checksum"); n > 0 {
			t.Errorf("%d packets were dropped as malformed", n)
		}
	})
}

// dialed is dial with a reader of what comes.
func dialed(t *testing.T, b *bed.Bed, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c := dial(t, b, addr)
	return c, bufio.NewReader(c)
}
