package flow

import (
	"net/netip"
	"sync"
	"testing"
	"time"

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
		go func() {
			defer wg.Done()
			for i := range 500 {
				k := key("198.51.100.1", uint16(g*1000+i))
				tab.Insert(k, new(int))
				tab.Lookup(k)
				if i%2 == 0 {
					tab.Remove(k)
				}
			}
		}()
	}
	wg.Wait()
	if tab.Len() != 2000 || tab.Keys() != 2000 {
		t.Errorf("%d flows, %d keys; want 2000", tab.Len(), tab.Keys())
	}
}

func TestTimersWakeInOrder(t *testing.T) {
	tm := NewTimers[string]()
	t0 := time.Unix(0, 0)
	tm.Schedule("c", t0.Add(3))
	tm.Schedule("a", t0.Add(1))
	tm.Schedule("b", t0.Add(2))
	if got := tm.Due(t0, nil); got != nil {
		t.Fatalf("woke %v too early", got)
	}
	if got := tm.Due(t0.Add(2), nil); len(got) != 2 || got[0] != "a" || got[1] != "b" || tm.Len() != 1 {
		t.Errorf("woke %v", got)
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		tab := New[*int](Config{PrefixV4: 32, PrefixV6: 64})
		e := new(int)
		for i := range n {
			tab.Bind(key("198.51.100.1", uint16(i)).with(i>>16), e)
		}
		b.Run(map[int]string{1_000: "1k", 1_000_000: "1M"}[n], func(b *testing.B) {
			for i := range b.N {
				j := i * 7919 % n
				tab.Lookup(key("198.51.100.1", uint16(j)).with(j >> 16))
			}
		})
	}
}

func (k Key) with(n int) Key {
	k.Leg.Dst[15] = byte(n)
	return k
}
