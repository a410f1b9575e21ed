package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLive says that another gateway listens where one was asked to.
var ErrLive = errors.New("it is another gateway's: stop that one, or choose another path")

// Listen listens on a unix socket that is its owner's alone from the moment when it
// exists, in place of one that a killed gateway has left.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("%s: %w", path, ErrLive)
	} else if errors.Is(err, unix.ECONNREFUSED) {
		// So says a file that is no socket as well.
		if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("%s is no socket: name another path", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	return net.Listen("unix", path)
}

// Server answers at a socket.
type Server struct {
	l      net.Listener
	h      Handlers
	cancel context.CancelFunc // of handlers
	wg     sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool // guarded by mu
	closed bool
}

// Serve answers at a listener until Close. Nothing may be added to the handlers any
// more.
func Serve(l net.Listener, h Handlers) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{l: l, h: h, cancel: cancel, conns: map[net.Conn]bool{}}
	s.wg.Add(1)
	go s.accept(ctx)
	return s
}

// Close takes the socket away, ends all connections, and waits for what was begun. It
// may be called twice, and of a nil Server.
func (s *Server) Close() {
	if s == nil {
		return
	}
	s.cancel()
	_ = s.l.Close()
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *Server) accept(ctx context.Context) {
	defer s.wg.Done()
	for {
		c, err := s.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // out of descriptors: not for ever
			continue
		}
		if !s.take(ctx, c) {
			_ = c.Close()
		}
	}
}

// take begins to answer on a connection, if there are not too many.
func (s *Server) take(ctx context.Context, c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if len(s.conns) >= maxConns {
		refuse(c)
		return false
	}
	s.conns[c] = true
	s.wg.Add(1)
	go s.talk(ctx, c)
	return true
}

func refuse(c net.Conn) {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	write(c, Answer{Version: Version, Error: fmt.Sprintf("%d connections are open already: try again", maxConns)})
}

// talk answers the requests of one connection, one after the other.
func (s *Server) talk(ctx context.Context, c net.Conn) {
	defer s.wg.Done()
	defer s.gone(c)
	in := bufio.NewReaderSize(c, maxRequest)
	for {
		_ = c.SetReadDeadline(time.Now().Add(idle))
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			_ = c.SetWriteDeadline(time.Now().Add(idle))
			write(c, Answer{Version: Version, Error: fmt.Sprintf("a request has at most %d bytes", maxRequest)})
			return
		}
		if err != nil {
			return
		}
		a := s.h.answer(ctx, line)
		_ = c.SetWriteDeadline(time.Now().Add(idle))
		if !write(c, a) {
			return
		}
	}
}

func (s *Server) gone(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// write sends an answer; it reports whether it was taken.
func write(c net.Conn, a Answer) bool { return json.NewEncoder(c).Encode(a) == nil }
