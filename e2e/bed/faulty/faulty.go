// Package faulty is a wire between two devices of a namespace: it carries every Ethernet frame from
// one to the other in both directions, over AF_PACKET sockets, and loses, reorders, duplicates,
// damages and delays IP/TCP frames as it is told to, from a seed.
package faulty

import (
	"time"
)

// Direction is the way that a frame goes: the two devices of Start are A and B.
type Direction uint8

const (
	AtoB Direction = iota
	BtoA
)

func (d Direction) String() string {
	if d == AtoB {
		return "A→B"
	}
	return "B→A"
}

// Faults are what happens to the frames of one direction. The zero value carries everything at once.
// Chances are 0 to 1, drawn for every TCP frame on its own; ARP, neighbour discovery, ICMP and UDP
// are only delayed.
type Faults struct {
	Loss      float64
	Reorder   float64 // held back so that later frames overtake it, see ReorderBy
	Duplicate float64
	Flip      float64 // one bit, anywhere in the IP packet

	// Delay holds every frame; the order is kept. Jitter varies it by up to ± Jitter, order kept.
	Delay, Jitter time.Duration
	// ReorderBy is how long a reordered frame is held back beyond its time; 0 is 3 ms.
	ReorderBy time.Duration

	// Target, if set, looks at each TCP frame first and may decide about it. It is called from one
	// goroutine for each direction; a zero Verdict leaves the frame to the chances.
	Target func(*Frame) Verdict
}

// Verdict is what a Target wants of one frame.
type Verdict struct {
	Drop, Duplicate, Flip bool
	// Delay is added to the frame's; later frames overtake it.
	Delay time.Duration
	// Spare passes the frame on unharmed, whatever the chances say.
	Spare bool
}

// Config is what Start needs.
type Config struct {
	// Seed gives the same decisions for the same sequence of TCP frames in each direction.
	Seed uint64
	AtoB Faults
	BtoA Faults
	// FromSYN starts the faults with the first SYN that is seen, itself included.
	FromSYN bool
}

// Delay is a wire that does nothing but delay each direction, by a half of the round trip.
func Delay(roundTrip time.Duration) Config {
	f := Faults{Delay: roundTrip / 2}
	return Config{AtoB: f, BtoA: f}
}

// Both has the same faults in both directions.
func Both(seed uint64, f Faults) Config { return Config{Seed: seed, AtoB: f, BtoA: f} }

// Counts is what a direction did, in frames.
type Counts struct {
	Frames     uint64 // came in
	TCP        uint64 // of these, TCP over IP
	Lost       uint64
	Reordered  uint64
	Duplicated uint64
	Flipped    uint64
	// Unseen of the flipped had their bit in a field that no checksum covers (IPv6: traffic class,
	// flow label, hop limit): the receiver cannot know.
	Unseen uint64
	Sent   uint64
	// Missed never reached the wire's program: the ring was full. Failed could not be sent. Both are
	// 0 in a test that can be trusted.
	Missed, Failed uint64
}
