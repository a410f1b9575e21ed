package load

import (
	"bufio"
	"errors"
	"io"
	"net"
)

// chunk is how much is written or read at once, in bytes.
const chunk = 256 << 10

// Serve answers connections until the listener is closed.
func Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go answer(c)
	}
}

// answer serves one connection. What goes wrong is the client's to notice.
func answer(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 16)
	line, err := r.ReadString('\n')
	if err != nil {
		return
	}
	if line == Down+"\n" {
		pour(c, make([]byte, chunk))
		return
	}
	if _, err := io.WriteString(c, "ok\n"); err != nil {
		return
	}
	switch line {
	case Up + "\n":
		drain(c, make([]byte, chunk))
	case Echo + "\n":
		reflect(c, make([]byte, 4096))
	}
}

func pour(c net.Conn, b []byte) {
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

func drain(c net.Conn, b []byte) {
	for {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

func reflect(c net.Conn, b []byte) {
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
	}
}
