package load

import (
	"net"
	"os"
	"testing"
	"time"
)

// Every job, on this machine's loopback.
func TestJobs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go serve(l, ended)
	for _, do := range []string{Up, Down, Swallow, Rate, Echo, First, Whole} {
		r, err := Run(Job{Do: do, To: l.Addr().String(), Streams: 2, For: 50 * time.Millisecond, CPUOf: []int{os.Getpid()}})
		if err != nil {
			t.Errorf("%s: %v", do, err)
		}
		if r.Bytes == 0 && r.Count == 0 || r.Seconds == 0 {
			t.Errorf("%s: nothing was measured: %+v", do, r)
		}
	}
	l.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func serve(l net.Listener, ended chan<- error) { ended <- Serve(l) }
