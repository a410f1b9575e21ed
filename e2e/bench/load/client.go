package load

import (
	"fmt"
	"io"
	"net"
	"time"
)

// patience bounds a dial and an answer: beyond it a subject does not work.
const patience = 5 * time.Second

// dial connects and says what for.
func dial(to, what string) (*net.TCPConn, error) {
	c, err := connect(to)
	if err != nil {
		return nil, err
	}
	if err := ask(c, what); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func connect(to string) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: patience, KeepAlive: -1}
	c, err := d.Dial("tcp", to)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// ask says what the connection is for and waits for the answer, where there is one.
func ask(c *net.TCPConn, what string) error {
	line := what
	if what == Swallow {
		line = Up
	}
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return err
	}
	if what == Swallow || what == Down {
		return nil
	}
	return answered(c)
}

// answered reads the server's "ok".
func answered(c *net.TCPConn) error {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	var b [3]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	return c.SetReadDeadline(time.Time{})
}

// dialAll makes a job's connections.
func dialAll(j Job) (cs []*net.TCPConn, err error) {
	for range j.Streams {
		c, err := dial(j.To, j.Do)
		if err != nil {
			closeAll(cs)
			return nil, err
		}
		cs = append(cs, c)
	}
	return cs, nil
}

func closeAll(cs []*net.TCPConn) {
	for _, c := range cs {
		c.Close()
	}
}
