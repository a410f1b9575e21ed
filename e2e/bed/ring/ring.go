// Package ring reads and writes Ethernet frames at one device through an AF_PACKET socket with a
// receive ring in shared memory (TPACKET_V2: each frame can be read as soon as it is there).
package ring

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Config says how large the ring is.
type Config struct {
	// Frames is the number of slots; 0 is 4096.
	Frames int
	// SnapLen is the longest frame that is kept whole, in bytes; 0 is 1914.
	SnapLen int
	// Outgoing also delivers what this machine sends at the device.
	Outgoing bool
}

const (
	defaultFrames  = 4096
	defaultSnapLen = 1914
	// headRoom is what the kernel puts in front of a frame in its slot: tpacket2_hdr and
	// sockaddr_ll, and up to 16 bytes so that the network header is aligned.
	headRoom = 134
)

// Ring is a socket at one device. Read and Close belong to one goroutine; Wake may come from any.
type Ring struct {
	fd, wake  int
	timer     int
	mem       []byte
	slot      int // bytes
	perBlock  int // slots
	blockSize int
	slots     int
	next      int
	missed    atomic.Uint64
}

// Open binds a socket to a device of the calling thread's namespace.
func Open(device string, cfg Config) (*Ring, error) {
	r := &Ring{fd: -1, wake: -1, timer: -1}
	if err := r.open(device, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("packet socket at %s: %w", device, err), r.Close())
	}
	return r, nil
}

func (r *Ring) open(device string, cfg Config) error {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	// Protocol 0 receives nothing until bind, when ring and options are in place.
	if r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return err
	}
	if r.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return err
	}
	if !cfg.Outgoing {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return err
		}
	}
	if err := r.mapRing(cfg); err != nil {
		return err
	}
	return unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: dev.Index})
}

func (r *Ring) mapRing(cfg Config) error {
	if cfg.Frames == 0 {
		cfg.Frames = defaultFrames
	}
	if cfg.SnapLen == 0 {
		cfg.SnapLen = defaultSnapLen
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2); err != nil {
		return err
	}
	r.slot = roundUp(cfg.SnapLen+headRoom, unix.TPACKET_ALIGNMENT)
	r.blockSize = roundUp(max(r.slot, 1<<16), os.Getpagesize())
	r.perBlock = r.blockSize / r.slot
	blocks := (cfg.Frames + r.perBlock - 1) / r.perBlock
	r.slots = blocks * r.perBlock
	req := unix.TpacketReq{
		Block_size: uint32(r.blockSize),
		Block_nr:   uint32(blocks),
		Frame_size: uint32(r.slot),
		Frame_nr:   uint32(r.slots),
	}
	if err := unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("ring of %d slots: %w", r.slots, err)
	}
	mem, err := unix.Mmap(r.fd, 0, r.blockSize*blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	r.mem = mem
	return err
}

// Frame is one frame in the ring; Data is valid until Release.
type Frame struct {
	Data     []byte
	Len      int // on the wire; more than len(Data) if it was longer than SnapLen
	Time     time.Time
	Outgoing bool
	header   *unix.Tpacket2Hdr
}

// Read returns the next frame, if there is one. Release it before the next Read.
func (r *Ring) Read() (f Frame, ok bool) {
	base := r.next/r.perBlock*r.blockSize + r.next%r.perBlock*r.slot
	hdr := (*unix.Tpacket2Hdr)(unsafe.Pointer(&r.mem[base]))
	if atomic.LoadUint32(&hdr.Status)&unix.TP_STATUS_USER == 0 {
		return Frame{}, false
	}
	r.next = (r.next + 1) % r.slots
	from := base + int(hdr.Mac)
	link := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&r.mem[base+roundUp(unix.SizeofTpacket2Hdr, unix.TPACKET_ALIGNMENT)]))
	return Frame{
		Data:     r.mem[from : from+int(hdr.Snaplen) : from+int(hdr.Snaplen)],
		Len:      int(hdr.Len),
		Time:     time.Unix(int64(hdr.Sec), int64(hdr.Nsec)),
		Outgoing: link.Pkttype == unix.PACKET_OUTGOING,
		header:   hdr,
	}, true
}

// Release gives the frame's slot back to the kernel.
func (f Frame) Release() { atomic.StoreUint32(&f.header.Status, unix.TP_STATUS_KERNEL) }

// Wait waits until a frame can be read, Wake is called or d has passed; d < 0 waits without end. The
// time is a timer's, because poll's own may be late by a thousandth of itself.
func (r *Ring) Wait(d time.Duration) error {
	if d == 0 {
		return nil
	}
	fds := [3]unix.PollFd{
		{Fd: int32(r.fd), Events: unix.POLLIN},
		{Fd: int32(r.wake), Events: unix.POLLIN},
		{Fd: -1, Events: unix.POLLIN}, // poll passes over it
	}
	if d > 0 {
		// To set a timer again also clears that it has fired.
		when := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
		if err := unix.TimerfdSettime(r.timer, 0, &when, nil); err != nil {
			return fmt.Errorf("set the timer: %w", err)
		}
		fds[2].Fd = int32(r.timer)
	}
	if _, err := unix.Ppoll(fds[:], nil, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("poll: %w", err)
	}
	return nil
}

// Wake makes this and every later Wait return at once.
func (r *Ring) Wake() error {
	_, err := unix.Write(r.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return err
}

// Write sends one frame as it is.
func (r *Ring) Write(frame []byte) error {
	_, err := unix.Write(r.fd, frame)
	return err
}

// Missed is how many frames found the ring full, so far.
func (r *Ring) Missed() uint64 {
	stats, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err == nil { // reading resets the kernel's count
		r.missed.Add(uint64(stats.Drops))
	}
	return r.missed.Load()
}

// Close lets go of the ring and the socket.
func (r *Ring) Close() error {
	var errs []error
	r.Missed() // the kernel's count ends with the socket
	if r.mem != nil {
		errs = append(errs, unix.Munmap(r.mem))
	}
	for _, fd := range []int{r.fd, r.wake, r.timer} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	r.mem, r.fd, r.wake, r.timer = nil, -1, -1, -1
	return errors.Join(errs...)
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

func networkOrder(v uint16) uint16 { return v<<8 | v>>8 }
