package seam

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"sleight/internal/pcap"
	"sleight/stack/wire"
)

func want(t *testing.T, r *Report, kinds ...Kind) {
	t.Helper()
	var got []Kind
	for _, a := range r.Anomalies {
		got = append(got, a.Kind)
		if a.Detail == "" || strings.Contains(a.Detail, "%!") {
			t.Errorf("%v: its detail is %q", a.Kind, a.Detail)
		}
	}
	if diff := cmp.Diff(kinds, got); diff != "" || len(got) != r.Total() {
		t.Errorf("%s\n%v", diff, r)
	}
}

func TestACleanConversationHasNoAnomaly(t *testing.T) {
	eachTalk(t, func(t *testing.T, talk func() *talk) {
		c := talk()
		c.exchange()
		for _, lossless := range []bool{true, false} {
			r := c.check(Options{Lossless: lossless})
			want(t, r)
			if !r.OK() {
				t.Errorf("not OK: %v", r)
			}
			s := r.Stats
			wantIn := uint64(2*c.full() + 500 + 300 + 300)
			if s.Flows != 1 || s.BytesIn != wantIn || s.BytesOut != 300 || s.MedianRTT != rtt || s.Partial != 0 {
				t.Errorf("stats %+v", s)
			}
		}
	})
}

func TestWhatALossyWireDoesIsNoAnomaly(t *testing.T) {
	eachTalk(t, func(t *testing.T, talk func() *talk) {
		c := talk()
		c.exchange()
		c.again("a3", "a2") // sent again: another ID, the same bytes
		i, j := c.index("a1"), c.index("a2")
		c.steps[i].at, c.steps[j].at = c.steps[j].at, c.steps[i].at
		c.steps[i], c.steps[j] = c.steps[j], c.steps[i] // overtaken
		c.insert("b2", "ack A")                         // a duplicate that comes very late
		c.insert("finack", "finack")
		c.remove("ack A") // lost
		r := c.check(Options{})
		want(t, r)
		if r.Stats.Retransmitted != uint64(c.full()) {
			t.Errorf("%d bytes again, want %d", r.Stats.Retransmitted, c.full())
		}
	})
}

func TestAValidSACKIsNoAnomaly(t *testing.T) {
	eachTalk(t, func(t *testing.T, talk func() *talk) {
		c := talk()
		c.exchange()
		c.block("b", -250, -200) // a D-SACK
		b2 := c.at("b2")
		b2.Ack -= 150
		c.block("b2", 100, 150) // above the ACK
		want(t, c.check(Options{}))
	})
}

// RFC 7323, section 2.4: what rounding takes away is less than a unit of 128 bytes.
func TestAnEdgeMayLoseLessThanAUnit(t *testing.T) {
	eachTalk(t, func(t *testing.T, talk func() *talk) {
		c := talk()
		c.exchange()
		b := c.at("b") // acknowledges 200 bytes more than a3
		b.Wnd -= 2
		want(t, c.check(Options{Lossless: true}))
		b.Wnd--
		want(t, c.check(Options{Lossless: true}), EdgeMoved)
	})
}

// Linux, tcp_may_update_window: as old, and smaller, but not closed.
func TestASmallerWindowThatSIgnoresIsCounted(t *testing.T) {
	eachTalk(t, func(t *testing.T, talk func() *talk) {
		c := talk()
		c.exchange()
		c.bare("b2")
		c.bare("planted").Wnd -= 100
		r := c.check(Options{Lossless: true})
		want(t, r)
		if r.Stats.Unacted != 1 {
			t.Errorf("%d counted, want 1", r.Stats.Unacted)
		}
	})
}

// late makes "a3" come again at a time after it was first there, with S's
// acknowledgement of it sent at another.
func (t *talk) late(again, acknowledged time.Duration) {
	t.again("a3", "a3")
	for _, name := range []string{"ack a", "B", "b", "ack b", "b2", "ack b2", "keepalive", "alive", "fin", "finack", "last"} {
		t.at(name).at += time.Second
	}
	there := t.at("a3").at
	t.at("planted").at = there + again
	if acknowledged > 0 {
		t.at("ack a").at = there + acknowledged
	}
	if acknowledged > 0 && acknowledged < again {
		i, j := t.index("planted"), t.index("ack a")
		t.steps[i], t.steps[j] = t.steps[j], t.steps[i]
	}
}

// RFC 8985, section 7.2: a probe comes about two round trips after the last segment.
func TestADuplicateIsExcusedOnlyIfSWasLateToAcknowledge(t *testing.T) {
	tests := []struct {
		name                string
		again, acknowledged time.Duration // after it came first; 0: later
		want                []Kind
	}{
		{"5 ms later, long before any probe", 5 * time.Millisecond, 0, []Kind{Duplicate}},
		{"after three round trips, S is silent", 3 * rtt, 0, nil},
		{"after three round trips, and S was quick", 3 * rtt, time.Millisecond, []Kind{Duplicate}},
		{"the acknowledgement was on its way", 3 * rtt, 3*rtt - rtt/2, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachTalk(t, func(t *testing.T, talk func() *talk) {
				c := talk()
				c.exchange()
				c.late(tt.again, tt.acknowledged)
				for _, s := range c.after("synack") {
					s.Opts.TSVal = c.server.clock + uint32(s.at.Milliseconds())
					s.Opts.TSEcr = c.at("syn").Opts.TSVal
				}
				r := c.check(Options{Lossless: true})
				want(t, r, tt.want...)
				if excused := r.Stats.Probes == 1; excused != (tt.want == nil) {
					t.Errorf("%d excused", r.Stats.Probes)
				}
				want(t, c.check(Options{Lossless: true, Jitter: time.Second}))
			})
		})
	}
}

func TestPAWSOfAWireThatReordersIsCounted(t *testing.T) {
	eachTalk(t, func(t *testing.T, talk func() *talk) {
		c := talk()
		c.exchange()
		c.at("b").Opts.TSVal -= 50
		r := c.check(Options{})
		want(t, r)
		if r.Stats.PAWS != 1 {
			t.Errorf("%d counted, want 1", r.Stats.PAWS)
		}
		want(t, c.check(Options{Reorder: 5 * time.Millisecond}), TSValFell)
	})
}

func TestAFlowThatIsOpenedAgainIsANewOne(t *testing.T) {
	eachTalk(t, func(t *testing.T, talk func() *talk) {
		c := talk()
		c.exchange()
		first := len(c.steps)
		c.now += time.Second
		c.client.nxt += 99999
		c.server.nxt -= 77777
		c.client.seen = 0
		c.exchange()
		for i := range c.steps[first:] {
			if s := &c.steps[first+i]; s.fromServer {
				s.ID += 777
				s.Opts.TSVal -= 1 << 20
			} else if !s.Flags.Has(wire.SYN) {
				s.Opts.TSEcr -= 1 << 20
			}
		}
		c.steps[first+1].ID = 0
		r := c.check(Options{Lossless: true})
		want(t, r)
		if r.Stats.Flows != 2 {
			t.Errorf("%d flows, want 2", r.Stats.Flows)
		}
	})
}

// RFC 9293, section 3.10.7.1: the segment's ACK is the RST's SEQ.
func TestAnRSTThatAnswersIsNoAnomaly(t *testing.T) {
	eachTalk(t, func(t *testing.T, talk func() *talk) {
		c := talk()
		c.exchange()
		s := c.reset("ack b2", wire.RST, 0)
		s.at = c.at("ack b2").at + rtt
		c.steps = c.steps[:c.index("planted")+1]
		r := c.check(Options{Lossless: true})
		want(t, r)
		if r.Stats.Resets != 1 {
			t.Errorf("%d resets, want 1", r.Stats.Resets)
		}
	})
}

func TestARefusalIsNoAnomaly(t *testing.T) {
	eachTalk(t, func(t *testing.T, talk func() *talk) {
		c := talk()
		c.exchange()
		c.steps = c.steps[:2]
		s := c.at("synack")
		s.Flags, s.Opts, s.Seq = wire.RST|ack, wire.Options{}, 0
		want(t, c.check(Options{Lossless: true}))
	})
}

func TestACaptureWithoutHandshakeIsCheckedInPart(t *testing.T) {
	eachTalk(t, func(t *testing.T, talk func() *talk) {
		c := talk()
		c.exchange()
		c.steps = c.steps[c.index("ack a"):]
		r := c.check(Options{Lossless: true})
		want(t, r)
		if r.Stats.Partial != 1 {
			t.Errorf("%d flows in part, want 1", r.Stats.Partial)
		}
		c.at("b2").TTL--
		want(t, c.check(Options{Lossless: true}), TTLChanged)
	})
}

func TestWhatTheWireDamagesIsNoAnomaly(t *testing.T) {
	eachTalk(t, func(t *testing.T, talk func() *talk) {
		c := talk()
		c.exchange()
		c.insert("b", "b").raw = []func([]byte) []byte{flip(75)}
		if c.v6 { // no checksum covers it
			c.at("b2").raw = []func([]byte) []byte{flip(3)}
		}
		r := c.check(Options{Corrupting: true})
		want(t, r)
		if r.Stats.Damaged != 1 {
			t.Errorf("%d damaged, want 1", r.Stats.Damaged)
		}
	})
}

func TestOffloadsExcuseChecksumsAndSize(t *testing.T) {
	c := newTalk(false, 1000)
	c.open()
	c.c("A", psh, text(10, 'A'))
	c.s("a", psh, text(20000, 'a')).raw = []func([]byte) []byte{flip(36)}
	c.c("ack a", ack, nil)
	want(t, c.check(Options{Lossless: true, Offload: true}))
	want(t, c.check(Options{Lossless: true}), BadChecksum)
}

func TestBoundsAreKeptAndCounted(t *testing.T) {
	c := newTalk(false, 1000)
	c.exchange()
	for range 3 * perFlow {
		c.insert("b", "b").Flags |= wire.ECE
	}
	r := c.check(Options{MaxAnomalies: 3})
	if len(r.Anomalies) != 3 || r.Total() < 3*perFlow {
		t.Errorf("%d listed of %d, want 3", len(r.Anomalies), r.Total())
	}
	r = c.check(Options{})
	if len(r.Anomalies) != perFlow {
		t.Errorf("%d listed, want %d", len(r.Anomalies), perFlow)
	}

	d := newTalk(false, 1000)
	d.client.addr = netip.MustParseAddrPort("198.51.100.2:40002")
	d.exchange()
	c = newTalk(false, 1000)
	c.exchange()
	c.steps = append(c.steps, d.steps...)
	r = c.check(Options{MaxFlows: 1})
	if r.Stats.Flows != 1 || r.Stats.Unfollowed == 0 || r.OK() {
		t.Errorf("stats %+v", r.Stats)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	c := newTalk(false, 1000)
	c.open()
	for range 50 {
		c.s("a", ack, text(1448, 'a'))
	}
	ch := &checker{o: Options{Server: claimed(), MaxFlows: 1, MaxHistory: 8192}, flows: map[Pair]*flow{}, report: newReport()}
	for _, p := range c.packets() {
		ch.packet(p)
	}
	for _, f := range ch.flows {
		if n := len(f.server.bytes.ring); n != 8192 {
			t.Errorf("%d bytes of history, want 8192", n)
		}
	}
}

func TestCheckFileReadsWhatACaptureHolds(t *testing.T) {
	c := newTalk(true, 1000)
	c.exchange()
	c.at("b").TTL = 9
	path := filepath.Join(t.TempDir(), "s.pcapng")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pcapgo.NewNgWriter(file, layers.LinkTypeRaw)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.packets() {
		ci := gopacket.CaptureInfo{Timestamp: p.Time, CaptureLength: len(p.Data), Length: len(p.Data)}
		if err := w.WritePacket(ci, p.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	o := Options{Server: claimed(), Lossless: true}
	r, err := CheckFile(path, o)
	if err != nil {
		t.Fatal(err)
	}
	want(t, r, TTLChanged)
	if a := r.Anomalies[0]; a.Packet != c.index("b")+1 || a.Flow != (Pair{c.client.addr, c.server.addr}) {
		t.Errorf("%+v", a)
	}
	if s := r.String(); !strings.Contains(s, "1 anomalies in 1 flows") || !strings.Contains(s, "ttl_changed: TTL 0x9, and 0x3d before") {
		t.Error(s)
	}
	if err := os.Truncate(path, 700); err != nil {
		t.Fatal(err)
	}
	if _, err := CheckFile(path, o); err == nil {
		t.Error("a damaged capture was taken")
	}
}

func FuzzCheck(f *testing.F) {
	c := newTalk(false, 0xffffff00)
	c.exchange()
	var seed []byte
	for _, p := range c.packets() {
		seed = append(append(seed, byte(len(p.Data)>>8), byte(len(p.Data))), p.Data...)
	}
	f.Add(seed, true)
	f.Add(seed[:900], false)
	f.Fuzz(func(t *testing.T, b []byte, lossless bool) {
		var all []pcap.Packet
		for len(b) > 2 {
			n := min(len(b)-2, int(b[0])<<8|int(b[1]))
			all = append(all, pcap.Packet{Number: len(all) + 1, Time: epoch, Data: b[2 : 2+n]})
			b = b[2+n:]
		}
		r := Check(slices.Values(all), Options{Server: claimed(), Lossless: lossless, MaxFlows: 8, MaxHistory: 4096})
		if r.Total() < len(r.Anomalies) || r.String() == "" {
			t.Fatal("the report does not add up")
		}
	})
}
