package bed

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// enteredEnv tells the second self that it is inside.
	enteredEnv = "SLEIGHT_BED_ENTERED"

	// TunNodeEnv may name a device node (c 10 200, 0666) that stands in for /dev/net/tun where that
	// one is root's alone: Enter binds it there, in the process's own mount namespace.
	TunNodeEnv = "SLEIGHT_TUN_NODE"

	tunNode = "/dev/net/tun"
)

// Enter makes sure that this process may make namespaces and TUN devices. If it may, Enter returns
// at once. If not, the program is run again with the same arguments as root of a new user namespace,
// with network and mount namespaces of its own; Enter waits for it and exits with its code. Call it
// first in main or TestMain. The error says what to do where user namespaces are forbidden.
func Enter() error {
	if os.Getenv(enteredEnv) != "" {
		return arrive()
	}
	if mayMakeNamespaces() {
		return checkTUN()
	}
	code, err := runAgain()
	if err != nil {
		return explain(err)
	}
	os.Exit(code)
	return nil
}

// mayMakeNamespaces tries it, on a thread that is thrown away.
func mayMakeNamespaces() bool {
	result := make(chan error)
	go probe(result)
	return <-result == nil
}

func probe(result chan<- error) {
	runtime.LockOSThread() // never unlocked
	result <- unix.Unshare(unix.CLONE_NEWNET)
}

// runAgain runs this program as root of a user namespace and returns its exit code.
func runAgain() (int, error) {
	self := exec.Command("/proc/self/exe", os.Args[1:]...)
	self.Args[0] = os.Args[0]
	self.Stdin, self.Stdout, self.Stderr = os.Stdin, os.Stdout, os.Stderr
	self.Env = append(os.Environ(), enteredEnv+"=1")
	self.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   unix.SIGKILL,
	}
	runtime.LockOSThread() // the death signal is tied to this thread
	defer runtime.UnlockOSThread()
	if err := self.Start(); err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	go passOn(signals, self.Process)
	err := self.Wait()
	signal.Stop(signals)
	close(signals)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if exit.ExitCode() < 0 {
			return 1, nil // killed by a signal
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// passOn hands signals to the second self. A terminal's SIGINT reaches it twice, which is harmless.
func passOn(signals <-chan os.Signal, p *os.Process) {
	for s := range signals {
		p.Signal(s) //nolint:errcheck // it may just have ended
	}
}

// arrive is the second self's part.
func arrive() error {
	if !mayMakeNamespaces() {
		return explain(unix.EPERM)
	}
	if node := os.Getenv(TunNodeEnv); node != "" {
		if err := unix.Mount(node, tunNode, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s over %s: %w", node, tunNode, err)
		}
	}
	return checkTUN()
}

// checkTUN opens the TUN node, which makes no device yet.
func checkTUN() error {
	fd, err := unix.Open(tunNode, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		return unix.Close(fd)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("open %s: %w: the kernel's tun module is missing; load it with: sudo modprobe tun", tunNode, err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("open %s: %w: let every user open it (what it can do is bounded by their own namespace) with: sudo chmod 0666 %s", tunNode, err, tunNode)
	default:
		return fmt.Errorf("open %s: %w", tunNode, err)
	}
}

// forbidders are the settings that keep a user from making a user namespace.
var forbidders = []struct{ path, bad, mend string }{
	{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"},
	{"/proc/sys/user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=15000"},
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
}

// explain says why no user namespace can be had, and the command that mends it.
func explain(err error) error {
	for _, f := range forbidders {
		value, readErr := os.ReadFile(f.path)
		if readErr == nil && strings.TrimSpace(string(value)) == f.bad {
			return fmt.Errorf("make a user namespace: %w: this machine forbids it (%s is %s); allow it with: %s; or run this as root",
				err, f.path, f.bad, f.mend)
		}
	}
	return fmt.Errorf("make a user namespace: %w: this machine or the container that this runs in forbids it; run this as root, or start the container with --cap-add NET_ADMIN --cap-add SYS_ADMIN", err)
}
