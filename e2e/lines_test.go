package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"sleight/e2e/bed"
	"sleight/e2e/scripted"
	"sleight/internal/evidence"
)

// The ports of a lines bed: what is dialled there leads, after a switch, to the real
// kernel's server, to the scripted host, or to a port where nobody listens.
const (
	toKernel   = 7
	toScripted = 8
	toNobody   = 9
)

// Where the scripted hosts are, one beside S, one beside D2, and what is dialled: in
// IPv4 and in IPv6.
var (
	scriptedClient = [2]netip.Addr{netip.MustParseAddr("198.51.100.77"), netip.MustParseAddr("2001:db8:51::77")}
	scriptedServer = [2]netip.Addr{netip.MustParseAddr("10.0.2.9"), netip.MustParseAddr("fd00:2::9")}
	claimed        = [2]netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8:113::7")}
)

// linesConfig has a decoy that repeats lines, one that answers "big" by bigAnswer
// a dozen times, and rules that switch at the first "!" or "() {".
func linesConfig() string {
	echo := strings.Repeat(`{expect: '(?P<w>[^\n]*)\n', send: "${w}\n"}, `, 12)
	big := strings.Repeat(fmt.Sprintf(`{expect: 'big\n', send: %q}, `, bigAnswer), bigAnswers)
	return fmt.Sprintf(`
version: 1
tun: {name: sl}
routes: [203.0.113.0/24, "2001:db8:113::/64"]
decoys:
  - name: lines
    match: {ports: [7, 8, 9]}
    service: {type: script, turns: [%s]}
  - name: big
    match: {ports: [17, 18]}
    service: {type: script, turns: [%s]}
backends:
  - {name: kernel, addresses: [10.0.2.2, "fd00:2::2"], mode: client, ports: {17: 7, 9: 99}}
  - {name: scripted, addresses: [10.0.2.9, "fd00:2::9"], mode: client, ports: {18: 8}}
rules:
  - {name: to-scripted, when: 'dport in [8, 18] and (stream contains "!" or stream contains "() {")', action: switch, backend: scripted}
  - {name: to-kernel, when: 'stream contains "!" or stream contains "() {"', action: switch, backend: kernel}
replay: {timeout: 20s}
`, strings.TrimSuffix(echo, ", "), strings.TrimSuffix(big, ", "))
}

// bigAnswers is how often the decoy says bigAnswer.
const bigAnswers = 12

// bigAnswer is 30 KB.
var bigAnswer = strings.Repeat("thirty thousand bytes of it\r\n", 1034)

// linesBed is a bed with a gateway and scripted hosts.
type linesBed struct {
	*testing.T
	*bed.Bed
	*gateway
	hosts  [2]struct{ s, d2 *scripted.Host }
	s, d2  *scripted.Host // those of the family
	family int
	ports  uint16 // the last port of the scripted client
}

func newLines(t *testing.T, config string) *linesBed {
	t.Helper()
	b := newBed(t, bed.Config{})
	l := &linesBed{T: t, Bed: b, ports: 20000}
	for i := range l.hosts {
		l.hosts[i].s = scripted.New(t, scriptedClient[i], bed.End{Namespace: b.Attacker, Device: bed.AttackerDevice}, bed.End{Namespace: b.Gateway, Device: bed.ClientsDevice})
		l.hosts[i].d2 = scripted.New(t, scriptedServer[i], bed.End{Namespace: b.Backends[0], Device: bed.HostDevice}, bed.End{Namespace: b.Gateway, Device: bed.BackendDevice(0)})
	}
	l.in(0)
	serveLines(t, b.Backends[0])
	l.gateway = start(t, b, config)
	return l
}

// in makes what follows happen in IPv4 (0) or IPv6 (1).
func (l *linesBed) in(family int) {
	l.family, l.s, l.d2 = family, l.hosts[family].s, l.hosts[family].d2
}

// run runs a subtest on the bed.
func (l *linesBed) run(name string, f func(t *testing.T)) { l.T.Run(name, f) }

// client is a scripted client of the decoy's port, from a port of its own.
func (l *linesBed) client(t *testing.T, port uint16) *scripted.End {
	l.ports++
	return l.s.Client(t, l.ports, netip.AddrPortFrom(claimed[l.family], port))
}

// switched is how a client's switch ended.
func (l *linesBed) switched(t *testing.T, c *scripted.End, result string) {
	t.Helper()
	e := l.event(t, "switch", c)
	if e.Switch.Result != result {
		t.Errorf("the switch ended %+v, want %s", *e.Switch, result)
	}
}

// ended is why a client's flow is gone.
func (l *linesBed) ended(t *testing.T, c *scripted.End, reason string) {
	t.Helper()
	if e := l.event(t, "flow_end", c); e.FlowEnd.Reason != reason {
		t.Errorf("the flow ended %+v, want %s", *e.FlowEnd, reason)
	}
}

// event waits for the first event of a type about a client's flow.
func (l *linesBed) event(t *testing.T, kind string, c *scripted.End) *evidence.Event {
	t.Helper()
	return l.wait(kind, func(e *evidence.Event) bool { return e.SrcPort == c.Local.Port() && e.SrcIP == c.Local.Addr().String() })
}

// serveLines is the real host's server on port 7: it repeats lines, as the decoy
// does, but for those with a "!".
func serveLines(t *testing.T, ns *bed.Namespace) {
	t.Helper()
	l, err := ns.Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go acceptLines(l)
}

func acceptLines(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go repeatLines(c)
	}
}

func repeatLines(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		switch {
		case err != nil:
			return
		case line == "big\n":
			_, _ = io.WriteString(c, bigAnswer)
		case strings.ContainsAny(line, "!{"):
			fmt.Fprintf(c, "real: %s", line)
		default:
			fmt.Fprint(c, line)
		}
	}
}
