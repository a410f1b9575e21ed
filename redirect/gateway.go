package redirect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sleight/redirect/flow"
	"sleight/redirect/front"
)

// tick is how often a shard's timers are looked at.
const tick = 5 * time.Millisecond

// Gateway is one running gateway. Make one with New; drive it with Run, or, in
// virtual time, with the From methods and Tick.
type Gateway struct {
	cfg    Config
	doors  []Door
	decoy  Decoy
	seen   Observer
	now    func() time.Time
	flows  *flow.Table[*entry]
	timers *flow.Timers[*entry]
	nat    *natPool
	record *Budget
	errors *errorLimit
	ids    atomic.Uint64

	frontMu sync.Mutex
	front   *front.Table

	policy    atomic.Pointer[policy]
	reloading sync.Mutex               // guards onBackend
	onBackend map[string]*atomic.Int64 // live flows of each backend, by its name
	live      atomic.Int64
	switching atomic.Int64  // switches under way
	legs      atomic.Uint64 // numbers the decoy's legs
	probes    atomic.Uint32 // IP IDs of what answers pings and datagrams

	handed  handed
	workers sync.Pool
	Counters
}

// New makes a gateway. doors[0] faces the clients; now tells the time.
func New(cfg Config, doors []Door, decoy Decoy, seen Observer, now func() time.Time) *Gateway {
	g := &Gateway{
		cfg: cfg, doors: doors, decoy: decoy, seen: seen, now: now,
		flows: flow.New[*entry](flow.Config{
			Max: cfg.Limits.Flows, PerClient: cfg.Limits.FlowsPerClient,
			PrefixV4: cfg.Limits.PrefixV4, PrefixV6: cfg.Limits.PrefixV6,
		}),
		timers: flow.NewTimers[*entry](),
		nat:    newNATPool(cfg.Pool),
		record: NewBudget(cfg.Limits.RecordTotal),
		errors: newErrorLimit(cfg.Started),
		front: front.New(front.Config{
			Max: cfg.Limits.HalfOpen, Timeout: cfg.Timeouts.Handshake, Secret: cfg.Secret,
			MTU: cfg.MTU, Started: cfg.Started,
		}),
		onBackend: map[string]*atomic.Int64{},
	}
	g.policy.Store(g.newPolicy(cfg.Policy))
	g.cfg.Policy = Policy{} // a reload must not leave the first one behind
	g.workers.New = func() any { return newWorker(g, 0) }
	return g
}

// Flows is how many flows live now.
func (g *Gateway) Flows() int { return int(g.live.Load()) }

// Run reads the doors until ctx ends or a door fails, and returns once every
// goroutine of its own has. Reader q reads the doors' queues q. wake is called once,
// when the first of the two happens: it has to close the doors and the decoy, which
// ends their readers.
func (g *Gateway) Run(ctx context.Context, readers []Reader, wake func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	run := func(loop func(context.Context) error) {
		wg.Add(1)
		go g.watch(&wg, cancel, ctx, loop)
	}
	for q, r := range readers {
		run(queueReader{g, q, r}.loop)
	}
	run(g.drain)
	run(g.keepTime)
	<-ctx.Done()
	wake()
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// watch runs one loop and ends the gateway if it fails.
func (g *Gateway) watch(wg *sync.WaitGroup, cancel context.CancelCauseFunc, ctx context.Context, loop func(context.Context) error) {
	defer wg.Done()
	err := loop(ctx)
	if ctx.Err() != nil || err == nil {
		return
	}
	cancel(err)
}

// queueReader carries the packets of one queue of every door.
type queueReader struct {
	g     *Gateway
	queue int
	from  Reader
}

func (r queueReader) loop(ctx context.Context) error {
	w := newWorker(r.g, r.queue)
	for {
		door, n, err := r.from.Read(w.buf[headroom-VnetHeader:])
		if err != nil {
			if errors.Is(err, os.ErrClosed) {
				return nil
			}
			return err
		}
		w.fromDoor(r.g.now(), door, n)
	}
}

// drain carries what the decoy emits.
func (g *Gateway) drain(ctx context.Context) error {
	w := newWorker(g, 0)
	for {
		n, off, err := g.decoy.Next(w.buf[headroom:])
		if err != nil {
			if errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("decoy: %w", err)
		}
		w.fromDecoy(g.now(), n, off)
	}
}

// keepTime drives every machine by its deadline.
func (g *Gateway) keepTime(ctx context.Context) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	w := newWorker(g, 0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			w.tick(g.now())
		}
	}
}

// Tick lets time pass to now.
func (g *Gateway) Tick(now time.Time) {
	w := g.workers.Get().(*worker)
	w.tick(now)
	g.workers.Put(w)
}

// Shutdown ends every flow in the books, without a packet to anyone.
func (g *Gateway) Shutdown(now time.Time) {
	w := g.workers.Get().(*worker)
	defer g.workers.Put(w)
	g.flows.Each(func(e *entry) {
		w.with(now, e, func() { w.end(now, e, "shutdown") })
	})
}
