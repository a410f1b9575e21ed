package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"sleight/e2e/bench/crowd"
	"sleight/e2e/bench/report"
	"sleight/e2e/bench/subject"
)

// crowds are the numbers of flows whose memory is measured, each in a process of its own.
type crowds struct{ spliced, answering, lookup []int }

const (
	splicedMemory   = "resident memory of a spliced flow"
	splicedHeap     = "live heap of a spliced flow"
	answeringMemory = "resident memory of an answering idle flow"
	answeringHeap   = "live heap of an answering idle flow"
)

// crowds measures the memory of flows.
func (r *run) crowds(ctx context.Context) error {
	for _, kind := range []struct {
		what           string
		flows          []int
		resident, heap string
	}{
		{"spliced", r.option.crowds.spliced, splicedMemory, splicedHeap},
		{"answering", r.option.crowds.answering, answeringMemory, answeringHeap},
	} {
		for _, n := range kind.flows {
			progress("%d %s flows", n, kind.what)
			f, err := r.crowd(ctx, kind.what, n)
			if err != nil {
				return fmt.Errorf("%d %s flows: %w", n, kind.what, err)
			}
			k := report.Key{Figure: kind.resident, Subject: subject.Sleight, Streams: n}
			r.book.Add(report.Sample{Key: k, Value: f.Resident, Unit: "B"})
			k.Figure = kind.heap
			r.book.Add(report.Sample{Key: k, Value: f.Heap, Unit: "B"})
		}
	}
	return nil
}

const (
	lookUp = "look-up of a flow"
	touch  = "two dependent reads as far apart"
)

// lookups measures the table of flows by itself.
func (r *run) lookups(ctx context.Context) error {
	for range 3 {
		for _, n := range r.option.crowds.lookup {
			progress("look-up among %d flows", n)
			var l crowd.Lookup
			if err := r.again(ctx, &l, "lookup", strconv.Itoa(n)); err != nil {
				return fmt.Errorf("look-up among %d flows: %w", n, err)
			}
			k := report.Key{Figure: lookUp, Subject: subject.Sleight, Streams: n}
			r.book.Add(report.Sample{Key: k, Value: l.Find, Unit: "ns"})
			k.Figure = touch
			r.book.Add(report.Sample{Key: k, Value: l.Touch, Unit: "ns"})
		}
	}
	return nil
}

const (
	handedRate  = "packets per second, half of them judged by rules"
	judgedDelay = "delay of a judged packet"
	passedDelay = "delay of a spliced packet beside judged ones"
	handedLost  = "judged packets lost, of 19,200"
)

// handovers asks what decisions cost in the packet's own goroutine and in another.
func (r *run) handovers(ctx context.Context) error {
	for range 3 {
		for _, who := range []string{"own-goroutine", "worker"} {
			progress("decisions: %s", who)
			var h crowd.Handover
			if err := r.again(ctx, &h, "handover", who); err != nil {
				return fmt.Errorf("decisions, %s: %w", who, err)
			}
			add := func(figure string, v float64, unit string) {
				r.book.Add(report.Sample{Key: report.Key{Figure: figure, Subject: who, Streams: 1}, Value: v, Unit: unit})
			}
			add(handedRate, h.PerSecond, "/s")
			for figure, d := range map[string][]float64{judgedDelay: h.Decided, passedDelay: h.Passed} {
				add(figure+", median", report.Quantile(d, 0.5)*1e6, "µs")
				add(figure+", 99th percentile", report.Quantile(d, 0.99)*1e6, "µs")
			}
			add(handedLost, float64(h.Lost), "")
		}
	}
	return nil
}

// crowd runs this program as a gateway with many flows.
func (r *run) crowd(ctx context.Context, what string, n int) (f crowd.Figure, err error) {
	return f, r.again(ctx, &f, "crowd", what, strconv.Itoa(n))
}

// again runs this program in a process of its own, which prints its result.
func (r *run) again(ctx context.Context, result any, args ...string) error {
	c := exec.CommandContext(ctx, r.env.Self, args...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return err
	}
	return json.Unmarshal(out, result)
}

// handedOver is the program that measures decisions.
func handedOver(who string) error {
	h, err := crowd.MeasureHandover(who == "worker")
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(h)
}

// lookedUp is the program that measures look-ups.
func lookedUp(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	l, err := crowd.MeasureLookup(n)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(l)
}

// crowded is that program.
func crowded(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	f, err := crowd.Measure(n, args[0] == "spliced")
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}
