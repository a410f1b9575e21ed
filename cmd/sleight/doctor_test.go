package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sleight/internal/host"
	"sleight/tun"
	"sleight/tun/kernel"
)

// namespace moves the test into a network namespace with a backend's link; the
// thread, and the namespace with it, dies with the test.
func namespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	must(t, unix.Unshare(unix.CLONE_NEWNET))
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "be0"}, PeerName: "b"}
	must(t, netlink.LinkAdd(link))
	a, err := netlink.ParseAddr("10.0.2.1/24")
	must(t, err)
	must(t, netlink.AddrAdd(link, a))
	must(t, netlink.LinkSetUp(link))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func plan(t *testing.T) host.Plan {
	p := host.Plan{
		Claimed:  []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")},
		Backends: []host.Backend{{Name: "web", Mode: host.Client, Addrs: []netip.Addr{netip.MustParseAddr("10.0.2.2")}}},
		Table:    5391, Priority: 5390, Setup: host.Manage,
		StateDir: t.TempDir(),
	}
	p.NameDoors("sleight")
	return p
}

// run runs one command and returns what it printed and its exit code.
func run(t *testing.T, p host.Plan, args ...string) (out string, code int) {
	t.Helper()
	load := func(path string) (host.Plan, error) {
		if path != "good.yaml" {
			return host.Plan{}, errors.New(path + ": no such file")
		}
		return p, nil
	}
	var b bytes.Buffer
	app := &cli.App{
		Name: "sleight", Writer: &b, ErrWriter: &b,
		Commands:       []*cli.Command{doctorCommand(load), downCommand(load)},
		ExitErrHandler: func(*cli.Context, error) {},
	}
	err := app.Run(append([]string{"sleight"}, args...))
	exit := cli.ExitCoder(nil)
	if errors.As(err, &exit) {
		return b.String() + err.Error(), exit.ExitCode()
	}
	must(t, err)
	return b.String(), 0
}

func TestDoctorExitsWithOneWhereSomethingIsWrong(t *testing.T) {
	namespace(t)
	p := plan(t)
	out, code := run(t, p, "doctor", "-c", "good.yaml")
	if code != 0 || !strings.Contains(out, "ok       backend web: reached through be0") {
		t.Errorf("exit %d\n%s", code, out)
	}
	p.Setup = host.Check
	out, code = run(t, p, "doctor", "-c", "good.yaml")
	if code != 1 || !strings.Contains(out, "problem  net.ipv4.ip_forward: is 0") || !strings.Contains(out, "mend: sysctl -w net.ipv4.ip_forward=1\n") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// Not having the faster way is no problem; why not is told.
func TestDoctorTellsWhetherTheKernelCarries(t *testing.T) {
	namespace(t)
	p := plan(t)
	if out, code := run(t, p, "doctor", "-c", "good.yaml"); code != 0 || strings.Contains(out, "tun.kernel") {
		t.Errorf("off: exit %d\n%s", code, out)
	}
	p.Kernel = true
	want := "ok       tun.kernel: this kernel carries the bulk of spliced flows\n"
	if why := kernel.Probe(); why != nil {
		want = "ok       tun.kernel: the gateway carries all bulk itself, at half the speed: " + why.Error() + "\n"
	}
	if out, code := run(t, p, "doctor", "-c", "good.yaml"); code != 0 || !strings.Contains(out, want) {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestDoctorPrintsJSON(t *testing.T) {
	namespace(t)
	out, code := run(t, plan(t), "doctor", "-c", "good.yaml", "--json")
	var findings []host.Finding
	if err := json.Unmarshal([]byte(out), &findings); err != nil || code != 0 || len(findings) == 0 {
		t.Errorf("exit %d, %v\n%s", code, err, out)
	}
}

func TestDownTakesBackWhatIsLeft(t *testing.T) {
	namespace(t)
	p := plan(t)
	for _, name := range p.Doors() {
		d, err := tun.Open(tun.Config{Name: name, Queues: 1})
		must(t, err)
		defer d.Close()
	}
	h, err := host.Setup(p)
	must(t, err)
	if out, code := run(t, p, "down", "-c", "good.yaml"); code != 1 || !strings.Contains(out, "a gateway is running") {
		t.Errorf("beside a running gateway: exit %d\n%s", code, out)
	}
	_, err = h.Close()
	must(t, err)
	out, code := run(t, p, "down", "--state-dir", p.StateDir)
	if code != 0 || !strings.Contains(out, "taken back: ip rule add iif be0 lookup 5391") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if out, code := run(t, p, "down", "-c", "good.yaml"); code != 0 || !strings.Contains(out, "nothing to take back") {
		t.Errorf("again: exit %d\n%s", code, out)
	}
}

func TestWrongUsageAndMissingFiles(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"doctor", "extra"}, 2},
		{[]string{"down", "extra"}, 2},
		{[]string{"doctor", "-c", "bad.yaml"}, 1},
		{[]string{"down", "-c", "bad.yaml"}, 1},
	} {
		if out, code := run(t, host.Plan{}, c.args...); code != c.code {
			t.Errorf("%v: exit %d, want %d\n%s", c.args, code, c.code, out)
		}
	}
}
