package flow

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"unsafe"

	"sleight/stack/tcb"
)

func key(client string, port uint16) Key {
	return Key{Leg: tcb.TupleOf(netip.AddrPortFrom(netip.MustParseAddr(client), port), netip.MustParseAddrPort("203.0.113.1:80"))}
}

func table(c Config) *Table[*int] {
	c.PrefixV4, c.PrefixV6 = 24, 64
	return New[*int](c)
}

// member is a flow before it is in the table.
func member(k Key, e *int) *Member[*int] { return &Member[*int]{Node: *node(k, e)} }

func node(k Key, e *int) *Node[*int] { return &Node[*int]{Key: k, Of: e} }

func TestOneEntryFromBothLegs(t *testing.T) {
	tab, e := table(Config{}), new(int)
	m := member(key("198.51.100.1", 1), e)
	back := node(Key{Leg: m.Key.Leg.Reverse(), Side: tcb.Serving, Door: 1}, e)
	if err := tab.Insert(m); err != nil || !tab.Bind(back) {
		t.Fatal(err)
	}
	for _, k := range []Key{m.Key, back.Key} {
		if got, ok := tab.Lookup(k); !ok || got != e {
			t.Errorf("%v not found", k)
		}
	}
	other := node(Key{Leg: back.Key.Leg, Side: tcb.Serving, Door: 2}, new(int))
	if tab.Bind(node(back.Key, new(int))) || !tab.Bind(other) {
		t.Error("a taken key was given away, or another door's was not free")
	}
	tab.Unbind(back)
	tab.Remove(m)
	if tab.Len() != 0 || tab.Keys() != 1 {
		t.Errorf("%d flows, %d keys left", tab.Len(), tab.Keys())
	}
}

func TestBounds(t *testing.T) {
	tab := table(Config{Max: 3, PerClient: 2})
	first := member(key("198.51.100.1", 0), new(int))
	for i, want := range []error{nil, nil, ErrClientFull} {
		m := first
		if i > 0 {
			m = member(key("198.51.100.1", uint16(i)), new(int))
		}
		if err := tab.Insert(m); err != want {
			t.Errorf("flow %d of one client: %v, want %v", i, err, want)
		}
	}
	if err := tab.Insert(member(key("198.51.100.200", 9), new(int))); err != ErrClientFull {
		t.Errorf("same prefix: %v", err)
	}
	if err := tab.Insert(member(key("198.51.101.1", 1), new(int))); err != nil {
		t.Error(err)
	}
	if err := tab.Insert(member(key("198.51.102.1", 1), new(int))); err != ErrFull {
		t.Errorf("beyond Max: %v", err)
	}
	tab.Remove(first)
	if err := tab.Insert(first); err != nil {
		t.Errorf("after a removal: %v", err)
	}
	if err := tab.Insert(member(key("198.51.100.1", 1), new(int))); err == nil {
		t.Error("a taken key was given twice")
	}
}

func TestEvictOfTheSameClient(t *testing.T) {
	tab := table(Config{})
	mine, other := new(int), new(int)
	*mine, *other = 1, 2
	tab.Insert(member(key("198.51.100.1", 1), mine))
	tab.Insert(member(key("198.51.101.1", 1), other))
	got, ok := tab.Evict(key("198.51.100.9", 5), true, func(*int) int { return 0 })
	if !ok || got != mine {
		t.Errorf("evicted %v", got)
	}
	if _, ok := tab.Evict(key("198.51.100.9", 5), true, func(*int) int { return Never }); ok {
		t.Error("evicted what nobody agreed to")
	}
}

func TestEvictTakesTheLowestRank(t *testing.T) {
	tab := table(Config{})
	for i := range 100 {
		e := new(int)
		*e = (i*37)%100 + 5
		tab.Insert(member(key("198.51.100.1", uint16(i)), e))
	}
	rank := func(e *int) int {
		if *e < 8 {
			return Never
		}
		return *e
	}
	for _, same := range []bool{true, false} {
		if got, ok := tab.Evict(key("198.51.100.1", 500), same, rank); !ok || *got != 8 {
			t.Errorf("same client %v: evicted rank %d, want 8", same, *got)
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	tab := table(Config{})
	k := key("198.51.100.1", 1)
	tab.Insert(member(k, new(int)))
	if n := testing.AllocsPerRun(100, func() { tab.Lookup(k) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConcurrentUse(t *testing.T) {
	tab := table(Config{Max: 1 << 20})
	stand := member(key("203.0.113.7", 7), new(int))
	tab.Insert(stand)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go use(&wg, t, tab, stand, g)
	}
	wg.Wait()
	if tab.Len() != 2001 || tab.Keys() != 2001 {
		t.Errorf("%d flows, %d keys; want 2001", tab.Len(), tab.Keys())
	}
}

// use changes the table; a flow that stands is found meanwhile, without a lock.
func use(wg *sync.WaitGroup, t *testing.T, tab *Table[*int], stand *Member[*int], g int) {
	defer wg.Done()
	for i := range 500 {
		e := new(int)
		m := member(key("198.51.100.1", uint16(g*1000+i)), e)
		back := node(Key{Leg: m.Key.Leg.Reverse(), Side: tcb.Serving, Door: 1}, e)
		tab.Insert(m)
		tab.Bind(back)
		if got, ok := tab.Lookup(back.Key); !ok || got != e {
			t.Error("not found")
		}
		if got, ok := tab.Lookup(stand.Key); !ok || got != stand.Of {
			t.Error("what stands was not found")
		}
		tab.Evict(m.Key, i%3 == 0, func(*int) int { return Never })
		tab.Unbind(back)
		if i%2 == 0 {
			tab.Remove(m)
		}
	}
}

// A key leads to one flow: the same one may not be counted twice, and what was
// never there takes nothing away.
func TestCountsAreTheFlows(t *testing.T) {
	tab, e := table(Config{}), new(int)
	m := member(key("198.51.100.1", 1), e)
	if err := tab.Insert(m); err != nil {
		t.Fatal(err)
	}
	for what, again := range map[string]*Member[*int]{"itself": m, "another with its key": member(m.Key, e)} {
		if err := tab.Insert(again); err != ErrTaken {
			t.Errorf("the same flow again, %s: %v, want ErrTaken", what, err)
		}
	}
	tab.Unbind(&m.Node) // not the key of another leg
	tab.Remove(member(key("198.51.100.1", 2), e))
	if tab.Len() != 1 || tab.Keys() != 1 {
		t.Errorf("%d flows, %d keys; want 1", tab.Len(), tab.Keys())
	}
	tab.Remove(m)
	tab.Remove(m)
	if known, _ := tab.known(); tab.Len() != 0 || known != 0 {
		t.Errorf("%d flows, %d clients left", tab.Len(), known)
	}
}

// known is how many clients have flows, and room for how many there is.
func (t *Table[E]) known() (n, room int) {
	for i := range t.clients {
		n += t.clients[i].used
		room += len(t.clients[i].rings)
	}
	return n, room
}

// Against a plain map: clients come and go, some with one flow and some with many, by
// an order drawn by lot, until all of them are gone and their room with them.
func TestClientsAgainstAModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 3))
	tab := table(Config{PerClient: 3})
	model, live := map[prefix]int{}, []*Member[*int](nil)
	for step := range 120_000 {
		if grow := step/40_000%2 == 0; len(live) > 0 && r.IntN(4) > 0 != grow {
			i := r.IntN(len(live))
			m := live[i]
			live[i], live = live[len(live)-1], live[:len(live)-1]
			tab.Remove(m)
			model[tab.prefix(&m.Key)]--
			if m.next != nil || m.prev != nil {
				t.Fatal("a flow that is gone leads to others")
			}
		} else {
			m := member(key("198.51.100.1", uint16(step)).from(r.IntN(8000)*256+step%256), new(int))
			p, want := tab.prefix(&m.Key), error(nil)
			if model[p] == 3 {
				want = ErrClientFull
			}
			err := tab.Insert(m)
			if err == ErrTaken {
				continue
			}
			if err != want {
				t.Fatalf("step %d: %v, want %v", step, err, want)
			}
			if err == nil {
				model[p]++
				live = append(live, m)
			}
		}
		if step%100 == 0 && len(live) > 0 {
			m := live[r.IntN(len(live))]
			tab.wantRing(t, tab.prefix(&m.Key), model)
		}
	}
	for p := range model {
		tab.wantRing(t, p, model)
	}
	for _, m := range live {
		tab.Remove(m)
	}
	if n, room := tab.known(); n != 0 || room > smallest*shards {
		t.Errorf("%d clients left, room for %d", n, room)
	}
}

// wantRing wants a client's flows to be as many as the model's, and in one ring.
func (t *Table[E]) wantRing(test *testing.T, p prefix, model map[prefix]int) {
	test.Helper()
	i, known := t.of(p).slot(t, p)
	if known != (model[p] > 0) {
		test.Fatalf("known %v, with %d flows", known, model[p])
	}
	if !known {
		return
	}
	first := t.of(p).rings[i]
	n, m := 0, first
	for ok := true; ok; ok = m != first {
		if t.prefix(&m.Key) != p || m.next.prev != m {
			test.Fatal("not a ring of one client's flows")
		}
		n, m = n+1, m.next
	}
	if n != model[p] || int(first.flows) != n {
		test.Fatalf("%d flows in the ring, %d counted, want %d", n, first.flows, model[p])
	}
}

// A client at its bound whose flow in Closing lies among many others' finds it,
// if not at the first look then at a later one.
func TestEvictFindsTheClientsOwnAmongMany(t *testing.T) {
	tab := table(Config{PerClient: 1024})
	for i := range 20_000 {
		if err := tab.Insert(member(key("203.0.113.9", uint16(i)).from(i), new(int))); err != nil {
			t.Fatal(err)
		}
	}
	closing := new(int)
	for i := range 1024 {
		e := new(int)
		if i == 700 {
			e = closing
		}
		if err := tab.Insert(member(key("198.51.100.1", uint16(i)), e)); err != nil {
			t.Fatal(err)
		}
	}
	for try := range 1024 / evictScan {
		looked := 0
		rank := func(e *int) int {
			looked++
			if e == closing {
				return 0
			}
			return Never
		}
		got, ok := tab.Evict(key("198.51.100.1", 5000), true, rank)
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

// Evict looks at a few, and at others the next time: none is out of its sight.
func TestEvictLooksAtAFew(t *testing.T) {
	tab := table(Config{})
	for i := range 5000 {
		tab.Insert(member(key("203.0.113.9", uint16(i)), new(int)))
	}
	seen := map[*int]bool{}
	for range 2 * shards {
		looked := 0
		rank := func(e *int) int {
			looked++
			seen[e] = true
			return Never
		}
		if _, ok := tab.Evict(key("198.51.100.1", 1), false, rank); ok || looked != evictScan {
			t.Fatalf("looked at %d flows, found %v", looked, ok)
		}
	}
	if len(seen) != 5000 {
		t.Errorf("%d flows of 5000 were looked at", len(seen))
	}
}

func TestEachFlowOnce(t *testing.T) {
	tab := table(Config{})
	want := map[*int]int{}
	for i := range 100 {
		e := new(int)
		want[e] = 1
		m := member(key("198.51.100.1", uint16(i)), e)
		tab.Insert(m)
		tab.Bind(node(Key{Leg: m.Key.Leg.Reverse(), Side: tcb.Serving, Door: 1}, e))
	}
	got := map[*int]int{}
	tab.Each(func(e *int) { got[e]++ })
	if !maps.Equal(got, want) {
		t.Errorf("%d flows of %d, or some more than once", len(got), len(want))
	}
}

// Against a plain map, under a random sequence of everything, growth and shrinking
// included; with so few shards' worth of hashes that buckets spill.
func TestTableAgainstAModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	s, model := &index[*int]{}, map[Key]*Node[*int]{}
	hash := func(k *Key) uint64 { return uint64(k.Leg.SrcPort%37)*0x9e3779b97f4a7c15 | uint64(k.Leg.SrcPort&3)<<56 }
	for step := range 24_000 {
		k := key("198.51.100.1", uint16(r.IntN(3000)))
		if grow := step/6_000%2 == 0; r.IntN(4) > 0 == grow {
			n := node(k, new(int))
			owner := s.put(n, hash(&k), hash)
			if owner != model[k] {
				t.Fatalf("step %d: the owner is %p, want %p", step, owner, model[k])
			}
			if owner == nil {
				model[k] = n
			}
		} else if n := model[k]; n != nil {
			delete(model, k)
			if !s.take(n, hash(&k), hash) || s.take(n, hash(&k), hash) {
				t.Fatalf("step %d: not there, or twice", step)
			}
		}
		k = key("198.51.100.1", uint16(r.IntN(3000)))
		if got := s.lookup(&k, hash(&k)); got != model[k] || s.keys != len(model) {
			t.Fatalf("step %d: found %p, want %p; %d keys, want %d", step, got, model[k], s.keys, len(model))
		}
	}
}

// Room for keys that are gone is given back.
func TestTheTableShrinks(t *testing.T) {
	tab := table(Config{})
	var ms []*Member[*int]
	for i := range 50_000 {
		m := member(key("198.51.100.1", 1).from(i), new(int))
		ms = append(ms, m)
		tab.Insert(m)
	}
	if room := tab.room(); room > 50_000*5/2 {
		t.Errorf("room for %d keys, for 50000", room)
	}
	for _, m := range ms {
		tab.Remove(m)
	}
	if room := tab.room(); room > 2*smallest*shards {
		t.Errorf("room for %d keys when all are gone", room)
	}
}

func (t *Table[E]) room() (n int) {
	for i := range t.shards {
		n += t.shards[i].room()
	}
	return n
}

func TestABucketIsACacheLine(t *testing.T) {
	if n := unsafe.Sizeof(bucket[*int]{}); n != 64 {
		t.Errorf("%d bytes", n)
	}
}

// body is as large as an entry, so that keys lie as far apart as they do there.
type body struct {
	Member[*body]
	_ [184]byte
}

// BenchmarkLookup measures the table, not the cache: the keys come in no order.
// "touch" is what reading one word of each entry costs, in the same order.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		tab, all := New[*body](Config{PrefixV4: 32, PrefixV6: 64}), make([]*body, n)
		k := key("198.51.100.1", 0)
		for i := range all {
			all[i] = &body{}
			all[i].Key, all[i].Of = k.from(i), all[i]
			tab.Insert(&all[i].Member)
		}
		b.Run(fmt.Sprintf("lookup-%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, ok := tab.Lookup(k.from(i * 7919 % n)); !ok {
					b.Fatal("lost")
				}
			}
		})
		b.Run(fmt.Sprintf("touch-%d", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if all[i*7919%n].Key.Door != 0 {
					b.Fatal("wrong")
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
