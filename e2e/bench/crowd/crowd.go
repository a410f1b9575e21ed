// Package crowd puts very many flows through the gateway of this process, by its real
// code from the first SYN on: handshake, decoy on the netstack, rule, replay and join.
// In-memory doors stand for the kernel, and two answerers for all clients and servers.
package crowd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sleight/redirect"
	"sleight/redirect/replay"
	"sleight/rules"
	"sleight/stack"
	"sleight/stack/profile"
	"sleight/tun/tuntest"
)

var (
	claimed = netip.MustParsePrefix("203.0.113.0/24")
	dialled = netip.MustParseAddrPort("203.0.113.1:23")
	server  = netip.MustParseAddr("10.0.2.2")
	decoys  = netip.MustParsePrefix("198.18.0.0/15")
)

// trigger is what a client says to be switched, harmless what leaves it at the decoy.
const (
	trigger  = "switch me\n"
	harmless = "hello, hello\n"
)

// depth is how many packets a door's queue holds: more than ever are on their way.
const depth = 1 << 14

// Crowd is a gateway with many flows.
type Crowd struct {
	says   func(client int) string // its first words
	heard  []atomic.Uint32         // the server's sequence number at each client
	stands []atomic.Bool           // the client's words were acknowledged
	doors  [2]*tuntest.Door
	decoy  *stack.Decoy
	g      *redirect.Gateway
	seen   observer
	room   chan struct{} // a flow on its way has a place in it
	cancel context.CancelFunc
	wg     sync.WaitGroup

	fault atomic.Pointer[error]
}

// New starts a gateway for up to flows flows, which are switched, or stay with the decoy.
func New(flows int, switched bool) (*Crowd, error) {
	text := harmless
	if switched {
		text = trigger
	}
	return start(flows, func(int) string { return text })
}

func start(flows int, says func(int) string) (*Crowd, error) {
	c := &Crowd{says: says, heard: make([]atomic.Uint32, flows), stands: make([]atomic.Bool, flows), room: make(chan struct{}, 512)}
	c.seen.c = c
	for i := range c.doors {
		c.doors[i] = tuntest.NewDoor(fmt.Sprintf("door%d", i), 1, depth)
	}
	var err error
	if c.decoy, err = stack.New(stack.Config{GrowAfter: 64 << 10}); err != nil {
		return nil, err
	}
	service, err := stack.Compile(stack.Service{Kind: stack.Silent})
	if err != nil {
		return nil, err
	}
	set, errs := rules.Compile([]rules.Rule{{Name: "asks", When: `stream contains "switch"`, Action: rules.Switch, Backend: "real"}})
	if errs != nil {
		return nil, fmt.Errorf("the rule: %v", errs)
	}
	c.g = redirect.New(config(flows, set), []redirect.Door{c.doors[0], c.doors[1]}, host{c.decoy, service}, &c.seen, time.Now)
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.wg.Add(3)
	go c.run(ctx)
	go c.answer(c.doors[0], client{c})
	go c.answer(c.doors[1], realHost{})
	return c, nil
}

func config(flows int, set *rules.Set) redirect.Config {
	return redirect.Config{
		Policy: redirect.Policy{
			Refused: []netip.Prefix{netip.PrefixFrom(server, 32), decoys},
			Decoys: []redirect.DecoyConfig{{
				Name: "silent", Profile: profile.Linux, Compare: replay.Exact,
				Quiet: 50 * time.Millisecond, Timeout: time.Minute,
			}},
			Backends: []redirect.Backend{{Name: "real", V4: server, Mode: redirect.ToBackend, Door: 1}},
			Rules:    set,
		},
		Claimed: []netip.Prefix{claimed}, MTU: 1500, Started: time.Now().Add(-time.Hour),
		Limits: redirect.Limits{
			Flows: flows + 1, FlowsPerClient: flows + 1, PrefixV4: 32, PrefixV6: 64, HalfOpen: 1 << 16,
			Record: 64 << 10, DecoyRecord: 1 << 20, RecordTotal: 1 << 30, Held: 256 << 10,
		},
		Timeouts: redirect.Timeouts{
			Handshake: time.Minute, Answering: time.Hour, Established: 2 * time.Hour,
			Closing: time.Minute, Drain: time.Minute,
		},
	}
}

func (c *Crowd) run(ctx context.Context) {
	defer c.wg.Done()
	var readers []redirect.Reader
	for i, d := range c.doors {
		readers = append(readers, tuntest.Reader{Door: d, Index: i})
	}
	c.note(c.g.Run(ctx, readers, c.wake))
}

// wake ends all readers.
func (c *Crowd) wake() {
	for _, d := range c.doors {
		d.Close()
	}
	c.decoy.Close()
}

// note keeps the first thing that went wrong.
func (c *Crowd) note(err error) {
	if err != nil {
		c.fault.CompareAndSwap(nil, &err)
	}
}

// Close ends gateway and answerers.
func (c *Crowd) Close() error {
	c.cancel()
	c.wg.Wait()
	if err := c.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// Grow makes flows first to first+n−1 and waits until each is where it is meant to be.
func (c *Crowd) Grow(first, n int) error {
	for i := first; i < first+n; i++ {
		select {
		case c.room <- struct{}{}:
		case <-time.After(patience):
			return c.stuck()
		}
		c.note(c.doors[0].InjectIP(0, syn(Client(i))))
	}
	for end := time.Now().Add(patience); c.seen.arrived.Load() < int64(first+n); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return c.stuck()
		}
	}
	return nil
}

// patience bounds the wait for one flow.
const patience = 20 * time.Second

func (c *Crowd) stuck() error {
	err := fmt.Errorf("%d flows stand and no more come", c.seen.arrived.Load())
	c.g.Each(func(reason string, n uint64) { err = fmt.Errorf("%w; %s: %d", err, reason, n) })
	if f := c.fault.Load(); f != nil {
		err = errors.Join(err, *f)
	}
	return err
}

// Flows is how many flows the gateway has.
func (c *Crowd) Flows() int { return c.g.Flows() }

// Client is the address of the i-th client.
func Client(i int) netip.AddrPort {
	a := netip.AddrFrom4([4]byte{20, byte(i >> 16), byte(i >> 8), byte(i)})
	return netip.AddrPortFrom(a, 40000)
}

// number is which client has an address.
func number(a netip.Addr) int {
	b := a.As4()
	return int(b[1])<<16 | int(b[2])<<8 | int(b[3])
}

// host is the netstack as the gateway's decoy.
type host struct {
	*stack.Decoy
	service *stack.Compiled
}

// Expect announces a flow.
func (h host) Expect(c redirect.Conn) redirect.Gate {
	return h.Decoy.Expect(stack.Conn{
		Leg: c.Leg, Client: c.Client, Dialled: c.Dialled, Service: h.service, Record: c.Record, Budget: c.Budget,
	})
}
