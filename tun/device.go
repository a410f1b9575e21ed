package tun

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// device is what the kernel says about a network device before we touch it.
type device struct {
	exists  bool
	name    string
	kind    string // "tun" for TUN and TAP; "" for hardware
	tun     bool   // a TUN, not a TAP
	persist bool
	multi   bool // made with multi_queue
	queues  int  // attached queues, of a multi_queue device
	index   int
}

// usable says why we must not attach to an existing device. Attaching first and
// looking then would steal packets from the program that reads it.
func (d device) usable() error {
	if d.kind != "tun" || !d.tun {
		return fmt.Errorf("the name %s is taken by a device that is not a TUN: choose another tun.name, or remove it: ip link del %s", d.name, d.name)
	}
	if d.queues > 0 || !d.persist {
		return taken(d.name)
	}
	return nil
}

// inspect looks a device up by name in the calling thread's namespace.
func inspect(name string) (device, error) {
	// The standard library's dump needs no dependency; a machine has few links.
	rib, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
	if err != nil {
		return device{}, err
	}
	msgs, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return device{}, err
	}
	for i := range msgs {
		if msgs[i].Header.Type != syscall.RTM_NEWLINK {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(&msgs[i])
		if err != nil {
			return device{}, err
		}
		if d := deviceOf(attrs); d.name == name {
			d.index = int(binary.NativeEndian.Uint32(msgs[i].Data[4:]))
			return d, nil
		}
	}
	return device{name: name}, nil
}

func deviceOf(attrs []syscall.NetlinkRouteAttr) device {
	d := device{exists: true}
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFLA_IFNAME:
			d.name = unix.ByteSliceToString(a.Value)
		case unix.IFLA_LINKINFO:
			d.readInfo(a.Value)
		}
	}
	return d
}

// readInfo reads IFLA_LINKINFO: the kind, and for a TUN its flags.
func (d *device) readInfo(b []byte) {
	for typ, value := range nested(b) {
		switch typ {
		case unix.IFLA_INFO_KIND:
			d.kind = unix.ByteSliceToString(value)
		case unix.IFLA_INFO_DATA:
			d.readTun(value)
		}
	}
}

func (d *device) readTun(b []byte) {
	for typ, value := range nested(b) {
		switch {
		case typ == unix.IFLA_TUN_TYPE && len(value) == 1:
			d.tun = value[0] == unix.IFF_TUN
		case typ == unix.IFLA_TUN_PERSIST && len(value) == 1:
			d.persist = value[0] != 0
		case typ == unix.IFLA_TUN_MULTI_QUEUE && len(value) == 1:
			d.multi = value[0] != 0
		case typ == unix.IFLA_TUN_NUM_QUEUES && len(value) == 4:
			d.queues = int(binary.NativeEndian.Uint32(value))
		}
	}
}

// nested walks a list of netlink attributes.
func nested(b []byte) func(func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofRtAttr || size > len(b) {
				return
			}
			typ := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(typ, b[unix.SizeofRtAttr:size]) {
				return
			}
			b = b[min(len(b), (size+3)&^3):]
		}
	}
}

// bringUp sets the MTU (0: leaves it) and the device's up flag. It asks for no
// change that is not needed: a device that an administrator made ready can be
// used without CAP_NET_ADMIN.
func bringUp(name string, mtu int) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("device %s: socket: %w", name, err)
	}
	defer unix.Close(s)
	if err := setMTU(s, name, mtu); err != nil {
		return deviceError(name, fmt.Sprintf("ip link set dev %s mtu %d", name, mtu), err)
	}
	if err := setQueueLength(s, name); err != nil && !errors.Is(err, unix.EPERM) {
		return deviceError(name, fmt.Sprintf("ip link set dev %s txqueuelen %d", name, queueLength), err)
	}
	if err := setUp(s, name); err != nil {
		return deviceError(name, fmt.Sprintf("ip link set dev %s up", name), err)
	}
	return nil
}

func setMTU(s int, name string, mtu int) error {
	if mtu == 0 {
		return nil
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFMTU, req); err != nil || req.Uint32() == uint32(mtu) {
		return err
	}
	req.SetUint32(uint32(mtu))
	return unix.IoctlIfreq(s, unix.SIOCSIFMTU, req)
}

// queueLength is how many packets the kernel keeps for a reader that is late: the
// default of 500 is less than one window of a fast host, and what is lost there
// the client sees as a hole.
const queueLength = 4096

// setQueueLength raises the queue's length, and never lowers it. Without the
// right to, the device works with what it has.
func setQueueLength(s int, name string) error {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFTXQLEN, req); err != nil || req.Uint32() >= queueLength {
		return err
	}
	req.SetUint32(queueLength)
	return unix.IoctlIfreq(s, unix.SIOCSIFTXQLEN, req)
}

func setUp(s int, name string) error {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, req); err != nil || req.Uint16()&unix.IFF_UP != 0 {
		return err
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req)
}

func deviceError(name, command string, err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("device %s: %w: let an administrator prepare it: %s", name, err, command)
	}
	return fmt.Errorf("device %s: %s: %w", name, command, err)
}
