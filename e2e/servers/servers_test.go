package servers_test

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sleight/e2e/bed"
	"sleight/e2e/servers"
)

func TestMain(m *testing.M) {
	if err := bed.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := servers.RemoveTemplates(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// build makes an attacker, a plain router and a host, and returns the host's two addresses with a port.
func build(t *testing.T, port uint16) (*bed.Bed, []netip.AddrPort) {
	t.Helper()
	b, err := bed.New(bed.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := b.Forward(); err != nil {
		t.Fatal(err)
	}
	v4, v6 := bed.BackendAddrs(0)
	return b, []netip.AddrPort{netip.AddrPortFrom(v4, port), netip.AddrPortFrom(v6, port)}
}

// attacker is the client's address as a server sees it that was asked at at.
func attacker(at netip.AddrPort) string {
	if at.Addr().Is4() {
		return bed.Attacker4.String()
	}
	return bed.Attacker6.String()
}

func wantText(t *testing.T, what, got, part string) {
	t.Helper()
	if !strings.Contains(got, part) {
		t.Errorf("%s: %q is not in:\n%s", what, part, got)
	}
}

func TestNginxServesCurl(t *testing.T) {
	b, at := build(t, 80)
	s := servers.StartNginx(t, b.Backends[0], servers.NginxOptions{Big: 3 << 20, Pages: map[string]string{"a/b.html": "page b"}})
	dir := t.TempDir()
	file := filepath.Join(dir, "up.bin")
	sum := servers.WriteRandom(t, file, 2<<20, 9)
	for i, a := range at {
		curl := func(args ...string) string { return servers.Run(t, b.Attacker, "curl", servers.CurlArgs(args...)...) }
		wantText(t, "index", curl(servers.URL(a, "/")), servers.NginxIndex)
		wantText(t, "page", curl(servers.URL(a, "/a/b.html")), "page b")
		wantText(t, "status", curl("-A", "() { :; }; id", servers.URL(a, "/cgi-bin/status")), servers.NginxStatus)

		got := filepath.Join(dir, "down.bin")
		curl("-o", got, servers.URL(a, "/big.bin"))
		if diff := cmp.Diff(s.BigSHA256, servers.SHA256(t, got)); diff != "" {
			t.Errorf("download differs (-want +got):\n%s", diff)
		}
		name := fmt.Sprintf("up-%d.bin", i)
		curl("-T", file, servers.URL(a, "/upload/"+name))
		if diff := cmp.Diff(sum, servers.SHA256(t, filepath.Join(s.Uploads, name))); diff != "" {
			t.Errorf("upload differs (-want +got):\n%s", diff)
		}
		s.WaitLog(t, 5, attacker(a)+":")
	}
}

func TestSSHDServesSSHAndSCP(t *testing.T) {
	b, at := build(t, 22)
	s := servers.StartSSHD(t, b.Backends[0], 0)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	sum := servers.WriteRandom(t, file, 1<<20, 3)
	for i, a := range at {
		wantText(t, "command", servers.Run(t, b.Attacker, "ssh", s.SSHArgs(a, "echo", "on", "the", "host")...), "on the host")
		there := filepath.Join(s.Dir, fmt.Sprintf("copy%d", i))
		servers.Run(t, b.Attacker, "scp", s.SCPArgs(a, file, ":"+there)...)
		back := filepath.Join(dir, "back")
		servers.Run(t, b.Attacker, "scp", s.SCPArgs(a, ":"+there, back)...)
		if diff := cmp.Diff(sum, servers.SHA256(t, back)); diff != "" {
			t.Errorf("copy differs (-want +got):\n%s", diff)
		}
		s.WaitLog(t, 3, "Accepted publickey", "from "+attacker(a))
	}
}

func TestRedisServesItsClient(t *testing.T) {
	b, at := build(t, 6379)
	s := servers.StartRedis(t, b.Backends[0], 0)
	for _, a := range at {
		servers.Run(t, b.Attacker, "redis-cli", servers.RedisArgs(a, "SET", "k", a.String())...)
		wantText(t, "get", servers.Run(t, b.Attacker, "redis-cli", servers.RedisArgs(a, "GET", "k")...), a.String())
		s.WaitLog(t, 2, "Accepted", attacker(a))
	}
}

func TestPostgresServesItsClient(t *testing.T) {
	b, at := build(t, 5432)
	s := servers.StartPostgres(t, b.Backends[0], 0)
	for _, a := range at {
		wantText(t, "select", servers.Run(t, b.Attacker, "psql", servers.PSQLArgs(a, "select 6*7")...), "42")
		s.WaitLog(t, 1, "connection received", "host="+attacker(a))
		s.WaitLog(t, 1, "select 6*7", attacker(a)+"(")
	}
}

func TestSMTPServesSwaks(t *testing.T) {
	b, at := build(t, 25)
	s := servers.StartSMTP(t, b.Backends[0], 0)
	for _, a := range at {
		out := servers.Run(t, b.Attacker, "swaks", servers.SwaksArgs(a, "--header", "Subject: hello")...)
		wantText(t, "banner", out, strings.TrimSpace(servers.SMTPBanner))
		wantText(t, "accepted", out, "250 OK id=")
		s.WaitLog(t, 1, "<= alice@example.org", "["+attacker(a)+"]")
	}
}

func TestNothingIsLeftOfAServerThatForks(t *testing.T) {
	b, at := build(t, 22)
	host := b.Backends[0]
	var pids []int
	t.Cleanup(func() { // after the server was stopped
		if err := host.Close(); err != nil {
			t.Error(err)
		}
		for _, pid := range pids {
			if running(pid) {
				t.Errorf("process %d is left", pid)
			}
		}
	})
	s := servers.StartSSHD(t, host, 0)
	openSession(t, b.Attacker, s, at[0])
	var err error
	pids, err = host.Processes()
	if err != nil || len(pids) < 3 { // server, session, command
		t.Fatalf("processes %v, %v, want at least 3", pids, err)
	}
}

// running is false for a process that nobody has waited for yet.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// openSession runs a command over ssh that lasts, and returns when it runs.
func openSession(t *testing.T, ns *bed.Namespace, s *servers.SSHD, at netip.AddrPort) {
	t.Helper()
	c := ns.Command(t.Context(), "ssh", s.SSHArgs(at, "echo up; exec sleep 1000")...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Wait() }) //nolint:errcheck // the server is taken away from it
	if _, err := io.ReadFull(out, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
}
