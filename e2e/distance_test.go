package e2e

import (
	"bufio"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sleight/e2e/bed"
	"sleight/e2e/bed/faulty"
	"sleight/e2e/seam"
)

// At any distance S sees one host: answers of 4 KB and 64 KB, before and after the
// join, without one anomaly in the capture at S. Each distance has every mode in the
// full run, else they take turns.
func TestNoSeamAtAnyDistance(t *testing.T) {
	oneCPU(t)
	modes := []string{"client", "keep", "nat"}
	for d, rtt := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond} {
		for i, addr := range []string{"203.0.113.7:80", "[2001:db8:113::7]:80"} {
			for m, mode := range modes {
				if !full && (d+i)%len(modes) != m {
					continue
				}
				t.Run(fmt.Sprintf("%v-%s-v%d", rtt, mode, 4+2*i), func(t *testing.T) { noSeam(t, rtt, mode, addr) })
			}
		}
	}
}

func noSeam(t *testing.T, rtt time.Duration, mode, addr string) {
	cfg := bed.Config{}
	if rtt > 0 {
		w := faulty.Delay(rtt)
		cfg.ClientWire = &w
	}
	b := newBed(t, cfg)
	if mode == "keep" {
		if err := b.OwnClaimed(0); err != nil {
			t.Fatal(err)
		}
	}
	serveWeb(t, b)
	pages := fmt.Sprintf(`[{path: /4096, body: %q}, {path: /65536, body: %q}]`, strings.Repeat("d", 4096), strings.Repeat("d", 65536))
	g := start(t, b, strings.Replace(httpConfig(mode), `[{path: /, body: "the decoy's page\n"}]`, pages, 1))
	file := filepath.Join(t.TempDir(), "s.pcapng")
	capture, err := b.Attacker.Capture(bed.AttackerDevice, file)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, b, addr)
	r := bufio.NewReader(c)
	for _, trigger := range []string{"", "User-Agent: " + exploit + "\r\n", ""} {
		for _, n := range []int{4096, 65536, 4096} {
			if _, body := ask(t, c, r, "GET", fmt.Sprintf("/%d", n), trigger, nil); len(body) != n {
				t.Fatalf("%d bytes, want %d", len(body), n)
			}
		}
	}
	c.Close()
	g.wantSwitches(1, "ok")
	if err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	report := lossless(t, file)
	if !report.OK() || report.Stats.Flows != 1 || report.Stats.Probes > 0 {
		t.Errorf("%v", report)
	}
	figure(t, "%d anomalies", len(report.Anomalies))
}

// lossless checks a capture at S, of a wire that loses nothing.
func lossless(t *testing.T, file string) *seam.Report {
	t.Helper()
	v4, v6 := bed.BackendAddrs(0)
	report, err := seam.CheckFile(file, seam.Options{
		Server:   seam.In(bed.Claimed4, bed.Claimed6),
		Hidden:   seam.In(netip.PrefixFrom(v4, 32), netip.PrefixFrom(v6, 128)),
		Lossless: true, ForbidReset: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// oneCPU keeps the test, and the gateway that it starts, on one CPU.
func oneCPU(t *testing.T) {
	t.Helper()
	restore, err := bed.OneCPU()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := restore(); err != nil {
			t.Error(err)
		}
	})
}
