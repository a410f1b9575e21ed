package tun

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// namespace moves the test into a network namespace of its own. The thread is
// never unlocked, so it and the namespace die with the test.
func namespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	must(t, unix.Unshare(unix.CLONE_NEWNET))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t *testing.T, c Config, header uint16) *Door {
	t.Helper()
	d, err := open(c, header)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// quiet keeps the kernel's own IPv6 chatter off new devices.
func quiet(t *testing.T) {
	t.Helper()
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0o644))
}

func route(t *testing.T, dev, prefix string) {
	t.Helper()
	l, err := netlink.LinkByName(dev)
	must(t, err)
	dst, err := netlink.ParseIPNet(prefix)
	must(t, err)
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK}))
}

func address(t *testing.T, dev, prefix string) {
	t.Helper()
	l, err := netlink.LinkByName(dev)
	must(t, err)
	a, err := netlink.ParseAddr(prefix)
	must(t, err)
	must(t, netlink.AddrAdd(l, a))
}

func exists(t *testing.T, name string) bool {
	t.Helper()
	d, err := inspect(name)
	must(t, err)
	return d.exists
}

// leave makes a persistent device as another program would and stops using it.
func leave(t *testing.T, name string, flags uint16, then func(fd int)) {
	t.Helper()
	fd, err := attach(name, unix.IFF_TUN|unix.IFF_NO_PI|flags)
	must(t, err)
	must(t, unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1))
	if then != nil {
		then(fd)
	}
	must(t, unix.Close(fd))
}

// udp4 is a UDP packet with a valid IPv4 header and no UDP checksum, behind a
// zero virtio_net_hdr in a buffer that was dirty.
func udp4(src, dst string, payload string) []byte {
	b := bytes.Repeat([]byte{0xa5}, VnetHeader+28+len(payload))
	clear(b[:VnetHeader])
	ip := b[VnetHeader:]
	copy(ip, []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0})
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], net.ParseIP(src).To4())
	copy(ip[16:], net.ParseIP(dst).To4())
	binary.BigEndian.PutUint16(ip[10:], ^sum(0, ip[:20]))
	copy(ip[20:], []byte{0x10, 0, 0x20, 0, 0, 0, 0, 0})
	binary.BigEndian.PutUint16(ip[24:], uint16(8+len(payload)))
	copy(ip[28:], payload)
	return b
}

func sum(acc uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		acc += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		acc += uint32(b[0]) << 8
	}
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}

// tcpSum is the TCP checksum over an IPv4 packet: 0xffff if it is right.
func tcpSum(ip []byte) uint16 {
	pseudo := uint32(sum(0, ip[12:20])) + unix.IPPROTO_TCP + uint32(len(ip)-20)
	return sum(pseudo, ip[20:])
}

var modes = map[string]uint16{"with headers": unix.IFF_VNET_HDR, "plain": 0}

func TestTheDeviceVanishesWithTheDoor(t *testing.T) {
	for name, header := range modes {
		t.Run(name, func(t *testing.T) {
			namespace(t)
			d := mustOpen(t, Config{Name: "door0", MTU: 1400, Queues: 2, Offload: true}, header)
			l, err := netlink.LinkByName("door0")
			must(t, err)
			if a := l.Attrs(); a.MTU != 1400 || a.Flags&net.FlagUp == 0 || a.Index != d.Index() {
				t.Errorf("MTU %d, flags %v, index %d (door: %d)", a.MTU, a.Flags, a.Index, d.Index())
			}
			if d.Queues() != 2 || d.Name() != "door0" || d.Headers() != (header != 0) {
				t.Errorf("%d queues, name %s, headers %v", d.Queues(), d.Name(), d.Headers())
			}
			must(t, d.Close())
			if exists(t, "door0") {
				t.Error("the device is still there")
			}
		})
	}
}

func TestPersistKeepsTheDevice(t *testing.T) {
	namespace(t)
	must(t, mustOpen(t, Config{Name: "door0", Queues: 1, Persist: true}, unix.IFF_VNET_HDR).Close())
	if !exists(t, "door0") {
		t.Fatal("the device is gone")
	}
	must(t, mustOpen(t, Config{Name: "door0", Queues: 1}, unix.IFF_VNET_HDR).Close())
	if !exists(t, "door0") {
		t.Error("an existing device lost its persistence")
	}
}

func TestPacketsPassFromDoorToDoor(t *testing.T) {
	for name, header := range modes {
		t.Run(name, func(t *testing.T) {
			namespace(t)
			quiet(t)
			must(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644))
			a := mustOpen(t, Config{Name: "door0", Queues: 1, Offload: true}, header)
			b := mustOpen(t, Config{Name: "door1", Queues: 1, Offload: true}, header)
			route(t, "door0", "10.1.0.0/24")
			route(t, "door1", "10.2.0.0/24")
			for _, c := range []struct {
				from, to *Door
				pkt      []byte
			}{
				{a, b, udp4("10.1.0.1", "10.2.0.1", "there")},
				{b, a, udp4("10.2.0.1", "10.1.0.1", "and back")},
			} {
				n, err := c.from.Write(0, c.pkt)
				must(t, err)
				if n != len(c.pkt) {
					t.Errorf("wrote %d of %d bytes", n, len(c.pkt))
				}
				got := bytes.Repeat([]byte{0xa5}, MaxPacket)
				n, err = c.to.Read(0, got)
				must(t, err)
				c.pkt[VnetHeader+8]-- // the kernel's hop
				binary.BigEndian.PutUint16(c.pkt[VnetHeader+10:], 0)
				binary.BigEndian.PutUint16(c.pkt[VnetHeader+10:], ^sum(0, c.pkt[VnetHeader:VnetHeader+20]))
				if !bytes.Equal(got[:n], c.pkt) {
					t.Errorf("read % x\nwant % x", got[:n], c.pkt)
				}
			}
		})
	}
}

// dial lets the kernel send one SYN to a door and returns what the door read.
func dial(t *testing.T, d *Door) (header, ip []byte) {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(s) })
	if err := unix.Connect(s, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{10, 1, 0, 9}}); err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	b := bytes.Repeat([]byte{0xa5}, MaxPacket)
	n, err := d.Read(0, b)
	must(t, err)
	return b[:VnetHeader], b[VnetHeader:n]
}

func TestADeviceLeftWithOffloadsByAnotherProgram(t *testing.T) {
	namespace(t)
	quiet(t)
	leave(t, "door0", unix.IFF_VNET_HDR, func(fd int) {
		must(t, unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, 12))
		must(t, unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4))
	})
	address(t, "door0", "10.1.0.1/24")
	for name, header := range modes {
		d := mustOpen(t, Config{Name: "door0", Queues: 1}, header)
		if d.Offloads() != 0 {
			t.Errorf("%s: offloads %#x are on", name, d.Offloads())
		}
		h, ip := dial(t, d)
		if !bytes.Equal(h, make([]byte, VnetHeader)) {
			t.Errorf("%s: header % x: want zeros, the checksum is complete", name, h)
		}
		if s := tcpSum(ip); s != 0xffff {
			t.Errorf("%s: the checksum of the SYN sums up to %#x", name, s)
		}
		must(t, d.Close())
	}
}

func TestOffloadHandsOverUnfilledChecksums(t *testing.T) {
	namespace(t)
	quiet(t)
	d := mustOpen(t, Config{Name: "door0", Queues: 1, Offload: true}, unix.IFF_VNET_HDR)
	address(t, "door0", "10.1.0.1/24")
	if d.Offloads()&(unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6) != unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6 {
		t.Errorf("offloads %#x", d.Offloads())
	}
	h, ip := dial(t, d)
	// VIRTIO_NET_HDR_F_NEEDS_CSUM, csum_start 20, csum_offset 16.
	if want := []byte{1, 0, 0, 0, 0, 0, 20, 0, 16, 0}; !bytes.Equal(h, want) {
		t.Errorf("header % x, want % x", h, want)
	}
	if tcpSum(ip) == 0xffff {
		t.Error("the checksum is filled in")
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		before func(t *testing.T)
		config Config
		want   string
		is     error
	}{
		"a single-queue device that another program reads": {
			func(t *testing.T) {
				fd, err := attach("door0", unix.IFF_TUN|unix.IFF_NO_PI)
				must(t, err)
				t.Cleanup(func() { unix.Close(fd) })
			},
			Config{Name: "door0", Queues: 1}, "in use by another program", unix.EBUSY,
		},
		"a persistent single-queue device that another program reads": {
			func(t *testing.T) {
				leave(t, "door0", 0, nil)
				fd, err := attach("door0", unix.IFF_TUN|unix.IFF_NO_PI)
				must(t, err)
				t.Cleanup(func() { unix.Close(fd) })
			},
			Config{Name: "door0", Queues: 1}, "in use by another program", unix.EBUSY,
		},
		"a second gateway": {
			func(t *testing.T) { mustOpen(t, Config{Name: "door0", Queues: 2}, unix.IFF_VNET_HDR) },
			Config{Name: "door0", Queues: 2}, "choose another tun.name", unix.EBUSY,
		},
		"a device of another kind": {
			func(t *testing.T) {
				must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "door0"}, PeerName: "peer0"}))
			},
			Config{Name: "door0"}, "not a TUN", nil,
		},
		"a TAP": {
			func(t *testing.T) {
				fd, err := attach("door0", unix.IFF_TAP)
				must(t, err)
				t.Cleanup(func() { unix.Close(fd) })
			},
			Config{Name: "door0"}, "not a TUN", nil,
		},
		"a single-queue device for several queues": {
			func(t *testing.T) { leave(t, "door0", 0, nil) },
			Config{Name: "door0", Queues: 2}, "multi_queue", nil,
		},
		"a name that is too long": {nil, Config{Name: "sixteen-bytes-xx"}, "1 to 15 bytes", nil},
		"too many queues":         {nil, Config{Name: "door0", Queues: 257}, "0 (one per CPU) to 256", nil},
		"an MTU out of range":     {nil, Config{Name: "door0", MTU: 67}, "68 to 65535", nil},
	} {
		t.Run(name, func(t *testing.T) {
			namespace(t)
			if c.before != nil {
				c.before(t)
			}
			was, err := inspect("door0")
			must(t, err)
			_, err = Open(c.config)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %v is not %v", err, c.is)
			}
			now, err := inspect("door0")
			must(t, err)
			if now != was {
				t.Errorf("the device was %+v, is %+v", was, now)
			}
		})
	}
}

func TestAnExistingDeviceDecidesTheNumberOfQueues(t *testing.T) {
	for name, c := range map[string]struct {
		flags        uint16
		queues, want int
	}{
		"single queue, automatic": {0, 0, 1},
		"multi queue, one":        {unix.IFF_MULTI_QUEUE, 1, 1},
		"multi queue, three":      {unix.IFF_MULTI_QUEUE, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			namespace(t)
			leave(t, "door0", c.flags, nil)
			if d := mustOpen(t, Config{Name: "door0", Queues: c.queues}, unix.IFF_VNET_HDR); d.Queues() != c.want {
				t.Errorf("%d queues, want %d", d.Queues(), c.want)
			}
		})
	}
}

// asNobody runs f on a thread without any capability and with another user.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread dies with the goroutine
		done <- dropThread(f)
	}()
	must(t, <-done)
}

func dropThread(f func()) error {
	// The raw system calls change this thread alone. A user namespace has no
	// other user to become; giving up the capabilities is the same there.
	_, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534)
	if e == unix.EINVAL {
		var none [2]unix.CapUserData
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
			return err
		}
	} else if e != 0 {
		return e
	}
	f()
	return nil
}

func TestPermissionErrorsSayWhatToDo(t *testing.T) {
	asNobody(t, func() {
		_, err := Open(Config{Name: "door0"})
		if !errors.Is(err, os.ErrPermission) {
			t.Errorf("error %v, want a permission error", err)
		}
		want := "CAP_NET_ADMIN"
		if errors.Is(err, unix.EACCES) {
			want = "chmod 0666 /dev/net/tun"
		}
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want %q in it", err, want)
		}
	})
}

func TestNodeErrorsSayWhatToDo(t *testing.T) {
	for errno, want := range map[unix.Errno]string{
		unix.EACCES: "chmod 0666 /dev/net/tun",
		unix.EPERM:  "run as root",
		unix.ENOENT: "modprobe tun",
		unix.ENODEV: "modprobe tun",
	} {
		if err := nodeError(errno); !errors.Is(err, errno) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %q, want %q in it", errno, err, want)
		}
	}
	err := attachError("door0", unix.EPERM)
	if !strings.Contains(err.Error(), "CAP_NET_ADMIN") || !strings.Contains(err.Error(), "ip tuntap add dev door0 mode tun") {
		t.Error(err)
	}
}

func TestCloseWakesEveryReader(t *testing.T) {
	namespace(t)
	quiet(t)
	d := mustOpen(t, Config{Name: "door0", Queues: 2}, unix.IFF_VNET_HDR)
	errs := make(chan error)
	for q := range d.Queues() {
		go read(d, q, errs)
	}
	waitBlocked(t, d)
	must(t, d.Close())
	for range d.Queues() {
		if err := <-errs; !errors.Is(err, os.ErrClosed) {
			t.Errorf("a reader got %v", err)
		}
	}
	if _, err := d.Write(0, make([]byte, 100)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a writer got %v", err)
	}
	must(t, d.Close())
}

func read(d *Door, q int, errs chan<- error) {
	_, err := d.Read(q, make([]byte, MaxPacket))
	errs <- err
}

// waitBlocked waits until each queue's lock is held by its reader.
func waitBlocked(t *testing.T, d *Door) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for _, q := range d.queues {
		for q.mu.TryLock() {
			q.mu.Unlock()
			if time.Now().After(deadline) {
				t.Fatal("no reader came")
			}
			runtime.Gosched()
		}
	}
}

func TestADeletedDeviceIsGone(t *testing.T) {
	namespace(t)
	quiet(t)
	d := mustOpen(t, Config{Name: "door0", Queues: 1}, unix.IFF_VNET_HDR)
	errs := make(chan error)
	go read(d, 0, errs)
	waitBlocked(t, d)
	l, err := netlink.LinkByName("door0")
	must(t, err)
	must(t, netlink.LinkDel(l))
	if err := <-errs; !errors.Is(err, ErrGone) {
		t.Errorf("a reader got %v", err)
	}
}

func TestReadAndWriteAllocateNothing(t *testing.T) {
	namespace(t)
	quiet(t)
	must(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644))
	a := mustOpen(t, Config{Name: "door0", Queues: 1}, unix.IFF_VNET_HDR)
	b := mustOpen(t, Config{Name: "door1", Queues: 1}, unix.IFF_VNET_HDR)
	route(t, "door0", "10.1.0.0/24")
	route(t, "door1", "10.2.0.0/24")
	pkt, buf := udp4("10.1.0.1", "10.2.0.1", "again"), make([]byte, MaxPacket)
	n := testing.AllocsPerRun(100, func() {
		if _, err := a.Write(0, pkt); err != nil {
			t.Error(err)
		}
		if _, err := b.Read(0, buf); err != nil {
			t.Error(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations by reading and writing", n)
	}
	_, err := unix.Write(b.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	must(t, err)
	if n := testing.AllocsPerRun(100, func() { b.wait(b.queues[0].fd) }); n != 0 {
		t.Errorf("%v allocations by waiting", n)
	}
}

// BenchmarkForward is one small packet from door to door through the kernel.
func BenchmarkForward(b *testing.B) {
	runtime.LockOSThread()
	for _, err := range []error{
		unix.Unshare(unix.CLONE_NEWNET),
		os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644),
		os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0o644),
	} {
		if err != nil {
			b.Fatal(err)
		}
	}
	var doors [2]*Door
	for i, prefix := range []string{"10.1.0.0/24", "10.2.0.0/24"} {
		d, err := Open(Config{Name: "door" + string(rune('0'+i)), Queues: 1})
		if err != nil {
			b.Fatal(err)
		}
		defer d.Close()
		doors[i] = d
		dst, _ := netlink.ParseIPNet(prefix)
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: d.Index(), Dst: dst, Scope: netlink.SCOPE_LINK}); err != nil {
			b.Fatal(err)
		}
	}
	pkt, buf := udp4("10.1.0.1", "10.2.0.1", "again"), make([]byte, MaxPacket)
	for b.Loop() {
		if _, err := doors[0].Write(0, pkt); err != nil {
			b.Fatal(err)
		}
		if _, err := doors[1].Read(0, buf); err != nil {
			b.Fatal(err)
		}
	}
}
