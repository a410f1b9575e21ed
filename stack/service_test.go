package stack

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gvisor.dev/gvisor/pkg/tcpip"
)

func TestServicesInBothFamilies(t *testing.T) {
	pop := Service{Kind: Script, Turns: []Turn{
		{Send: []byte("+OK\r\n")},
		{Expect: `USER (?P<who>\w+)\r\n`, Send: []byte("+OK ${who} $${who}\r\n")},
		{Expect: `QUIT`, Send: []byte("bye\xff"), Delay: time.Millisecond},
	}, Otherwise: []byte("-ERR\r\n"), Close: true}
	tests := []struct {
		name    string
		service Service
		talk    func(t *testing.T, c net.Conn)
	}{
		{"silent says nothing", Service{Kind: Silent}, func(t *testing.T, c net.Conn) {
			say(t, c, "hello")
			wantSilence(t, c)
		}},
		{"banner speaks first and stays", Service{Kind: Banner, Banner: []byte("SSH-2.0-x\r\n")}, func(t *testing.T, c net.Conn) {
			want(t, c, "SSH-2.0-x\r\n")
			say(t, c, "hello")
			wantSilence(t, c)
		}},
		{"banner closes", Service{Kind: Banner, Banner: []byte("bye"), Close: true}, func(t *testing.T, c net.Conn) {
			want(t, c, "bye")
			wantEOF(t, c)
		}},
		{"script takes its turns", pop, func(t *testing.T, c net.Conn) {
			want(t, c, "+OK\r\n")
			say(t, c, "HELP\r\n")
			want(t, c, "-ERR\r\n")
			say(t, c, "US")
			say(t, c, "ER bob\r\nQUIT")
			want(t, c, "+OK bob ${who}\r\nbye\xff")
			wantEOF(t, c)
		}},
		{"script matches bytes", Service{Kind: Script, Turns: []Turn{
			{Expect: `\xff\xfd(?P<o>.)`, Send: []byte("\xff\xfc${o}")},
		}}, func(t *testing.T, c net.Conn) {
			say(t, c, "x\xff\xfd\xe9")
			want(t, c, "\xff\xfc\xe9")
		}},
		{"script's own text is UTF-8", Service{Kind: Script, Turns: []Turn{
			{Expect: `é+`, Send: []byte("ok")},
		}}, func(t *testing.T, c net.Conn) {
			say(t, c, "é")
			want(t, c, "ok")
		}},
	}
	for i, tt := range tests {
		for family := range uint16(2) {
			t.Run(tt.name+[]string{" v4", " v6"}[family], func(t *testing.T) {
				b := newBench(t)
				g, c := b.dial(tt.service, 4000+uint16(2*i)+family)
				tt.talk(t, c)
				c.Close()
				g.Forget()
				b.wantBase()
			})
		}
	}
}

func TestScriptInputIsBounded(t *testing.T) {
	in := &scriptInputBuffer{}
	for range 100 {
		in.add(bytes.Repeat([]byte{0xff}, 1000))
	}
	if len(in.raw) != scriptInput || len(in.text) != 2*scriptInput {
		t.Errorf("kept %d bytes and %d of text, want %d", len(in.raw), len(in.text), scriptInput)
	}
}

func TestCompileNamesEveryMistake(t *testing.T) {
	tests := []struct {
		name string
		s    Service
		want []string
	}{
		{"script", Service{Kind: Script, Turns: []Turn{{Expect: "("}, {Send: []byte("${x}")}, {Send: []byte("${x")}}},
			[]string{"turns[0]: expect:", "turns[1]: send: ${x}", "turns[2]: send: ${ without }"}},
		{"http", Service{Kind: HTTP, Pages: []Page{{Path: "x", Status: 99}, {Path: "/"}, {Path: "/", Headers: [][2]string{{"content-length", "1"}}}}},
			[]string{"must begin with /", "status 99", "pages[2]: path / comes twice", "the service sets it"}},
		{"forward", Service{Kind: Forward, Address: "nowhere"}, []string{"host:port"}},
		{"closed", Service{Kind: Closed}, []string{"gateway"}},
		{"filtered", Service{Kind: Filtered}, []string{"gateway"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Compile(tt.s)
			for _, w := range tt.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("got %v, want it to say %q", err, w)
				}
			}
		})
	}
}

// target is a listener on loopback that hands out one connection.
func target(t *testing.T) (string, <-chan *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ch := make(chan *net.TCPConn, 1)
	go acceptOne(l, ch)
	t.Cleanup(func() { l.Close() })
	return l.Addr().String(), ch
}

func acceptOne(l net.Listener, ch chan<- *net.TCPConn) {
	if c, err := l.Accept(); err == nil {
		c.SetDeadline(time.Now().Add(patience))
		ch <- c.(*net.TCPConn)
	}
}

func TestForwardCarriesBothHalvesToTheirEnds(t *testing.T) {
	for _, first := range []string{"client", "target"} {
		t.Run(first+" ends first", func(t *testing.T) {
			b := newBench(t)
			addr, accepted := target(t)
			g, c := b.dial(Service{Kind: Forward, Address: addr}, 4100)
			say(t, c, "ping")
			s := <-accepted
			defer s.Close()
			want(t, s, "ping")
			say(t, s, "pong")
			want(t, c, "pong")
			if first == "client" {
				c.CloseWrite()
				wantEOF(t, s)
				say(t, s, "late")
				want(t, c, "late")
				s.CloseWrite()
				wantEOF(t, c)
			} else {
				s.CloseWrite()
				wantEOF(t, c)
				say(t, c, "late")
				want(t, s, "late")
				c.CloseWrite()
				wantEOF(t, s)
			}
			g.Forget()
			b.wantBase()
		})
	}
}

func TestForwardResetsWhenItCannotConnect(t *testing.T) {
	b := newBench(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	g, src, dst := b.expect(Service{Kind: Forward, Address: l.Addr().String()}, 4102, nil)
	// The reset may come before the dial has looked at its handshake.
	c, err := b.tryConnect(src, dst)
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	if reset := (&tcpip.ErrConnectionReset{}).String(); err == nil || !strings.Contains(err.Error(), reset) {
		t.Errorf("got %v, want %q", err, reset)
	}
	g.Forget()
	b.wantBase()
}

func TestProxyProtocolTellsOfTheTrueAddresses(t *testing.T) {
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xcb\x00\x71\x09\xc7\x38\x1f\x90"
	tests := []struct {
		v    ProxyProtocol
		want string
	}{
		{ProxyOff, ""},
		{ProxyV1, "PROXY TCP4 192.0.2.7 203.0.113.9 51000 8080\r\n"},
		{ProxyV2, v2},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, string(proxyHeader(tt.v, trueClient, trueDialled))); diff != "" {
			t.Errorf("version %d (-want +got):\n%s", tt.v, diff)
		}
	}
	if got := string(proxyHeader(ProxyV1, client6, decoy6)); got != "PROXY TCP6 2001:2::1 2001:2::2 4000 80\r\n" {
		t.Errorf("IPv6: %q", got)
	}
	b := newBench(t)
	addr, accepted := target(t)
	g, c := b.dial(Service{Kind: Forward, Address: addr, ProxyProtocol: ProxyV1}, 4104)
	say(t, c, "x")
	s := <-accepted
	defer s.Close()
	want(t, s, "PROXY TCP4 192.0.2.7 203.0.113.9 51000 8080\r\nx")
	g.Forget()
	b.wantBase()
}
