package front

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"sleight/stack/tcb"
)

// Uses of the keyed hash.
const (
	useISS   = 1
	useTS    = 2
	useLabel = 5
)

func (t *Table) since(now time.Time) time.Duration { return now.Sub(t.cfg.Started) }

// clock ticks every millisecond.
func (t *Table) clock(now time.Time) uint32 { return uint32(t.since(now).Milliseconds()) }

// iss is ISN = M + F(the pair, secret) (RFC 9293, section 3.4.1, which has RFC
// 6528's). M ticks each 64 ns, as Linux has it, and not each 4 µs: the pace shows
// where a pair is used again.
func (t *Table) iss(now time.Time, key tcb.Tuple) tcb.Seq {
	return tcb.Seq(uint32(t.since(now).Nanoseconds()>>6) + t.hash(key, useISS))
}

// label is the flow label of a handshake and the flow that comes of it.
func (t *Table) label(h *record) uint32 { return t.hash(h.leg, useLabel) & 0xfffff }

// hash is a keyed hash of a socket pair.
func (t *Table) hash(key tcb.Tuple, use byte) uint32 { return Hash(t.cfg.Secret, key, use) }

// Hash is the keyed hash of which ISNs, timestamp offsets and flow labels are
// made; use keeps one from telling of another.
func Hash(secret [16]byte, key tcb.Tuple, use byte) uint32 {
	var b [16 + 36 + 1]byte
	copy(b[:], secret[:])
	copy(b[16:], key.Src[:])
	copy(b[32:], key.Dst[:])
	binary.BigEndian.PutUint16(b[48:], key.SrcPort)
	binary.BigEndian.PutUint16(b[50:], key.DstPort)
	b[52] = use
	sum := sha256.Sum256(b[:])
	return binary.BigEndian.Uint32(sum[:])
}
