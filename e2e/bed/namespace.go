package bed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is one network namespace. It has no name in the file system: a descriptor and a thread
// of this process hold it, so that nothing is left when the process dies.
type Namespace struct {
	// Name says which one it is, in errors only.
	Name string

	fd    int
	nl    *netlink.Handle
	calls chan func()
	gone  chan struct{}
	close sync.Once
}

// NewNamespace makes a network namespace whose loopback device is up.
func NewNamespace(name string) (*Namespace, error) {
	n := &Namespace{Name: name, calls: make(chan func()), gone: make(chan struct{})}
	ready := make(chan error)
	go n.keep(ready)
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	if err := n.prepare(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// keep owns the thread that lives in the namespace: processes are started from it, so that they
// die with it (PR_SET_PDEATHSIG looks at the thread, not at the process). It never unlocks the
// thread: the runtime ends it with the goroutine.
func (n *Namespace) keep(ready chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		// The main thread cannot be ended, and /proc/self looks through it: leave it where it is.
		done := make(chan error)
		go n.keep(done)
		err := <-done
		runtime.UnlockOSThread()
		ready <- err
		return
	}
	defer close(n.gone)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		ready <- fmt.Errorf("make a network namespace: %w", err)
		return
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		ready <- fmt.Errorf("hold the network namespace: %w", err)
		return
	}
	n.fd = fd
	ready <- nil
	for f := range n.calls {
		f()
	}
}

// prepare brings the loopback device up and takes from IPv6 what would make a test wait: duplicate
// address detection and router solicitations.
func (n *Namespace) prepare() error {
	nl, err := netlink.NewHandleAt(netns.NsHandle(n.fd))
	if err != nil {
		return fmt.Errorf("namespace %s: netlink: %w", n.Name, err)
	}
	n.nl = nl
	for _, s := range []string{"all", "default"} {
		err = errors.Join(err,
			n.Sysctl("net/ipv6/conf/"+s+"/accept_dad", "0"),
			n.Sysctl("net/ipv6/conf/"+s+"/router_solicitations", "0"),
			n.Sysctl("net/ipv6/conf/"+s+"/accept_ra", "0"))
	}
	return errors.Join(err, n.Up("lo"))
}

// Close kills the processes in the namespace and lets go of it; the kernel takes it down when the
// last socket in it is closed.
func (n *Namespace) Close() error {
	var err error
	n.close.Do(func() {
		close(n.calls)
		<-n.gone
		err = n.killProcesses()
		if n.nl != nil {
			n.nl.Close()
		}
		err = errors.Join(err, unix.Close(n.fd))
	})
	return err
}

// Path names the namespace for setns in another process of the same user, while this one lives.
func (n *Namespace) Path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.fd)
}

// Netlink is a netlink handle in the namespace. The namespace owns it.
func (n *Namespace) Netlink() *netlink.Handle { return n.nl }

// Do runs f on a thread that is in the namespace; sockets, files of /proc/sys/net and devices that
// f opens belong there. Goroutines that f starts do not. The thread goes back to the runtime only
// if it could be brought back to the namespace that it came from.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go n.do(f, done)
	err, ok := <-done
	if !ok {
		return fmt.Errorf("namespace %s: the function ended its goroutine", n.Name)
	}
	return err
}

func (n *Namespace) do(f func() error, done chan<- error) {
	defer close(done)
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		done <- err
		return
	}
	defer unix.Close(home)
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		done <- fmt.Errorf("enter namespace %s: %w", n.Name, err)
		return
	}
	defer func() {
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	done <- f()
}

// onKeeper runs f on the thread that lives as long as the namespace.
func (n *Namespace) onKeeper(f func() error) (err error) {
	defer func() {
		if recover() != nil { // send on a closed channel
			err = fmt.Errorf("namespace %s: %w", n.Name, os.ErrClosed)
		}
	}()
	done := make(chan error, 1)
	n.calls <- func() { done <- f() }
	return <-done
}

// Sysctl writes value to /proc/sys/PATH of the namespace; path is like net/ipv4/ip_forward.
func (n *Namespace) Sysctl(path, value string) error {
	return n.Do(func() error {
		if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0); err != nil {
			return fmt.Errorf("namespace %s: %w", n.Name, err)
		}
		return nil
	})
}

// ReadSysctl reads /proc/sys/PATH of the namespace, without the final line end.
func (n *Namespace) ReadSysctl(path string) (value string, err error) {
	err = n.Do(func() error {
		b, err := os.ReadFile(filepath.Join("/proc/sys", path))
		value = strings.TrimSpace(string(b))
		return err
	})
	return value, err
}

// Listen is net.Listen in the namespace.
func (n *Namespace) Listen(network, address string) (l net.Listener, err error) {
	err = n.Do(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// ListenPacket is net.ListenPacket in the namespace.
func (n *Namespace) ListenPacket(network, address string) (c net.PacketConn, err error) {
	err = n.Do(func() error {
		c, err = net.ListenPacket(network, address)
		return err
	})
	return c, err
}

// DialContext connects from the namespace; address must be a literal one. It fits
// http.Transport.DialContext.
func (n *Namespace) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return n.DialWith(ctx, &net.Dialer{}, network, address)
}

// DialFrom connects from a local address of the caller's choice; port 0 leaves the port to the kernel.
func (n *Namespace) DialFrom(ctx context.Context, network string, from netip.AddrPort, address string) (net.Conn, error) {
	return n.DialWith(ctx, &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from)}, network, address)
}

// DialWith connects from the namespace with the caller's dialer.
func (n *Namespace) DialWith(ctx context.Context, d *net.Dialer, network, address string) (c net.Conn, err error) {
	err = n.Do(func() error {
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}
