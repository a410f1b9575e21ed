package redirect

import (
	"sync/atomic"
	"time"

	"sleight/redirect/splice"
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Carrier carries plain spliced flows where their packets need not come to the gateway:
// in the kernel. What is not plain comes to the gateway nevertheless, marked in the
// reserved bits of its TCP header, and ends the carrier's work on the flow. Its methods
// are called with the flow's lock held and do not block, but for Recall.
type Carrier interface {
	// Watch has the packets of a flow marked. It reports false if there is no room.
	Watch(Passage) (flow uint32, ok bool)
	// Begin counts anew, for another hand-down of the flow.
	Begin(flow, turn uint32)
	// Offer lets the carrier take the flow as it stands now, with the first plain
	// packet that finds that the gateway has carried all that was marked and sent on in
	// this turn: seen of either side, by Weight. The flow is not the carrier's now.
	Offer(flow, turn uint32, seen [2]uint64, h *splice.Handed)
	// Recall ends an offer. taken: the carrier had the flow, and has brought it to h; it
	// has waited, for some milliseconds at most, until what it carried came out again.
	Recall(flow uint32, h *splice.Handed) (taken bool)
	// Peek tells how far a flow has come, and whether the carrier has it.
	Peek(flow uint32, h *splice.Handed) (taken bool)
	// Forget ends the watch.
	Forget(flow uint32)
}

// Passage is the two ways of a flow's packets.
type Passage struct {
	Client, Serving tcb.Tuple // as S and the backend send them
	Door            int       // the backend's
	LabelToServer   uint32    // IPv6 flow labels
	LabelToClient   uint32
	TTL             uint8 // toward S
}

const (
	// handAfter is how much a flow has moved before it is worth a hand-down, in bytes.
	handAfter = 64 << 10
	// handOffers is how often a flow is offered in one turn: then counting begins anew.
	handOffers = 256
	// handWorth is what a hand-down has to carry; after less, the flow waits for twice
	// as much as before.
	handWorth = 1 << 20
	handFails = 12 // doublings at most
	// handIdle is how long a flow is watched that says nothing: there is room for few.
	handIdle   = 30 * time.Second
	markBack   = 0x02
	markOfTurn = 0x0c
)

// handDown is a flow that the carrier watches.
type handDown struct {
	flow, turn uint32
	offered    bool
	left       int // offers
	fails      uint8
	seen       [2]uint64
	after      uint64 // bytes of the flow before it is offered again
}

func (h *handDown) mark() uint8 { return uint8(h.turn%3+1) << 2 }

// handed counts hand-downs.
type handed struct{ Back, Bytes, Full atomic.Uint64 }

// HandDowns is what the carrier has done, by the hand-downs that have ended.
type HandDowns struct {
	Ended uint64
	Bytes uint64 // of payload, both ways
	Full  uint64 // how often there was no room for a flow
}

// HandDowns tells what the carrier has done so far.
func (g *Gateway) HandDowns() HandDowns {
	return HandDowns{g.handed.Back.Load(), g.handed.Bytes.Load(), g.handed.Full.Load()}
}

// came makes the flow the gateway's, before it looks at a packet of a watched flow. A
// packet that was marked in this turn shows that the carrier does not have it, and waits
// until the gateway has carried this one.
func (w *worker) came(e *entry, from tcb.Side, seg *wire.Segment) {
	h := e.hand
	if h == nil {
		return
	}
	// The carrier marks all but what has IP options: those bits are the sender's.
	if m := seg.Reserved; !seg.Quirks.IPOptions && m&markOfTurn == h.mark() && m&markBack == 0 {
		h.seen[from] += Weight(seg)
		return
	}
	w.recall(e)
}

// Weight is what a packet of a watched flow counts: a super-packet that a door does not
// take whole comes in pieces, and the carrier cannot tell.
func Weight(seg *wire.Segment) uint64 { return uint64(max(1, len(seg.Payload))) }

// recall takes a flow back that the carrier may have.
func (w *worker) recall(e *entry) {
	h := e.hand
	if h == nil || !h.offered {
		return
	}
	h.offered = false
	e.hands(&w.handed) // what the carrier does not move stays as it is
	if !w.g.cfg.Carrier.Recall(h.flow, &w.handed) {
		return
	}
	w.g.handed.Back.Add(1)
	moved := w.returned(e)
	w.g.handed.Bytes.Add(moved)
	if moved < handWorth {
		h.fails = min(h.fails+1, handFails)
	} else {
		h.fails = 0
	}
	after := e.bytes[0] + e.bytes[1]
	if h.fails > 0 {
		after += handAfter << h.fails
	}
	w.begin(h, after)
}

// begin begins another hand-down, after so many bytes of the flow.
func (w *worker) begin(h *handDown, after uint64) {
	h.turn++
	h.after, h.offered, h.seen, h.left = after, false, [2]uint64{}, handOffers
	w.g.cfg.Carrier.Begin(h.flow, h.turn)
}

// hands tells where a flow stands.
func (e *entry) hands(h *splice.Handed) {
	e.back.Hand(&e.cli, h)
	h.PAWS = e.paws
}

// returned brings the books to where the carrier has come, and tells how many bytes
// that was.
func (w *worker) returned(e *entry) (moved uint64) {
	r := &w.handed
	e.back.Return(&e.cli, r)
	e.paws = r.PAWS
	for side := range e.pkts {
		e.pkts[side] += r.Pkts[side]
		e.bytes[side] += r.Bytes[side]
		moved += r.Bytes[side]
	}
	e.heard = max(e.heard, instant(r.Heard))
	return moved
}

// plain reports whether a flow needs nothing but translation.
func (e *entry) plain() bool {
	l := e.back
	return e.phase == Spliced && e.dec == nil && l != nil && l.open == nil && l.own.Empty() &&
		!e.hasCliFIN && !e.hasSrvFIN && !e.silent && e.sw == nil && !e.held && e.delayed.due == 0 && l.Plain(&e.cli)
}

// carried reports whether the carrier has a flow, for which nothing is due now.
func (w *worker) carried(now time.Time, e *entry) bool {
	h := e.hand
	if h == nil || !h.offered || !w.g.cfg.Carrier.Peek(h.flow, &w.handed) {
		return false
	}
	e.heard = max(e.heard, instant(w.handed.Heard))
	return now.Before(w.deadline(e))
}

// offer lets the carrier have a flow, if that is worth it now.
func (w *worker) offer(now time.Time, e *entry) {
	moved := e.bytes[0] + e.bytes[1]
	if moved < handAfter || e.phase != Spliced || !e.plain() {
		return
	}
	h, c := e.hand, w.g.cfg.Carrier
	if h == nil {
		if !now.Before(w.g.time(e.heard).Add(handIdle)) {
			return
		}
		flow, ok := c.Watch(Passage{
			Client: e.node.Key.Leg, Serving: e.back.node.Key.Leg, Door: e.back.door(),
			LabelToServer: e.back.FlowLabel, LabelToClient: e.cli.FlowLabel, TTL: e.cli.TTL,
		})
		if !ok {
			w.g.handed.Full.Add(1)
			return
		}
		e.part()
		e.hand = &handDown{flow: flow, left: handOffers}
		return
	}
	if moved < h.after || h.seen[0] == 0 || h.seen[1] == 0 {
		return
	}
	if h.left--; h.left < 0 {
		// Something may have been lost before it came to the gateway: count anew.
		w.begin(h, moved+handAfter)
		return
	}
	e.hands(&w.handed)
	h.offered = true
	c.Offer(h.flow, h.turn, h.seen, &w.handed)
}

// giveUpHand ends the watch on a flow that has nothing to say. What it may need aside of
// others of its kind, it needs no more.
func (w *worker) giveUpHand(e *entry) {
	w.forgetHand(e)
	if e.plain() {
		e.join()
	}
}

// forgetHand ends the watch on a flow that ends.
func (w *worker) forgetHand(e *entry) {
	if e.hand != nil {
		w.g.cfg.Carrier.Forget(e.hand.flow)
		e.hand = nil
	}
}
