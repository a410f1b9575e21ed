// Package tun is a door: a TUN device whose queues carry whole IP packets, each
// behind a virtio_net_hdr, so that the kernel hands over super-packets of up to
// 64 KiB with their checksums still to fill in and takes them back the same way.
//
// songgao/water creates and names the device. It cannot ask for IFF_VNET_HDR,
// so a new device is created persistent, our own queues are attached to it, and
// then the persistence is taken away again: the device vanishes with the
// process. A device that exists already (an administrator's, made for a gateway
// without capabilities) stays persistent.
//
// Whatever the last user of a persistent device left in it is set anew at each
// open: offloads, header size, header byte order. A reader that did not ask for
// offloads would otherwise get partial checksums.
//
// Where the kernel has no IFF_VNET_HDR the same methods work over a plain
// device; the header that Read returns is then zero, and Write ignores it.
package tun

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// VnetHeader is the length in bytes of the header in front of each packet: a
// virtio_net_hdr without num_buffers, which only a virtio device needs. All of
// its fields are little-endian on every machine.
const VnetHeader = 10

// MaxPacket is the length in bytes of a buffer that holds any packet of a door
// with its header.
const MaxPacket = VnetHeader + 65535

// MaxQueues is the most queues that a kernel gives one device.
const MaxQueues = 256

// Config says which door to open.
type Config struct {
	// Name of the device, 1 to 15 bytes. It is created unless it exists.
	Name string
	// MTU in bytes; 0 leaves the device's own (1500 for a new one).
	MTU int
	// Queues is the number of queues. 0: one per CPU, or 1 on an existing
	// device that was made without multi_queue.
	Queues int
	// Offload lets the kernel hand over super-packets and unfilled checksums.
	Offload bool
	// Persist keeps a device that Open created after Close.
	Persist bool
}

// Door is an open TUN device. Each queue may be read by one goroutine and
// written by any number.
type Door struct {
	name    string
	index   int
	vnet    bool
	offload uint32
	queues  []*queue
	closing sync.Once
	wake    int // eventfd, readable once the door closes
}

// queue is one file descriptor of the device. Its lock is held shared by Read
// and Write, so that Close can wait until nobody uses the descriptor.
type queue struct {
	mu     sync.RWMutex
	fd     int
	closed atomic.Bool
}

// Open opens the device's queues, sets its offloads and MTU, and brings it up,
// in the network namespace of the calling thread. Its errors say what to do.
func Open(c Config) (*Door, error) { return open(c, unix.IFF_VNET_HDR) }

// open is Open with the header flag as an argument: 0 opens a plain device.
func open(c Config, header uint16) (*Door, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	features, err := features()
	if err != nil {
		return nil, err
	}
	dev, err := inspect(c.Name)
	if err != nil {
		return nil, fmt.Errorf("look for device %s: %w", c.Name, err)
	}
	flags, count, err := c.plan(dev, header&features)
	if err != nil {
		return nil, err
	}
	if !dev.exists {
		if err := create(c.Name, flags); err != nil {
			return nil, err
		}
	}
	d := &Door{name: c.Name, wake: -1, vnet: flags&unix.IFF_VNET_HDR != 0}
	if err := d.attach(flags, count); err != nil {
		d.abandon(dev, flags)
		return nil, err
	}
	if err := d.prepare(c, dev); err != nil {
		d.abandon(dev, flags)
		return nil, err
	}
	return d, nil
}

// abandon leaves the machine as it was before an open that failed, whose error
// is the one that counts.
func (d *Door) abandon(before device, flags uint16) {
	d.Close()
	if !before.exists {
		remove(d.name, flags)
	}
}

func (c Config) validate() error {
	switch {
	case c.Name == "" || len(c.Name) >= unix.IFNAMSIZ:
		return fmt.Errorf("device name %q: want 1 to %d bytes", c.Name, unix.IFNAMSIZ-1)
	case c.Queues < 0 || c.Queues > MaxQueues:
		return fmt.Errorf("device %s: %d queues: want 0 (one per CPU) to %d", c.Name, c.Queues, MaxQueues)
	case c.MTU != 0 && (c.MTU < 68 || c.MTU > 65535):
		return fmt.Errorf("device %s: MTU %d: want 68 to 65535, or 0 to leave it", c.Name, c.MTU)
	}
	return nil
}

// plan decides with which flags and how many queues to attach to dev.
func (c Config) plan(dev device, header uint16) (flags uint16, count int, err error) {
	count = c.Queues
	if count == 0 {
		count = min(runtime.GOMAXPROCS(0), MaxQueues)
	}
	multi := count > 1
	if dev.exists {
		if err := dev.usable(); err != nil {
			return 0, 0, err
		}
		if multi && !dev.multi && c.Queues > 1 {
			return 0, 0, fmt.Errorf("device %s exists with a single queue, but %d queues are asked for: set tun.queues to 1, or make it anew: ip tuntap del dev %s mode tun; ip tuntap add dev %s mode tun multi_queue",
				c.Name, c.Queues, c.Name, c.Name)
		}
		if multi && !dev.multi {
			count = 1
		}
		multi = dev.multi
	}
	flags = unix.IFF_TUN | unix.IFF_NO_PI | header
	if multi {
		flags |= unix.IFF_MULTI_QUEUE
	}
	return flags, count, nil
}

// attach opens count queues.
func (d *Door) attach(flags uint16, count int) error {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("device %s: eventfd: %w", d.name, err)
	}
	d.wake = wake
	for range count {
		fd, err := attach(d.name, flags)
		if err != nil {
			return err
		}
		d.queues = append(d.queues, &queue{fd: fd})
	}
	return nil
}

// prepare sets all that the device may have kept from its last user, and brings
// it up.
func (d *Door) prepare(c Config, before device) error {
	now, err := inspect(c.Name)
	if err != nil {
		return err
	}
	// Only the first queue of a device decides whether it has headers: another
	// process that attached in the meantime shows here.
	if now.multi && now.queues != 0 && now.queues != len(d.queues) {
		return taken(c.Name)
	}
	d.index = now.index
	fd := d.queues[0].fd
	if d.vnet {
		if err := setHeader(fd); err != nil {
			return fmt.Errorf("device %s: set the header: %w", c.Name, err)
		}
	}
	if d.offload, err = setOffload(fd, c.Offload && d.vnet); err != nil {
		return fmt.Errorf("device %s: set offloads: %w", c.Name, err)
	}
	if !before.exists && !c.Persist {
		if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 0); err != nil {
			return fmt.Errorf("device %s: clear persistence: %w", c.Name, err)
		}
	}
	return bringUp(c.Name, c.MTU)
}

// Name returns the device's name.
func (d *Door) Name() string { return d.name }

// Index returns the device's interface index.
func (d *Door) Index() int { return d.index }

// Queues returns the number of queues.
func (d *Door) Queues() int { return len(d.queues) }

// Headers reports whether the kernel fills the header in front of a packet; it
// is zero if not.
func (d *Door) Headers() bool { return d.vnet }

// Offloads returns the TUN_F_ bits that the kernel accepted; 0 is none.
func (d *Door) Offloads() uint32 { return d.offload }

// Super reports whether the door carries super-packets: Read may return them, and
// Write takes them.
func (d *Door) Super() bool { return d.offload != 0 }

// Close wakes all readers and detaches from the device, which vanishes unless it
// is persistent. Reads and writes then end with os.ErrClosed.
func (d *Door) Close() error {
	var err error
	d.closing.Do(func() { err = d.close() })
	return err
}

func (d *Door) close() error {
	for _, q := range d.queues {
		q.closed.Store(true)
	}
	if d.wake < 0 {
		return nil
	}
	_, err := unix.Write(d.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	errs := []error{err}
	for _, q := range d.queues {
		q.mu.Lock()
		errs = append(errs, unix.Close(q.fd))
		q.mu.Unlock()
	}
	errs = append(errs, unix.Close(d.wake))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close %s: %w", d.name, err)
	}
	return nil
}

var errClosed error = os.ErrClosed
