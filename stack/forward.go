package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// forwardBuffer is the room for what is under way in each direction, in bytes.
const forwardBuffer = 32 << 10

// forward passes a connection on to an ordinary socket.
type forward struct {
	address string
	timeout time.Duration
	proxy   ProxyProtocol
}

func compileForward(s Service) (func(*Peer), error) {
	f := &forward{s.Address, s.ConnectTimeout, s.ProxyProtocol}
	if f.timeout <= 0 {
		f.timeout = 5 * time.Second
	}
	var errs []error
	if _, _, err := net.SplitHostPort(s.Address); err != nil {
		errs = append(errs, fmt.Errorf("address: %w: write host:port", err))
	}
	if s.ProxyProtocol > ProxyV2 {
		errs = append(errs, errors.New("proxy_protocol: off, v1 or v2"))
	}
	return f.play, errors.Join(errs...)
}

// play carries both directions until both have ended or the flow has.
func (f *forward) play(p *Peer) {
	c, err := f.dial(p)
	if err != nil {
		p.Abort()
		return
	}
	defer c.Close()
	if h := proxyHeader(f.proxy, p.Client(), p.Dialled()); h != nil {
		if _, err := c.Write(h); err != nil {
			p.Abort()
			return
		}
	}
	stop := context.AfterFunc(over{p.Over()}, func() { c.Close() })
	defer stop()
	said := make(chan struct{})
	go f.upstream(p, c, said)
	f.downstream(p, c)
	<-said
}

func (f *forward) dial(p *Peer) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(over{p.Over()}, f.timeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", f.address)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// upstream carries what the client says.
func (f *forward) upstream(p *Peer, c *net.TCPConn, said chan<- struct{}) {
	defer close(said)
	buf := make([]byte, forwardBuffer)
	for {
		n, err := p.Read(buf)
		if err != nil {
			break
		}
		if _, err := c.Write(buf[:n]); err != nil {
			p.skip() // the target no longer listens, but may still speak
			return
		}
	}
	c.CloseWrite()
}

// downstream carries what the target says.
func (f *forward) downstream(p *Peer, c *net.TCPConn) {
	buf := make([]byte, forwardBuffer)
	for {
		n, err := c.Read(buf)
		if n > 0 && f.say(p, buf[:n]) != nil {
			c.SetLinger(0)
			c.Close()
			return
		}
		if err != nil {
			f.end(p, err)
			return
		}
	}
}

func (f *forward) say(p *Peer, b []byte) error {
	p.Begin()
	defer p.End()
	return p.Write(b)
}

// end passes on how the target has ended: its FIN or its reset.
func (f *forward) end(p *Peer, err error) {
	if isEOF(err) {
		p.Close()
		return
	}
	p.Abort()
}
