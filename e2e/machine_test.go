package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"sleight/e2e/bed"
)

// otherProgram makes a persistent TUN as another program would, and leaves it with
// every offload on and a header of another size; it goes on reading it if it stays.
func otherProgram(t *testing.T, ns *bed.Namespace, name string, flags uint16, stays bool) {
	t.Helper()
	err := ns.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if stays {
			t.Cleanup(func() { _ = unix.Close(fd) })
		} else {
			defer unix.Close(fd)
		}
		req, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | flags)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			return err
		}
		errs := []error{unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)}
		if flags&unix.IFF_VNET_HDR != 0 {
			errs = append(errs, unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, 12),
				unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// "A persistent TUN keeps the offloads of its last user" (FACTS.md): whatever it was
// left with, the gateway takes it and works, and it is the administrator's still.
func TestATUNThatAnotherProgramHasLeft(t *testing.T) {
	for name, flags := range map[string]uint16{
		"plain": 0, "with headers": unix.IFF_VNET_HDR, "with headers and many queues": unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, bed.Config{})
			serveWeb(t, b)
			otherProgram(t, b.Gateway, "sl0", flags, false)
			otherProgram(t, b.Gateway, "sl1", flags, false)
			for _, offload := range []string{"true", "false"} {
				g := start(t, b, strings.Replace(httpConfig("client"), "{name: sl}", "{name: sl, offload: "+offload+"}", 1))
				for _, addr := range []string{"203.0.113.7:80", "[2001:db8:113::7]:80"} {
					c, r := talking(t, b, addr)
					wantUpload(t, c, r, bulk[:million])
				}
				g.stop()
			}
			for _, door := range []string{"sl0", "sl1"} {
				if _, err := b.Gateway.Netlink().LinkByName(door); err != nil {
					t.Errorf("%s: %v", door, err)
				}
			}
		})
	}
}

// A device that another program still reads is refused, and its packets are left to
// that program.
func TestATUNThatAnotherProgramReads(t *testing.T) {
	b := newBed(t, bed.Config{})
	otherProgram(t, b.Gateway, "sl1", unix.IFF_VNET_HDR|unix.IFF_MULTI_QUEUE, true)
	before := machine(t, b.Gateway)
	g := launch(t, b, t.TempDir(), httpConfig("client"))
	if code := g.ended(); code != 1 || !strings.Contains(g.logged(), "device sl1 is in use by another program") {
		t.Errorf("exit code %d", code)
	}
	if d := cmp.Diff(before, machine(t, b.Gateway)); d != "" {
		t.Errorf("left:\n%s", d)
	}
}

// Somebody removes a device: the gateway says so, ends, and takes back what it set up.
func TestADeviceThatIsRemoved(t *testing.T) {
	b := keepBed(t)
	before := machine(t, b.Gateway)
	g := start(t, b, httpConfig("keep"))
	talking(t, b, "203.0.113.7:80")
	nl := b.Gateway.Netlink()
	l, err := nl.LinkByName("sl1")
	if err == nil {
		err = nl.LinkDel(l)
	}
	if err != nil {
		t.Fatal(err)
	}
	if code := g.ended(); code != 1 || !strings.Contains(g.logged(), "sleight: sl1: the device is gone") {
		t.Errorf("exit code %d", code)
	}
	wantContained(t, b)
	wantDown(t, b, g, before)
}

// tracker makes what many firewalls have: a forward chain that drops what the
// connection tracker calls invalid.
func tracker(t *testing.T, ns *bed.Namespace) {
	t.Helper()
	err := ns.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Name: "firewall", Family: nftables.TableFamilyINet})
		chain := c.AddChain(&nftables.Chain{
			Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
		})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitINVALID), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
			&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop},
		}})
		return c.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// "a connection tracker in the gateway that drops what it calls invalid breaks it:
// doctor finds that and says how to exempt it" (CONTRACT.md, 5)
func TestDoctorFindsATrackerThatDropsInvalid(t *testing.T) {
	b := newBed(t, bed.Config{})
	if err := b.OwnClaimed(0); err != nil {
		t.Fatal(err)
	}
	doctor := func(mode string) (string, int) {
		file := fmt.Sprintf("%s/%s.yaml", t.TempDir(), mode)
		if err := os.WriteFile(file, []byte(httpConfig(mode)), 0o600); err != nil {
			t.Fatal(err)
		}
		return sleight(t, b.Gateway, "doctor", "-c", file)
	}
	if out, code := doctor("keep"); code != 0 || !strings.Contains(out, "nothing drops what it calls invalid") {
		t.Errorf("a good machine: exit %d\n%s", code, out)
	}
	tracker(t, b.Gateway)
	out, code := doctor("keep")
	if code != 1 || !strings.Contains(out, "problem  connection tracker: nft chain inet firewall forward drops") ||
		!strings.Contains(out, "ip daddr 203.0.113.0/24 notrack") || !strings.Contains(out, "ip6 saddr 2001:db8:113::/64 notrack") {
		t.Errorf("keep: exit %d\n%s", code, out)
	}
	if out, code := doctor("client"); code != 0 || !strings.Contains(out, "which matters to keep backends only") {
		t.Errorf("client: exit %d\n%s", code, out)
	}
}

// exempt does what doctor says: packets to and from the claimed prefixes are not
// tracked.
func exempt(t *testing.T, ns *bed.Namespace) {
	t.Helper()
	err := ns.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Name: "sleight", Family: nftables.TableFamilyINet})
		chain := c.AddChain(&nftables.Chain{
			Name: "pre", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
		})
		for _, m := range []struct {
			proto       byte
			offset, len uint32
			prefix      []byte
		}{
			{unix.NFPROTO_IPV4, 12, 3, []byte{203, 0, 113}}, {unix.NFPROTO_IPV4, 16, 3, []byte{203, 0, 113}},
			{unix.NFPROTO_IPV6, 8, 8, bed.Claimed6.Addr().AsSlice()[:8]}, {unix.NFPROTO_IPV6, 24, 8, bed.Claimed6.Addr().AsSlice()[:8]},
		} {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
				&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{m.proto}},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: m.offset, Len: m.len},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: m.prefix},
				&expr.Notrack{},
			}})
		}
		return c.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What doctor finds is real, and its remedy is one: with the tracker in the way
// segments of a switched connection are dropped in keep mode, afterwards none.
func TestTheRemedyForATrackerThatDropsInvalid(t *testing.T) {
	b := newBed(t, bed.Config{})
	if err := b.OwnClaimed(0); err != nil {
		t.Fatal(err)
	}
	serveWeb(t, b)
	g := start(t, b, httpConfig("keep"))
	tracker(t, b.Gateway)
	ends := []string{"203.0.113.7:80", "[2001:db8:113::7]:80"}
	g.until("the tracker has dropped something", func() bool {
		for _, addr := range ends {
			c := dial(t, b, addr)
			_ = c.SetDeadline(time.Now().Add(time.Second))
			fmt.Fprintf(c, "GET /1000000 HTTP/1.1\r\nHost: x\r\nUser-Agent: %s\r\n\r\n", exploit)
			_, _ = io.ReadAll(io.LimitReader(c, million))
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
		return dropped(t, b.Gateway) > 0
	})
	exempt(t, b.Gateway)
	before := dropped(t, b.Gateway)
	for range 5 {
		for _, addr := range ends {
			c, r := talking(t, b, addr)
			wantUpload(t, c, r, bulk[:million])
		}
	}
	if n := dropped(t, b.Gateway) - before; n > 0 {
		t.Errorf("%d packets were dropped after the remedy", n)
	}
	if out, code := sleight(t, b.Gateway, "doctor", "-c", g.file("sleight.yaml")); code != 0 || !strings.Contains(out, "the claimed prefixes are not tracked") {
		t.Errorf("doctor, after the remedy: exit %d\n%s", code, out)
	}
}

// dropped is how many packets the rule that tracker makes has dropped.
func dropped(t *testing.T, ns *bed.Namespace) (n uint64) {
	t.Helper()
	err := ns.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := &nftables.Table{Name: "firewall", Family: nftables.TableFamilyINet}
		rules, err := c.GetRules(table, &nftables.Chain{Name: "forward", Table: table})
		for _, r := range rules {
			for _, x := range r.Exprs {
				if counter, ok := x.(*expr.Counter); ok {
					n += counter.Packets
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
