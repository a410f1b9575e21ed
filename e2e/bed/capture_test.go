package bed_test

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"sleight/e2e/bed"
)

// record is a packet of a capture.
type record struct {
	at  time.Time
	tcp *layers.TCP
	ok  bool // checksum
}

func readCapture(t *testing.T, file string) []record {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	var all []record
	for {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
		tcp, isTCP := p.TransportLayer().(*layers.TCP)
		if !isTCP {
			continue
		}
		if info.Length != info.CaptureLength {
			t.Errorf("a packet of %d bytes was cut to %d", info.Length, info.CaptureLength)
		}
		if err := tcp.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
			t.Fatal(err)
		}
		err, sum := tcp.VerifyChecksum()
		all = append(all, record{info.Timestamp, tcp, err == nil && sum.Valid})
	}
}

func TestCaptureHasEverySegmentWithItsChecksum(t *testing.T) {
	b := build(t, bed.Config{})
	message := string(bytes.Repeat([]byte("0123456789abcdef"), 1<<16)) // 1 MiB
	for _, addr := range backendPorts(0) {
		echo(t, b.Backends[0], addr)
		file := filepath.Join(t.TempDir(), "attacker.pcapng")
		c, err := b.Attacker.Capture(bed.AttackerDevice, file)
		if err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		wantEcho(t, b.Attacker, addr, message)
		if err := c.Stop(); err != nil {
			t.Fatal(err)
		}
		wantWholeStreams(t, readCapture(t, file), addr, len(message), before)
	}
}

// wantWholeStreams adds up what each side said, which is the message, once.
func wantWholeStreams(t *testing.T, all []record, addr netip.AddrPort, size int, before time.Time) {
	t.Helper()
	highest := map[bool]uint32{}
	first := map[bool]uint32{}
	for _, r := range all {
		fromServer := uint16(r.tcp.SrcPort) == addr.Port()
		if r.tcp.SYN {
			first[fromServer] = r.tcp.Seq + 1
		}
		if end := r.tcp.Seq + uint32(len(r.tcp.Payload)) - first[fromServer]; !r.tcp.SYN {
			highest[fromServer] = max(highest[fromServer], end)
		}
		if !r.ok {
			t.Errorf("segment %d has a wrong checksum", r.tcp.Seq)
		}
		if len(r.tcp.Payload) > 1460 {
			t.Errorf("a super-packet of %d bytes in an honest capture", len(r.tcp.Payload))
		}
		if r.at.Before(before) || r.at.After(time.Now()) {
			t.Errorf("timestamp %v is not of this test", r.at)
		}
	}
	for fromServer, got := range highest {
		// The FIN counts after the data, and an acknowledgement of it has the number behind it.
		if got < uint32(size) || got > uint32(size)+1 {
			t.Errorf("from server %v: %d bytes, want %d", fromServer, got, size)
		}
	}
	if len(highest) != 2 {
		t.Errorf("directions %v, want both", highest)
	}
}
