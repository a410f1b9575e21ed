package tun

import (
	"errors"
	"fmt"
	"os"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"
)

const node = "/dev/net/tun"

// features returns the IFF_ flags that the kernel's TUN driver knows.
func features() (uint16, error) {
	fd, err := openNode()
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	f, err := unix.IoctlGetInt(fd, unix.TUNGETFEATURES)
	if err != nil {
		return 0, fmt.Errorf("%s: ask for features: %w", node, err)
	}
	return uint16(f), nil
}

func openNode() (int, error) {
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		return fd, nil
	}
	return -1, nodeError(err)
}

// nodeError says what to do about a /dev/net/tun that does not open.
func nodeError(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("open %s: %w: run as root, or allow it to every user, as most distributions do: chmod 0666 %s", node, err, node)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("open %s: %w: load the driver with `modprobe tun`; in a container pass the device in: --device %s", node, err, node)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("open %s: %w: this kernel has no TUN driver loaded: modprobe tun", node, err)
	}
	return fmt.Errorf("open %s: %w", node, err)
}

// create makes the device with water, persistent and without a user.
func create(name string, flags uint16) error {
	w, err := water.New(waterConfig(name, flags, true))
	if err != nil {
		return attachError(name, err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("create device %s: %w", name, err)
	}
	return nil
}

// remove deletes a device that create made, once all of its queues are closed.
func remove(name string, flags uint16) {
	if w, err := water.New(waterConfig(name, flags, false)); err == nil {
		w.Close()
	}
}

func waterConfig(name string, flags uint16, persist bool) water.Config {
	return water.Config{
		DeviceType: water.TUN,
		PlatformSpecificParams: water.PlatformSpecificParams{
			Name:       name,
			Persist:    persist,
			MultiQueue: flags&unix.IFF_MULTI_QUEUE != 0,
		},
	}
}

// attach opens one more queue of the device.
func attach(name string, flags uint16) (int, error) {
	fd, err := openNode()
	if err != nil {
		return -1, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return -1, attachError(name, err)
	}
	return fd, nil
}

// attachError says what to do about a TUNSETIFF that failed.
func attachError(name string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return taken(name)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("device %s: %w: run as root or with CAP_NET_ADMIN (setcap cap_net_admin+ep on the program), or let an administrator make the device for this user: ip tuntap add dev %s mode tun multi_queue user %d",
			name, err, name, os.Getuid())
	case errors.Is(err, unix.E2BIG):
		return fmt.Errorf("device %s: %w: no queue is left; another program uses it", name, err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("device %s: %w: the name belongs to another kind of device, or its number of queues was changed meanwhile", name, err)
	}
	return fmt.Errorf("device %s: %w", name, err)
}

// taken is the error for a device that another program reads.
func taken(name string) error {
	return fmt.Errorf("device %s is in use by another program: %w: stop it (a second gateway?), or choose another tun.name", name, unix.EBUSY)
}

// setHeader fixes size and byte order of the header: both stay with a
// persistent device.
func setHeader(fd int) error {
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, VnetHeader); err != nil {
		return err
	}
	return unix.IoctlSetPointerInt(fd, unix.TUNSETVNETLE, 1)
}

// setOffload turns on as much as the kernel has, or everything off, and returns
// what is on. Off is a call as well: a device keeps its last user's offloads.
func setOffload(fd int, on bool) (uint32, error) {
	if !on {
		return 0, unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, 0)
	}
	const tcp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	// UDP segmentation came with Linux 6.2.
	const udp = unix.TUN_F_USO4 | unix.TUN_F_USO6
	if unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp|udp) == nil {
		return tcp | udp, nil
	}
	return tcp, unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp)
}
