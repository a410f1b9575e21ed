package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sleight/e2e/bed"
	"sleight/e2e/servers"
)

// full asks for the sizes of make e2e-full; else a tenth.
var full = os.Getenv("SLEIGHT_FULL") != ""

func size(n int64) int64 {
	if full {
		return n
	}
	return n / 10
}

// cell is one mode and family with its bed.
type cell struct {
	*testing.T
	b       *bed.Bed
	mode    string
	addr    netip.Addr // the decoy's
	offload bool
}

// matrix runs a test in every mode and family, with super-packets and without:
// every pair of these, and in the full run every cell.
func matrix(t *testing.T, f func(c cell)) {
	for i, mode := range []string{"keep", "client", "nat"} {
		for j, addr := range []string{"203.0.113.7", "2001:db8:113::7"} {
			for k, offload := range []string{"offload", "plain"} {
				if !full && (i+j+k)%2 != 0 {
					continue
				}
				t.Run(fmt.Sprintf("%s%d/%s", mode, 4+2*j, offload), func(t *testing.T) {
					c := cell{t, newBed(t, bed.Config{Offloads: offload == "offload"}), mode, netip.MustParseAddr(addr), offload == "offload"}
					if mode == "keep" {
						if err := c.b.OwnClaimed(0); err != nil {
							t.Fatal(err)
						}
					}
					f(c)
				})
			}
		}
	}
}

func (c cell) at(port uint16) netip.AddrPort { return netip.AddrPortFrom(c.addr, port) }

// config is a gateway with one decoy and one rule.
func (c cell) config(decoy, rule string) string {
	return fmt.Sprintf(`
version: 1
tun: {name: sl, offload: %t}
routes: [203.0.113.0/24, "2001:db8:113::/64"]
nat: {pool: [100.64.0.0/28, "2001:db8:64::/124"]}
decoys:
  - %s
backends:
  - {name: real, addresses: [10.0.2.2, "fd00:2::2"], mode: %s}
rules:
  - %s
`, c.offload, decoy, c.mode, rule)
}

// wantClient checks that the server's own log has seen S, where the mode lets it.
func (c cell) wantClient(s *servers.Server, parts ...string) {
	c.Helper()
	client := bed.Attacker4.String()
	if c.addr.Is6() {
		client = bed.Attacker6.String()
	}
	if c.mode == "nat" {
		s.WaitLog(c.T, 1, parts...)
		if n := len(s.LogWith(client)); n > 0 {
			c.Errorf("behind NAT the server's log has the client's address %d times", n)
		}
		return
	}
	s.WaitLog(c.T, 1, append(parts, client)...)
}

func TestCurlAndNginx(t *testing.T) {
	matrix(t, func(c cell) {
		web := servers.StartNginx(c.T, c.b.Backends[0], servers.NginxOptions{Big: size(100 << 20)})
		g := start(c.T, c.b, c.config(
			`{name: web, service: {type: http, server: nginx/1.22.1, pages: [{path: /, body: "nothing here"}]}}`,
			`{name: shellshock, when: 'http.user_agent contains "() {"', action: switch, backend: real}`))
		if out := servers.Run(c.T, c.b.Attacker, "curl", servers.CurlArgs(servers.URL(c.at(80), "/"))...); out != "nothing here" {
			c.Fatalf("the decoy said %q", out)
		}
		attack := []string{"-A", "() { :; }; id"}
		out := servers.Run(c.T, c.b.Attacker, "curl", servers.CurlArgs(append(attack, servers.URL(c.at(80), "/cgi-bin/status"))...)...)
		if out != servers.NginxStatus {
			c.Errorf("the exploit's answer: %q", out)
		}
		c.wantClient(web.Server, "GET /cgi-bin/status")

		dir := c.TempDir()
		down := filepath.Join(dir, "big.bin")
		servers.Run(c.T, c.b.Attacker, "curl", servers.CurlArgs(append(attack, "-o", down, servers.URL(c.at(80), "/big.bin"))...)...)
		if got := servers.SHA256(c.T, down); got != web.BigSHA256 {
			c.Fatalf("download: SHA-256 %s, want %s", got, web.BigSHA256)
		}
		up := filepath.Join(dir, "up.bin")
		want := servers.WriteRandom(c.T, up, size(100<<20), 2)
		servers.Run(c.T, c.b.Attacker, "curl", servers.CurlArgs(append(attack, "-H", "Expect:", "-T", up, servers.URL(c.at(80), "/upload/up.bin"))...)...)
		if got := servers.SHA256(c.T, filepath.Join(web.Uploads, "up.bin")); got != want {
			c.Fatalf("upload: SHA-256 %s, want %s", got, want)
		}
		g.wantSwitches(3, "ok")
		figure(c.T, "%d MB down and up, SHA-256 equal", size(100<<20)>>20)
		if n := len(web.Log()); n != 3 {
			c.Errorf("the real server has logged %d requests, want the 3 that were switched", n)
		}
	})
}

// banner reads what a server says first.
func banner(t *testing.T, ns *bed.Namespace, addr string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := ns.DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func TestOpenSSH(t *testing.T) {
	matrix(t, func(c cell) {
		sshd := servers.StartSSHD(c.T, c.b.Backends[0], 22)
		said := strings.TrimSpace(banner(c.T, c.b.Gateway, "10.0.2.2:22"))
		when := `ssh.software startsWith "OpenSSH_"`
		if c.mode == "nat" { // the latest switch point of docs/protocols.md
			when = `ssh.hassh matches "^[0-9a-f]{32}$"`
		}
		g := start(c.T, c.b, c.config(
			fmt.Sprintf(`{name: ssh, service: {type: banner, banner: "%s\r\n"}}`, said),
			fmt.Sprintf(`{name: client, when: '%s', action: switch, backend: real}`, when)))
		if out := servers.Run(c.T, c.b.Attacker, "ssh", sshd.SSHArgs(c.at(22), "echo", "hello from $((6*7))")...); out != "hello from 42\n" {
			c.Errorf("ssh printed %q", out)
		}
		c.wantClient(sshd.Server, "Accepted publickey")
		dir := c.TempDir()
		from, there, back := filepath.Join(dir, "from"), filepath.Join(sshd.Dir, "there"), filepath.Join(dir, "back")
		want := servers.WriteRandom(c.T, from, size(50<<20), 3)
		servers.Run(c.T, c.b.Attacker, "scp", sshd.SCPArgs(c.at(22), from, ":"+there)...)
		servers.Run(c.T, c.b.Attacker, "scp", sshd.SCPArgs(c.at(22), ":"+there, back)...)
		if got := servers.SHA256(c.T, back); got != want {
			c.Fatalf("scp both ways: SHA-256 %s, want %s", got, want)
		}
		figure(c.T, "scp of %d MB there and back, SHA-256 equal", size(50<<20)>>20)
		g.wantSwitches(3, "ok")
	})
}

// "A switch after it ends as mismatch, the connection stays with the decoy, and nothing
// is broken": docs/protocols.md. Both are real, and have sent a KEXINIT of their own.
func TestSSHIsSwitchedTooLate(t *testing.T) {
	c := cell{t, newBed(t, bed.Config{}), "client", netip.MustParseAddr("203.0.113.7"), false}
	servers.StartSSHD(t, c.b.Backends[0], 22)
	low := servers.StartSSHD(t, c.b.Gateway, 2222)
	g := start(t, c.b, c.config(`{name: ssh, service: {type: forward, address: "127.0.0.1:2222"}}`,
		`{name: late, when: 'ssh.hassh != "" and len(stream) > 1700', action: switch, backend: real}`))
	if out := servers.Run(t, c.b.Attacker, "ssh", low.SSHArgs(c.at(22), "echo", "the low one")...); out != "the low one\n" {
		t.Errorf("ssh printed %q", out)
	}
	g.wantSwitches(1, "mismatch")
}

func TestRedis(t *testing.T) {
	matrix(t, func(c cell) {
		r := servers.StartRedis(c.T, c.b.Backends[0], 6379)
		replay := `{compare: exact}`
		if c.mode == "nat" {
			replay = `{compare: framed, frame: redis}`
		}
		g := start(c.T, c.b, c.config(
			`{name: redis, replay: `+replay+`, service: {type: script, turns: [
			   {expect: '(?i)INCR\r\n\$4\r\nhits\r\n', send: ":1\r\n"}, {expect: '(?i)INCR\r\n\$4\r\nhits\r\n', send: ":2\r\n"}]}}`,
			`{name: third, when: 'redis.line == "INCR hits" and stream matches "(?s)(INCR.*){3}"', action: switch, backend: real}`))
		out := servers.Run(c.T, c.b.Attacker, "redis-cli", servers.RedisArgs(c.at(6379), "-r", "3", "INCR", "hits")...)
		if out != "1\n2\n3\n" {
			c.Errorf("redis-cli printed %q", out)
		}
		real := netip.MustParseAddrPort("10.0.2.2:6379")
		if got := servers.Run(c.T, c.b.Gateway, "redis-cli", servers.RedisArgs(real, "GET", "hits")...); got != "3\n" {
			c.Errorf("the real server holds %q", got)
		}
		c.wantClient(r, "Accepted")
		g.wantSwitches(1, "ok")
	})
}

func TestPostgreSQL(t *testing.T) {
	matrix(t, func(c cell) {
		pg := servers.StartPostgres(c.T, c.b.Backends[0], 5432)
		g := start(c.T, c.b, c.config(
			`{name: pg, service: {type: silent}}`,
			`{name: startup, when: 'bytes >= 8 and u32(stream, 4) in [196608, 80877103, 80877104]', action: switch, backend: real}`))
		if out := servers.Run(c.T, c.b.Attacker, "psql", servers.PSQLArgs(c.at(5432), "select 6*7")...); out != "42\n" {
			c.Errorf("psql printed %q", out)
		}
		c.wantClient(pg, "connection received")
		g.wantSwitches(1, "ok")
	})
}

// The server speaks first, and several turns are replayed before the match.
func TestSMTP(t *testing.T) {
	matrix(t, func(c cell) {
		mail := servers.StartSMTP(c.T, c.b.Backends[0], 25)
		g := start(c.T, c.b, c.config(
			`{name: smtp, replay: {compare: framed, frame: smtp, timeout: 10s}, service: {type: script, turns: [
			   {send: "220 mail.example.net ESMTP\r\n"},
			   {expect: '(?i)EHLO [^\n]*\n', send: "250-mail.example.net\r\n250 HELP\r\n"},
			   {expect: '(?i)MAIL FROM:[^\n]*\n', send: "250 OK\r\n"}]}}`,
			`{name: rcpt, when: 'smtp.to == "<bob@example.net>" and smtp.from contains "alice"', action: switch, backend: real}`))
		out, err := servers.TryRun(c.T, c.b.Attacker, "swaks", servers.SwaksArgs(c.at(25))...)
		if err != nil || !strings.Contains(out, "220 mail.example.net ESMTP") {
			c.Errorf("swaks: %v\n%s", err, out)
		}
		mail.WaitLog(c.T, 1, "<= alice@example.org")
		c.wantClient(mail, "SMTP connection from")
		g.wantSwitches(1, "ok")
	})
}

// A silent decoy, decided by the name in the ClientHello.
func TestTLSByName(t *testing.T) {
	c := cell{t, newBed(t, bed.Config{}), "client", netip.MustParseAddr("203.0.113.7"), false}
	web := httptest.NewUnstartedServer(http.NotFoundHandler()) // for its certificate
	web.StartTLS()
	defer web.Close()
	l, err := c.b.Backends[0].Listen("tcp", "10.0.2.2:443")
	if err != nil {
		t.Fatal(err)
	}
	real := &http.Server{Handler: http.HandlerFunc(greet)}
	go serveOn(real, tls.NewListener(l, &tls.Config{Certificates: web.TLS.Certificates}))
	t.Cleanup(func() { _ = real.Close() })
	g := start(t, c.b, c.config(`{name: tls, service: {type: silent}}`,
		`{name: name, when: 'tls.sni == "shop.example.org" and tls.ja4 startsWith "t13d"', action: switch, backend: real}`))
	out := servers.Run(t, c.b.Attacker, "curl", servers.CurlArgs("-k", "--connect-to", "::203.0.113.7:443", "https://shop.example.org/")...)
	if out != "hello, shop.example.org" {
		t.Errorf("curl printed %q", out)
	}
	g.wantSwitches(1, "ok")
}

func greet(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello, %s", r.TLS.ServerName) }

// The decoy is a second real server, reached by an ordinary socket.
func TestForwardToASecondRealServer(t *testing.T) {
	matrix(t, func(c cell) {
		web := servers.StartNginx(c.T, c.b.Backends[0], servers.NginxOptions{})
		low := servers.StartNginx(c.T, c.b.Gateway, servers.NginxOptions{Port: 8081, Pages: map[string]string{"index.html": "the low one\n"}})
		g := start(c.T, c.b, c.config(
			`{name: web, service: {type: forward, address: "127.0.0.1:8081"}, replay: {compare: framed, frame: http}}`,
			`{name: shellshock, when: 'stream contains "() {"', action: switch, backend: real}`))
		conn := dial(c.T, c.b, c.at(80).String())
		r := bufio.NewReader(conn)
		if _, body := ask(c.T, conn, r, "GET", "/", "", nil); string(body) != "the low one\n" {
			c.Errorf("before: %q", body)
		}
		if _, body := ask(c.T, conn, r, "GET", "/cgi-bin/status", "User-Agent: () { :; }\r\n", nil); string(body) != servers.NginxStatus {
			c.Errorf("after: %q", body)
		}
		c.wantClient(web.Server, "GET /cgi-bin/status")
		low.WaitLog(c.T, 1, "GET / ")
		g.wantSwitches(1, "ok")
	})
}
