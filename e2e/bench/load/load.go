// Package load is the two ends of a measured connection: sockets of real kernels, in
// processes of their own, so that each namespace's work is its own process's.
//
// A connection begins with one line that says what it is for. It is also what a
// gateway's rule reads, so every subject carries the same bytes:
//
//	up    the server answers "ok" and throws away what comes
//	down  the server sends until the client goes
//	echo  the server answers "ok" and sends back what comes
//	once  the server answers "ok" and closes
package load

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// What a job does.
const (
	Up      = "up"
	Down    = "down"
	Swallow = "swallow" // up to a host that never says anything
	Rate    = "rate"    // connect, request, answer, close
	Echo    = "echo"    // ping-pong on one connection
	First   = "first"   // from the request to the first byte, connections made before
	Whole   = "whole"   // connect, request and the first byte
)

// Job says what a client measures.
type Job struct {
	Do      string
	To      string        // address and port
	Streams int           // connections at once
	Warm    time.Duration // before anything is counted
	For     time.Duration // what is counted
	CPUOf   []int         // processes whose CPU time is asked for
}

// Result is what was counted.
type Result struct {
	Seconds float64
	Bytes   int64
	Opened  int       // connections that were made, at least
	Count   int       // of connections, or of delays
	Delays  []float64 // in seconds, sorted
	Process float64   // CPU seconds of the job's processes
	System  float64   // CPU seconds of the machine
}

// Run measures. The connections that it makes are gone when it returns.
func Run(j Job) (Result, error) {
	f, ok := map[string]func(Job) (Result, error){
		Up: bulk, Down: bulk, Swallow: bulk, Rate: rate, Echo: echo, First: first, Whole: whole,
	}[j.Do]
	if !ok {
		return Result{}, fmt.Errorf("no job is called %q", j.Do)
	}
	return f(j)
}

// Client reads a job from in, runs it, and writes the result to out.
func Client(in io.Reader, out io.Writer) error {
	var j Job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	r, err := Run(j)
	if err != nil {
		return fmt.Errorf("%s to %s: %w", j.Do, j.To, err)
	}
	return json.NewEncoder(out).Encode(r)
}
