package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"go.uber.org/zap"

	"sleight/internal/config"
	"sleight/internal/evidence"
	"sleight/internal/host"
	"sleight/internal/memory"
	"sleight/redirect"
	"sleight/rules"
	"sleight/stack"
	"sleight/tun"
	"sleight/tun/kernel"
)

// summaryEvery is how often summaries are written.
const summaryEvery = time.Minute

func runCommand() *cli.Command {
	return &cli.Command{
		Name:        "run",
		Usage:       "run the gateway in the foreground; SIGTERM stops it",
		UsageText:   "sleight run [-c FILE]",
		Description: runHelp,
		Flags:       []cli.Flag{configFlag()},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			cfg, set, err := load(c.String("config"))
			if err != nil {
				return cli.Exit(err, 1)
			}
			ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, os.Interrupt)
			defer stop()
			if err := runGateway(ctx, cfg, set); err != nil {
				return cli.Exit(err, 1)
			}
			return nil
		},
	}
}

// runGateway is the gateway from its doors to its last event.
func runGateway(ctx context.Context, cfg *config.Config, set *rules.Set) (err error) {
	log, err := newLog(cfg.Log)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	hangups, ignore := catchHangups()
	defer ignore()
	sink, err := openSink(cfg.Events)
	if err != nil {
		return err
	}
	defer sink.Close()
	out := evidence.NewWriter(sink, sensor(cfg))
	defer out.Close()

	doors, err := openDoors(cfg)
	if err != nil {
		return err
	}
	defer closeAll(doors)
	machine, err := host.Setup(machinePlan(cfg))
	if err != nil {
		return err
	}
	for _, n := range machine.Notes() {
		log.Info(n)
	}
	defer func() {
		remains, cerr := machine.Close()
		log.Info("taken back what was set up", zap.Strings("remains", remains), zap.String("hint", "sleight down takes that back too"))
		err = errors.Join(err, cerr)
	}()
	return serve(ctx, cfg, set, doors, machine, hangups, out, log)
}

// serve runs the gateway between doors that are open and routes that are set.
func serve(ctx context.Context, cfg *config.Config, set *rules.Set, doors []*tun.Door, machine *host.Host, hangups <-chan os.Signal, out *evidence.Writer, log *zap.Logger) error {
	decoy, err := newDecoy(cfg, doors[0].Super())
	if err != nil {
		return err
	}
	names := make([]string, len(doors))
	ports := make([]redirect.Door, len(doors))
	for i, d := range doors {
		names[i], ports[i] = d.Name(), d
	}
	mtu := func(a netip.Addr) int {
		if !a.IsValid() {
			return 0
		}
		n, err := machine.BackendMTU(a)
		if err != nil {
			log.Warn("no route tells the MTU to a backend", zap.Stringer("address", a), zap.Error(err))
		}
		return n
	}
	m := machinery{doors: names, mtu: mtu, mem: openMemory(cfg, log), counts: &counters{}, silent: newTally()}
	gc, err := m.gatewayConfig(cfg, set, time.Now())
	if err != nil {
		return err
	}
	carrier := attachKernel(cfg, doors, gc.Started, log)
	if carrier != nil {
		defer carrier.Close()
		gc.Carrier = carrier
	}
	g := redirect.New(gc, ports, decoy, reporter{out}, time.Now)
	if cfg.Debug.PPROF {
		s, err := serveDebug(cfg.StateDir, func() counts { return countsOf(g, decoy) })
		if err != nil {
			return err
		}
		defer s.Close()
	}
	r := &reloader{machinery: m, g: g, machine: machine, out: out, log: log, cfg: cfg, kernel: carrier}
	operators, err := serveControl(cfg, handlers(r), log)
	if err != nil {
		return err
	}
	defer operators.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go summarise(ctx, g, decoy.Decoy, &m, out)
	kept := make(chan struct{})
	keep, written := context.WithCancel(context.WithoutCancel(ctx))
	defer written()
	go keepMemory(keep, kept, m.mem, memoryFile(cfg), log)
	announce(out, "started", strings.Join(names, " "))
	heeded := make(chan struct{})
	go r.onHangups(ctx, hangups, heeded)
	log.Info("started", zap.Strings("doors", names), zap.String("version", version()))
	err = g.Run(ctx, readers(doors, cfg.TUN.BusyPoll), func() { closeAll(doors); decoy.Close() })
	cancel()
	<-heeded
	operators.Close() // nobody reloads or kills from here on
	g.Shutdown(time.Now())
	written() // what the last flows have said is in the memory now
	<-kept
	if h := g.HandDowns(); carrier != nil {
		log.Info("what the kernel has carried", zap.Uint64("hand_downs", h.Ended), zap.Uint64("bytes", h.Bytes), zap.Uint64("full", h.Full))
	}
	summary(g, decoy.Stats(), &m, out)
	announce(out, "stopped", "")
	return err
}

func announce(out *evidence.Writer, state, detail string) {
	e := evidence.Plain(time.Now(), "gateway")
	e.Gateway = &evidence.Gateway{State: state, Detail: detail}
	out.Emit(e)
}

// summarise reports once a minute what was dropped, and which rules kept silent.
func summarise(ctx context.Context, g *redirect.Gateway, d *stack.Decoy, m *machinery, out *evidence.Writer) {
	t := time.NewTicker(summaryEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			summary(g, d.Stats(), m, out)
		}
	}
}

func summary(g *redirect.Gateway, d stack.Stats, m *machinery, out *evidence.Writer) {
	reportDrops(g, d, m.mem, out)
	if silent := m.silent.snapshot(); len(silent) > 0 {
		e := evidence.Plain(time.Now(), "suppressed_summary")
		e.SuppressedSummary = silent
		out.Emit(e)
	}
}

func reportDrops(g *redirect.Gateway, d stack.Stats, mem *memory.Memory, out *evidence.Writer) {
	e := evidence.Plain(time.Now(), "drop_summary")
	e.DropSummary = map[string]uint64{}
	g.Each(func(reason string, n uint64) { e.DropSummary[reason] = n })
	mem.Each(func(reason string, n uint64) { e.DropSummary[reason] = n })
	for reason, n := range map[string]uint64{
		"decoy_ring_full": d.RingDrops, "decoy_window_full": d.Ungrown, "decoy_unknown": d.Unknown,
		"events_lost": out.Lost(),
	} {
		if n > 0 {
			e.DropSummary[reason] = n
		}
	}
	if len(e.DropSummary) > 0 {
		out.Emit(e)
	}
}

// redirectDecoy makes the netstack a redirect.Decoy.
type redirectDecoy struct{ *stack.Decoy }

// Expect announces a flow to the netstack.
func (d redirectDecoy) Expect(c redirect.Conn) redirect.Gate {
	service, _ := c.Service.(*stack.Compiled)
	return d.Decoy.Expect(stack.Conn{
		Leg: c.Leg, Client: c.Client, Dialled: c.Dialled, Service: service, Record: c.Record, Budget: c.Budget,
	})
}

func newDecoy(cfg *config.Config, super bool) (d redirectDecoy, err error) {
	d.Decoy, err = stack.New(stack.Config{Super: super, GrowAfter: uint64(cfg.Limits.Record)})
	return d, err
}

// openDoors opens every device, or none.
func openDoors(cfg *config.Config) (doors []*tun.Door, err error) {
	for _, name := range machinePlan(cfg).Doors() {
		d, err := tun.Open(tun.Config{Name: name, MTU: cfg.TUN.MTU, Queues: cfg.TUN.Queues, Offload: cfg.TUN.Offload})
		if err != nil {
			closeAll(doors)
			return nil, err
		}
		doors = append(doors, d)
	}
	return doors, nil
}

// readers makes one reader for each queue that a door has.
func readers(doors []*tun.Door, busy time.Duration) []redirect.Reader {
	queues := 0
	for _, d := range doors {
		queues = max(queues, d.Queues())
	}
	out := make([]redirect.Reader, queues)
	for q := range out {
		out[q] = tun.NewReader(q, busy, doors...)
	}
	return out
}

// attachKernel has the kernel carry plain spliced flows, if that is wanted and this
// kernel and user can. nil: every packet comes to the gateway.
func attachKernel(cfg *config.Config, doors []*tun.Door, started time.Time, log *zap.Logger) *kernel.Carrier {
	if cfg.TUN.Kernel != "auto" {
		return nil
	}
	indices := make([]int, len(doors))
	for i, d := range doors {
		indices[i] = d.Index()
	}
	c, err := kernel.Attach(indices, started)
	if err != nil {
		log.Info("tun.kernel: the gateway carries all bulk itself", zap.Error(err))
		return nil
	}
	return c
}

func closeAll(doors []*tun.Door) {
	for _, d := range doors {
		_ = d.Close()
	}
}

func sensor(cfg *config.Config) string {
	if cfg.Sensor != "" {
		return cfg.Sensor
	}
	name, err := os.Hostname()
	if err != nil {
		return "sleight"
	}
	return name
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// openSink opens the file that events are appended to.
func openSink(file string) (io.WriteCloser, error) {
	if file == "-" {
		return nopCloser{os.Stdout}, nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open events.file: %w", err)
	}
	return f, nil
}

// newLog logs to standard error.
func newLog(l config.Log) (*zap.Logger, error) {
	zc := zap.NewProductionConfig()
	if l.Format == "text" {
		zc = zap.NewDevelopmentConfig()
		zc.DisableCaller, zc.DisableStacktrace, zc.Development = true, true, false
	}
	level, err := zap.ParseAtomicLevel(l.Level)
	if err != nil {
		return nil, err
	}
	zc.Level, zc.OutputPaths = level, []string{"stderr"}
	return zc.Build()
}
