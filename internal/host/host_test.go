package host

import (
	"bufio"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sleight/tun"
)

// holder, when set, is the state directory of a gateway that this process
// stands for: it sets up what the plan on its standard input says, and waits to
// be killed.
const holder = "HOST_TEST_HOLDER"

func TestMain(m *testing.M) {
	if os.Getenv(holder) != "" {
		hold()
	}
	os.Exit(m.Run())
}

func hold() {
	var p Plan
	if err := json.NewDecoder(os.Stdin).Decode(&p); err != nil {
		panic(err)
	}
	for _, name := range []string{p.ClientDoor, p.BackendDoor, "sleight2"} {
		if _, err := tun.Open(tun.Config{Name: name, Queues: 1}); err != nil {
			panic(err)
		}
	}
	if _, err := Setup(p); err != nil {
		panic(err)
	}
	os.Stdout.WriteString("ready\n")
	select {}
}

// killed starts a gateway in the test's namespace and kills it once it is ready.
func killed(t *testing.T, p Plan) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holder+"=1")
	b, err := json.Marshal(p)
	must(t, err)
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(b)), os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start()) // the child starts in the namespace of this thread
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Errorf("the gateway said %q", line)
	}
	must(t, cmd.Process.Kill())
	cmd.Wait()
}

func openDoors(b *bed) []*tun.Door {
	return []*tun.Door{b.door("sleight0"), b.door("sleight1"), b.door("sleight2")}
}

func mustSetup(t *testing.T, p Plan) *Host {
	t.Helper()
	h, err := Setup(p)
	must(t, err)
	return h
}

// ours are the lines of a snapshot that were not there before.
func ours(before, after []string) []string {
	var more []string
	for _, l := range after {
		if !slices.Contains(before, l) {
			more = append(more, l)
		}
	}
	return more
}

func TestCloseLeavesOnlyWhatContainsBackendsAndDownTakesThat(t *testing.T) {
	b := newBed(t)
	doors := openDoors(b)
	before := b.snapshot()
	p := b.plan()
	h := mustSetup(t, p)
	for _, l := range ours(before, b.snapshot()) {
		if !strings.Contains(l, "proto 191") && !strings.Contains(l, "forward") {
			t.Errorf("not marked as ours: %s", l)
		}
	}
	if _, err := Down(p.StateDir); err == nil || !strings.Contains(err.Error(), "a gateway is running") {
		t.Errorf("down beside a running gateway: %v", err)
	}
	remains, err := h.Close()
	must(t, err)
	left := ours(before, b.snapshot())
	// For each family: the table's blackhole, the keep backend's, and two rules.
	if len(left) != 8 || len(remains) != 8 {
		t.Errorf("left %s\nremains %s", strings.Join(left, "\n"), strings.Join(remains, "\n"))
	}
	for _, l := range left {
		if !strings.Contains(l, "iif be0") && !strings.Contains(l, "type 6") {
			t.Errorf("does not contain a backend: %s", l)
		}
	}
	b.sysctl("net/ipv4/ip_forward", "1") // as another program may have it
	for _, src := range []string{"10.0.2.2", "203.0.113.9"} {
		if got := b.leads("be0", src, "192.0.2.2"); !strings.Contains(got, "invalid argument") {
			t.Errorf("a packet from %s leaves through %s", src, got)
		}
	}
	b.sysctl("net/ipv4/ip_forward", "0")
	done, err := Down(p.StateDir)
	must(t, err)
	if len(done) != 8 {
		t.Errorf("down took back %v", done)
	}
	if d := cmp.Diff(before, b.snapshot()); d != "" {
		t.Error(d)
	}
	if files, _ := os.ReadDir(p.StateDir); len(files) != 0 {
		t.Errorf("files are left: %v", files)
	}
	if done, err := Down(p.StateDir); len(done) != 0 || err != nil {
		t.Errorf("a second down: %v, %v", done, err)
	}
	for _, d := range doors {
		must(t, d.Close())
	}
}

func TestAKilledGatewayForwardsNothingAndDownTakesAllBack(t *testing.T) {
	b := newBed(t)
	before := b.snapshot()
	p := b.plan()
	killed(t, p)
	for _, c := range []struct{ dev, src, dst string }{
		{"be0", "10.0.2.2", "192.0.2.2"},
		{"be0", "203.0.113.9", "192.0.2.2"},
		{"be0", "fd00:2::2", "fd00:1::2"},
		{"be0", "2001:db8:113::9", "fd00:1::2"},
		{"cl0", "192.0.2.2", "203.0.113.9"},
		{"cl0", "fd00:1::2", "2001:db8:113::9"},
		{"cl0", "192.0.2.2", "100.64.0.1"},
	} {
		if got := b.leads(c.dev, c.src, c.dst); got != "invalid argument" && got != "blackhole" {
			t.Errorf("from %s to %s: %s", c.src, c.dst, got)
		}
	}
	if _, err := Down(p.StateDir); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(before, b.snapshot()); d != "" {
		t.Error(d)
	}
}

func TestTheNextStartTakesOverFromAKilledGateway(t *testing.T) {
	b := newBed(t)
	before := b.snapshot()
	p := b.plan()
	killed(t, p)
	p.Pool = nil // and the configuration has changed
	openDoors(b)
	h := mustSetup(t, p)
	for _, l := range b.snapshot() {
		if strings.Contains(l, "100.64.0.0/28") {
			t.Errorf("a leftover: %s", l)
		}
	}
	if got := b.leads("be0", "10.0.2.2", "192.0.2.2"); got != "sleight1" {
		t.Errorf("a backend's packet goes to %s", got)
	}
	_, err := h.Close()
	must(t, err)
	_, err = Down(p.StateDir)
	must(t, err)
	if d := cmp.Diff(before, b.snapshot()); d != "" {
		t.Error(d)
	}
}

func TestAFailedSetupLeavesTheMachineAsItWas(t *testing.T) {
	b := newBed(t)
	before := b.snapshot()
	b.door("sleight0") // but not the others
	p := b.plan()
	if _, err := Setup(p); err == nil || !strings.Contains(err.Error(), "sleight1") {
		t.Errorf("error %v", err)
	}
	if d := cmp.Diff(before, b.snapshot()); d != "" {
		t.Error(d)
	}
	if hasJournal(p.StateDir) {
		t.Error("an undo list is left")
	}
}

func TestAForeignRouteInOurTableIsNotTouched(t *testing.T) {
	b := newBed(t)
	openDoors(b)
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: b.link("cl0").Attrs().Index, Table: 5391, Priority: doorMetric, Scope: netlink.SCOPE_LINK, Dst: ipNet(anywhere(unix.AF_INET))}))
	before := b.snapshot()
	if _, err := Setup(b.plan()); err == nil || !strings.Contains(err.Error(), "choose another table") {
		t.Errorf("error %v", err)
	}
	if d := cmp.Diff(before, b.snapshot()); d != "" {
		t.Error(d)
	}
}

func TestLostUndoListStillKnowsItsOwn(t *testing.T) {
	b := newBed(t)
	openDoors(b)
	before := b.snapshot()
	p := b.plan()
	h := mustSetup(t, p)
	must(t, os.Remove(filepath.Join(p.StateDir, journalFile)))
	must(t, h.release())
	b.sysctl("net/ipv4/ip_forward", "0")
	b.sysctl("net/ipv6/conf/all/forwarding", "0")
	h = mustSetup(t, p)
	_, err := h.Close()
	must(t, err)
	_, err = Down(p.StateDir)
	must(t, err)
	if d := cmp.Diff(before, b.snapshot()); d != "" {
		t.Error(d)
	}
}

func TestCheckChangesNothingAndNamesWhatIsMissing(t *testing.T) {
	b := newBed(t)
	openDoors(b)
	before := b.snapshot()
	p := b.plan()
	p.Setup = Check
	_, err := Setup(p)
	for _, want := range []string{
		"ip route add 203.0.113.0/24 dev sleight0",
		"ip -6 rule add iif be0 lookup 5391",
		"ip route add blackhole 0.0.0.0/0 table 5391",
		"sysctl -w net.ipv4.ip_forward=1",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\nwant %q in it", err, want)
		}
	}
	if d := cmp.Diff(before, b.snapshot()); d != "" {
		t.Error(d)
	}
	managed := b.plan()
	h := mustSetup(t, managed)
	defer h.Close()
	if _, err := Setup(p); err != nil {
		t.Errorf("with everything in place: %v", err)
	}
}

func TestOffDoesNothing(t *testing.T) {
	b := newBed(t)
	before := b.snapshot()
	p := b.plan()
	p.Setup = Off
	h := mustSetup(t, p)
	if d := cmp.Diff(before, b.snapshot()); d != "" {
		t.Error(d)
	}
	if mtu, err := h.BackendMTU(netip.MustParseAddr("10.0.2.2")); mtu != 1500 || err != nil {
		t.Errorf("MTU %d, %v", mtu, err)
	}
	_, err := h.Close()
	must(t, err)
}

func TestValuesAreRaisedNeverLowered(t *testing.T) {
	b := newBed(t)
	openDoors(b)
	// IPv6's default route came by a router advertisement; forwarding was on for
	// one device, and for all of IPv4.
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: b.link("cl0").Attrs().Index, Gw: net.ParseIP("fd00:1::2"), Protocol: unix.RTPROT_RA}))
	b.sysctl("net/ipv6/conf/cl0/accept_ra", "1")
	b.sysctl("net/ipv6/conf/cl0/forwarding", "1")
	b.sysctl("net/ipv4/ip_forward", "1")
	before := b.snapshot()
	p := b.plan()
	h := mustSetup(t, p)
	after := strings.Join(b.snapshot(), "\n")
	for _, want := range []string{"ipv6/conf/cl0/accept_ra 2", "ipv6/conf/all/forwarding 1", "ipv4/ip_forward 1"} {
		if !strings.Contains(after, want) {
			t.Errorf("want %s", want)
		}
	}
	_, err := h.Close()
	must(t, err)
	_, err = Down(p.StateDir)
	must(t, err)
	if d := cmp.Diff(before, b.snapshot()); d != "" {
		t.Error(d)
	}
}

func TestAValueThatSomebodyElseChangedIsLeft(t *testing.T) {
	b := newBed(t)
	openDoors(b)
	b.sysctl("net/ipv6/conf/cl0/accept_ra", "1")
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: b.link("cl0").Attrs().Index, Gw: net.ParseIP("fd00:1::2"), Protocol: unix.RTPROT_RA}))
	p := b.plan()
	h := mustSetup(t, p)
	b.sysctl("net/ipv6/conf/cl0/accept_ra", "0")
	_, err := h.Close()
	must(t, err)
	if !slices.Contains(b.snapshot(), "ipv6/conf/cl0/accept_ra 0") {
		t.Error("another program's value was overwritten")
	}
}

func TestMistakesSayWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*bed, *Plan)
		want   string
	}{
		"no route": {
			func(b *bed, p *Plan) { p.Backends[0].Addrs = []netip.Addr{netip.MustParseAddr("198.51.100.1")} },
			"backend c: no route to 198.51.100.1",
		},
		"an address of the machine": {
			func(b *bed, p *Plan) { p.Backends[0].Addrs = []netip.Addr{netip.MustParseAddr("10.0.2.1")} },
			"is an address of this machine",
		},
		"a device that is not the way": {
			func(b *bed, p *Plan) { p.Backends[0].Device = "cl0" },
			"10.0.2.2 is reached through be0, not through cl0",
		},
		"a device that carries the default route": {
			func(b *bed, p *Plan) { b.defaultVia("be0", "10.0.2.2") },
			"backend device be0 also carries the default route",
		},
		"a device that carries the IPv6 default route": {
			func(b *bed, p *Plan) { b.defaultVia("be0", "fd00:2::2") },
			"backend device be0 also carries the default route",
		},
		"a device that carries clients": {
			func(b *bed, p *Plan) { b.address("be0", 1, []string{"198.51.100.%d/24"}) },
			"backend device be0 also leads to 198.51.100.0/24",
		},
		"keep behind a router": {
			func(b *bed, p *Plan) {
				must(b.t, netlink.RouteAdd(&netlink.Route{LinkIndex: b.link("be0").Attrs().Index, Gw: net.ParseIP("10.0.2.2"), Dst: ipNet(netip.MustParsePrefix("10.9.0.0/16"))}))
				p.Backends[2].Addrs = []netip.Addr{netip.MustParseAddr("10.9.0.1")}
			},
			"backend k: is behind a router",
		},
		"two keep backends on one device": {
			func(b *bed, p *Plan) {
				p.Backends = append(p.Backends, Backend{Name: "k2", Mode: Keep, Addrs: p.Backends[0].Addrs, Door: "sleight3"})
			},
			"backends k and k2 share device be0",
		},
		"a claimed prefix that is on-link": {
			func(b *bed, p *Plan) { p.Claimed = append(p.Claimed, netip.MustParsePrefix("192.0.2.0/24")) },
			"192.0.2.0/24 has a route through cl0 already",
		},
		"an address of the machine that is claimed": {
			func(b *bed, p *Plan) { p.Claimed = append(p.Claimed, netip.MustParsePrefix("fd00:1::1/128")) },
			"fd00:1::1/128 is an address of this machine, and its kernel answers there, not the gateway: claim another, or remove it: ip addr del fd00:1::1/64 dev cl0",
		},
		"no state directory": {func(b *bed, p *Plan) { p.StateDir = "" }, "state.dir is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			openDoors(b)
			p := b.plan()
			c.change(b, &p)
			before := b.snapshot()
			_, err := Setup(p)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nwant %q in it", err, c.want)
			}
			if d := cmp.Diff(before, b.snapshot()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestResolveReportsEveryMistakeAndFindsDevices(t *testing.T) {
	b := newBed(t)
	p := b.plan()
	devs, err := Resolve(p)
	must(t, err)
	if d := cmp.Diff([]string{"be0", "be0", "be0"}, devs); d != "" {
		t.Error(d)
	}
	p.Backends[0].Addrs = []netip.Addr{netip.MustParseAddr("198.51.100.1")}
	p.Backends[1].Device = "cl0"
	_, err = Resolve(p)
	if err == nil || !strings.Contains(err.Error(), "backend c:") || !strings.Contains(err.Error(), "backend n:") {
		t.Errorf("error %v", err)
	}
}

func TestABackendBehindARouterIsReachedThroughTheRoutersLink(t *testing.T) {
	b := newBed(t)
	openDoors(b)
	for prefix, router := range map[string]string{"10.9.0.0/16": "10.0.2.2", "fd00:9::/64": "fd00:2::2"} {
		must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: b.link("be0").Attrs().Index, Gw: net.ParseIP(router), Dst: ipNet(netip.MustParsePrefix(prefix))}))
	}
	p := b.plan()
	p.Backends = p.Backends[:1]
	p.Backends[0].Addrs = []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd00:9::1")}
	h := mustSetup(t, p)
	_, err := h.Close()
	must(t, err)
}

func TestBackendMTUIsTheRoutesElseTheDevices(t *testing.T) {
	b := newBed(t)
	openDoors(b)
	h := mustSetup(t, b.plan())
	defer h.Close()
	addr := netip.MustParseAddr("10.0.2.2")
	must(t, netlink.LinkSetMTU(b.link("be0"), 1400))
	if mtu, err := h.BackendMTU(addr); mtu != 1400 || err != nil {
		t.Errorf("MTU %d, %v", mtu, err)
	}
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: b.link("be0").Attrs().Index, Dst: ipNet(netip.MustParsePrefix("10.0.2.2/32")), MTU: 1300, Scope: netlink.SCOPE_LINK}))
	if mtu, err := h.BackendMTU(addr); mtu != 1300 || err != nil {
		t.Errorf("MTU %d, %v", mtu, err)
	}
}

func TestAnUndoListOfAnotherNamespaceOrBootIsNotUsed(t *testing.T) {
	b := newBed(t)
	openDoors(b)
	p := b.plan()
	h := mustSetup(t, p)
	h.Close()
	path := filepath.Join(p.StateDir, journalFile)
	was, err := os.ReadFile(path)
	must(t, err)
	b.in(b.client, func() {
		if _, err := Down(p.StateDir); err == nil || !strings.Contains(err.Error(), "another network namespace") {
			t.Errorf("down in another namespace: %v", err)
		}
	})
	var j journal
	must(t, json.Unmarshal(was, &j))
	j.Boot = "an earlier one"
	b2, err := json.Marshal(j)
	must(t, err)
	must(t, os.WriteFile(path, b2, 0o600))
	if done, err := Down(p.StateDir); len(done) != 0 || err != nil {
		t.Errorf("down after a reboot: %v, %v", done, err)
	}
	must(t, os.WriteFile(path, []byte("{"), 0o600))
	if _, err := Down(p.StateDir); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("down with a damaged list: %v", err)
	}
}

func TestEachKeepBackendHasADoorOfItsOwn(t *testing.T) {
	p := Plan{Backends: []Backend{{Mode: Keep}, {Mode: Client}, {Mode: Keep}, {Mode: NAT}}}
	p.NameDoors("sleight")
	if d := cmp.Diff([]string{"sleight0", "sleight1", "sleight2", "sleight3"}, p.Doors()); d != "" {
		t.Error(d)
	}
	if p.Backends[1].Door != "sleight1" || p.Backends[2].Door != "sleight3" || p.Backends[3].Door != "sleight1" {
		t.Errorf("%+v", p.Backends)
	}
}
