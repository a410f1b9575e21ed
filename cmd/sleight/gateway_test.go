package main

import (
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/zap"

	"sleight/internal/control"
	"sleight/internal/evidence"
	"sleight/internal/host"
	"sleight/redirect"
	"sleight/stack/wire"
	"sleight/tun/tuntest"
)

// gateway runs one, with devices in memory, until the script ends: gateway FILE
// CLIENT…. It is asked at control.sock. Each CLIENT, an address and port, has
// completed its handshake.
func gateway(ts *testscript.TestScript, _ bool, args []string) {
	l, err := loadRules(ts.MkAbs(args[0]))
	ts.Check(err)
	clients, backends := tuntest.NewDoor("sl0", 1, 64), tuntest.NewDoor("sl1", 1, 64)
	decoy, err := newDecoy(l.cfg, true)
	ts.Check(err)
	m := machinery{
		doors: []string{"sleight0", "sleight1"}, mtu: func(netip.Addr) int { return 1500 },
		mem: newMemory(l.cfg), counts: &counters{}, silent: newTally(),
	}
	gc, err := m.gatewayConfig(l.cfg, l.set, time.Now())
	ts.Check(err)
	out := evidence.NewWriter(io.Discard, "test")
	g := redirect.New(gc, []redirect.Door{clients, backends}, decoy, reporter{out}, time.Now)
	r := &reloader{machinery: m, g: g, machine: &host.Host{}, out: out, log: zap.NewNop(), cfg: l.cfg}
	at, err := control.Listen(ts.MkAbs("control.sock"))
	ts.Check(err)
	s := control.Serve(at, handlers(r))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Add(1)
	go running(ctx, &wg, g, []redirect.Reader{tuntest.Reader{Door: clients}, tuntest.Reader{Door: backends, Index: 1}}, func() { _, _ = clients.Close(), backends.Close(); decoy.Close() })
	ts.Defer(func() {
		s.Close()
		cancel()
		wg.Wait()
		g.Shutdown(time.Now())
		out.Close()
	})
	for _, c := range args[1:] {
		shake(ts, clients, netip.MustParseAddrPort(c))
	}
}

func running(ctx context.Context, wg *sync.WaitGroup, g *redirect.Gateway, readers []redirect.Reader, wake func()) {
	defer wg.Done()
	_ = g.Run(ctx, readers, wake)
}

// shake completes a client's handshake.
func shake(ts *testscript.TestScript, d *tuntest.Door, client netip.AddrPort) {
	seg := wire.Segment{Src: client, Dst: netip.MustParseAddrPort("203.0.113.9:80"), TTL: 64, Seq: 1000, Flags: wire.SYN, Wnd: 65535}
	send := func() { ts.Check(d.InjectIP(0, wire.Build(make([]byte, 128), &seg))) }
	send()
	for {
		p, err := d.Take()
		ts.Check(err)
		var got wire.Segment
		if wire.Parse(&got, p.IP(), wire.Offload{NeedsCsum: true}) != wire.OK || got.Dst != client {
			continue
		}
		seg.Seq, seg.Ack, seg.Flags = 1001, got.Seq+1, wire.ACK
		send()
		return
	}
}

// flow sets FLOW to the number of the flow whose client has an address: flow ADDRESS.
func flow(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Exec("sleight", "flows", "--socket", "control.sock", "--json"))
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		var f liveFlow
		ts.Check(json.Unmarshal([]byte(line), &f))
		if f.SrcIP == args[0] {
			ts.Setenv("FLOW", strconv.FormatUint(f.ID, 10))
			return
		}
	}
	ts.Fatalf("no flow of %s", args[0])
}
