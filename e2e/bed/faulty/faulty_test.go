package faulty

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// frame4 and frame6 build a frame in a dirty buffer, with six bytes of padding behind the packet.
func frame4(seq uint32, flags uint8, payload string) []byte {
	total := 20 + 20 + len(payload)
	b := dirty(etherLen + total + 6)
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	ip := b[etherLen:]
	ip[0], ip[9] = 0x45, 6
	binary.BigEndian.PutUint16(ip[2:], uint16(total))
	binary.BigEndian.PutUint16(ip[6:], 0x4000)
	copy(ip[12:], netip.MustParseAddr("198.51.100.2").AsSlice())
	copy(ip[16:], netip.MustParseAddr("203.0.113.9").AsSlice())
	putTCP(ip[20:], seq, flags, payload)
	return b
}

func frame6(seq uint32, flags uint8, payload string) []byte {
	b := dirty(etherLen + 40 + 20 + len(payload) + 6)
	binary.BigEndian.PutUint16(b[12:], 0x86dd)
	ip := b[etherLen:]
	ip[0], ip[6] = 0x60, 6
	binary.BigEndian.PutUint16(ip[4:], uint16(20+len(payload)))
	copy(ip[8:], netip.MustParseAddr("2001:db8:51::2").AsSlice())
	copy(ip[24:], netip.MustParseAddr("2001:db8:113::9").AsSlice())
	putTCP(ip[40:], seq, flags, payload)
	return b
}

func dirty(n int) []byte { return bytes.Repeat([]byte{0xa5}, n) }

func putTCP(b []byte, seq uint32, flags uint8, payload string) {
	binary.BigEndian.PutUint16(b, 40000)
	binary.BigEndian.PutUint16(b[2:], 80)
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], 0x7fffff00)
	b[12], b[13] = 5<<4, flags
	binary.BigEndian.PutUint16(b[14:], 502)
	copy(b[20:], payload)
}

func TestParseReadsSegmentsWithoutTheirPadding(t *testing.T) {
	for name, c := range map[string]struct {
		data     []byte
		src, dst string
		ip       int
	}{
		"IPv4": {frame4(0xffffff00, PSH|ACK, "data"), "198.51.100.2:40000", "203.0.113.9:80", 44},
		"IPv6": {frame6(0xffffff00, PSH|ACK, "data"), "[2001:db8:51::2]:40000", "[2001:db8:113::9]:80", 64},
	} {
		got, ok := parse(c.data, BtoA)
		if !ok {
			t.Errorf("%s: not seen as TCP", name)
			continue
		}
		want := Frame{Dir: BtoA, Src: netip.MustParseAddrPort(c.src), Dst: netip.MustParseAddrPort(c.dst),
			Seq: 0xffffff00, Ack: 0x7fffff00, Flags: PSH | ACK, Wnd: 502,
			IP: c.data[etherLen : etherLen+c.ip], Options: []byte{}, Payload: []byte("data")}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestParseLeavesTheRestAlone(t *testing.T) {
	udp, fragment := frame4(1000, ACK, ""), frame4(1000, ACK, "")
	udp[etherLen+9] = 17
	binary.BigEndian.PutUint16(fragment[etherLen+6:], 100)
	arp := dirty(60)
	binary.BigEndian.PutUint16(arp[12:], 0x0806)
	for name, data := range map[string][]byte{"UDP": udp, "later fragment": fragment, "ARP": arp, "short": dirty(20), "cut": frame4(1000, ACK, "data")[:50]} {
		if _, ok := parse(data, AtoB); ok {
			t.Errorf("%s: taken for TCP", name)
		}
	}
}

func newHalf(seed uint64) *half {
	h := &half{wire: &Wire{}}
	h.seed(seed)
	return h
}

func decisions(seed uint64, f Faults) (all []fate) {
	h := newHalf(seed)
	frame, _ := parse(frame4(1000, ACK, "data"), AtoB)
	for range 1000 {
		all = append(all, h.decide(&f, &frame))
	}
	return all
}

func TestSameSeedDecidesTheSame(t *testing.T) {
	f := Faults{Loss: 0.02, Reorder: 0.05, Duplicate: 0.1, Flip: 0.1}
	opt := cmp.AllowUnexported(fate{})
	if diff := cmp.Diff(decisions(7, f), decisions(7, f), opt); diff != "" {
		t.Errorf("two runs of one seed differ:\n%s", diff)
	}
	if cmp.Equal(decisions(7, f), decisions(8, f), opt) {
		t.Error("two seeds decide the same")
	}
	more := f
	more.Loss = 0.5
	for i, d := range decisions(7, more) {
		if was := decisions(7, f)[i]; !d.drop && d != was {
			t.Fatalf("frame %d: another loss changed %+v to %+v", i, was, d)
		}
	}
}

func TestFlipChangesOneBitOfThePacket(t *testing.T) {
	h := newHalf(1)
	unseen := uint64(0)
	for bit := range uint64(64 * 8) {
		clean := frame6(1000, ACK, "data")
		data := bytes.Clone(clean)
		f, _ := parse(clean, AtoB)
		h.flip(data, &f, bit)
		want := bytes.Clone(clean)
		want[etherLen+bit/8] ^= 0x80 >> (bit % 8)
		if !bytes.Equal(data, want) {
			t.Fatalf("bit %d: not that one, or more", bit)
		}
		// RFC 8200, section 3: version 4 bits, traffic class 8, flow label 20; hop limit is byte 7.
		if bit >= 4 && bit < 32 || bit/8 == 7 {
			unseen++
		}
	}
	if got := h.counts.read(); got.Flipped != 512 || got.Unseen != unseen {
		t.Errorf("counts %+v, want 512 flipped, %d of them unseen", got, unseen)
	}
}

func TestFramesLeaveInOrderButThoseHeldBack(t *testing.T) {
	h := newHalf(3)
	now := time.Unix(1000, 0)
	f := &Faults{Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond}
	var last time.Time
	for range 1000 {
		now = now.Add(100 * time.Microsecond)
		due := h.due(f, fate{}, now)
		if d := due.Sub(now); due.Before(last) || d < 15*time.Millisecond || d > 25*time.Millisecond {
			t.Fatalf("due after %v, %v behind the one before", d, due.Sub(last))
		}
		last = due
	}
	late := h.due(f, fate{extra: 50 * time.Millisecond}, now)
	if next := h.due(f, fate{}, now); !next.Before(late) {
		t.Errorf("the next leaves at %v, not before the one held back until %v", next, late)
	}
}

func TestQueueKeepsTheOrderOfFramesDueTogether(t *testing.T) {
	var q queue
	now := time.Unix(1000, 0)
	for _, s := range []string{"b1", "b2", "b3"} {
		q.push(now.Add(time.Second), []byte(s))
	}
	q.push(now, []byte("a"))
	if _, ok := q.popDue(now.Add(-1)); ok {
		t.Error("a frame left before its time")
	}
	var got []string
	for {
		data, ok := q.popDue(now.Add(time.Second))
		if !ok {
			break
		}
		got = append(got, string(data))
	}
	if diff := cmp.Diff([]string{"a", "b1", "b2", "b3"}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestNthCountsMatchesOnly(t *testing.T) {
	target := Nth(2, 2, IsData, Verdict{Drop: true})
	var got []bool
	for _, payload := range []string{"x", "", "x", "", "x", "x"} {
		f, _ := parse(frame4(1000, ACK, payload), AtoB)
		got = append(got, target(&f).Drop)
	}
	if diff := cmp.Diff([]bool{false, false, true, false, true, false}, got); diff != "" {
		t.Errorf("dropped (-want +got):\n%s", diff)
	}
}
