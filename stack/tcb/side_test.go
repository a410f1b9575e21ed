package tcb

import (
	"net/netip"
	"testing"
	"unsafe"
)

func TestSidesHaveNames(t *testing.T) {
	if Client.String() != "client" || Serving.String() != "serving" {
		t.Errorf("%v, %v", Client, Serving)
	}
}

// RFC 9293, section 3.4: "all arithmetic dealing with sequence numbers must be
// performed modulo 2^32".
func TestSequenceNumbersCompareModulo(t *testing.T) {
	for _, at := range []Seq{0, 1000, 0x7fffff00, 0xffffff00, 0xffffffff} {
		for _, n := range []Size{1, 255, 256, 0x10000, 0x7fffffff} {
			later := at.Add(n)
			if Diff(later, at) != int(n) || Diff(at, later) != -int(n) || Diff(at, at) != 0 {
				t.Errorf("%#x and %d more: %d, %d", at, n, Diff(later, at), Diff(at, later))
			}
			if Max(at, later) != later || Max(later, at) != later || Min(at, later) != at || Min(later, at) != at {
				t.Errorf("%#x and %d more: the wrong one is later", at, n)
			}
			if Max(at, at) != at || Min(at, at) != at {
				t.Errorf("%#x against itself", at)
			}
		}
	}
}

func TestTupleKeepsTheSocketPair(t *testing.T) {
	for _, pair := range [][2]string{
		{"198.51.100.7:40000", "203.0.113.5:80"},
		{"[2001:db8::7]:65535", "[2001:db8:1::5]:1"},
		{"0.0.0.0:0", "255.255.255.255:65535"},
	} {
		src, dst := netip.MustParseAddrPort(pair[0]), netip.MustParseAddrPort(pair[1])
		tup := TupleOf(src, dst)
		if tup.Source() != src || tup.Dest() != dst {
			t.Errorf("%v became %v > %v", pair, tup.Source(), tup.Dest())
		}
		if rev := tup.Reverse(); rev != TupleOf(dst, src) || rev.Reverse() != tup {
			t.Errorf("%v reversed: %v > %v", pair, rev.Source(), rev.Dest())
		}
	}
}

// A tuple is a key: other ends, other tuple. It is small and holds no pointer.
func TestTupleIsAKey(t *testing.T) {
	a, b := netip.MustParseAddrPort("198.51.100.7:40000"), netip.MustParseAddrPort("203.0.113.5:80")
	seen := map[Tuple]bool{TupleOf(a, b): true}
	for _, other := range []Tuple{
		TupleOf(b, a), TupleOf(a, netip.AddrPortFrom(b.Addr(), 81)), TupleOf(netip.AddrPortFrom(a.Addr(), 1), b),
		TupleOf(a, netip.MustParseAddrPort("203.0.113.6:80")), TupleOf(a, netip.MustParseAddrPort("[2001:db8::5]:80")),
	} {
		if seen[other] {
			t.Errorf("%v > %v is a key already", other.Source(), other.Dest())
		}
		seen[other] = true
	}
	if n := unsafe.Sizeof(Tuple{}); n != 36 {
		t.Errorf("%d bytes", n)
	}
	if n := testing.AllocsPerRun(100, func() { seen[TupleOf(a, b).Reverse().Reverse()] = true }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
