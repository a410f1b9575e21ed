package redirect_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"sleight/redirect"
	"sleight/redirect/sim"
	"sleight/stack/wire"
	"sleight/tun/tuntest"
)

// quiet is a decoy that never emits anything and wakes its reader when it closes.
type quiet struct {
	redirect.Decoy
	closed chan struct{}
}

func (q quiet) Next([]byte) (int, wire.Offload, error) {
	<-q.closed
	return 0, wire.Offload{}, os.ErrClosed
}

// Run "returns once every goroutine of its own has": what is left fails TestMain.
func TestRunEndsWhenItIsAskedToOrADoorFails(t *testing.T) {
	for why, want := range map[string]error{"asked to": nil, "a door fails": errBroken} {
		t.Run(why, func(t *testing.T) {
			a, b := tuntest.NewDoor("a", 2, 4), tuntest.NewDoor("b", 2, 4)
			q := quiet{closed: make(chan struct{})}
			readers := []redirect.Reader{tuntest.Reader{Door: a}, tuntest.Reader{Door: b, Index: 1}}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if want != nil {
				readers[1] = broken{}
			} else {
				cancel()
			}
			g := redirect.New(redirect.Config{}, []redirect.Door{a, b}, q, &sim.Events{}, time.Now)
			woken := 0
			err := g.Run(ctx, readers, func() { woken++; _, _ = a.Close(), b.Close(); close(q.closed) })
			if !errors.Is(err, want) || woken != 1 {
				t.Errorf("%v, woken %d times; want %v", err, woken, want)
			}
		})
	}
}

var errBroken = errors.New("the device is gone")

// broken is a door that cannot be read.
type broken struct{}

func (broken) Read([]byte) (int, int, error) { return 0, 0, errBroken }
