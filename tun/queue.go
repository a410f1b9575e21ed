package tun

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// ErrGone is what Read and Write return when the device was deleted under the
// door.
var ErrGone = errors.New("the device is gone: somebody deleted it")

// Read blocks for one packet of queue q and puts it into b: first the header of
// VnetHeader bytes, then the IP packet. It returns the length of both, and
// os.ErrClosed after Close. A buffer of MaxPacket bytes holds any packet; what
// does not fit is cut off.
func (d *Door) Read(q int, b []byte) (int, error) {
	if len(b) <= VnetHeader {
		return 0, io.ErrShortBuffer
	}
	u := d.queues[q]
	u.mu.RLock()
	defer u.mu.RUnlock()
	for {
		n, err := d.tryRead(u, b)
		if err != unix.EAGAIN {
			return n, err
		}
		d.wait(u.fd)
	}
}

// tryRead does not block: unix.EAGAIN is that there is no packet. It is called with
// the queue's lock held.
func (d *Door) tryRead(u *queue, b []byte) (int, error) {
	for {
		if u.closed.Load() {
			return 0, errClosed
		}
		n, err := d.readOne(u.fd, b)
		switch err {
		case unix.EINTR:
		case unix.EBADFD:
			return 0, ErrGone
		default:
			return n, err
		}
	}
}

func (d *Door) readOne(fd int, b []byte) (int, error) {
	if d.vnet {
		return unix.Read(fd, b)
	}
	n, err := unix.Read(fd, b[VnetHeader:])
	if err != nil {
		return 0, err
	}
	clear(b[:VnetHeader])
	return n + VnetHeader, nil
}

// wait blocks until the queue may be readable or the door closes.
func (d *Door) wait(fd int) {
	fds := [2]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(d.wake), Events: unix.POLLIN}}
	// An error (EINTR) is a spurious wake-up: the caller tries again.
	unix.Poll(fds[:], -1)
}

// Write gives the kernel one packet, which then arrives from the device: the
// header of VnetHeader bytes, then the IP packet. It never blocks; an error
// means that the packet is lost.
func (d *Door) Write(q int, b []byte) (int, error) {
	if len(b) <= VnetHeader {
		return 0, io.ErrShortBuffer
	}
	u := d.queues[q]
	u.mu.RLock()
	defer u.mu.RUnlock()
	if u.closed.Load() {
		return 0, errClosed
	}
	n, err := d.writeOne(u.fd, b)
	if err == unix.EBADFD {
		return 0, ErrGone
	}
	return n, err
}

func (d *Door) writeOne(fd int, b []byte) (int, error) {
	if d.vnet {
		return unix.Write(fd, b)
	}
	n, err := unix.Write(fd, b[VnetHeader:])
	if err != nil {
		return 0, err
	}
	return n + VnetHeader, nil
}
