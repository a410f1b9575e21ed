package bed

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"sleight/e2e/bed/ring"
)

// Capture writes every frame at a device, in both directions, to a pcapng file with nanosecond
// timestamps; each packet's flags say whether it came in or went out.
type Capture struct {
	// File is the path that it was given.
	File string

	ring   *ring.Ring
	file   *os.File
	out    *pcapng
	frames atomic.Uint64
	stop   atomic.Bool
	done   chan struct{}
	once   sync.Once
	err    error // of the goroutine, valid when done is closed
}

const (
	captureFrames = 1 << 15 // 64 MiB of ring at an MTU of 1500
	// A super-packet is up to 64 KiB and its Ethernet header.
	superSnapLen   = 1<<16 + 64
	superCapFrames = 1 << 10
)

// Capture starts a capture at a device. When it returns, nothing that passes the device is missed.
func (n *Namespace) Capture(device, file string) (*Capture, error) {
	return n.capture(device, file, ring.Config{Frames: captureFrames, Outgoing: true})
}

// CaptureSuper is Capture for a device whose offloads are on: packets of up to 64 KiB are kept
// whole. Their checksums may not be filled in.
func (n *Namespace) CaptureSuper(device, file string) (*Capture, error) {
	return n.capture(device, file, ring.Config{Frames: superCapFrames, SnapLen: superSnapLen, Outgoing: true})
}

func (n *Namespace) capture(device, file string, cfg ring.Config) (*Capture, error) {
	c := &Capture{File: file, done: make(chan struct{})}
	var err error
	if c.file, err = os.Create(file); err != nil {
		return nil, err
	}
	if c.out, err = newPcapng(bufio.NewWriterSize(c.file, 1<<20), n.Name+"/"+device, cfg.SnapLen); err != nil {
		return nil, errors.Join(err, c.file.Close())
	}
	err = n.Do(func() (err error) {
		c.ring, err = ring.Open(device, cfg)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("capture: %w", err), c.file.Close())
	}
	go c.run()
	return c, nil
}

// run reads until it is told to stop, and then until the ring is empty: the kernel puts a frame
// there before the call that sent it returns.
func (c *Capture) run() {
	defer close(c.done)
	for !c.stop.Load() {
		if c.err = c.ring.Wait(-1); c.err != nil {
			return
		}
		if c.err = c.drain(); c.err != nil {
			return
		}
	}
	c.err = c.drain()
}

func (c *Capture) drain() error {
	for {
		f, ok := c.ring.Read()
		if !ok {
			return nil
		}
		err := c.out.packet(f.Data, f.Len, f.Time, f.Outgoing)
		f.Release()
		if err != nil {
			return err
		}
		c.frames.Add(1)
	}
}

// Frames is how many frames were written so far.
func (c *Capture) Frames() uint64 { return c.frames.Load() }

// Stop ends the capture: what passed the device before the call is in the file when it returns. It
// fails if frames were missed, because a capture with holes proves nothing.
func (c *Capture) Stop() error {
	var err error
	c.once.Do(func() { err = c.finish() })
	return err
}

func (c *Capture) finish() error {
	c.stop.Store(true)
	errs := []error{c.ring.Wake()}
	<-c.done
	errs = append(errs, c.err, c.out.flush(), c.file.Close(), c.ring.Close())
	if missed := c.ring.Missed(); missed > 0 {
		errs = append(errs, fmt.Errorf("capture %s: the ring was full, %d frames are missing", c.File, missed))
	}
	return errors.Join(errs...)
}
