package stack

import (
	"errors"
	"fmt"
	"time"
)

// Kind is what a decoy does with a connection.
type Kind uint8

// Silent accepts and reads; Banner speaks first; Script follows turns; HTTP is a
// small web server; Forward passes on to an ordinary socket. Closed refuses and
// Filtered says nothing: the gateway does both itself, before there is a flow.
const (
	Silent Kind = iota
	Banner
	Script
	HTTP
	Forward
	Closed
	Filtered
)

var kindNames = [...]string{"silent", "banner", "script", "http", "forward", "closed", "filtered"}

// String is the kind's name in a configuration.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Turn is one step of a script. Expect is a regular expression (RE2) on bytes,
// in which \xff is the byte; a turn without one speaks at once. In Send ${name}
// is a named group of Expect, and $${ a plain ${.
type Turn struct {
	Expect string
	Send   []byte
	Delay  time.Duration // before Send
}

// Page is one page of an HTTP decoy.
type Page struct {
	Path    string
	Status  int // 0: 200
	Headers [][2]string
	Body    []byte
}

// ProxyProtocol is the header that tells a forward target of the client.
type ProxyProtocol uint8

// ProxyOff sends none, ProxyV1 the line of text, ProxyV2 the binary header.
const (
	ProxyOff ProxyProtocol = iota
	ProxyV1
	ProxyV2
)

// Service is a service as it is configured. Only the fields of its kind count.
type Service struct {
	Kind Kind

	Banner []byte // Banner: what is said first
	Close  bool   // Banner, Script: end the stream after the last word

	Turns     []Turn // Script
	Otherwise []byte // Script: said to what the turn does not expect; nil: nothing

	Server string // HTTP: the Server header, and whose style the error pages have
	Pages  []Page // HTTP

	Address        string        // Forward: host:port
	ConnectTimeout time.Duration // Forward; 0: 5 s
	ProxyProtocol  ProxyProtocol // Forward
	// A forward that cannot connect resets: on_fail has no other value yet.
}

// Compiled is a service that is ready to be played, by many flows at once.
type Compiled struct {
	Kind    Kind
	play    func(*Peer) // nil: it has nothing to say
	listens bool        // after play, until the client ends its stream
	untold  bool        // it cannot tell where its answers end
}

var silentService = &Compiled{Kind: Silent, listens: true}

// Compile checks a service and prepares it. The error joins every mistake.
func Compile(s Service) (*Compiled, error) {
	c := &Compiled{Kind: s.Kind}
	var err error
	switch s.Kind {
	case Silent:
		return silentService, nil
	case Banner:
		c.play, c.listens = (&banner{s.Banner, s.Close}).play, true
	case Script:
		c.play, err = compileScript(s)
	case HTTP:
		c.play, err = compileHTTP(s)
	case Forward:
		c.untold = true
		c.play, err = compileForward(s)
	case Closed, Filtered:
		err = fmt.Errorf("%s is the gateway's: there is no connection to serve", s.Kind)
	default:
		err = errors.New("no such kind of service")
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}
