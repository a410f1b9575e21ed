package memory

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"
)

var (
	noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	s1   = netip.MustParseAddr("198.51.100.7")
	s2   = netip.MustParseAddr("198.51.100.8")
)

func TestAConnectionSeesOthersAndNotItself(t *testing.T) {
	m := New(Config{})
	m.Begin(noon, s1)
	if n := m.Conns(noon, noon, s1, time.Hour); n != 0 {
		t.Errorf("the first connection sees %d others", n)
	}
	if d := m.FirstSeen(noon.Add(time.Second), noon, s1); d != 0 {
		t.Errorf("its client was first seen %v ago", d)
	}
	later := noon.Add(10 * time.Minute)
	m.Begin(later, s1)
	m.Begin(later, s2)
	for window, want := range map[time.Duration]int{time.Minute: 0, 10 * time.Minute: 1, time.Hour: 1} {
		if n := m.Conns(later, later, s1, window); n != want {
			t.Errorf("within %v: %d others, want %d", window, n, want)
		}
	}
	// The first one, asked later, sees the second.
	if n := m.Conns(later, noon, s1, time.Minute); n != 1 {
		t.Errorf("the first connection sees %d", n)
	}
	if d := m.FirstSeen(later, later, s1); d != 10*time.Minute {
		t.Errorf("first seen %v ago", d)
	}
	if d := m.FirstSeen(later, later, s2); d != 0 {
		t.Errorf("the other client was first seen %v ago", d)
	}
}

func TestSwitchesTagsAndPackets(t *testing.T) {
	m := New(Config{})
	if m.Switched(noon, s1, time.Hour) || m.Tagged(noon, s1, "ids") {
		t.Error("nobody was here")
	}
	m.Switch(noon, s1)
	m.End(noon, s1, 30, nil)
	if err := m.Tag(noon, s1, "ids", noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	at := noon.Add(30 * time.Minute)
	for _, c := range []struct {
		what      string
		got, want bool
	}{
		{"switched within the hour", m.Switched(at, s1, time.Hour), true},
		{"switched within a minute", m.Switched(at, s1, time.Minute), false},
		{"another client", m.Switched(at, s2, time.Hour), false},
		{"tagged", m.Tagged(at, s1, "ids"), true},
		{"another tag", m.Tagged(at, s1, "cowrie"), false},
		{"a tag that is over", m.Tagged(noon.Add(time.Hour), s1, "ids"), false},
		{"packets within the hour", m.Packets(at, s1, time.Hour) >= 30 && m.Packets(at, s1, time.Hour) <= 32, true},
		{"packets within a minute", m.Packets(at, s1, time.Minute) == 0, true},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v", c.what, c.got)
		}
	}
	if m.Tag(noon, s1, "", at) == nil || m.Tag(noon, netip.Addr{}, "x", at) == nil {
		t.Error("a tag without a name, or without an address")
	}
	if err := m.Tag(at, s1, "ids", at); err != nil || m.Tagged(at, s1, "ids") {
		t.Error("a tag that ends now is still there")
	}
}

func TestAClientIsAPrefix(t *testing.T) {
	m := New(Config{PrefixV4: 24, PrefixV6: 56})
	m.Begin(noon, netip.MustParseAddr("::ffff:198.51.100.1"))
	m.Begin(noon, netip.MustParseAddr("2001:db8:0:1::1"))
	at := noon.Add(time.Second)
	for a, want := range map[string]int{"198.51.100.9": 1, "198.51.101.9": 0, "2001:db8:0:2::9": 1, "2001:db8:1::1": 0} {
		if n := m.Conns(at, at, netip.MustParseAddr(a), time.Hour); n != want {
			t.Errorf("%s: %d, want %d", a, n, want)
		}
	}
}

// Exact up to perSize, and then never too few and at most one part in perSize too many.
func TestAHistoryCountsWithinItsError(t *testing.T) {
	var h history
	var all []stamp
	for i := range stamp(1900) {
		at := i*i%97 + i*100
		if n := len(all); n > 0 {
			at = max(at, all[n-1])
		}
		h.add(at)
		all = append(all, at)
		for _, window := range []stamp{0, 50, 900, 5000, 100_000} {
			want := 0
			for _, o := range all {
				if o >= at-window {
					want++
				}
			}
			got := h.since(at-window, -1)
			if got < want || got > want+want/perSize+1 || want <= perSize && got != want {
				t.Fatalf("after %d, within %d: %d, want %d", i+1, window, got, want)
			}
			if own := h.since(at-window, at); own != got-1 {
				t.Fatalf("without the newest: %d of %d", own, got)
			}
		}
	}
	for range 100_000 {
		h.add(1 << 20)
	}
	if len(h.groups) > maxGroups || cap(h.groups) > 2*maxGroups {
		t.Errorf("%d groups", len(h.groups))
	}
}

func TestTheBoundsAreKept(t *testing.T) {
	m := New(Config{Clients: 100, Payloads: 320})
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	for i := range 300 {
		at := noon.Add(time.Duration(i) * time.Second)
		m.Begin(at, addr(i))
		if i >= 1 {
			m.Begin(at, addr(0)) // who comes again stays
		}
		m.End(at, addr(i), 0, []uint64{uint64(i) * 0x9e3779b97f4a7c15, uint64(i)*3 + 1<<40})
	}
	clients, payloads := m.Size()
	if clients != 100 || payloads > 320 || payloads < 160 {
		t.Errorf("%d clients, %d payloads", clients, payloads)
	}
	at := noon.Add(time.Hour)
	if m.Conns(at, at, addr(0), 24*time.Hour) == 0 || m.Conns(at, at, addr(299), 24*time.Hour) == 0 {
		t.Error("a client that was here lately is forgotten")
	}
	if m.Conns(at, at, addr(1), 24*time.Hour) != 0 {
		t.Error("the client that was away for the longest is remembered")
	}
	for i := range 2 * maxTags {
		if err := m.Tag(at, s1, fmt.Sprint(i), at.Add(time.Duration(i+1)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if m.Tagged(at, s1, "0") || !m.Tagged(at, s1, fmt.Sprint(2*maxTags-1)) {
		t.Error("not the tag that ends first has gone")
	}
	for i := range 2 * maxCounts {
		m.Count(at.Add(time.Duration(i)*time.Second), s1, uint64(i), time.Hour)
	}
	if n, _ := m.Count(at, s1, 2*maxCounts-1, time.Hour); n != 2 {
		t.Errorf("the newest count is %d", n)
	}
	seen := map[string]bool{}
	m.Each(func(reason string, n uint64) { seen[reason] = n > 0 })
	if len(seen) != int(reasons) {
		t.Errorf("counted: %v", seen)
	}
}

func TestWhatIsOldIsForgotten(t *testing.T) {
	m := New(Config{Keep: time.Hour})
	m.Begin(noon, s1)
	m.Begin(noon.Add(50*time.Minute), s1)
	at := noon.Add(90 * time.Minute)
	m.Begin(at, s1)
	if n := m.Conns(at, at, s1, 24*time.Hour); n != 1 {
		t.Errorf("%d others are remembered", n)
	}
	at = at.Add(2 * time.Hour)
	m.Begin(at, s1)
	if d := m.FirstSeen(at, at, s1); d != 0 {
		t.Errorf("first seen %v ago", d)
	}
}

func TestCountsAreOfOneWindow(t *testing.T) {
	m := New(Config{})
	for i, want := range []int{1, 2, 3} {
		if n, _ := m.Count(noon.Add(time.Duration(i)*time.Minute), s1, 7, time.Hour); n != want {
			t.Errorf("%d, want %d", n, want)
		}
	}
	if n, _ := m.Count(noon, s2, 7, time.Hour); n != 1 {
		t.Errorf("another client: %d", n)
	}
	if n, before := m.Count(noon.Add(time.Hour), s1, 7, time.Hour); n != 1 || before != 3 {
		t.Errorf("in the next window: %d, before %d", n, before)
	}
}

func TestListAndClear(t *testing.T) {
	m := New(Config{})
	m.Begin(noon, s1)
	m.Begin(noon.Add(time.Second), s2)
	m.End(noon, s1, 0, []uint64{1})
	if err := m.Tag(noon, s1, "ids", noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	all := m.List(noon.Add(time.Minute), netip.Prefix{}, 0)
	if len(all) != 2 || all[0].Client.Addr() != s2 || all[1].Conns != 1 || all[1].Tags["ids"] != noon.Add(time.Hour) {
		t.Errorf("%+v", all)
	}
	if one := m.List(noon, netip.PrefixFrom(s1, 32), 0); len(one) != 1 || one[0].Client.Addr() != s1 {
		t.Errorf("%+v", one)
	}
	if n := m.Clear(netip.PrefixFrom(s1, 32)); n != 1 || !m.Known(1) {
		t.Errorf("%d cleared", n)
	}
	if n := m.Clear(netip.Prefix{}); n != 1 || m.Known(1) {
		t.Errorf("%d cleared", n)
	}
}

func TestLookingAllocatesNothing(t *testing.T) {
	m := New(Config{})
	for i := range 100 {
		m.Begin(noon.Add(time.Duration(i)*time.Second), s1)
	}
	at := noon.Add(time.Hour)
	_ = m.Tag(at, s1, "ids", at.Add(time.Hour))
	n := testing.AllocsPerRun(100, func() {
		m.Conns(at, at, s1, time.Hour)
		m.FirstSeen(at, at, s1)
		m.Switched(at, s1, time.Hour)
		m.Tagged(at, s1, "ids")
		m.Packets(at, s1, time.Hour)
		m.Known(7)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestManyAtOnce(t *testing.T) {
	m := New(Config{Clients: 1 << 13})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				a := netip.AddrFrom4([4]byte{10, byte(g), byte(i >> 8), byte(i)})
				at := noon.Add(time.Duration(i) * time.Millisecond)
				m.Begin(at, a)
				m.Begin(at, s1)
				m.End(at, a, 1, []uint64{uint64(i)})
				m.Conns(at, at, s1, time.Minute)
				if i%500 == 0 {
					m.List(at, netip.Prefix{}, 10)
				}
			}
		})
	}
	wg.Wait()
	if n, _ := m.Size(); n < 7000 || n > 1<<13 {
		t.Errorf("%d clients", n)
	}
}

func BenchmarkConns(b *testing.B) {
	m := New(Config{})
	for i := range 1000 {
		m.Begin(noon.Add(time.Duration(i)*time.Second), s1)
	}
	at := noon.Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		m.Conns(at, at, s1, time.Hour)
	}
}
