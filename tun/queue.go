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
//
// A goroutine that does nothing but read a queue is quickest when it is locked
// to its thread: Read blocks in the system call and never parks in the
// netpoller.
func (d *Door) Read(q int, b []byte) (int, error) {
	if len(b) <= VnetHeader {
		return 0, io.ErrShortBuffer
	}
	u := d.queues[q]
	u.mu.RLock()
	defer u.mu.RUnlock()
	for {
		if u.closed.Load() {
			return 0, errClosed
		}
		n, err := d.readOne(u.fd, b)
		switch err {
		case nil:
			return n, nil
		case unix.EAGAIN:
			d.wait(u.fd)
		case unix.EINTR:
		case unix.EBADFD:
			return 0, ErrGone
		default:
			return 0, err
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
