package load

import (
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// bulk moves bytes for a while. What counts is what the other end's kernel has
// acknowledged, or what came from there.
func bulk(j Job) (Result, error) {
	cs, err := dialAll(j)
	if err != nil {
		return Result{}, err
	}
	defer closeAll(cs)
	moved := make([]*atomic.Int64, len(cs))
	for i, c := range cs {
		moved[i] = new(atomic.Int64)
		if j.Do == Down {
			go receive(c, moved[i])
		} else {
			go pour(c, make([]byte, chunk))
		}
	}
	count := func() (n int64, err error) {
		for i, c := range cs {
			n += moved[i].Load()
			if j.Do != Down {
				acked, err := acknowledged(c)
				if err != nil {
					return 0, err
				}
				n += acked
			}
		}
		return n, nil
	}
	time.Sleep(j.Warm)
	return window(j, count)
}

// window counts from now on for the job's time, with the CPU time that it took.
func window(j Job, count func() (int64, error)) (r Result, err error) {
	cpu, err := readCPU(j.CPUOf)
	if err != nil {
		return r, err
	}
	begun := time.Now()
	before, err := count()
	if err != nil {
		return r, err
	}
	time.Sleep(j.For)
	after, err := count()
	r.Seconds = time.Since(begun).Seconds()
	if err != nil {
		return r, err
	}
	r.Bytes, r.Opened = after-before, j.Streams
	r.Process, r.System, err = cpu.since()
	return r, err
}

func receive(c *net.TCPConn, n *atomic.Int64) {
	b := make([]byte, 4*chunk)
	for {
		got, err := c.Read(b)
		n.Add(int64(got))
		if err != nil {
			return
		}
	}
}

// acknowledged is how many bytes the peer has acknowledged.
func acknowledged(c *net.TCPConn) (n int64, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var info *unix.TCPInfo
	cerr := raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if cerr != nil {
		return 0, cerr
	}
	if err != nil {
		return 0, err
	}
	return int64(info.Bytes_acked), nil
}
