package profile

import (
	"net/netip"

	"sleight/stack/wire"
)

// RST answers a segment to a closed port (RFC 9293, section 3.10.7.1); false: no
// answer, since it is a RST itself.
func (p *Profile) RST(out, seg *wire.Segment) bool {
	if seg.Flags.Has(wire.RST) {
		return false
	}
	*out = wire.Segment{
		Src: seg.Dst, Dst: seg.Src, TTL: p.TTL, DF: true, TOS: seg.TOS &^ ecn,
		FlowLabel: label(seg.Dst, seg.Src), Flags: wire.RST,
	}
	if seg.Flags.Has(wire.ACK) {
		out.Seq = seg.Ack
		return true
	}
	out.Flags |= wire.ACK
	out.Ack = seg.End()
	return true
}

// ecn are the bits of the ToS that belong to ECN (RFC 3168, section 5): an answer
// without a connection says nothing of congestion.
const ecn = 3

// label is a flow label for what belongs to no flow: never 0, the same for the
// same two ends (RFC 6437, section 3). A hash without a key serves: it only has
// to look like one.
func label(src, dst netip.AddrPort) uint32 {
	const offset, prime = 2166136261, 16777619 // FNV-1a
	h := uint32(offset)
	for _, end := range [...]netip.AddrPort{src, dst} {
		for _, b := range end.Addr().As16() {
			h = (h ^ uint32(b)) * prime
		}
		h = (h ^ uint32(end.Port())) * prime
	}
	h ^= h >> 12
	return max(h&0xfffff, 1)
}
