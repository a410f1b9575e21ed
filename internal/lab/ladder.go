package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sleight/internal/pcap"
	"sleight/stack/wire"
)

const (
	cell    = 42 // columns between two machines
	excerpt = 38 // bytes of payload that are shown
	margin  = 10 // columns for the time
)

// rung is one segment of the diagram.
type rung struct {
	at       time.Time
	right    bool // between gateway and backend; else between S and gateway
	back     bool // towards S
	flags    string
	seq, ack uint32
	length   int
	text     string
}

// readLeg takes the segments of one connection out of a capture.
func readLeg(file string, client, server netip.AddrPort, right bool) ([]rung, error) {
	r, err := pcap.Open(file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var rungs []rung
	for p := range r.All() {
		var s wire.Segment
		if wire.Parse(&s, p.Data, wire.Offload{}) != wire.OK {
			continue
		}
		out := s.Src == client && s.Dst == server
		if !out && (s.Src != server || s.Dst != client) {
			continue
		}
		rungs = append(rungs, rung{
			at: p.Time, right: right, back: !out, flags: s.Flags.String(),
			seq: uint32(s.Seq), ack: uint32(s.Ack), length: len(s.Payload), text: firstLine(s.Payload),
		})
	}
	return rungs, r.Err()
}

// firstLine is the beginning of a payload with what is not printable left out.
func firstLine(payload []byte) string {
	payload = payload[:min(len(payload), excerpt)]
	return strings.Map(printable, string(payload))
}

func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return '.'
	}
	return r
}

// draw puts the segments of both legs in the order of their time.
func draw(rungs []rung) string {
	slices.SortStableFunc(rungs, func(a, b rung) int { return a.at.Compare(b.at) })
	var b strings.Builder
	gap := strings.Repeat(" ", cell-6)
	fmt.Fprintf(&b, "%*s  S%sgateway%sbackend\n", margin-2, "ms", gap+"   ", gap)
	for _, r := range rungs {
		ms := float64(r.at.Sub(rungs[0].at).Microseconds()) / 1000
		writeRow(&b, fmt.Sprintf("%*.3f", margin-2, ms), r, r.arrow())
		if r.text != "" {
			writeRow(&b, strings.Repeat(" ", margin-2), r, fmt.Sprintf("%-*s", cell, "  "+r.text))
		}
	}
	return b.String()
}

// writeRow writes one cell on the segment's leg and an empty one on the other.
func writeRow(b *strings.Builder, at string, r rung, text string) {
	left, right := text, strings.Repeat(" ", cell)
	if r.right {
		left, right = right, left
	}
	fmt.Fprintf(b, "%s  |%s|%s|\n", at, left, right)
}

// arrow is a segment as a line with a head where it goes.
func (r rung) arrow() string {
	label := fmt.Sprintf(" %s %d", r.flags, r.seq)
	if strings.Contains(r.flags, ".") {
		label += fmt.Sprintf(":%d", r.ack)
	}
	label += fmt.Sprintf(" (%d) ", r.length)
	rest := strings.Repeat("-", max(0, cell-3-len(label)))
	if r.back {
		return "<-" + label + rest + "-"
	}
	return "-" + label + rest + "->"
}
