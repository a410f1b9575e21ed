package main

import (
	"cmp"
	"strings"
	"time"

	"sleight/e2e/bench/load"
	"sleight/e2e/bench/report"
	"sleight/e2e/bench/subject"
)

// measure is one thing that is done to every subject, and what is read from it.
type measure struct {
	do      string
	streams int
	port    int
	only    []string // subjects; nil: all
	read    func(k report.Key, r load.Result) []report.Sample
}

// The figures' names.
const (
	toServer  = "bulk to the server"
	toClient  = "bulk to the client"
	swallowed = "bulk swallowed by a decoy"
	perSecond = "connections per second"
	roundTrip = "round trip on a standing connection"
	switching = "request to first byte"
	opening   = "connect, request and first byte"
	cpuOwn    = "CPU of the gateway's processes per gigabyte"
	cpuAll    = "CPU of the whole machine per gigabyte"
)

// sleights are the subjects whose connections are switched.
var sleights = []string{subject.Sleight, subject.Copied, subject.Plain}

// measures are what one round consists of.
func measures() []measure {
	return []measure{
		{do: load.Up, streams: 1, read: throughput(toServer)},
		{do: load.Up, streams: 4, read: throughput(toServer)},
		{do: load.Down, streams: 1, read: throughput(toClient)},
		{do: load.Down, streams: 4, read: throughput(toClient)},
		{do: load.Swallow, streams: 1, port: subject.DecoyPort, only: sleights, read: throughput(swallowed)},
		{do: load.Swallow, streams: 4, port: subject.DecoyPort, only: sleights, read: throughput(swallowed)},
		{do: load.Rate, streams: 64, read: connections},
		{do: load.Echo, streams: 1, read: delay(roundTrip)},
		{do: load.First, streams: 1, only: sleights, read: delay(switching)},
		{do: load.Whole, streams: 1, read: delay(opening)},
	}
}

// job is what the client is asked to do.
func (m measure) job(r *subject.Running, s span) load.Job {
	port := m.port
	if port == 0 {
		port = subject.Port
	}
	return load.Job{Do: m.do, To: r.To(port), Streams: m.streams, Warm: s.warm, For: s.counted, CPUOf: r.PIDs}
}

// span is how long one measurement takes.
type span struct{ warm, counted time.Duration }

func throughput(figure string) func(report.Key, load.Result) []report.Sample {
	return func(k report.Key, r load.Result) []report.Sample {
		k.Figure = figure
		out := []report.Sample{{Key: k, Value: float64(r.Bytes) * 8 / r.Seconds / 1e9, Unit: "Gbit/s"}}
		if figure == swallowed || r.Bytes == 0 {
			return out
		}
		gigabytes := float64(r.Bytes) / 1e9
		if k.Figure = cpuAll + ", " + figure; r.System > 0 {
			out = append(out, report.Sample{Key: k, Value: r.System / gigabytes, Unit: "s/GB"})
		}
		if k.Figure = cpuOwn + ", " + figure; r.Process > 0 {
			out = append(out, report.Sample{Key: k, Value: r.Process / gigabytes, Unit: "s/GB"})
		}
		return out
	}
}

func connections(k report.Key, r load.Result) []report.Sample {
	k.Figure = perSecond
	return []report.Sample{{Key: k, Value: float64(r.Count) / r.Seconds, Unit: "/s"}}
}

func delay(figure string) func(report.Key, load.Result) []report.Sample {
	return func(k report.Key, r load.Result) []report.Sample {
		median, tail := k, k
		median.Figure, tail.Figure = figure+", median", figure+", 99th percentile"
		return []report.Sample{
			{Key: median, Value: report.Quantile(r.Delays, 0.5) * 1e6, Unit: "µs"},
			{Key: tail, Value: report.Quantile(r.Delays, 0.99) * 1e6, Unit: "µs"},
		}
	}
}

// base is what a figure is compared to: the kernel's own DNAT, doing the same; for what
// only a decoy does, the same bulk through the DNAT; for a switch, which opens a
// connection to the server and asks it, the same done by the client itself.
func base(k report.Key) (report.Key, bool) {
	to := report.Key{Figure: k.Figure, Subject: subject.NFT, Streams: k.Streams}
	if k.Subject == "worker" || k.Subject == "own-goroutine" {
		to.Subject = "own-goroutine"
		return to, true
	}
	switch what, which, _ := strings.Cut(k.Figure, ","); what {
	case lookUp, touch:
		to.Subject, to.Streams = k.Subject, 1000
	case swallowed:
		to.Figure = toServer
	case switching:
		to.Figure, to.Subject = opening+","+which, subject.Direct
	}
	return to, true
}

// order puts the streams of a figure together, and the CPU figures behind all others.
func order(rows []report.Row) func(a, b report.Row) int {
	first := map[string]int{}
	for i, r := range rows {
		if _, ok := first[r.Figure]; ok {
			continue
		}
		first[r.Figure] = i
		if strings.HasPrefix(r.Figure, "CPU") {
			first[r.Figure] += len(rows)
		}
	}
	return func(a, b report.Row) int {
		return cmp.Or(cmp.Compare(first[a.Figure], first[b.Figure]), cmp.Compare(a.Streams, b.Streams))
	}
}
