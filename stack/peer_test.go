package stack

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"sleight/stack/tcb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	decoy4  = netip.MustParseAddrPort("198.19.0.1:80")
	client4 = netip.MustParseAddrPort("198.18.0.1:4000")
	decoy6  = netip.MustParseAddrPort("[2001:2::2]:80")
	client6 = netip.MustParseAddrPort("[2001:2::1]:4000")

	trueClient  = netip.MustParseAddrPort("192.0.2.7:51000")
	trueDialled = netip.MustParseAddrPort("203.0.113.9:8080")
)

const patience = 10 * time.Second

// bench is a decoy whose packets go to and from a second netstack, the client's.
type bench struct {
	t      *testing.T
	decoy  *Decoy
	client *stack.Stack
	link   *link
	pumps  chan struct{}
}

func newDecoy(t *testing.T, cfg Config) *Decoy {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return newBenchOf(t, Config{})
}

func newBenchOf(t *testing.T, cfg Config) *bench {
	t.Helper()
	b := &bench{t: t, decoy: newDecoy(t, cfg), link: newLink(1500, 64<<20, false), pumps: make(chan struct{}, 2)}
	b.client = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	if err := configure(b.client, b.link); err != nil {
		t.Fatal(err)
	}
	for _, a := range []netip.AddrPort{client4, client6} {
		proto := ipv6.ProtocolNumber
		if a.Addr().Is4() {
			proto = ipv4.ProtocolNumber
		}
		pa := tcpip.ProtocolAddress{Protocol: proto, AddressWithPrefix: tcpip.AddrFromSlice(a.Addr().AsSlice()).WithPrefix()}
		if err := b.client.AddProtocolAddress(nic, pa, stack.AddressProperties{}); err != nil {
			t.Fatal(err)
		}
	}
	go b.toDecoy()
	go b.toClient()
	t.Cleanup(func() {
		b.client.Close()
		b.link.Close()
		b.decoy.Close()
		<-b.pumps
		<-b.pumps
		b.client.Destroy()
	})
	return b
}

func (b *bench) toDecoy() {
	buf := make([]byte, 65536)
	for {
		n, _, ok := b.link.ring.next(buf)
		if !ok {
			b.pumps <- struct{}{}
			return
		}
		b.decoy.Inject(buf[:n])
	}
}

func (b *bench) toClient() {
	buf := make([]byte, 65536)
	for {
		n, _, err := b.decoy.Next(buf)
		if err != nil {
			b.pumps <- struct{}{}
			return
		}
		deliver(b.link, buf[:n])
	}
}

func deliver(l *link, pkt []byte) {
	d := &Decoy{link: l}
	d.Inject(pkt)
}

// expect announces the flow of client4 or client6 from a port of its own.
func (b *bench) expect(s Service, port uint16, edit func(*Conn)) (*Gate, netip.AddrPort, netip.AddrPort) {
	b.t.Helper()
	c, err := Compile(s)
	if err != nil {
		b.t.Fatal(err)
	}
	src, dst := client4, decoy4
	if port%2 == 1 {
		src, dst = client6, decoy6
	}
	src = netip.AddrPortFrom(src.Addr(), port)
	conn := Conn{Leg: tcb.TupleOf(src, dst), Client: trueClient, Dialled: trueDialled, Service: c, Record: 1 << 20}
	if edit != nil {
		edit(&conn)
	}
	return b.decoy.Expect(conn), src, dst
}

// dial opens a flow with a service; odd ports are IPv6's.
func (b *bench) dial(s Service, port uint16) (*Gate, *gonet.TCPConn) {
	b.t.Helper()
	g, src, dst := b.expect(s, port, nil)
	return g, b.connect(src, dst)
}

func (b *bench) connect(src, dst netip.AddrPort) *gonet.TCPConn {
	b.t.Helper()
	c, err := b.tryConnect(src, dst)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bench) tryConnect(src, dst netip.AddrPort) (*gonet.TCPConn, error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	proto := header.IPv4ProtocolNumber
	if src.Addr().Is6() {
		proto = header.IPv6ProtocolNumber
	}
	c, err := gonet.DialTCPWithBind(ctx, b.client, full(src), full(dst), proto)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(patience))
	b.t.Cleanup(func() { c.Close() })
	return c, nil
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(a.Addr().AsSlice()), Port: a.Port()}
}

// wantBase waits until nothing of any flow is left.
func (b *bench) wantBase() {
	b.t.Helper()
	eventually(b.t, "flows, goroutines and endpoints return to none", func() bool {
		s := b.decoy.Stats()
		return s.Flows == 0 && s.Goroutines == 0 && s.Endpoints == 0 && s.Registered == 0
	})
}

// eventually polls for what no event announces.
func eventually(t *testing.T, why string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if f() {
			return
		}
	}
	t.Fatalf("not in time: %s", why)
}

func say(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatalf("say %q: %v", s, err)
	}
}

func want(t *testing.T, c io.Reader, s string) {
	t.Helper()
	b := make([]byte, len(s))
	n, err := io.ReadFull(c, b)
	if err != nil || string(b) != s {
		t.Fatalf("got %q (%v), want %q", b[:n], err, s)
	}
}

func wantEOF(t *testing.T, c io.Reader) {
	t.Helper()
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Fatalf("got %q (%v), want the end", b, err)
	}
}

// wantSilence: nothing comes for a while.
func wantSilence(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	defer c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 100)
	var ne net.Error
	n, err := c.Read(b)
	if n > 0 || !(errors.As(err, &ne) && ne.Timeout() || errors.Is(err, os.ErrDeadlineExceeded)) {
		t.Fatalf("got %q (%v), want silence", b[:n], err)
	}
}
