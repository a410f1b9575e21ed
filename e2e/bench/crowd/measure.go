package crowd

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

// Figure is what one crowd has cost.
type Figure struct {
	Flows    int
	Resident float64 // bytes of resident memory for each flow
	Heap     float64 // of these, live Go objects
}

// Measure makes the flows and says what they cost.
func Measure(flows int, switched bool) (f Figure, err error) {
	c, err := New(flows, switched)
	if err != nil {
		return f, err
	}
	// Whatever exists once is there after the first flow.
	if err := c.Grow(0, 1); err != nil {
		return f, err
	}
	heap, resident, err := memory()
	if err != nil {
		return f, err
	}
	if err := c.Grow(1, flows-1); err != nil {
		return f, err
	}
	time.Sleep(settle)
	heap2, resident2, err := memory()
	if err != nil {
		return f, err
	}
	if n := c.Flows(); n != flows {
		return f, fmt.Errorf("%d flows of %d", n, flows)
	}
	f = Figure{Flows: flows, Heap: float64(heap2-heap) / float64(flows), Resident: float64(resident2-resident) / float64(flows)}
	return f, c.Close()
}

// settle is how long timers and queues have to come to rest.
const settle = 500 * time.Millisecond

// memory is what is in use after everything that can be given back was: what lies in a
// sync.Pool survives one collection, and the second one frees it.
func memory() (heap, resident int64, err error) {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0, err
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		return 0, 0, err
	}
	return int64(m.HeapAlloc), pages * int64(os.Getpagesize()), nil
}
