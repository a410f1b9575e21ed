// Package tcb holds the sequence-space variables of one leg of a flow
// (RFC 9293, section 3.3.1) and the few words that every other package shares:
// which side a segment came from, how sequence numbers compare, and the socket
// pair that names a leg.
package tcb

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
)

// Side is the side of a flow that a segment came from. It follows from the door
// that read the segment, never from its addresses: a backend that forges the
// client's address stays Serving.
type Side uint8

const (
	// Client is the side of S, who connected from outside.
	Client Side = iota
	// Serving is the side of the decoy or the backend.
	Serving
)

// String names the side as events and traces print it.
func (s Side) String() string {
	if s == Client {
		return "client"
	}
	return "serving"
}

// Seq is a sequence number; it compares modulo 2^32 (RFC 9293, section 3.4).
type Seq = seqnum.Value

// Size is a distance in sequence space, in bytes.
type Size = seqnum.Size

// Max returns the later of two sequence numbers.
func Max(a, b Seq) Seq {
	if a.LessThan(b) {
		return b
	}
	return a
}

// Min returns the earlier of two sequence numbers.
func Min(a, b Seq) Seq {
	if b.LessThan(a) {
		return b
	}
	return a
}

// Diff returns a − b as a signed distance: negative when a lies before b.
func Diff(a, b Seq) int { return int(int32(a - b)) }

// Tuple is the socket pair that names a leg, as the leg's peer sends it: Src is
// the peer's socket. IPv4 addresses are stored IPv4-mapped, so that the value
// is small (36 bytes), comparable and free of pointers.
type Tuple struct {
	Src, Dst         [16]byte
	SrcPort, DstPort uint16
}

// TupleOf packs a socket pair.
func TupleOf(src, dst netip.AddrPort) Tuple {
	return Tuple{src.Addr().As16(), dst.Addr().As16(), src.Port(), dst.Port()}
}

// Source returns the peer's socket.
func (t Tuple) Source() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(t.Src).Unmap(), t.SrcPort)
}

// Dest returns the socket that the peer talks to.
func (t Tuple) Dest() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(t.Dst).Unmap(), t.DstPort)
}

// Reverse returns the pair as the other end sends it.
func (t Tuple) Reverse() Tuple { return Tuple{t.Dst, t.Src, t.DstPort, t.SrcPort} }
