package e2e

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sleight/e2e/bed"
)

// A program that may not make devices says so, and how to mend it; the machine is
// left as it was.
func TestWithoutThePermissionForTUNs(t *testing.T) {
	b := newBed(t, bed.Config{})
	before := machine(t, b.Gateway)
	file := filepath.Join(t.TempDir(), "sleight.yaml")
	text := httpConfig("client") + "state: {dir: " + filepath.Join(t.TempDir(), "state") + "}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := weak(t, b.Gateway, "run", "-c", file)
	if code != 1 || !strings.Contains(out, "device sl0: ioctl: operation not permitted: run as root or with CAP_NET_ADMIN") ||
		!strings.Contains(out, "ip tuntap add dev sl0 mode tun") {
		t.Errorf("run: exit %d\n%s", code, out)
	}
	if d := cmp.Diff(before, machine(t, b.Gateway)); d != "" {
		t.Errorf("left:\n%s", d)
	}
	out, code = weak(t, b.Gateway, "doctor", "-c", file)
	if code != 1 || !strings.Contains(out, "problem  capability: no CAP_NET_ADMIN") || !strings.Contains(out, "mend: setcap cap_net_admin+ep") {
		t.Errorf("doctor: exit %d\n%s", code, out)
	}
}

// weak runs the program without CAP_NET_ADMIN.
func weak(t *testing.T, ns *bed.Namespace, args ...string) (out string, code int) {
	t.Helper()
	var b bytes.Buffer
	c := exec.Command(program, args...)
	c.Stdout, c.Stderr = &b, &b
	done := make(chan error)
	go runWeak(c, ns, done)
	if err := <-done; c.ProcessState == nil {
		t.Fatal(err)
	}
	return b.String(), c.ProcessState.ExitCode()
}

// runWeak never unlocks its thread, which ends with it: the capability is lost for
// good, and the namespace is not the others'.
func runWeak(c *exec.Cmd, ns *bed.Namespace, done chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		other := make(chan error) // the main thread cannot be ended
		go runWeak(c, ns, other)
		err := <-other
		runtime.UnlockOSThread()
		done <- err
		return
	}
	fd, err := unix.Open(ns.Path(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Setns(fd, unix.CLONE_NEWNET), unix.Close(fd))
	}
	if err == nil {
		// What the bounding set has not, an exec does not give to root either
		// (capabilities(7)).
		err = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0, 0, 0)
	}
	if err == nil {
		err = c.Run()
	}
	done <- err
}

// A claimed prefix that is nothing but the machine's own address is refused, by run
// and by doctor.
func TestAnOwnAddressThatIsClaimed(t *testing.T) {
	b := newBed(t, bed.Config{})
	before := machine(t, b.Gateway)
	own := netip.PrefixFrom(bed.Gateway4, 32).String()
	g := launch(t, b, t.TempDir(), strings.Replace(httpConfig("client"), "203.0.113.0/24", own, 1))
	want := own + " is an address of this machine, and its kernel answers there, not the gateway: claim another, or remove it: ip addr del 198.51.100.1/24 dev clients"
	if code := g.ended(); code != 1 || !strings.Contains(g.logged(), want) {
		t.Errorf("exit code %d", code)
	}
	if d := cmp.Diff(before, machine(t, b.Gateway)); d != "" {
		t.Errorf("left:\n%s", d)
	}
	if out, code := sleight(t, b.Gateway, "doctor", "-c", g.file("sleight.yaml")); code != 1 || !strings.Contains(out, "is an address of this machine") {
		t.Errorf("doctor: exit %d\n%s", code, out)
	}
}
