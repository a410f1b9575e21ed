package e2e

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sleight/e2e/bed"
	"sleight/e2e/bed/faulty"
)

// figures are what the tests have measured.
var figures struct {
	sync.Mutex
	lines []string
}

// figure notes what a test has measured: it stands among the last lines of a full run.
func figure(t *testing.T, format string, args ...any) {
	t.Helper()
	line := t.Name() + ": " + fmt.Sprintf(format, args...)
	t.Log(line)
	figures.Lock()
	defer figures.Unlock()
	figures.lines = append(figures.lines, line)
}

// summary prints the figures of a full run.
func summary() {
	if !full {
		return
	}
	fmt.Println("\nfigures of this run")
	for _, l := range figures.lines {
		fmt.Println("  " + l)
	}
	fmt.Println()
}

// damage is what became of frames that a wire has damaged.
type damage struct{ frames, damaged, gateway, s, d2 uint64 }

// add adds up both wires of a bed, the counts of the gateway, which has to be stopped,
// and those of the kernels on either side of it and in it.
func (d *damage) add(t *testing.T, b *bed.Bed, g *gateway) {
	t.Helper()
	for _, w := range append([]*faulty.Wire{b.ClientWire}, b.BackendWires...) {
		for _, dir := range []faulty.Direction{faulty.AtoB, faulty.BtoA} {
			c := w.Counts(dir)
			d.frames += c.Frames
			d.damaged += c.Flipped - c.Unseen
		}
	}
	d.gateway += g.drops("bad_checksum", "malformed") + damagedAt(t, b.Gateway)
	d.s += damagedAt(t, b.Attacker)
	d.d2 += damagedAt(t, b.Backends[0])
}

// damagedAt is how many packets a kernel has found damaged: their IP header or TCP
// checksum.
func damagedAt(t *testing.T, ns *bed.Namespace) (n uint64) {
	t.Helper()
	err := ns.Do(func() error {
		for _, file := range []string{"/proc/thread-self/net/snmp", "/proc/thread-self/net/snmp6"} {
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			n += damagedIn(string(b))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// damagedIn reads one of the two forms: a line of names and one of values for each
// protocol, or a name and a value in each line.
func damagedIn(text string) (n uint64) {
	var names []string
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) == 2 && f[0] == "Ip6InHdrErrors":
			v, _ := strconv.ParseUint(f[1], 10, 64)
			n += v
		case len(names) > 0 && names[0] == f[0]:
			for i, name := range names {
				if f[0] == "Ip:" && name == "InHdrErrors" || f[0] == "Tcp:" && name == "InCsumErrors" {
					v, _ := strconv.ParseUint(f[i], 10, 64)
					n += v
				}
			}
			names = nil
		default:
			names = f
		}
	}
	return n
}
