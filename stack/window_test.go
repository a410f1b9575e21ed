package stack

import (
	"net"
	"testing"
)

func TestAWindowGrowsWhileItsServiceReads(t *testing.T) {
	b := newBench(t)
	g, c := b.dial(Service{Kind: Silent}, 4300)
	eventually(t, "the receive buffer grows", func() bool {
		pour(t, c)
		return b.decoy.Stats().Grown > 0
	})
	if got := b.decoy.Stats().Grown; got > receiveMax-receiveBuffer {
		t.Errorf("grown by %d, more than one flow may", got)
	}
	g.Forget()
	b.wantBase()
	if got := b.decoy.Stats().Grown; got != 0 {
		t.Errorf("grown by %d after its only flow", got)
	}
}

// "No edge is announced that a backend might not have."
func TestAWindowDoesNotGrowWhileASwitchIsPossible(t *testing.T) {
	const record = 4 << 20
	b := newBenchOf(t, Config{GrowAfter: record})
	_, c := b.dial(Service{Kind: Silent}, 4302)
	for range record >> 20 {
		pour(t, c)
	}
	if got := b.decoy.Stats().Grown; got != 0 {
		t.Errorf("grown by %d", got)
	}
	eventually(t, "it grows from then on", func() bool {
		pour(t, c)
		return b.decoy.Stats().Grown > 0
	})
}

func TestGrowthHasABoundForAllFlows(t *testing.T) {
	b := newBenchOf(t, Config{GrowTotal: receiveMax})
	_, first := b.dial(Service{Kind: Silent}, 4304)
	eventually(t, "one grows", func() bool {
		pour(t, first)
		return b.decoy.Stats().Grown > receiveBuffer
	})
	_, second := b.dial(Service{Kind: Silent}, 4305)
	eventually(t, "the other has no room", func() bool {
		pour(t, second)
		return b.decoy.Stats().Ungrown > 0
	})
	if got := b.decoy.Stats().Grown; got > receiveMax {
		t.Errorf("grown by %d, beyond the bound", got)
	}
}

// pour writes a mebibyte.
func pour(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
}
