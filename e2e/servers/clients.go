package servers

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"sleight/e2e/bed"
)

const clientTimeout = 2 * time.Minute

// Run runs a client program in a namespace and returns what it printed, standard error included. The
// test fails if the program does, or takes longer than two minutes.
func Run(t testing.TB, ns *bed.Namespace, name string, args ...string) string {
	t.Helper()
	out, err := TryRun(t, ns, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// TryRun is Run for a program that may fail.
func TryRun(t testing.TB, ns *bed.Namespace, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
	defer cancel()
	c := ns.Command(ctx, program(t, name), args...)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/nonexistent", "PGCONNECT_TIMEOUT=60"}
	out, err := c.CombinedOutput()
	return string(out), err
}

// CurlArgs are curl's: silent but for errors, failing on an HTTP error, nothing from a .curlrc.
func CurlArgs(more ...string) []string {
	return append([]string{"-q", "-sS", "--fail", "--globoff", "--noproxy", "*"}, more...)
}

// URL is http://ADDRESS:PORT/PATH.
func URL(at netip.AddrPort, path string) string {
	return "http://" + at.String() + "/" + strings.TrimPrefix(path, "/")
}

// RedisArgs are redis-cli's for one command.
func RedisArgs(at netip.AddrPort, command ...string) []string {
	return append([]string{"-h", at.Addr().String(), "-p", port(at)}, command...)
}

// PSQLArgs are psql's for one statement; the answer comes bare.
func PSQLArgs(at netip.AddrPort, statement string) []string {
	return []string{"-X", "-w", "-A", "-t", "-h", at.Addr().String(), "-p", port(at), "-U", PostgresUser, "-d", "postgres", "-c", statement}
}

// SwaksArgs are swaks's for one message with the default text.
func SwaksArgs(at netip.AddrPort, more ...string) []string {
	args := []string{"--server", at.Addr().String(), "--port", port(at), "--helo", "client.example.org",
		"--from", "alice@example.org", "--to", "bob@example.net"}
	if at.Addr().Is6() {
		args = append(args, "-6")
	}
	return append(args, more...)
}

func port(at netip.AddrPort) string { return strconv.Itoa(int(at.Port())) }
