// Package servers runs real servers from Debian's packages inside a namespace of a test: each listens
// on every IPv4 and IPv6 address, logs who talked to it, and is gone when the test ends. The package
// also runs their real clients.
package servers

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sleight/e2e/bed"
)

// Packages are the Debian packages with the programs that are run here; packages.sh installs them.
var Packages = []string{
	"nginx-light", "openssh-server", "openssh-client", "redis-server", "redis-tools",
	"postgresql", "postgresql-client", "exim4-daemon-light", "swaks", "libio-socket-inet6-perl", "curl",
}

// Server is a running server.
type Server struct {
	Name string
	Port uint16
	// Dir is its folder: configuration, log and data. It is removed when the test ends.
	Dir string

	ns      *bed.Namespace
	cmd     *bed.Cmd
	logFile string
	done    chan struct{}
	err     error // of the process, valid when done is closed
}

const (
	startTimeout = 20 * time.Second
	stopTimeout  = 5 * time.Second
	pollEvery    = 10 * time.Millisecond
)

// spec says how to run a server.
type spec struct {
	port uint16
	args []string
	// log is the file that the server writes itself, in the server's folder; empty if it logs to
	// standard error.
	log string
	// ready is a log line's part without which it does not serve yet; empty: to listen is enough.
	ready string
	user  *syscall.Credential
	stop  syscall.Signal
}

// newServer makes the folder that a server's files go to. It is not t.TempDir, whose parent other
// users cannot enter.
func newServer(t testing.TB, ns *bed.Namespace, name string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "sleight-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &Server{Name: name, Dir: dir, ns: ns, done: make(chan struct{})}
}

// run starts the program and waits until it listens in both families.
func (s *Server) run(t testing.TB, sp spec) {
	t.Helper()
	s.Port = sp.port
	program := program(t, sp.args[0])
	s.cmd = s.ns.Command(context.WithoutCancel(t.Context()), program, sp.args[1:]...)
	s.cmd.SysProcAttr.Credential = sp.user
	s.cmd.Dir = s.Dir
	output := s.path("output.log")
	out, err := os.Create(output)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s.cmd.Stdout, s.cmd.Stderr = out, out
	s.logFile = output
	if sp.log != "" {
		s.logFile = s.path(sp.log)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", s.Name, err)
	}
	go s.reap()
	t.Cleanup(func() { s.finish(t, sp.stop, output) })
	if err := s.waitReady(sp.ready); err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(tail(output, 30), "\n"))
	}
}

func (s *Server) reap() {
	s.err = s.cmd.Wait()
	close(s.done)
}

// waitReady looks whether the kernel accepts for the server; it does not connect, so that the log
// has the test's own lines only.
func (s *Server) waitReady(ready string) error {
	limit := time.NewTimer(startTimeout)
	defer limit.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		listens, err := s.listens()
		if err != nil {
			return err
		}
		if listens && (ready == "" || s.hasLine(ready)) {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("%s ended at its start (%v); its log says", s.Name, s.err)
		case <-limit.C:
			return fmt.Errorf("%s does not listen on port %d after %v", s.Name, s.Port, startTimeout)
		case <-tick.C:
		}
	}
}

func (s *Server) listens() (both bool, err error) {
	err = s.ns.Do(func() error {
		for _, table := range []string{"tcp", "tcp6"} {
			b, err := os.ReadFile("/proc/thread-self/net/" + table)
			if err != nil {
				return err
			}
			if !listening(b, s.Port) {
				return nil
			}
		}
		both = true
		return nil
	})
	return both, err
}

// listening finds a port in state LISTEN (0A) in a table as /proc/net/tcp shows it.
func listening(table []byte, port uint16) bool {
	suffix := fmt.Sprintf(":%04X", port)
	for line := range bytes.Lines(table) {
		f := strings.Fields(string(line))
		if len(f) > 3 && f[3] == "0A" && strings.HasSuffix(f[1], suffix) {
			return true
		}
	}
	return false
}

// finish stops the server by its process id; what it started and left behind ends with the namespace.
// A failed test shows the log's end.
func (s *Server) finish(t testing.TB, sig syscall.Signal, output string) {
	if t.Failed() {
		for _, f := range unique(s.logFile, output) {
			t.Logf("%s, end of %s:\n%s", s.Name, filepath.Base(f), strings.Join(tail(f, 30), "\n"))
		}
	}
	if err := s.stop(sig); err != nil {
		t.Errorf("stop %s: %v", s.Name, err)
	}
}

func (s *Server) stop(sig syscall.Signal) error {
	select {
	case <-s.done:
		return fmt.Errorf("it ended by itself (%v)", s.err)
	default:
	}
	if sig == 0 {
		sig = unix.SIGTERM
	}
	s.cmd.Process.Signal(sig) //nolint:errcheck // it may just have ended; then done is closed
	limit := time.NewTimer(stopTimeout)
	defer limit.Stop()
	select {
	case <-s.done:
		return nil
	case <-limit.C:
		s.cmd.Process.Kill() //nolint:errcheck // as above
		<-s.done
		return fmt.Errorf("signal %v did not end it in %v", sig, stopTimeout)
	}
}

// PID is the server's process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Log returns the lines that the server has logged so far.
func (s *Server) Log() []string { return tail(s.logFile, -1) }

// LogWith returns the log's lines so far that contain every one of the parts.
func (s *Server) LogWith(parts ...string) []string {
	var found []string
	for _, line := range s.Log() {
		if containsAll(line, parts) {
			found = append(found, line)
		}
	}
	return found
}

// WaitLog waits until at least n lines contain every one of the parts, and returns them. The test
// fails after ten seconds.
func (s *Server) WaitLog(t testing.TB, n int, parts ...string) []string {
	t.Helper()
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		found := s.LogWith(parts...)
		if len(found) >= n {
			return found
		}
		select {
		case <-limit.C:
			t.Fatalf("%s logged %d lines with %q, want %d:\n%s", s.Name, len(found), parts, n, strings.Join(tail(s.logFile, 30), "\n"))
		case <-tick.C:
		}
	}
}

func (s *Server) hasLine(part string) bool { return len(s.LogWith(part)) > 0 }

func (s *Server) path(name string) string { return filepath.Join(s.Dir, name) }

// write writes a file into the server's folder.
func (s *Server) write(t testing.TB, name, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return s.path(name)
}

// mkdir makes a folder in the server's; owner nil leaves it the test's.
func (s *Server) mkdir(t testing.TB, name string, owner *syscall.Credential) string {
	t.Helper()
	err := os.Mkdir(s.path(name), 0o750)
	if err == nil && owner != nil {
		err = os.Chown(s.path(name), int(owner.Uid), int(owner.Gid))
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.path(name)
}

// program finds a program also where only root looks.
func program(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin", "/usr/bin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p
		}
	}
	t.Fatalf("%s is not installed; e2e/packages.sh installs: %s", name, strings.Join(Packages, " "))
	return ""
}

// tail returns the last n lines of a file, or all if n < 0. A file that is not there has none.
func tail(file string, n int) []string {
	b, err := os.ReadFile(file)
	if err != nil || len(b) == 0 {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if n >= 0 && len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return lines
}

func containsAll(line string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(line, p) {
			return false
		}
	}
	return true
}

func unique(a, b string) []string {
	if a == b {
		return []string{a}
	}
	return []string{a, b}
}
