package e2e

import (
	"bufio"
	"errors"
	"testing"

	"sleight/e2e/bed"
)

// BIG TCP: an IPv4 super-packet of more than 64 KiB has no length in its header. The
// program carries or marks it like any other: behind it the door's device would cut it.
func TestBigTCPIsCarried(t *testing.T) {
	b := newBed(t, bed.Config{Offloads: true, Ordered: true})
	nl := b.Attacker.Netlink()
	l, err := nl.LinkByName(bed.AttackerDevice)
	if err == nil {
		err = errors.Join(nl.LinkSetGSOMaxSize(l, 180_000), nl.LinkSetGSOIPv4MaxSize(l, 180_000))
	}
	if err != nil {
		t.Fatal(err)
	}
	serveWeb(t, b)
	g := start(t, b, httpConfig("client"))
	c := dial(t, b, "203.0.113.7:80")
	r := bufio.NewReader(c)
	ask(t, c, r, "GET", "/", "User-Agent: "+exploit+"\r\n", nil)
	g.handedDown(b, c, r)
	for range 10 {
		wantUpload(t, c, r, bulk[:3<<20])
	}
	_ = c.Close()
	g.until("the kernel carries nothing", func() bool { return g.carried(b).Carried == 0 })
	if k := g.carried(b); kernelCarries() && k.Bytes < 20<<20 {
		t.Errorf("the kernel has carried %+v", k)
	}
}
