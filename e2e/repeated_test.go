package e2e

import (
	"bufio"
	"context"
	"path/filepath"
	"testing"
	"time"

	"sleight/e2e/bed"
	"sleight/e2e/bed/ring"
	"sleight/e2e/seam"
	"sleight/stack/wire"
)

// A segment of S's that comes again draws an acknowledgement of the gateway's own, before
// what the real host has under way: its echo of S's time must not be newer than theirs.
func TestWhatComesAgainInTheMidstOfBulk(t *testing.T) {
	b := newBed(t, bed.Config{Ordered: true})
	serveWeb(t, b)
	g := start(t, b, httpConfig("client"))
	var dev *ring.Ring
	if err := b.Attacker.Do(func() (err error) {
		dev, err = ring.Open(bed.AttackerDevice, ring.Config{Outgoing: true})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	file := filepath.Join(t.TempDir(), "s.pcapng")
	capture, err := b.Attacker.Capture(bed.AttackerDevice, file)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, b, "203.0.113.7:80")
	r := bufio.NewReader(c)
	ask(t, c, r, "GET", "/", "User-Agent: "+exploit+"\r\n", nil)
	g.wantSwitches(1, "ok")

	ctx, stop := context.WithCancel(t.Context())
	sent := make(chan int)
	go sendAgain(ctx, t, dev, firstOfS(t, dev), sent)
	for range 2 {
		ask(t, c, r, "PUT", "/up", "", bulk)
		ask(t, c, r, "GET", "/bulk", "", nil)
	}
	stop()
	if n := <-sent; n < 20 {
		t.Errorf("sent %d times", n)
	}
	c.Close()
	g.stop()
	if err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	report := lossless(t, file)
	// Where a processor stands still for more than 50 ms what is under way is taken for
	// settled. Without the rule there are more than a hundred.
	if report.Counts[seam.TSEcrFell] <= 5 {
		delete(report.Counts, seam.TSEcrFell)
	}
	if !onlyProbes(report) || report.Stats.Flows != 1 {
		t.Errorf("%v", report)
	}
}

// firstOfS is the frame of S's first bytes.
func firstOfS(t *testing.T, r *ring.Ring) []byte {
	t.Helper()
	for {
		f, ok := r.Read()
		if !ok {
			t.Fatal("S has said nothing")
		}
		data := append([]byte(nil), f.Data...)
		f.Release()
		var seg wire.Segment
		if len(data) > etherLen && wire.Parse(&seg, data[etherLen:], wire.Offload{}) == wire.OK && seg.Dst.Port() == 80 && len(seg.Payload) > 0 {
			return data
		}
	}
}

const etherLen = 14

// sendAgain sends a frame every few milliseconds.
func sendAgain(ctx context.Context, t *testing.T, r *ring.Ring, frame []byte, sent chan<- int) {
	n := 0
	for ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
		if err := r.Write(frame); err != nil {
			t.Error(err)
			break
		}
		n++
	}
	sent <- n
}
