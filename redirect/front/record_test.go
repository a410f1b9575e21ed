package front

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// advance lets time pass in steps and tells when SYN-ACKs went out.
func (d *dialogue) advance(step, until time.Duration) (at []time.Duration) {
	for began := d.now; d.now.Sub(began) < until; {
		d.wait(step)
		d.tab.Advance(d.now, func(s *wire.Segment) {
			d.checkSYNACK("a retransmission", s)
			at = append(at, d.now.Sub(began))
		})
	}
	return at
}

// Measured: Linux sends its SYN-ACK again after 1, 3, 7, 15 … s, with newer
// timestamps, five times in all.
func TestRetransmissions(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		timeout time.Duration
		want    []time.Duration
	}{
		{10 * s, []time.Duration{s, 3 * s, 7 * s}},
		{time.Hour, []time.Duration{s, 3 * s, 7 * s, 15 * s, 31 * s}},
	} {
		d := talk(t, 0xffffff00)
		d.tab.cfg.Timeout = tt.timeout
		d.open()
		if diff := cmp.Diff(tt.want, d.advance(100*time.Millisecond, 100*s)); diff != "" {
			t.Error(diff)
		}
		if d.tab.Len() != 0 || len(d.tab.due) != 0 {
			t.Error("the record is still there")
		}
	}
}

func TestRetransmissionSpoilsTheRTT(t *testing.T) {
	d := talk(t, 1000)
	d.open()
	d.advance(time.Second, time.Second)
	d.says(d.ack(""))
	d.want("the ACK", Complete)
	if d.half.RTT != 0 {
		t.Errorf("RTT %v (RFC 6298, section 3: Karn)", d.half.RTT)
	}
}

func TestDeadline(t *testing.T) {
	d := talk(t, 1000)
	if _, ok := d.tab.Deadline(); ok {
		t.Fatal("a deadline of nothing")
	}
	d.open()
	began := d.now
	for _, want := range []time.Duration{1, 3, 7, 10} {
		at, ok := d.tab.Deadline()
		if !ok || at.Sub(began) != want*time.Second {
			t.Fatalf("deadline after %v, want %d s", at.Sub(began), want)
		}
		d.tab.Advance(at.Add(-1), func(*wire.Segment) { t.Fatal("before its deadline") })
		d.tab.Advance(at, func(*wire.Segment) {})
	}
	if _, ok := d.tab.Deadline(); ok {
		t.Error("the timeout has left something")
	}
}

// flood sends SYNs from n clients.
func flood(tab *Table, now time.Time, n int) (res map[Result]int) {
	res = map[Result]int{}
	var out wire.Segment
	for i := range n {
		a := netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
		seg := wire.Segment{Src: netip.AddrPortFrom(a, uint16(i>>16)+1), Dst: host, Seq: tcb.Seq(i), Flags: wire.SYN}
		res[tab.SYN(now, &seg, &linux, &out)]++
	}
	return res
}

// The bound is reached and not passed; those that were first are served, and
// there is room again once one of them is gone.
func TestTheBound(t *testing.T) {
	d := talk(t, 1000)
	d.open()
	if res := flood(d.tab, d.now, 300); res[Reply] != 99 || res[Full] != 201 || d.tab.Len() != 100 {
		t.Fatalf("%v, %d records", res, d.tab.Len())
	}
	d.says(d.syn())
	d.wantSYNACK("a SYN of a record that is there needs no room")
	d.says(d.ack(""))
	d.want("the ACK", Complete)
	if res := flood(d.tab, d.now, 300); res[Reply] != 100 || d.tab.Len() != 100 { // 99 of them again
		t.Errorf("%v, %d records", res, d.tab.Len())
	}
	d.wait(time.Minute)
	d.tab.Advance(d.now, func(*wire.Segment) { t.Error("a SYN-ACK after the timeout") })
	if d.tab.Len() != 0 {
		t.Errorf("%d records left", d.tab.Len())
	}
}

// Whatever happens in whatever order, map and schedule have the same records.
func TestMapAndScheduleAgree(t *testing.T) {
	tab := New(config())
	now := t0
	for i := range 2000 {
		now = now.Add(time.Duration(i*7919%200) * time.Millisecond)
		flood(tab, now, 1+i*31%90)
		if i%3 == 0 {
			for _, h := range tab.due[:len(tab.due)/2] {
				tab.drop(h)
				break
			}
		}
		tab.Advance(now, func(*wire.Segment) {})
		if len(tab.m) != len(tab.due) {
			t.Fatalf("%d in the map, %d scheduled", len(tab.m), len(tab.due))
		}
		for place, h := range tab.due {
			if tab.find(h.leg) != h || int(h.place) != place || h.due < tab.due[(max(place, 1)-1)/2].due {
				t.Fatalf("record %d is out of place", place)
			}
		}
	}
}

// ISNs of one pair move with the clock, of others they tell nothing; the same
// secret gives the same (RFC 9293, section 3.4.1).
func TestISNs(t *testing.T) {
	a, b := talk(t, 1000), talk(t, 1000)
	b.tab.cfg.Secret[0]++
	a.open()
	b.open()
	if a.iss == b.iss || a.tsval == b.tsval {
		t.Error("another secret, the same numbers")
	}
	c := talk(t, 1000)
	c.wait(4 * time.Second)
	c.open()
	if got := tcb.Diff(c.iss, a.iss); got != 62_500_000 {
		t.Errorf("moved by %d in 4 s, want 62,500,000: 64 ns a tick, as Linux", got)
	}
	e := talk(t, 1000)
	e.client = netip.AddrPortFrom(e.client.Addr(), 40001)
	e.open()
	if d := tcb.Diff(e.iss, a.iss); -1000 < d && d < 1000 {
		t.Errorf("the next port's ISN lies %d away", d)
	}
}

// A record is small: a flood makes as many as the bound allows.
func TestMemoryOfARecord(t *testing.T) {
	cfg := config()
	cfg.Max = 1 << 16
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tab := New(cfg)
	flood(tab, t0, cfg.Max)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if tab.Len() != cfg.Max {
		t.Fatalf("%d records", tab.Len())
	}
	each := int(after.HeapAlloc-before.HeapAlloc) / cfg.Max
	t.Logf("%d bytes for each of %d", each, cfg.Max)
	if each > 200 {
		t.Errorf("%d bytes for each half-open record, want 200 at most", each)
	}
	runtime.KeepAlive(tab)
}

func BenchmarkSYN(b *testing.B) {
	cfg := config()
	cfg.Max = 1 << 16
	for b.Loop() {
		flood(New(cfg), t0, 1000)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/SYN")
}

// Time that passes costs nothing where nothing is due.
func BenchmarkAdvanceIdle(b *testing.B) {
	cfg := config()
	cfg.Max = 1 << 16
	tab := New(cfg)
	flood(tab, t0, cfg.Max)
	for b.Loop() {
		tab.Advance(t0.Add(time.Millisecond), func(*wire.Segment) {})
	}
}

// Should two pairs ever have one hash, neither gets the other's record.
func TestPairsOfOneHash(t *testing.T) {
	d := talk(t, 1000)
	key := d.syn().Tuple()
	other := key
	other.SrcPort++
	d.tab.m[d.tab.slot(key)] = &record{leg: other, irs: d.isn, host: &linux}
	d.says(d.syn())
	d.want("a SYN", Full)
	d.says(d.ack(""))
	d.want("an ACK", None)
}
