package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

var (
	ip4  = append([]byte{0x45}, bytes.Repeat([]byte{0xa5}, 39)...)
	ip6  = append([]byte{0x60}, bytes.Repeat([]byte{0x5a}, 59)...)
	when = time.Date(2026, 11, 26, 1, 2, 3, 456789123, time.UTC)
)

func ethernet(kind uint16, b []byte) []byte {
	return append(append(bytes.Repeat([]byte{2}, 12), byte(kind>>8), byte(kind)), b...)
}

// writePcap writes frames with gopacket's writer, which knows nothing of ours.
func writePcap(t *testing.T, link layers.LinkType, nano bool, frames ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := pcapgo.NewWriter(&out)
	if nano {
		w = pcapgo.NewWriterNanos(&out)
	}
	must(t, w.WriteFileHeader(0, link))
	for _, f := range frames {
		must(t, w.WritePacket(info(f), f))
	}
	return out.Bytes()
}

func writeNg(t *testing.T, link layers.LinkType, frames ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := pcapgo.NewNgWriter(&out, link)
	must(t, err)
	for _, f := range frames {
		must(t, w.WritePacket(info(f), f))
	}
	must(t, w.Flush())
	return out.Bytes()
}

func info(f []byte) gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: when, CaptureLength: len(f), Length: len(f)}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// readAll reads a capture and copies what Next returns.
func readAll(t *testing.T, file []byte) ([]Packet, *Reader) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file))
	must(t, err)
	var got []Packet
	for p := range r.All() {
		p.Data = bytes.Clone(p.Data)
		got = append(got, p)
	}
	return got, r
}

func TestEveryLinkTypeLeadsToTheIPPacket(t *testing.T) {
	cooked := append(make([]byte, 14), 0x08, 0x00)
	cooked2 := append([]byte{0x86, 0xdd}, make([]byte, 18)...)
	tests := []struct {
		name  string
		link  layers.LinkType
		frame []byte
		want  []byte
	}{
		{"Ethernet, IPv4", layers.LinkTypeEthernet, ethernet(0x0800, ip4), ip4},
		{"Ethernet, IPv6", layers.LinkTypeEthernet, ethernet(0x86dd, ip6), ip6},
		{"VLAN", layers.LinkTypeEthernet, ethernet(0x8100, append([]byte{0, 7, 0x08, 0}, ip4...)), ip4},
		{"QinQ", layers.LinkTypeEthernet, ethernet(0x88a8, append([]byte{0, 7, 0x81, 0, 0, 8, 0x86, 0xdd}, ip6...)), ip6},
		{"raw", layers.LinkTypeRaw, ip6, ip6},
		{"raw IPv4", layers.LinkTypeIPv4, ip4, ip4},
		{"Linux cooked", layers.LinkTypeLinuxSLL, append(cooked, ip4...), ip4},
		{"Linux cooked v2", layers.LinkTypeLinuxSLL2, append(cooked2, ip6...), ip6},
		{"loopback", layers.LinkTypeNull, append([]byte{2, 0, 0, 0}, ip4...), ip4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for kind, file := range map[string][]byte{
				"pcap": writePcap(t, tt.link, false, tt.frame), "pcapng": writeNg(t, tt.link, tt.frame),
			} {
				got, r := readAll(t, file)
				must(t, r.Err())
				if len(got) != 1 || !bytes.Equal(got[0].Data, tt.want) {
					t.Errorf("%s: got %v", kind, got)
				}
			}
		})
	}
}

func TestTimeIsAsPreciseAsTheFile(t *testing.T) {
	tests := []struct {
		name string
		file []byte
		want time.Time
	}{
		{"pcap", writePcap(t, layers.LinkTypeRaw, false, ip4), when.Truncate(time.Microsecond)},
		{"pcap, nanoseconds", writePcap(t, layers.LinkTypeRaw, true, ip4), when},
		{"pcapng", writeNg(t, layers.LinkTypeRaw, ip4), when},
		{"pcapng, microseconds", ng(nil, packetBlock(0, uint64(when.UnixMicro()), ip4, 0)), when.Truncate(time.Microsecond)},
		{"pcapng, 2^-10 s", ng([]byte{9, 0, 1, 0, 0x8a, 0, 0, 0}, packetBlock(0, 5<<10|512, ip4, 0)), time.Unix(5, 5e8).UTC()},
		{"pcapng, an offset", ng([]byte{14, 0, 8, 0, 100, 0, 0, 0, 0, 0, 0, 0}, packetBlock(0, 2e6, ip4, 0)), time.Unix(102, 0).UTC()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, r := readAll(t, tt.file)
			must(t, r.Err())
			if diff := cmp.Diff([]time.Time{tt.want}, []time.Time{got[0].Time}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBigEndianFilesAreRead(t *testing.T) {
	file := binary.BigEndian.AppendUint32(nil, magicMicro)
	file = append(file, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, linkRaw)
	for _, v := range []uint32{7, 8, uint32(len(ip4)), uint32(len(ip4)) + 3} {
		file = binary.BigEndian.AppendUint32(file, v)
	}
	got, r := readAll(t, append(file, ip4...))
	must(t, r.Err())
	want := []Packet{{Number: 1, Time: time.Unix(7, 8000).UTC(), Data: ip4, Cut: 3}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDirectionComesFromTheFile(t *testing.T) {
	got, r := readAll(t, ng(nil, packetBlock(0, 1, ip4, 1), packetBlock(0, 2, ip4, 2), packetBlock(0, 3, ip4, 0)))
	must(t, r.Err())
	var dirs []Direction
	for _, p := range got {
		dirs = append(dirs, p.Direction)
	}
	if diff := cmp.Diff([]Direction{Inbound, Outbound, Unknown}, dirs); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNotIPIsCountedAndNumberedOn(t *testing.T) {
	long := make([]byte, MaxFrame+1)
	file := writePcap(t, layers.LinkTypeEthernet, false,
		ethernet(0x0806, make([]byte, 28)), []byte{1, 2}, long, ethernet(0x0800, ip4))
	got, r := readAll(t, file)
	must(t, r.Err())
	if len(got) != 1 || got[0].Number != 4 {
		t.Errorf("got %v, want frame 4 alone", got)
	}
	if diff := cmp.Diff(Skipped{NotIP: 1, Link: 1, TooLong: 1}, r.Skipped()); diff != "" {
		t.Error(diff)
	}
}

func TestASimplePacketEndsAtTheSnapLength(t *testing.T) {
	b := le(blockInterface, 20)
	b = append(b, linkRaw, 0, 0, 0)
	b = append(b, le(24, 20)...) // snap length, block length
	b = append(b, le(blockSimple, 16+40, 40)...)
	b = append(b, ip4...)
	b = append(b, le(16+40)...)
	got, r := readAll(t, append(sectionBlock(), b...))
	must(t, r.Err())
	want := []Packet{{Number: 1, Data: ip4[:24], Cut: 16}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestHostileFilesEndInOneClearError(t *testing.T) {
	iface := slices.Clip(ng(nil))
	tests := []struct {
		name string
		file []byte
		want error
	}{
		{"empty", nil, ErrFormat},
		{"text", []byte("GET / HTTP/1.1\r\n"), ErrFormat},
		{"header cut short", writePcap(t, layers.LinkTypeRaw, false)[:20], ErrBroken},
		{"record cut short", writePcap(t, layers.LinkTypeRaw, false, ip4)[:24+16+5], ErrBroken},
		{"record header cut short", writePcap(t, layers.LinkTypeRaw, false, ip4)[:24+7], ErrBroken},
		{"4 GiB claimed, nothing there", append(writePcap(t, layers.LinkTypeRaw, false), le(0, 0, 0xffffffff, 0)...), ErrBroken},
		{"block of 8 bytes", append(iface, le(blockPacket, 8, 8)...), ErrBroken},
		{"block of odd length", append(iface, le(blockPacket, 33, 0)...), ErrBroken},
		{"interface not described", append(sectionBlock(), packetBlock(0, 0, ip4, 0)...), ErrBroken},
		{"packet longer than its block", append(iface, append(le(blockPacket, 32, 0, 0, 0, 99, 99), le(32)...)...), ErrBroken},
		{"lengths differ", append(iface, append(le(5, 12), le(16)...)...), nil}, // not a block that we read
		{"packet's lengths differ", append(iface, append(le(blockPacket, 32, 0, 0, 0, 0, 0), le(36)...)...), ErrBroken},
		{"section of unknown order", append(iface, le(blockSection, 28, 7, 0, 0, 0, 28)...), ErrBroken},
		{"too many interfaces", append(iface, bytes.Repeat(interfaceBlock(nil), maxInterfaces)...), ErrBroken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := NewReader(bytes.NewReader(tt.file))
			for err == nil {
				_, err = r.Next()
			}
			if tt.want == nil {
				tt.want = io.EOF
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestALengthAloneTakesNoMemory(t *testing.T) {
	file := append(writePcap(t, layers.LinkTypeRaw, false), le(0, 0, MaxFrame, MaxFrame)...)
	r, err := NewReader(bytes.NewReader(file))
	must(t, err)
	if _, err := r.Next(); !errors.Is(err, ErrBroken) {
		t.Fatalf("got %v, want ErrBroken", err)
	}
	if cap(r.buf) > 1<<14 {
		t.Errorf("a header claimed %d bytes, and %d were taken", MaxFrame, cap(r.buf))
	}
}

func TestReadFileStopsAtItsBound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.pcap")
	must(t, os.WriteFile(path, writePcap(t, layers.LinkTypeRaw, false, ip4, ip6, ip4), 0o600))
	got, err := ReadFile(path, 0)
	must(t, err)
	if len(got) != 3 || !bytes.Equal(got[1].Data, ip6) {
		t.Errorf("got %v", got)
	}
	if got, err := ReadFile(path, 2); err == nil || len(got) != 2 {
		t.Errorf("got %d packets and %v, want 2 and an error", len(got), err)
	}
}

func le(vs ...uint32) []byte {
	var b []byte
	for _, v := range vs {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func sectionBlock() []byte {
	return append(append(le(blockSection, 28, byteOrderMagic), 1, 0, 0, 0), le(0xffffffff, 0xffffffff, 28)...)
}

// interfaceBlock describes a raw IP interface with options.
func interfaceBlock(opts []byte) []byte {
	if len(opts) > 0 {
		opts = append(bytes.Clone(opts), 0, 0, 0, 0)
	}
	n := uint32(20 + len(opts))
	b := append(le(blockInterface, n), linkRaw, 0, 0, 0)
	b = append(append(b, le(0)...), opts...)
	return append(b, le(n)...)
}

func packetBlock(number uint32, ticks uint64, data []byte, flags uint32) []byte {
	opts := append([]byte{optFlags, 0, 4, 0}, le(flags, 0)...)
	pad := make([]byte, padding(len(data)))
	n := uint32(32 + len(data) + len(pad) + len(opts))
	b := le(blockPacket, n, number, uint32(ticks>>32), uint32(ticks), uint32(len(data)), uint32(len(data)))
	b = append(append(append(b, data...), pad...), opts...)
	return append(b, le(n)...)
}

// ng is a section with one interface and blocks.
func ng(opts []byte, blocks ...[]byte) []byte {
	return append(append(sectionBlock(), interfaceBlock(opts)...), bytes.Join(blocks, nil)...)
}

func FuzzReader(f *testing.F) {
	f.Add(ng([]byte{9, 0, 1, 0, 9, 0, 0, 0}, packetBlock(0, 77, ip4, 1), packetBlock(0, 78, ip6, 2)))
	f.Add(append(ng(nil), le(blockSimple, 16, 0, 16)...))
	f.Add(append(append(le(magicNano), 2, 0, 4, 0), le(0, 0, 65535, linkEthernet, 1, 2, 18, 18, 0, 0, 0, 0x8100, 0x45)...))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			return
		}
		for p := range r.All() {
			if len(p.Data) == 0 || len(p.Data) > MaxFrame || p.Cut < 0 || p.Direction > Outbound {
				t.Fatalf("impossible packet %+v", p)
			}
		}
		if cap(r.buf) > 2*len(file)+1<<15 {
			t.Fatalf("%d bytes of file took %d bytes of memory", len(file), cap(r.buf))
		}
	})
}
