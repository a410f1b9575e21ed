package lab

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"sleight/e2e/bed"
	"sleight/e2e/seam"
	"sleight/internal/pcap"
	"sleight/stack/wire"
)

// directRuns is how often the exploit is asked of the real host directly.
const directRuns = 21

// check prints one line of the proof.
func (l *lab) check(ok bool, what, format string, args ...any) {
	result := "ok    "
	if !ok {
		result = "FAILED"
		l.failed++
	}
	l.say("  %s  %-24s %s", result, what, fmt.Sprintf(format, args...))
}

// prove checks what happened against what the machines wrote down.
func (l *lab) prove(ctx context.Context) error {
	conns, lines, hash := l.real.seen()
	if err := l.endCaptures(); err != nil {
		return err
	}
	ladder, err := l.drawLadder()
	if err != nil {
		return err
	}
	l.say("\nFrom both captures: on each arrow numbers from its leg's ISN, beneath it those on the wire\n")
	l.say("%s", ladder.Text(false))
	l.say("The same as a figure: %s\n", l.file(ladderFigure))
	l.say("Proof")
	l.checkLog(lines)
	l.check(l.hash != "" && l.hash == hash, "download", "SHA-256 at S %.16s..., at the real host %.16s...", l.hash, hash)
	l.checkReach(conns)
	l.checkSwitches()
	if err := l.checkSeam(); err != nil {
		return err
	}
	return l.checkDelay(ctx)
}

// checkLog compares the real server's own log with S's sockets.
func (l *lab) checkLog(lines []line) {
	for i, t := range l.switched {
		at := lastOf(lines, t.local)
		what := fmt.Sprintf("log, conversation %d", i+2)
		if at < 0 {
			l.check(false, what, "the real host's log has no line of S's socket %s", t.local)
			continue
		}
		l.check(true, what, "S's socket %s; the real host's log: %s", t.local, lines[at].text)
	}
}

// lastOf is the last line of a socket, which is no replayed one; -1 if there is none.
func lastOf(lines []line, client netip.AddrPort) int {
	at := -1
	for i, n := range lines {
		if n.client == client {
			at = i
		}
	}
	return at
}

// checkReach sees that the real host was reached by the switched connections alone.
func (l *lab) checkReach(conns []netip.AddrPort) {
	same := len(conns) == len(l.switched)
	for _, t := range l.switched {
		same = same && slices.Contains(conns, t.local)
	}
	l.check(same, "only what was switched", "%d connections reached the real host, %d were switched; the scan and the harmless request are not among them",
		len(conns), len(l.switched))
}

func (l *lab) checkSwitches() {
	events := l.gateway.events.All("switch")
	ok := len(events) == len(l.switched)
	results := make([]string, 0, len(events))
	for _, e := range events {
		ok = ok && e.Switch.Result == "ok"
		results = append(results, fmt.Sprintf("%s (%d us)", e.Switch.Result, e.Switch.Duration))
	}
	l.check(ok, "switch events", "%d: %v", len(events), results)
}

// checkSeam reads the capture at S as an observer would. The download runs at the
// speed of the machine and fills queues on its way: what is lost or overtaken there
// is no anomaly, but everything that S's kernel would act on is.
func (l *lab) checkSeam() error {
	packets, err := pcap.ReadFile(l.client.File, maxPackets)
	if err != nil {
		return err
	}
	var bulk netip.AddrPort
	if n := len(l.switched); n > 0 {
		bulk = l.switched[n-1].local
	}
	rest := seam.Check(only(packets, bulk, false), seamOptions(true))
	l.check(rest.OK(), "anomalies at S", "%s", rest)
	report := seam.Check(only(packets, bulk, true), seamOptions(false))
	l.check(report.OK(), "in the download", "%s", report)
	l.checkResets(append(rest.Flows, report.Flows...))
	return nil
}

// maxPackets bounds what is read of a capture.
const maxPackets = 1 << 20

func seamOptions(lossless bool) seam.Options {
	return seam.Options{
		Server: seam.In(bed.Claimed4), Hidden: seam.In(netip.PrefixFrom(realAddr(), 24).Masked()), Lossless: lossless,
	}
}

// only picks the packets of one client socket, or all others.
func only(packets []pcap.Packet, at netip.AddrPort, its bool) iter.Seq[pcap.Packet] {
	return func(yield func(pcap.Packet) bool) {
		var s wire.Segment
		for _, p := range packets {
			same := wire.Parse(&s, p.Data, wire.Offload{CsumValid: true}) == wire.OK && (s.Src == at || s.Dst == at)
			if same == its && !yield(p) {
				return
			}
		}
	}
}

func (l *lab) checkResets(flows []seam.Flow) {
	resets, found := 0, 0
	for _, f := range flows {
		for _, t := range l.switched {
			if f.Client == t.local {
				found++
				if f.Reset {
					resets++
				}
			}
		}
	}
	l.check(resets == 0 && found == len(l.switched), "resets at S", "%d in the %d switched connections of the capture", resets, found)
}

// checkDelay compares the switch's answer with the same exchange asked directly.
func (l *lab) checkDelay(ctx context.Context) error {
	var delays []time.Duration
	for range directRuns {
		d, err := l.direct(ctx)
		if err != nil {
			return err
		}
		delays = append(delays, d)
	}
	slices.Sort(delays)
	median := delays[len(delays)/2]
	l.check(l.delay > 0, "delay, measured", "exploit sent to first byte: %v through the switch, once; %v directly, median of %d: %v added",
		l.delay.Round(time.Microsecond), median.Round(time.Microsecond), directRuns, (l.delay - median).Round(time.Microsecond))
	return nil
}

func (l *lab) direct(ctx context.Context) (time.Duration, error) {
	t, err := dial(ctx, l.bed.Gateway, netip.AddrPortFrom(realAddr(), 80).String())
	if err != nil {
		return 0, err
	}
	defer t.close()
	if _, _, _, err := t.ask("/", "direct"); err != nil {
		return 0, err
	}
	_, _, d, err := t.ask("/cgi-bin/id", exploit)
	return d, err
}
