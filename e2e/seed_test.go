package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sleight/e2e/bed"
	"sleight/internal/pcap"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// pause is longer than a Linux host delays an acknowledgement: each packet of the
// figure is then on the wire before the next is asked for.
const pause = 150 * time.Millisecond

// The connection of 13 packets that the project began with: S as it sees it, and
// the third host's part.
func TestTheSeedsConnection(t *testing.T) {
	oneCPU(t)
	b := newBed(t, bed.Config{})
	l, err := b.Backends[0].Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go answerLines(l)
	g := start(t, b, strings.NewReplacer(
		"ports: [80]", "ports: [7]",
		`{type: http, server: nginx/1.22.1, pages: [{path: /, body: "the decoy's page\n"}]}`, `{type: script, turns: [{expect: 'A\n', send: "a\n"}]}`,
		`stream contains "() {"`, `stream contains "B"`,
	).Replace(httpConfig("client")))
	files := []string{filepath.Join(t.TempDir(), "s.pcapng"), filepath.Join(t.TempDir(), "d2.pcapng")}
	atS, err := b.Attacker.Capture(bed.AttackerDevice, files[0])
	if err != nil {
		t.Fatal(err)
	}
	atD2, err := b.Backends[0].Capture(bed.HostDevice, files[1])
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, b, "203.0.113.7:7")
	r := bufio.NewReader(c)
	for _, line := range []string{"A\n", "B\n"} {
		time.Sleep(pause)
		fmt.Fprint(c, line)
		if got, err := r.ReadString('\n'); err != nil || got != strings.ToLower(line) {
			t.Fatalf("%q was answered by %q, %v", line, got, err)
		}
	}
	time.Sleep(pause)
	_ = c.(*net.TCPConn).CloseWrite()
	if _, err := r.ReadByte(); err != io.EOF {
		t.Fatal(err)
	}
	time.Sleep(pause)
	g.wantSwitches(1, "ok")
	if err := atS.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := atD2.Stop(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"> S seq 0 len 0", "< S. seq 0 ack 1 len 0", "> . seq 1 ack 1 len 0",
		"> P. seq 1 ack 1 len 2",                           // data A
		"< . seq 1 ack 3 len 0",                            // D1: ACK of A
		"< P. seq 1 ack 3 len 2",                           // D1: answer a
		"> . seq 3 ack 3 len 0",                            // ACK of a
		"> P. seq 3 ack 3 len 2",                           // data B, the trigger
		"< P. seq 3 ack 5 len 2",                           // D2: answer b, with the ACK of B
		"> . seq 5 ack 5 len 0",                            // ACK of b
		"> F. seq 5 ack 5 len 0", "< F. seq 5 ack 6 len 0", // both close
		"> . seq 6 ack 6 len 0",
	}
	if d := cmp.Diff(want, flow(t, files[0], 7)); d != "" {
		t.Errorf("at S:\n%s", d)
	}
	// At D2 the handshake's ACK goes with A, and D2 may acknowledge A by itself.
	third := flow(t, files[1], 7)
	if len(third) > 3 && third[3] == "< . seq 1 ack 3 len 0" {
		third = append(third[:3:3], third[4:]...)
	}
	want = []string{
		"> S seq 0 len 0", "< S. seq 0 ack 1 len 0",
		"> P. seq 1 ack 1 len 2", // A, replayed
		"< P. seq 1 ack 3 len 2", // answer a, swallowed
		"> . seq 3 ack 3 len 0",  // and acknowledged
		"> P. seq 3 ack 3 len 2", // B
		"< P. seq 3 ack 5 len 2", "> . seq 5 ack 5 len 0",
		"> F. seq 5 ack 5 len 0", "< F. seq 5 ack 6 len 0", "> . seq 6 ack 6 len 0",
	}
	if d := cmp.Diff(want, third); d != "" {
		t.Errorf("at D2:\n%s", d)
	}
}

// answerLines answers A by a and B by b.
func answerLines(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		r := bufio.NewReader(c)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				break
			}
			fmt.Fprint(c, strings.ToLower(line))
		}
		_ = c.Close()
	}
}

// flow lists the segments to and from a port, numbers relative to the ISNs.
func flow(t *testing.T, file string, port uint16) (lines []string) {
	t.Helper()
	packets, err := pcap.ReadFile(file, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var isn [2]tcb.Seq
	for _, p := range packets {
		var s wire.Segment
		if wire.Parse(&s, p.Data, wire.Offload{}) != wire.OK {
			continue
		}
		from, arrow := 0, ">"
		if s.Src.Port() == port {
			from, arrow = 1, "<"
		} else if s.Dst.Port() != port {
			continue
		}
		if s.Flags.Has(wire.SYN) {
			isn[from] = s.Seq
		}
		line := fmt.Sprintf("%s %s seq %d", arrow, s.Flags, tcb.Diff(s.Seq, isn[from]))
		if s.Flags.Has(wire.ACK) {
			line += fmt.Sprintf(" ack %d", tcb.Diff(s.Ack, isn[1-from]))
		}
		lines = append(lines, fmt.Sprintf("%s len %d", line, len(s.Payload)))
	}
	return lines
}
