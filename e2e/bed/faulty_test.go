package bed_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"sleight/e2e/bed"
	"sleight/e2e/bed/faulty"
)

// transfer sends size random bytes to an echo server and wants them back; it returns how long that
// took.
func transfer(t *testing.T, n *bed.Namespace, addr netip.AddrPort, size int64) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := n.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	said := make(chan [32]byte, 1)
	go say(c.(*net.TCPConn), size, said)
	heard := sha256.New()
	got, err := io.Copy(heard, c)
	if err != nil {
		t.Fatalf("after %d bytes: %v", got, err)
	}
	if want := <-said; want != [32]byte(heard.Sum(nil)) {
		t.Errorf("%d of %d bytes came back, or others", got, size)
	}
	return time.Since(start)
}

func say(c *net.TCPConn, size int64, sum chan<- [32]byte) {
	h := sha256.New()
	io.CopyN(io.MultiWriter(c, h), rand.NewChaCha8([32]byte{7}), size) //nolint:errcheck // the sums differ then
	c.CloseWrite()                                                     //nolint:errcheck // as above
	sum <- [32]byte(h.Sum(nil))
}

// wantShare checks a count of events of probability p among n trials: within five standard deviations.
func wantShare(t *testing.T, what string, got, n uint64, p float64) {
	t.Helper()
	mean := float64(n) * p
	if math.Abs(float64(got)-mean) > 5*math.Sqrt(mean*(1-p)) {
		t.Errorf("%s: %d of %d, want about %.0f", what, got, n, mean)
	}
}

// wantClean waits until every frame that came in and was not lost on purpose was sent, and checks
// that the wire's program lost none itself.
func wantClean(t *testing.T, w *faulty.Wire) {
	t.Helper()
	for _, d := range []faulty.Direction{faulty.AtoB, faulty.BtoA} {
		c := settled(w, d)
		if c.Missed+c.Failed > 0 || c.Sent != c.Frames-c.Lost+c.Duplicated {
			t.Errorf("%s: the wire itself lost frames: %+v", d, c)
		}
	}
}

// settled reads the counts when what is held has been sent, or after five seconds.
func settled(w *faulty.Wire, d faulty.Direction) faulty.Counts {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	c := w.Counts(d)
	for limit := time.Now().Add(5 * time.Second); c.Sent != c.Frames-c.Lost+c.Duplicated && time.Now().Before(limit); {
		<-tick.C
		c = w.Counts(d)
	}
	return c
}

func TestWireIsAsFaultyAsItWasTold(t *testing.T) {
	faults := faulty.Faults{Loss: 0.02, Reorder: 0.05, Duplicate: 0.01, Flip: 0.01, Delay: time.Millisecond, Jitter: 250 * time.Microsecond}
	cfg := faulty.Both(1, faults)
	cfg.FromSYN = true
	b := build(t, bed.Config{ClientWire: &cfg})
	for _, addr := range backendPorts(0) {
		echo(t, b.Backends[0], addr)
		transfer(t, b.Attacker, addr, 3<<20)
	}
	wantClean(t, b.ClientWire)
	for _, d := range []faulty.Direction{faulty.AtoB, faulty.BtoA} {
		c := b.ClientWire.Counts(d)
		t.Logf("%s: %+v", d, c)
		if c.TCP < 2000 {
			t.Errorf("%s: only %d TCP frames", d, c.TCP)
		}
		wantShare(t, d.String()+" lost", c.Lost, c.TCP, faults.Loss)
		passed := c.TCP - c.Lost
		wantShare(t, d.String()+" reordered", c.Reordered, passed, faults.Reorder)
		wantShare(t, d.String()+" duplicated", c.Duplicated, passed, faults.Duplicate)
		wantShare(t, d.String()+" flipped", c.Flipped, passed, faults.Flip)
	}
	damaged := b.ClientWire.Counts(faulty.AtoB).Flipped
	if seen := checksumErrors(t, b.Backends[0], b.Gateway); seen == 0 && damaged > 0 {
		t.Errorf("%d frames were damaged, and no receiver counted one", damaged)
	}
}

func TestWireWithoutFaultsLosesNothing(t *testing.T) {
	client, backend := faulty.Config{}, faulty.Config{}
	b := build(t, bed.Config{ClientWire: &client, BackendWire: &backend})
	const size = 32 << 20
	for _, addr := range backendPorts(0) {
		echo(t, b.Backends[0], addr)
		took := transfer(t, b.Attacker, addr, size)
		t.Logf("%s: %.0f Mbit/s each way", addr, size*8/1e6/took.Seconds())
	}
	for _, w := range append(b.BackendWires, b.ClientWire) {
		wantClean(t, w)
	}
	// A process that does not get the processor for a while looks like loss to its peer's timer, so
	// a handful is no fault of the wire.
	again := snmp(t, b.Attacker, "Tcp:", "RetransSegs") + snmp(t, b.Backends[0], "Tcp:", "RetransSegs")
	if frames := b.ClientWire.Counts(faulty.AtoB).TCP; again > frames/1000 {
		t.Errorf("%d of %d segments were sent again on a wire without loss", again, frames)
	}
}

func TestWireDelaysToLessThanAMillisecond(t *testing.T) {
	cfg := faulty.Config{}
	b := build(t, bed.Config{ClientWire: &cfg})
	for _, addr := range backendPorts(0) {
		echo(t, b.Backends[0], addr)
	}
	for _, trip := range []time.Duration{100 * time.Microsecond, 20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond} {
		b.ClientWire.SetBoth(faulty.Faults{Delay: trip / 2})
		for _, addr := range backendPorts(0) {
			wantDelay(t, b, addr, trip/2)
		}
	}
}

// wantDelay compares the times at which the two ends of the client's wire saw each segment of a
// conversation. The kernel takes them, so that how fast this process wakes up does not count. None
// may be early; a machine with other work to do may be late with some, so the fastest tells how exact
// the wire is.
func wantDelay(t *testing.T, b *bed.Bed, addr netip.AddrPort, want time.Duration) {
	t.Helper()
	dir := t.TempDir()
	near, err := b.Attacker.Capture(bed.AttackerDevice, filepath.Join(dir, "near.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	far, err := b.Gateway.Capture(bed.ClientsDevice, filepath.Join(dir, "far.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wantEcho(t, b.Attacker, addr, "x")
	}
	if err := errors.Join(near.Stop(), far.Stop()); err != nil {
		t.Fatal(err)
	}
	there, back := delays(readCapture(t, near.File), readCapture(t, far.File), addr.Port())
	for way, ds := range map[string][]time.Duration{"there": there, "back": back} {
		if len(ds) < 9 {
			t.Fatalf("%s: %d segments at both ends of the wire", way, len(ds))
		}
		slices.Sort(ds)
		t.Logf("%s over %v: fastest %v, median %v", way, want, ds[0], ds[len(ds)/2])
		if ds[0] < want || ds[0] > want+time.Millisecond {
			t.Errorf("%s over %v: fastest %v", way, want, ds[0])
		}
	}
}

// delays is how long each segment was on the wire, in both directions.
func delays(near, far []record, server uint16) (there, back []time.Duration) {
	type key struct {
		src, dst layers.TCPPort
		seq, ack uint32
		flags    string
		size     int
	}
	of := func(r record) key {
		return key{r.tcp.SrcPort, r.tcp.DstPort, r.tcp.Seq, r.tcp.Ack,
			fmt.Sprint(r.tcp.SYN, r.tcp.FIN, r.tcp.PSH), len(r.tcp.Payload)}
	}
	seen := map[key]time.Time{}
	for _, r := range near {
		seen[of(r)] = r.at
	}
	for _, r := range far {
		at, ok := seen[of(r)]
		switch {
		case !ok:
		case uint16(r.tcp.DstPort) == server:
			there = append(there, r.at.Sub(at))
		default:
			back = append(back, at.Sub(r.at))
		}
	}
	return there, back
}

func TestTargetDropsTheFirstSYNAndTheThirdDataSegment(t *testing.T) {
	syn := faulty.First(1, faulty.IsSYN, faulty.Verdict{Drop: true})
	data := faulty.Nth(3, 1, faulty.IsData, faulty.Verdict{Drop: true})
	target := func(f *faulty.Frame) faulty.Verdict {
		if v := syn(f); v.Drop {
			return v
		}
		return data(f)
	}
	cfg := faulty.Config{AtoB: faulty.Faults{Target: target}}
	b := build(t, bed.Config{ClientWire: &cfg})
	addr := backendPorts(0)[1]
	echo(t, b.Backends[0], addr)
	// RFC 6298, section 2.1: the first SYN is sent again after one second.
	if took := wantEcho(t, b.Attacker, addr, "x"); took < time.Second {
		t.Errorf("connected after %v although the SYN was lost", took)
	}
	transfer(t, b.Attacker, addr, 100_000)
	if c := b.ClientWire.Counts(faulty.AtoB); c.Lost != 2 {
		t.Errorf("lost %d frames, want 2", c.Lost)
	}
	if c := b.ClientWire.Counts(faulty.BtoA); c.Lost != 0 {
		t.Errorf("the other direction lost %d frames", c.Lost)
	}
}
