package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sleight/e2e/bed"
	"sleight/internal/pcap"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// opposites are two real kernels that agree to different things with the gateway.
type opposites struct {
	*testing.T
	*bed.Bed
	*gateway
	switches int
}

func newOpposites(t *testing.T) *opposites {
	t.Helper()
	o := &opposites{T: t, Bed: newBed(t, bed.Config{})}
	for port, sock := range map[uint16]map[int]int{
		80: {}, 81: {unix.TCP_MAXSEG: 536}, 82: {unix.TCP_WINDOW_CLAMP: 60_000}, 83: {unix.TCP_WINDOW_CLAMP: 8192},
	} {
		serveWith(t, o.Backends[0], port, sock)
	}
	o.gateway = start(t, o.Bed, `
version: 1
tun: {name: sl}
routes: [203.0.113.0/24, "2001:db8:113::/64"]
decoys:
  - {name: web, match: {ports: [80, 81, 82, 83]}, service: {type: http, pages: [{path: /, body: "the decoy's page\n"}]}}
backends:
  - {name: real, addresses: [10.0.2.2, "fd00:2::2"], mode: client}
rules:
  - {name: shellshock, when: 'stream contains "() {"', action: switch, backend: real}
replay: {timeout: 20s}
`)
	return o
}

// serveWith is the real web server with options of TCP on its listening socket.
func serveWith(t *testing.T, ns *bed.Namespace, port uint16, sock map[int]int) {
	t.Helper()
	cfg := net.ListenConfig{Control: with(sock)}
	var l net.Listener
	err := ns.Do(func() (err error) {
		l, err = cfg.Listen(context.Background(), "tcp", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: &realWeb{}}
	go serveOn(srv, l)
	t.Cleanup(func() { _ = srv.Close() })
}

// with sets options of TCP on a socket before it is used.
func with(sock map[int]int) func(_, _ string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) (err error) {
		cerr := c.Control(func(fd uintptr) {
			for name, value := range sock {
				err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, name, value))
			}
		})
		return errors.Join(cerr, err)
	}
}

// ends are the options of one leg's own host, by sysctl.
type ends struct{ timestamps, sack, scaling bool }

func (o *opposites) set(ns *bed.Namespace, e ends) {
	o.Helper()
	bit := map[bool]string{false: "0", true: "1"}
	err := errors.Join(
		ns.Sysctl("net/ipv4/tcp_timestamps", bit[e.timestamps]),
		ns.Sysctl("net/ipv4/tcp_sack", bit[e.sack]),
		ns.Sysctl("net/ipv4/tcp_window_scaling", bit[e.scaling]))
	if err != nil {
		o.Fatal(err)
	}
}

// transfer switches a connection and sends n bytes each way; the hashes are equal.
func (o *opposites) transfer(t *testing.T, addr string, sock map[int]int, n int) {
	t.Helper()
	c, err := o.Attacker.DialWith(t.Context(), &net.Dialer{Control: with(sock)}, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	r := bufio.NewReader(c)
	if _, body := ask(t, c, r, "GET", "/", "", nil); string(body) != "the decoy's page\n" {
		t.Fatalf("the decoy said %q", body)
	}
	if _, body := ask(t, c, r, "GET", fmt.Sprintf("/%d", n), "User-Agent: "+exploit+"\r\n", nil); !bytes.Equal(body, bulk[:n]) {
		t.Fatalf("the download of %d bytes differs", n)
	}
	want := fmt.Sprintf("%d %x\n", n, sha256.Sum256(bulk[:n]))
	if _, body := ask(t, c, r, "PUT", "/up", "", bulk[:n]); string(body) != want {
		t.Fatalf("upload: %q, want %q", body, want)
	}
	o.switches++
}

// Every subset of timestamps, SACK and scaling on each leg: every pair of
// these six by eight rows of an orthogonal array, all 64 in the full run.
func TestEverySubsetOfOptionsOnEachLeg(t *testing.T) {
	o := newOpposites(t)
	for i := range 64 {
		client := ends{i&1 != 0, i&2 != 0, i&4 != 0}
		server := ends{i&8 != 0, i&16 != 0, i&32 != 0}
		orthogonal := server == ends{client.timestamps != client.sack, client.timestamps != client.scaling, client.sack != client.scaling}
		if !full && !orthogonal {
			continue
		}
		addr := []string{"203.0.113.7:80", "[2001:db8:113::7]:80"}[i%3%2]
		t.Run(fmt.Sprintf("%+v-%+v", client, server), func(t *testing.T) {
			o.set(o.Attacker, client)
			o.set(o.Backends[0], server)
			s, d2 := o.recent(t, o.Attacker, bed.AttackerDevice), o.recent(t, o.Backends[0], bed.HostDevice)
			o.transfer(t, addr, nil, 300_000)
			wantLeg(t, "S", s, wire.SYN, nil)
			wantLeg(t, "D2", d2, wire.SYN|wire.ACK, nil)
		})
	}
	o.wantSwitches(o.switches, "ok")
}

// unlike is a pair of hosts with different MSS and window scales, and what their
// SYN and SYN-ACK have to show for it.
type unlike struct {
	name          string
	port          int
	sock          map[int]int // the client's
	rmemS, rmemD2 int         // the largest receive buffer, of which the scale follows; 0: 6 MB
	s, d2         wire.Options
}

var unlikes = []unlike{
	{name: "MSS 536 before 1460", port: 80, sock: map[int]int{unix.TCP_MAXSEG: 536}, s: legOpts(536, 7), d2: legOpts(1460, 7)},
	{name: "MSS 1460 before 536", port: 81, s: legOpts(1460, 7), d2: legOpts(536, 7)},
	{name: "scale 10 before 0", port: 82, rmemS: 32 << 20, s: legOpts(1460, 10), d2: legOpts(1460, 0)},
	{name: "scale 0 before 10", port: 80, sock: map[int]int{unix.TCP_WINDOW_CLAMP: 60_000}, rmemD2: 32 << 20, s: legOpts(1460, 0), d2: legOpts(1460, 10)},
	{name: "scale 7 before 14", port: 80, rmemD2: 512 << 20, s: legOpts(1460, 7), d2: legOpts(1460, 14)},
	{name: "scale 14 before 7", port: 80, rmemS: 512 << 20, s: legOpts(1460, 14), d2: legOpts(1460, 7)},
	{name: "8 KB behind scale 14", port: 83, rmemS: 512 << 20, s: legOpts(1460, 14), d2: legOpts(1460, 0)},
}

func legOpts(mss uint16, shift uint8) wire.Options {
	return wire.Options{HasMSS: true, MSS: mss, HasWndShift: true, WndShift: shift}
}

// Megabytes each way between unlike hosts, at full size 10: the hashes are equal.
func TestUnlikeLegs(t *testing.T) {
	o := newOpposites(t)
	n := int(size(10 << 20))
	for _, c := range unlikes {
		t.Run(c.name, func(t *testing.T) {
			o.receive(o.Attacker, c.rmemS)
			o.receive(o.Backends[0], c.rmemD2)
			wantS, wantD2 := &c.s, &c.d2
			for _, addr := range []string{"203.0.113.7:%d", "[2001:db8:113::7]:%d"} {
				// Each by itself: of a long one only the first and the last packets are kept.
				s, d2 := o.recent(t, o.Attacker, bed.AttackerDevice), o.recent(t, o.Backends[0], bed.HostDevice)
				o.transfer(t, fmt.Sprintf(addr, c.port), c.sock, n)
				wantLeg(t, "S", s, wire.SYN, wantS)
				wantLeg(t, "D2", d2, wire.SYN|wire.ACK, wantD2)
				wantS, wantD2 = nil, nil // another MSS
			}
		})
	}
	o.wantSwitches(o.switches, "ok")
}

func (o *opposites) receive(ns *bed.Namespace, largest int) {
	o.Helper()
	if err := ns.Sysctl("net/ipv4/tcp_rmem", fmt.Sprintf("4096 131072 %d", max(largest, 6<<20))); err != nil {
		o.Fatal(err)
	}
}

func (o *opposites) recent(t *testing.T, ns *bed.Namespace, device string) *bed.Recent {
	t.Helper()
	r, err := ns.Recent(device)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantLeg reads what has passed an end: the first segment with these flags shows
// that the hosts are as unlike as the case says, and no segment carries, in either
// direction, what this leg has not agreed to (RFC 7323, sections 2.2 and 3.2; RFC
// 2018, section 2; RFC 9293, section 3.7.1).
func wantLeg(t *testing.T, who string, r *bed.Recent, flags wire.Flags, want *wire.Options) {
	t.Helper()
	file := filepath.Join(t.TempDir(), who)
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Save(file); err != nil {
		t.Fatal(err)
	}
	packets, err := pcap.ReadFile(file, 0)
	if err != nil {
		t.Fatal(err)
	}
	syns := map[tcb.Tuple]wire.Options{} // by who has sent it
	for _, p := range packets {
		s, ok := headers(p.Data)
		if !ok {
			continue
		}
		if s.Flags.Has(wire.SYN) {
			syns[s.Tuple()] = s.Opts
			if s.Flags == flags && want != nil {
				if s.Opts.MSS != want.MSS || s.Opts.WndShift != want.WndShift {
					t.Errorf("%s has MSS %d and scale %d, want %d and %d", who, s.Opts.MSS, s.Opts.WndShift, want.MSS, want.WndShift)
				}
				want = nil
			}
			continue
		}
		if why := notAgreed(&s, syns[s.Tuple()], syns[s.Tuple().Reverse()]); why != "" {
			t.Errorf("at %s, packet %d from %v: %s", who, p.Number, s.Src, why)
		}
	}
	if want != nil || len(syns) == 0 {
		t.Errorf("%s has sent no %v", who, flags)
	}
}

// headers parses a packet whose payload is cut off in the capture, as one of zeros.
func headers(pkt []byte) (s wire.Segment, ok bool) {
	whole := append(pkt[:len(pkt):len(pkt)], make([]byte, 1500)...)
	return s, wire.Parse(&s, whole, wire.Offload{CsumValid: true}) == wire.OK
}

// notAgreed says what a segment must not be between the senders of two SYNs.
func notAgreed(s *wire.Segment, own, peer wire.Options) string {
	size := len(s.Payload) + s.Opts.Size(false)
	switch {
	case s.Opts.HasTS != (own.HasTS && peer.HasTS) && !s.Flags.Has(wire.RST):
		return fmt.Sprintf("timestamps: %t, agreed: %t", s.Opts.HasTS, own.HasTS && peer.HasTS)
	case s.Opts.NumSACK > 0 && !(own.SACKPermitted && peer.SACKPermitted):
		return "SACK blocks"
	case size > int(peer.MSS):
		return fmt.Sprintf("%d bytes of payload and options, the peer's MSS is %d", size, peer.MSS)
	}
	return ""
}
