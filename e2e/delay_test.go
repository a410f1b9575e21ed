package e2e

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"sleight/e2e/bed"
)

// What a switch adds, measured and printed, never judged: from S's trigger to the
// first byte of the answer, beside the same exchange with the real host directly.
func TestDelayOfASwitch(t *testing.T) {
	n := 100
	if full {
		n = 1000
	}
	b := newBed(t, bed.Config{})
	serveWeb(t, b)
	g := start(t, b, httpConfig("client")+"limits: {flows_per_client: 100000}\n")
	var switched, direct []time.Duration
	for range n {
		switched = append(switched, exchange(t, b.Attacker, "203.0.113.7:80", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		direct = append(direct, exchange(t, b.Gateway, "10.0.2.2:80", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	}
	g.wantSwitches(n, "ok")
	report := func(what string, d []time.Duration) {
		slices.Sort(d)
		figure(t, "%s: median %v, 99th percentile %v of %d", what, d[n/2], d[n*99/100], n)
	}
	report("trigger to first byte, switched", switched)
	report("the same asked directly", direct)
}

// exchange asks once, then for the exploit, and returns how long the exploit's
// first byte took.
func exchange(t *testing.T, ns *bed.Namespace, addr, first string) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := ns.DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	fmt.Fprint(c, first)
	for line := ""; line != "\r\n"; {
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(5 * time.Millisecond) // the body, and the decoy's own work
	if _, err := r.Discard(r.Buffered()); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: %s\r\n\r\n", exploit)
	if _, err := r.ReadByte(); err != nil {
		t.Fatal(err)
	}
	return time.Since(begun)
}
