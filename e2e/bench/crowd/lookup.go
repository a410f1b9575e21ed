package crowd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"sleight/redirect/flow"
	"sleight/stack/tcb"
)

// Lookup is what finding a flow costs, and what memory costs on this machine.
type Lookup struct {
	Flows int
	Find  float64 // nanoseconds to find a flow drawn by lot, by either leg's key
	Touch float64 // nanoseconds to read two words of memory there, one after the other
}

// body is a flow as the table sees it: as large as the gateway's, so that caches hold as
// many of them.
type body struct {
	client  flow.Member[*body]
	serving flow.Node[*body]
	_       [344]byte
}

// looks is how many look-ups the time of one is taken from.
const looks = 1 << 20

// MeasureLookup fills a table with flows, each with two keys, and looks them up.
func MeasureLookup(flows int) (Lookup, error) {
	tab := flow.New[*body](flow.Config{PrefixV4: 32, PrefixV6: 64})
	all := make([]*body, flows)
	for i := range all {
		b := &body{}
		b.client.Key, b.client.Of = keyOf(i), b
		b.serving.Key, b.serving.Of = answerOf(i), b
		all[i] = b
		if err := tab.Insert(&b.client); err != nil {
			return Lookup{}, err
		}
		if !tab.Bind(&b.serving) {
			return Lookup{}, fmt.Errorf("the key of flow %d is taken", i)
		}
	}
	order := make([]int32, looks)
	r := rand.New(rand.NewPCG(1, uint64(flows)))
	for i := range order {
		order[i] = int32(r.IntN(flows))
	}
	l := Lookup{Flows: flows}
	var err error
	if l.Find, err = find(tab, order); err == nil {
		l.Touch, err = touch(all, order)
	}
	return l, err
}

func keyOf(i int) flow.Key { return flow.Key{Leg: tcb.TupleOf(Client(i), dialled)} }

func answerOf(i int) flow.Key {
	return flow.Key{Leg: tcb.TupleOf(netip.AddrPortFrom(server, 23), Client(i)), Side: tcb.Serving, Door: 1}
}

// find looks up keys that were made before, so that only the table is measured.
func find(tab *flow.Table[*body], order []int32) (float64, error) {
	var keys [4096]flow.Key
	var spent time.Duration
	for at := 0; at < len(order); at += len(keys) {
		for i := range keys {
			keys[i] = keyOf(int(order[at+i]))
			if i%2 == 1 {
				keys[i] = answerOf(int(order[at+i]))
			}
		}
		begun := time.Now()
		for i := range keys {
			if _, ok := tab.Lookup(keys[i]); !ok {
				return 0, fmt.Errorf("flow %d is lost", order[at+i])
			}
		}
		spent += time.Since(begun)
	}
	return float64(spent.Nanoseconds()) / float64(len(order)), nil
}

// touch reads the pointer to a flow and then the flow, in the same order: less than that
// no table can do. Each read waits for the one before, as a look-up's do.
func touch(all []*body, order []int32) (float64, error) {
	begun := time.Now()
	n := int32(0)
	for _, i := range order {
		n = int32(all[(i+n)%int32(len(all))].client.Key.Side) // 0
	}
	spent := time.Since(begun)
	if n != 0 {
		return 0, errors.New("a flow's client leg is none")
	}
	return float64(spent.Nanoseconds()) / float64(len(order)), nil
}
