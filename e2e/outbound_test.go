package e2e

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sleight/e2e/bed"
)

// "D2's addresses are not reachable from outside but through a flow", and D2 reaches
// nobody: whatever it sends of its own, in its own name or in S's, S sees the spliced
// flows and nothing else (CONTRACT.md, 5; DESIGN.md, 2).
func TestTheBackendsOwnTraffic(t *testing.T) {
	for _, mode := range []string{"keep", "client", "nat"} {
		t.Run(mode, func(t *testing.T) {
			b := newBed(t, bed.Config{})
			if err := b.Forward(); err != nil {
				t.Fatal(err)
			}
			if mode == "keep" {
				if err := b.OwnClaimed(0); err != nil {
					t.Fatal(err)
				}
			}
			serveWeb(t, b)
			g := start(t, b, httpConfig(mode))
			capture := atS(t, b)
			var conns []net.Conn
			var readers []*bufio.Reader
			from, to := slices.Clone(sources), slices.Clone(sIs)
			from[2], from[3] = addrPorts("203.0.113.7:81")[0], addrPorts("[2001:db8:113::7]:81")[0]
			for _, addr := range addrPorts("203.0.113.7:80", "[2001:db8:113::7]:80") {
				c, r := talking(t, b, addr.String())
				conns, readers = append(conns, c), append(readers, r)
				s := addrPort(c.LocalAddr())
				from = append(from, s) // D2 speaks in S's name, from the flow's own port
				to = append(to, s)
				if mode != "keep" { // there the address is D2's own, and the packet stays inside
					to = append(to, addr)
				}
			}
			listener := listenAtS(t, b)
			n := storm(t, b, from, to)
			for _, addr := range []string{"198.51.100.2:7001", "[2001:db8:51::2]:7001"} {
				wantNoWay(t, b.Backends[0], addr)
			}
			if _, err := listener.Accept(); err == nil {
				t.Error("D2 has reached S")
			}
			for i, c := range conns {
				wantUpload(t, c, readers[i], bulk[:million/10])
			}
			wantOnly(t, capture, conns...)
			g.stop()
			if dropped := g.drops("outbound", "backend_source", "backend_miss", "impossible_source"); dropped < uint64(n) {
				t.Errorf("of %d packets of D2's own %d were counted as dropped", n, dropped)
			}
		})
	}
}

// listenAtS accepts what comes to S, for as long as D2 tries.
func listenAtS(t *testing.T, b *bed.Bed) net.Listener {
	t.Helper()
	l, err := b.Attacker.Listen("tcp", ":7001")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(2 * noWay))
	return l
}

// noWay is how long D2 tries to reach S; it has sent SYNs then.
const noWay = 300 * time.Millisecond

func wantNoWay(t *testing.T, ns *bed.Namespace, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), noWay)
	defer cancel()
	if c, err := ns.DialContext(ctx, "tcp", addr); err == nil {
		t.Errorf("D2 has connected to %s", netip.MustParseAddrPort(c.RemoteAddr().String()))
		_ = c.Close()
	}
}

// drops adds up what the gateway has counted for these reasons; it has to be
// stopped.
func (g *gateway) drops(reasons ...string) (n uint64) {
	for _, e := range g.All("drop_summary") {
		n = 0 // each summary counts from the start
		for _, r := range reasons {
			n += e.DropSummary[r]
		}
	}
	return n
}
