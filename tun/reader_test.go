package tun

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// between opens two doors with routes to each, so that what is written to one
// comes out of the other.
func between(t *testing.T) (a, b *Door) {
	t.Helper()
	namespace(t)
	quiet(t)
	must(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644))
	a = mustOpen(t, Config{Name: "door0", Queues: 1}, unix.IFF_VNET_HDR)
	b = mustOpen(t, Config{Name: "door1", Queues: 1}, unix.IFF_VNET_HDR)
	route(t, "door0", "10.1.0.0/24")
	route(t, "door1", "10.2.0.0/24")
	return a, b
}

func TestAReaderTakesTurnsBetweenDoors(t *testing.T) {
	a, b := between(t)
	r := NewReader(0, 0, a, b)
	for range 2 * turn {
		_, err := a.Write(0, udp4("10.1.0.1", "10.2.0.1", "to the second"))
		must(t, err)
	}
	_, err := b.Write(0, udp4("10.2.0.1", "10.1.0.1", "to the first"))
	must(t, err)
	buf := make([]byte, MaxPacket)
	counts := [2]int{}
	for range turn + 1 {
		door, _, err := r.Read(buf)
		must(t, err)
		counts[door]++
	}
	if counts != [2]int{1, turn} {
		t.Errorf("after %d packets the doors have had %v", turn+1, counts)
	}
}

// It polls while there may be a packet soon, and blocks if there is none; both
// find one, and neither allocates.
func TestAReaderPollsAndBlocks(t *testing.T) {
	a, b := between(t)
	pkt, buf := udp4("10.1.0.1", "10.2.0.1", "again"), make([]byte, MaxPacket)
	for _, busy := range []time.Duration{0, time.Millisecond} {
		r := NewReader(0, busy, a, b)
		late := time.AfterFunc(20*time.Millisecond, func() { _, _ = a.Write(0, pkt) })
		defer late.Stop()
		if door, _, err := r.Read(buf); err != nil || door != 1 {
			t.Fatalf("door %d, %v", door, err)
		}
		n := testing.AllocsPerRun(100, func() {
			_, err := a.Write(0, pkt)
			must(t, err)
			_, _, err = r.Read(buf)
			must(t, err)
			if _, _, err = r.poll(buf); err != unix.EAGAIN {
				t.Error(err)
			}
		})
		if n != 0 {
			t.Errorf("busy for %v: %v allocations", busy, n)
		}
	}
}

func TestAReaderEndsWithAnyOfItsDoors(t *testing.T) {
	a, b := between(t)
	r := NewReader(0, 50*time.Microsecond, a, b)
	errs := make(chan error)
	go func() {
		_, _, err := r.Read(make([]byte, MaxPacket))
		errs <- err
	}()
	waitBlocked(t, b)
	must(t, b.Close())
	if err := <-errs; !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestAReaderKnowsDoorsByTheirPlace(t *testing.T) {
	namespace(t)
	quiet(t)
	one := mustOpen(t, Config{Name: "door0", Queues: 1}, unix.IFF_VNET_HDR)
	two := mustOpen(t, Config{Name: "door1", Queues: 2}, unix.IFF_VNET_HDR)
	r := NewReader(1, 0, one, two)
	if len(r.from) != 1 || r.from[0].door != 1 {
		t.Errorf("queue 1 is read from %+v", r.from)
	}
}
