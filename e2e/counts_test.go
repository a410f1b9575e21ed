package e2e

import (
	"encoding/json"
	"io/fs"
	"net"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sleight/e2e/bed"
)

// everyMode has the same real host three times, once in each mode; the path that S
// asks for says which is meant.
const everyMode = `
version: 1
tun: {name: sl}
routes: [203.0.113.0/24, "2001:db8:113::/64"]
nat: {pool: [100.64.0.0/28, "2001:db8:64::/124"]}
decoys:
  - name: web
    match: {ports: [80]}
    service: {type: http, server: nginx/1.22.1, pages: [{path: /, body: "the decoy's page\n"}]}
backends:
  - {name: keep, addresses: [10.0.2.2, "fd00:2::2"], mode: keep}
  - {name: client, addresses: [10.0.2.2, "fd00:2::2"], mode: client}
  - {name: nat, addresses: [10.0.2.2, "fd00:2::2"], mode: nat}
rules:
  - {name: keep, when: 'stream contains "GET /keep"', action: switch, backend: keep}
  - {name: client, when: 'stream contains "GET /client"', action: switch, backend: client}
  - {name: nat, when: 'stream contains "GET /nat"', action: switch, backend: nat}
`

// counts asks the gateway what lives in it.
func (g *gateway) counts() (now map[string]int) {
	g.Helper()
	if err := json.Unmarshal([]byte(g.debug("/debug/counts")), &now); err != nil {
		g.Fatal(err)
	}
	return now
}

// "flows, goroutines and netstack endpoints return to their base count" (issue 3),
// in every mode, whoever ends the connection and however.
func TestCountsReturnToTheirBase(t *testing.T) {
	n := 200
	if full {
		n = 2000
	}
	b := newBed(t, bed.Config{})
	if err := b.OwnClaimed(0); err != nil {
		t.Fatal(err)
	}
	serveWeb(t, b)
	g := start(t, b, everyMode+"limits: {flows_per_client: 100000}\ntimeouts: {closing: 1s}\ndebug: {pprof: true}\n")
	if info, err := os.Stat(g.file("state/pprof.sock")); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	base := g.counts()
	if base["flows"] != 0 || base["endpoints"] != 0 || base["goroutines"] == 0 {
		t.Fatalf("before the first connection: %v", base)
	}
	most := 0
	for _, mode := range []string{"keep", "client", "nat"} {
		for i := range n {
			askAndEnd(t, b, []string{"203.0.113.7:80", "[2001:db8:113::7]:80"}[i%2], "/"+mode, !full)
		}
		most = max(most, g.counts()["flows"])
	}
	if most == 0 {
		t.Error("no flow was ever counted: nothing was proved")
	}
	g.wantSwitches(3*n, "ok")
	late := time.Now().Add(patience)
	if full {
		late = late.Add(time.Minute) // what both have closed lives that long
	}
	for cmp.Diff(base, g.counts()) != "" && time.Now().Before(late) {
		time.Sleep(100 * time.Millisecond)
	}
	if d := cmp.Diff(base, g.counts()); d != "" {
		t.Errorf("after %d connections:\n%s", 3*n, d)
	}
}

// askAndEnd is a connection that is switched by its second request; reset ends it
// with a RST.
func askAndEnd(t *testing.T, b *bed.Bed, addr, path string, reset bool) {
	t.Helper()
	c, r := dialed(t, b, addr)
	defer c.Close()
	if _, body := ask(t, c, r, "GET", "/", "", nil); string(body) != "the decoy's page\n" {
		t.Fatalf("the decoy: %q", body)
	}
	if _, body := ask(t, c, r, "GET", path, "", nil); string(body) != "the real host's page\n" {
		t.Fatalf("%s: %q", path, body)
	}
	if reset {
		_ = c.(*net.TCPConn).SetLinger(0)
	}
}
