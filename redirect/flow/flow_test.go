package flow

import (
	"maps"
	"net/netip"
	"sync"
	"testing"

	"sleight/stack/tcb"
)

func key(client string, port uint16) Key {
	return Key{Leg: tcb.TupleOf(netip.AddrPortFrom(netip.MustParseAddr(client), port), netip.MustParseAddrPort("203.0.113.1:80"))}
}

func table(c Config) *Table[*int] {
	c.PrefixV4, c.PrefixV6 = 24, 64
	return New[*int](c)
}

func TestOneEntryFromBothLegs(t *testing.T) {
	tab, e := table(Config{}), new(int)
	k := key("198.51.100.1", 1)
	back := Key{Leg: k.Leg.Reverse(), Side: tcb.Serving, Door: 1}
	if err := tab.Insert(k, e); err != nil || !tab.Bind(back, e) {
		t.Fatal(err)
	}
	for _, k := range []Key{k, back} {
		if got, ok := tab.Lookup(k); !ok || got != e {
			t.Errorf("%v not found", k)
		}
	}
	if other := (Key{Leg: back.Leg, Side: tcb.Serving, Door: 2}); tab.Bind(back, new(int)) || !tab.Bind(other, new(int)) {
		t.Error("a taken key was given away, or another door's was not free")
	}
	tab.Unbind(back)
	tab.Remove(k)
	if tab.Len() != 0 || tab.Keys() != 1 {
		t.Errorf("%d flows, %d keys left", tab.Len(), tab.Keys())
	}
}

func TestBounds(t *testing.T) {
	tab := table(Config{Max: 3, PerClient: 2})
	for i, want := range []error{nil, nil, ErrClientFull} {
		if err := tab.Insert(key("198.51.100.1", uint16(i)), new(int)); err != want {
			t.Errorf("flow %d of one client: %v, want %v", i, err, want)
		}
	}
	if err := tab.Insert(key("198.51.100.200", 9), new(int)); err != ErrClientFull {
		t.Errorf("same prefix: %v", err)
	}
	if err := tab.Insert(key("198.51.101.1", 1), new(int)); err != nil {
		t.Error(err)
	}
	if err := tab.Insert(key("198.51.102.1", 1), new(int)); err != ErrFull {
		t.Errorf("beyond Max: %v", err)
	}
	tab.Remove(key("198.51.100.1", 0))
	if err := tab.Insert(key("198.51.100.1", 0), new(int)); err != nil {
		t.Errorf("after a removal: %v", err)
	}
	if err := tab.Insert(key("198.51.100.1", 1), new(int)); err == nil {
		t.Error("a taken key was given twice")
	}
}

func TestEvictOfTheSameClient(t *testing.T) {
	tab := table(Config{})
	mine, other := new(int), new(int)
	*mine, *other = 1, 2
	tab.Insert(key("198.51.100.1", 1), mine)
	tab.Insert(key("198.51.101.1", 1), other)
	got, ok := tab.Evict(key("198.51.100.9", 5), true, func(*int) bool { return true })
	if !ok || got != mine {
		t.Errorf("evicted %v", got)
	}
	if _, ok := tab.Evict(key("198.51.100.9", 5), true, func(*int) bool { return false }); ok {
		t.Error("evicted what nobody agreed to")
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	tab := table(Config{})
	k := key("198.51.100.1", 1)
	tab.Insert(k, new(int))
	if n := testing.AllocsPerRun(100, func() { tab.Lookup(k) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConcurrentUse(t *testing.T) {
	tab := table(Config{Max: 1 << 20})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go use(&wg, tab, g)
	}
	wg.Wait()
	if tab.Len() != 2000 || tab.Keys() != 2000 {
		t.Errorf("%d flows, %d keys; want 2000", tab.Len(), tab.Keys())
	}
}

func use(wg *sync.WaitGroup, tab *Table[*int], g int) {
	defer wg.Done()
	for i := range 500 {
		k, e := key("198.51.100.1", uint16(g*1000+i)), new(int)
		back := Key{Leg: k.Leg.Reverse(), Side: tcb.Serving, Door: 1}
		tab.Insert(k, e)
		tab.Bind(back, e)
		tab.Lookup(k)
		tab.Evict(k, i%3 == 0, func(*int) bool { return false })
		tab.Unbind(back)
		if i%2 == 0 {
			tab.Remove(k)
		}
	}
}

// A key leads to one flow: the same one may not be counted twice, and what was
// never there takes nothing away.
func TestCountsAreTheFlows(t *testing.T) {
	tab, e := table(Config{}), new(int)
	k := key("198.51.100.1", 1)
	if err := tab.Insert(k, e); err != nil {
		t.Fatal(err)
	}
	if err := tab.Insert(k, e); err != ErrTaken {
		t.Errorf("the same flow again: %v, want ErrTaken", err)
	}
	tab.Unbind(k) // not the key of another leg
	tab.Remove(key("198.51.100.1", 2))
	if tab.Len() != 1 || tab.Keys() != 1 {
		t.Errorf("%d flows, %d keys; want 1", tab.Len(), tab.Keys())
	}
	tab.Remove(k)
	tab.Remove(k)
	if tab.Len() != 0 || len(tab.clients) != 0 {
		t.Errorf("%d flows, %d clients left", tab.Len(), len(tab.clients))
	}
}

// A client at its bound whose flow in Closing lies among many others' finds it,
// if not at the first look then at a later one.
func TestEvictFindsTheClientsOwnAmongMany(t *testing.T) {
	tab := table(Config{PerClient: 1024})
	for i := range 20_000 {
		e := new(int)
		if err := tab.Insert(key("203.0.113.9", uint16(i)).from(i), e); err != nil {
			t.Fatal(err)
		}
	}
	closing := new(int)
	for i := range 1024 {
		e := new(int)
		if i == 700 {
			e = closing
		}
		if err := tab.Insert(key("198.51.100.1", uint16(i)), e); err != nil {
			t.Fatal(err)
		}
	}
	for try := range 1024 / evictScan {
		looked := 0
		got, ok := tab.Evict(key("198.51.100.1", 5000), true, func(e *int) bool { looked++; return e == closing })
		if looked > evictScan {
			t.Fatalf("looked at %d flows, more than %d", looked, evictScan)
		}
		if ok && got == closing {
			return
		}
		t.Logf("not at look %d", try)
	}
	t.Error("not found")
}

func TestEvictLooksAtAFew(t *testing.T) {
	tab := table(Config{})
	for i := range 5000 {
		tab.Insert(key("203.0.113.9", uint16(i)), new(int))
	}
	looked := 0
	if _, ok := tab.Evict(key("198.51.100.1", 1), false, func(*int) bool { looked++; return false }); ok || looked != evictScan {
		t.Errorf("looked at %d flows, found %v", looked, ok)
	}
}

// A client's list does not grow with the flows that it has had.
func TestPlacesOfAClientAreUsedAgain(t *testing.T) {
	tab := table(Config{PerClient: 4})
	first := key("198.51.100.1", 0)
	tab.Insert(first, new(int))
	for i := range 10_000 {
		k := key("198.51.100.1", uint16(1+i))
		if err := tab.Insert(k, new(int)); err != nil {
			t.Fatal(err)
		}
		tab.Remove(k)
	}
	if n := len(tab.clients[tab.prefix(first)].flows); n != 2 {
		t.Errorf("%d places for 2 flows at once", n)
	}
}

func TestEachFlowOnce(t *testing.T) {
	tab := table(Config{})
	want := map[*int]int{}
	for i := range 100 {
		e := new(int)
		want[e] = 1
		k := key("198.51.100.1", uint16(i))
		tab.Insert(k, e)
		tab.Bind(Key{Leg: k.Leg.Reverse(), Side: tcb.Serving, Door: 1}, e)
	}
	got := map[*int]int{}
	tab.Each(func(e *int) { got[e]++ })
	if !maps.Equal(got, want) {
		t.Errorf("%d flows of %d, or some more than once", len(got), len(want))
	}
}

// BenchmarkLookup measures the table, not the cache: the keys come in no order.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		tab := New[*int](Config{PrefixV4: 32, PrefixV6: 64})
		e := new(int)
		k := key("198.51.100.1", 0)
		for i := range n {
			tab.Bind(k.from(i), e)
		}
		b.Run(map[int]string{1_000: "1k", 1_000_000: "1M"}[n], func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, ok := tab.Lookup(k.from(i * 7919 % n)); !ok {
					b.Fatal("lost")
				}
			}
		})
	}
}

// from is the key of the n-th client.
func (k Key) from(n int) Key {
	k.Leg.Src[13], k.Leg.Src[14], k.Leg.Src[15] = byte(n>>16), byte(n>>8), byte(n)
	return k
}
