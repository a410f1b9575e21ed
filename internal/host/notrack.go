package host

import (
	"math/bits"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// conntrackPriority is where the tracker looks at a packet (NF_IP_PRI_CONNTRACK):
// an exemption has to stand before it.
const conntrackPriority = -200

// untracked is what a rule takes out of connection tracking: packets from, or to, a
// prefix.
type untracked struct {
	to     bool
	prefix netip.Prefix
}

// addressAt says which address stands at an offset of an IP header.
var addressAt = map[uint32]struct {
	to   bool
	size int // of the address, in bytes
}{12: {false, 4}, 16: {true, 4}, 8: {false, 16}, 24: {true, 16}}

// exempts lists what a chain's rules take out of tracking.
func exempts(chain *nftables.Chain, rules []*nftables.Rule) (list []untracked) {
	early := chain.Hooknum != nil && *chain.Hooknum == *nftables.ChainHookPrerouting &&
		chain.Priority != nil && *chain.Priority < conntrackPriority
	for _, r := range rules {
		if u, ok := exemptsOne(r.Exprs); early && ok {
			list = append(list, u)
		}
	}
	return list
}

// exemptsOne recognises `ip daddr PREFIX notrack` and its like. A rule that asks for
// more than an address is not one of them.
func exemptsOne(exprs []expr.Any) (u untracked, ok bool) {
	var value []byte
	var field *expr.Payload
	length, done := 0, false
	for _, x := range exprs {
		switch x := x.(type) {
		case *expr.Payload:
			if field != nil || x.Base != expr.PayloadBaseNetworkHeader {
				return u, false
			}
			field, length = x, 8*int(x.Len)
		case *expr.Bitwise:
			length = leadingOnes(x.Mask)
		case *expr.Cmp:
			if x.Op != expr.CmpOpEq {
				return u, false
			}
			value = x.Data
		case *expr.Meta, *expr.Counter:
		case *expr.Notrack:
			done = true
		default:
			return u, false
		}
	}
	if !done || field == nil {
		return u, false
	}
	at, ok := addressAt[field.Offset]
	if !ok || len(value) > at.size || length > 8*len(value) {
		return u, false
	}
	a, _ := netip.AddrFromSlice(append(slices.Clone(value), make([]byte, at.size-len(value))...))
	return untracked{at.to, netip.PrefixFrom(a, length).Masked()}, true
}

func leadingOnes(mask []byte) (n int) {
	for _, b := range mask {
		ones := bits.LeadingZeros8(^b)
		n += ones
		if ones < 8 {
			break
		}
	}
	return n
}

// exempted reports whether no packet from or to a prefix is tracked.
func exempted(list []untracked, p netip.Prefix) bool {
	covers := func(to bool) bool {
		return slices.ContainsFunc(list, func(u untracked) bool {
			return u.to == to && u.prefix.Bits() <= p.Bits() && u.prefix.Contains(p.Addr())
		})
	}
	return covers(true) && covers(false)
}
