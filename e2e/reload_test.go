package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sleight/e2e/bed"
	"sleight/internal/evidence"
)

// reloads gives the gateway a configuration and a SIGHUP, and returns what it says
// of it.
func (g *gateway) reloads(config string) evidence.Gateway {
	g.Helper()
	before := len(g.All("gateway"))
	g.configure(config)
	if err := g.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		g.Fatal(err)
	}
	g.until("the reload is reported", func() bool { return len(g.All("gateway")) > before })
	return *g.All("gateway")[before].Gateway
}

// "a bad file keeps the old set and says why; live flows keep the set under which
// they began"
func TestSIGHUPReloads(t *testing.T) {
	b := newBed(t, bed.Config{})
	serveWeb(t, b)
	config := httpConfig("client")
	g := start(t, b, config)
	page := func(c net.Conn, r *bufio.Reader, want string) {
		t.Helper()
		if _, body := ask(t, c, r, "GET", "/", "", nil); string(body) != want {
			t.Errorf("got %q, want %q", body, want)
		}
	}
	spliced, fromReal := talking(t, b, "203.0.113.7:80")
	answering, fromDecoy := dialed(t, b, "203.0.113.7:80")
	page(answering, fromDecoy, "the decoy's page\n")

	if e := g.reloads(config); e.State != "reloaded" || e.Detail != "nothing" {
		t.Errorf("the same file: %+v", e)
	}
	newer := strings.Replace(config, "the decoy's page", "the new decoy's page", 1) +
		"  - {name: quit, when: 'stream contains \"DELETE /\"', action: reset}\n"
	if e := g.reloads(newer); e.State != "reloaded" || e.Detail != "decoys changed: web; rules new: quit" {
		t.Errorf("another page and a rule: %+v", e)
	}
	page(answering, fromDecoy, "the decoy's page\n")
	if _, body := ask(t, answering, fromDecoy, "DELETE", "/", "", nil); len(body) == 0 {
		t.Error("the new rule has judged an old connection")
	}
	page(answering, fromDecoy, "the decoy's page\n")
	wantUpload(t, spliced, fromReal, bulk[:million])
	later, fromLater := dialed(t, b, "203.0.113.7:80")
	page(later, fromLater, "the new decoy's page\n")

	for what, c := range map[string]struct{ config, want string }{
		"an unknown word":     {newer + "  - {name: bad, when: 'strem contains \"x\"', action: drop}\n", `sleight\.yaml:15:\d+: rule bad: unknown name strem`},
		"what needs a start":  {newer + "limits: {flows: 10}\n", `sleight\.yaml:15:17: limits\.flows is not what the gateway runs with: a change of it needs a restart`},
		"a door of its own":   {strings.Replace(newer, "mode: client", "mode: keep", 1), `backend real: it needs a device of its own, sl2, and that needs a restart`},
		"no such backend":     {strings.Replace(newer, "backend: real", "backend: unreal", 1), `sleight\.yaml:13:\d+: .*unreal`},
		"the clients' device": {strings.Replace(newer, "10.0.2.2", "198.51.100.9", 1), `backends: backend real: .* reached through backend0, not through clients`},
	} {
		e := g.reloads(c.config)
		if e.State != "reload_failed" || !regexp.MustCompile(c.want).MatchString(e.Detail) {
			t.Errorf("%s: %+v\nwant %s", what, e, c.want)
		}
		if log := g.logged(); !regexp.MustCompile(c.want).MatchString(log) || !strings.Contains(log, "goes on with the configuration that it has") {
			t.Errorf("%s is not in the log:\n%s", what, log)
		}
		after, fromAfter := dialed(t, b, "203.0.113.7:80")
		page(after, fromAfter, "the new decoy's page\n")
	}
	wantUpload(t, spliced, fromReal, bulk[:million])
}

// The commands find the gateway by its file, whatever mistakes that has by now.
func TestCommandsToARunningGateway(t *testing.T) {
	b := newBed(t, bed.Config{})
	serveWeb(t, b)
	config := httpConfig("client")
	g := start(t, b, config)
	spliced, fromReal := talking(t, b, "203.0.113.7:80")
	asks := func(want int, args ...string) string {
		t.Helper()
		args = append(args[:1:1], append([]string{"-c", g.file("sleight.yaml")}, args[1:]...)...)
		out, code := sleight(t, b.Gateway, args...)
		if code != want {
			t.Errorf("%v: code %d, %s", args, code, out)
		}
		return out
	}
	if info, err := os.Stat(g.file("state/control.sock")); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	g.configure(config + "  - {name: bad, when: 'strem', action: drop}\n")
	if out := asks(1, "reload"); !strings.Contains(out, "sleight.yaml:14:24: rule bad: unknown name strem") {
		t.Errorf("a reload with a mistake: %s", out)
	}
	g.wait("gateway", func(e *evidence.Event) bool { return e.Gateway.State == "reload_failed" })
	if out := asks(0, "status"); !strings.Contains(out, "0 reloads, 1 that failed") {
		t.Errorf("status: %s", out)
	}
	out := asks(0, "flows", "--json")
	id := regexp.MustCompile(`"flow_id":(\d+),.*"phase":"spliced","decided":true,"backend":"real","backend_ip":"10.0.2.2","backend_port":80`).FindStringSubmatch(out)
	if id == nil {
		t.Fatalf("flows: %s", out)
	}
	wantUpload(t, spliced, fromReal, bulk[:million])
	asks(0, "kill", id[1])
	if _, err := fromReal.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the killed connection: %v", err)
	}
	e := g.wait("flow_end", func(e *evidence.Event) bool { return e.FlowEnd.Reason == "killed" })
	if strconv.FormatUint(e.FlowID, 10) != id[1] {
		t.Errorf("%+v was killed", e)
	}
	g.configure(strings.Replace(config, "{name: sl}", "{name: other}", 1) + "routing: {setup: off}\n")
	if out := asks(1, "run"); !strings.Contains(out, "another gateway's") {
		t.Errorf("a second gateway with the same state.dir: %s", out)
	}
	g.configure(config)
	g.stop()
	if out := asks(1, "status"); !strings.Contains(out, "no gateway listens at") {
		t.Errorf("after the end: %s", out)
	}
}

// sets is how many configurations take turns: under number k the decoy's page, the
// decoy, the rule and the backend are called k, and the backend is 10.0.2.(100+k).
const sets = 10

// never is rules of Suricata's that make a set large, and never match.
func never(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "alert tcp any any -> any any (msg:\"never %d\"; content:\"never seen %d at all\"; sid:%d;)\n", i, i, 9100000+i)
	}
	return b.String()
}

func underSet(k int, rules string) string {
	return fmt.Sprintf(`
version: 1
tun: {name: sl}
routes: [203.0.113.0/24]
decoys:
  - {name: n%[1]d, match: {ports: [80]}, service: {type: http, pages: [{path: /, body: "decoy %[1]d"}]}}
backends:
  - {name: n%[1]d, address: 10.0.2.%[2]d}
rules:
  - {name: large, suricata: {}, action: log}
  - {name: n%[1]d, when: 'stream contains "GET /switch"', action: switch, backend: n%[1]d}
suricata: {files: [%[3]s]}
limits: {flows_per_client: 100000}
timeouts: {closing: 1s}
replay: {timeout: 20s}
debug: {pprof: true}
`, k, 100+k, rules)
}

// whoever is the real host's server: it says at which of its addresses it was reached.
func whoever(w http.ResponseWriter, q *http.Request) {
	at := q.Context().Value(http.LocalAddrContextKey).(net.Addr)
	fmt.Fprintf(w, "real %d", netip.MustParseAddrPort(at.String()).Addr().Unmap().As4()[3]-100)
}

// visit is one connection that the rules switch, by its second request. The decoy and
// the real host that it met have to be of one set.
func visit(b *bed.Bed) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := b.Attacker.DialContext(ctx, "tcp", "203.0.113.7:80")
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_ = c.(*net.TCPConn).SetLinger(0)
	r := bufio.NewReader(c)
	get := func(path string) (string, error) {
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
			return "", err
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return "", err
		}
		body, err := io.ReadAll(res.Body)
		return string(body), err
	}
	decoy, err := get("/")
	if err != nil {
		return err
	}
	time.Sleep(50 * time.Millisecond) // a reload may come now
	first, err := get("/switch")
	if err != nil {
		return err
	}
	again, err := get("/")
	if err != nil {
		return err
	}
	if want := strings.Replace(decoy, "decoy", "real", 1); !strings.HasPrefix(decoy, "decoy ") || first != want || again != want {
		return fmt.Errorf("the decoy said %q, and then came %q and %q", decoy, first, again)
	}
	return nil
}

// load makes connections, one in each interval, until stop is closed. What a busy
// machine has kept it from making it makes up for.
func load(t *testing.T, b *bed.Bed, every time.Duration, stop <-chan struct{}) (made int) {
	var wg sync.WaitGroup
	tick := time.NewTicker(every)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case <-stop:
			wg.Wait()
			return made
		case <-tick.C:
			for ; made < int(time.Since(began)/every); made++ {
				wg.Add(1)
				go visitor(t, b, &wg)
			}
		}
	}
}

func visitor(t *testing.T, b *bed.Bed, wg *sync.WaitGroup) {
	defer wg.Done()
	if err := visit(b); err != nil {
		t.Errorf("a connection is lost: %v", err)
	}
}

// heap is what lives in the gateway once it has collected its garbage, in bytes.
func (g *gateway) heap() int {
	g.Helper()
	const head = "# HeapAlloc = "
	text := g.debug("/debug/pprof/heap?gc=1&debug=1")
	i := strings.Index(text, head)
	if i < 0 {
		g.Fatalf("no %q in the profile", head)
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(text[i+len(head):], "\n", 2)[0]))
	if err != nil {
		g.Fatal(err)
	}
	return n
}

// "100 reloads under a load of 500 connections per second: no connection lost, no
// verdict from a mixed set, memory flat" (issue 5)
func TestReloads(t *testing.T) {
	reloads, every := 10, 20*time.Millisecond
	if full {
		reloads, every = 100, 2*time.Millisecond
	}
	b := newBed(t, bed.Config{})
	for k := range sets {
		addr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 2, byte(100 + k)}), 24)
		if err := b.Backends[0].AddAddr(bed.HostDevice, addr); err != nil {
			t.Fatal(err)
		}
	}
	l, err := b.Backends[0].Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(whoever)}
	go serveOn(srv, l)
	t.Cleanup(func() { _ = srv.Close() })
	dir := t.TempDir()
	rules := dir + "/never.rules"
	if err := os.WriteFile(rules, []byte(never(2000)), 0o600); err != nil {
		t.Fatal(err)
	}
	g := start(t, b, underSet(0, rules))

	// round reloads n times under load, and returns what lives when all is over.
	began, connections := time.Now(), 0
	round := func(n int) (heap int) {
		stop, made := make(chan struct{}), make(chan int)
		go func() { made <- load(t, b, every, stop) }()
		for i := range n {
			if e := g.reloads(underSet((i+1)%sets, rules)); e.State != "reloaded" {
				t.Errorf("reload %d: %+v", i, e)
			}
			time.Sleep(100 * time.Millisecond)
		}
		close(stop)
		connections += <-made
		g.until("all flows are gone", func() bool { return g.counts()["flows"] == 0 && g.counts()["decoy_flows"] == 0 })
		return g.heap()
	}
	before := round(reloads / 5)
	after := round(reloads)
	took := time.Since(began)

	one := g.setSize(rules)
	figure(t, "%d connections in %v, %d reloads; %.1f MiB live before, %.1f after; a set has %.1f",
		connections, took.Round(time.Second), reloads+reloads/5, mib(before), mib(after), mib(one))
	// The set in force is there both times. Were each old one still there, it would be
	// as many more as there were reloads.
	if after-before > 3*one {
		t.Errorf("%.1f MiB before the last %d reloads, %.1f after: old sets are still there", mib(before), reloads, mib(after))
	}
	g.wantOneSet(connections)
}

func mib(n int) float64 { return float64(n) / (1 << 20) }

// setSize is how much a set with these rules takes: what is freed by a reload
// without them.
func (g *gateway) setSize(rules string) int {
	g.Helper()
	with := g.heap()
	small := underSet(0, rules)
	small = strings.Replace(small, "suricata: {files: ["+rules+"]}\n", "", 1)
	small = strings.Replace(small, "  - {name: large, suricata: {}, action: log}\n", "", 1)
	if e := g.reloads(small); e.State != "reloaded" {
		g.Fatalf("without the rules: %+v", e)
	}
	size := with - g.heap()
	if size < 1<<20 {
		g.Fatalf("a set takes %d bytes: nothing would be proved by them", size)
	}
	return size
}

// wantOneSet: every flow's decoy, rule and backend have one name, and some were
// judged after a reload under the set from before it.
func (g *gateway) wantOneSet(connections int) {
	g.Helper()
	type told struct {
		decoy, rule, backend string
		result               string
		began                string
	}
	flows := map[uint64]*told{}
	for _, e := range g.All("flow_start") {
		flows[e.FlowID] = &told{decoy: e.FlowStart.Decoy, began: e.Timestamp}
	}
	var reloads []string
	for _, e := range g.All("gateway") {
		reloads = append(reloads, e.Timestamp)
	}
	for _, e := range g.All("switch") {
		if f := flows[e.FlowID]; f != nil {
			f.backend += e.Switch.Backend
			f.result += fmt.Sprintf("%s after %d µs", e.Switch.Result, e.Switch.Duration)
		}
	}
	overtaken := 0
	for _, e := range g.All("decision") {
		f := flows[e.FlowID]
		if f == nil {
			g.Errorf("a decision without a flow: %+v", e)
			continue
		}
		f.rule += e.Decision.Rule
		for _, at := range reloads {
			if f.began < at && at < e.Timestamp {
				overtaken++
				break
			}
		}
	}
	for id, f := range flows {
		if f.rule != f.decoy || f.backend != f.decoy || !strings.HasPrefix(f.result, "ok") {
			g.Errorf("flow %d: %+v is not of one set", id, *f)
		}
	}
	g.Logf("%d flows were judged after a reload that came when they had begun", overtaken)
	if len(flows) != connections || overtaken == 0 {
		g.Errorf("%d flows for %d connections, %d of them judged after a reload", len(flows), connections, overtaken)
	}
}

// debug asks the gateway's debugging socket.
func (g *gateway) debug(path string) string {
	g.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", g.file("state/pprof.sock"))
	}}
	res, err := (&http.Client{Transport: tr, Timeout: patience}).Get("http://gateway" + path)
	if err != nil {
		g.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		g.Fatalf("%s: %v, %d", path, err, res.StatusCode)
	}
	return string(b)
}
