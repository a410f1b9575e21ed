package load

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// rate makes connections as fast as its streams can: connect, ask, read the answer to
// its end, close. The server closes first, so that no port waits at the client.
func rate(j Job) (Result, error) {
	var done atomic.Int64
	var stop atomic.Bool
	errs := make(chan error, j.Streams)
	var wg sync.WaitGroup
	for range j.Streams {
		wg.Add(1)
		go again(&wg, j.To, &done, &stop, errs)
	}
	time.Sleep(j.Warm)
	r, err := window(j, func() (int64, error) { return done.Load(), nil })
	stop.Store(true)
	wg.Wait()
	r.Count, r.Opened, r.Bytes = int(r.Bytes), int(r.Bytes), 0
	select {
	case failed := <-errs:
		err = errors.Join(err, failed)
	default:
	}
	return r, err
}

// again makes one connection after the other.
func again(wg *sync.WaitGroup, to string, done *atomic.Int64, stop *atomic.Bool, errs chan<- error) {
	defer wg.Done()
	for !stop.Load() {
		if err := visit(to); err != nil {
			errs <- err
			return
		}
		done.Add(1)
	}
}

// visit is one whole connection.
func visit(to string) error {
	c, err := dial(to, "once")
	if err != nil {
		return err
	}
	defer c.Close()
	var b [1]byte
	if _, err := c.Read(b[:]); err != io.EOF {
		return errors.New("the server said more than its answer")
	}
	return nil
}

// echo sends a few bytes and waits until they are back, again and again.
func echo(j Job) (r Result, err error) {
	c, err := dial(j.To, Echo)
	if err != nil {
		return r, err
	}
	defer c.Close()
	var b [64]byte
	once := func() (time.Duration, error) {
		begun := time.Now()
		if _, err := c.Write(b[:]); err != nil {
			return 0, err
		}
		_, err := io.ReadFull(c, b[:])
		return time.Since(begun), err
	}
	r, err = delays(j, once)
	r.Opened = 1
	return r, err
}

// whole makes connections one by one and takes the time from the SYN to the first byte.
func whole(j Job) (Result, error) {
	return delays(j, func() (time.Duration, error) {
		begun := time.Now()
		c, err := dial(j.To, "once")
		if err != nil {
			return 0, err
		}
		defer c.Close()
		return time.Since(begun), nil
	})
}

// settle is what a connection rests before it asks: the decoy's leg is open then.
const settle = 2 * time.Millisecond

// first takes the time from the request on a connection that stands already.
func first(j Job) (Result, error) {
	return delays(j, func() (time.Duration, error) {
		c, err := connect(j.To)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		time.Sleep(settle)
		return asked(c)
	})
}

func asked(c *net.TCPConn) (time.Duration, error) {
	begun := time.Now()
	err := ask(c, "once")
	return time.Since(begun), err
}

// delays takes the time of one thing again and again.
func delays(j Job, once func() (time.Duration, error)) (r Result, err error) {
	for begun := time.Now(); time.Since(begun) < j.Warm; {
		if _, err := once(); err != nil {
			return r, err
		}
	}
	begun := time.Now()
	for time.Since(begun) < j.For {
		d, err := once()
		if err != nil {
			return r, err
		}
		r.Delays = append(r.Delays, d.Seconds())
	}
	slices.Sort(r.Delays)
	r.Count, r.Opened, r.Seconds = len(r.Delays), len(r.Delays), time.Since(begun).Seconds()
	return r, nil
}
