package suricata

import (
	"slices"
	"time"

	"sleight/rules/proto"
)

// maxRounds bounds how often rules are asked again because others have set bits.
const maxRounds = 4

// evaluate asks the candidates: first those that ask for no bit, then the others,
// until no bit changes.
func (fl *Flow) evaluate(stream []byte, in *Input, mem Memory) {
	if len(fl.cands) == 0 {
		return
	}
	from, again := max(0, fl.resume-1), fl.resume > 0
	fl.resume = 0
	for i := from; i < len(fl.cands); i++ {
		if fl.ask(i, false, stream, in, mem); fl.hungry(again && i == from) {
			fl.resume = i + 1
			return
		}
		if fl.left <= 0 {
			fl.resume = i + 2
			return
		}
	}
	for range maxRounds {
		changed := false
		for i := range fl.cands {
			changed = fl.ask(i, true, stream, in, mem) || changed
		}
		if fl.hungry(again && from >= len(fl.cands)) {
			fl.resume = len(fl.cands) + 1
			return
		}
		if !changed {
			return
		}
	}
}

// hungry reports whether the last evaluation could have gone on with more steps; if
// it is the first of this Judge there are no more, and it is cut.
func (fl *Flow) hungry(first bool) (more bool) {
	more = fl.starved && !first
	if fl.starved && first {
		fl.Cut++
	}
	fl.starved = false
	return more
}

// ask asks one candidate, if it is one that asks for bits, or one that does not. It
// reports whether a bit has changed.
func (fl *Flow) ask(i int, bits bool, stream []byte, in *Input, mem Memory) (changed bool) {
	c := &fl.cands[i]
	fl.left--
	if c.done || c.dead == fl.message+1 {
		return false
	}
	r := fl.set.rules[c.rule]
	if r.asksBits != bits {
		return false
	}
	before := fl.left
	holds := fl.holds(c, r, stream)
	if fl.set.costs != nil {
		fl.set.costs[c.rule].add(before-fl.left, holds)
	}
	if !holds {
		return false
	}
	fl.say(c, r, in, mem)
	return fl.setBits(r)
}

// holds reports whether all that a rule asks for is there.
func (fl *Flow) holds(c *candidate, r *Rule, stream []byte) bool {
	p, st := fl.proto.Protocol()
	if !fl.set.readers {
		st = proto.Absent
	}
	if !r.asked(p, st) {
		c.done = st == proto.Known || st == proto.Absent
		return false
	}
	if !fl.bitsHold(r) {
		return false
	}
	for i := range r.parts {
		part := &r.parts[i]
		ok, final := false, false
		if part.in == payload {
			ok = fl.inStream(c, r, part, stream)
		} else {
			ok, final = fl.inField(part, stream)
		}
		if final {
			c.dead = fl.message + 1
		}
		if !ok {
			return false
		}
	}
	return !r.sized || r.hasPayload() || fl.inStream(c, r, &part{}, stream)
}

func (r *Rule) hasPayload() bool {
	return slices.ContainsFunc(r.parts, func(p part) bool { return p.in == payload })
}

func (r *Rule) hasField() bool {
	return slices.ContainsFunc(r.parts, func(p part) bool { return p.in != payload })
}

// examine runs a part's conditions on some bytes.
func (fl *Flow) examine(ms []matcher, b []byte, e extent, end int) (ok, more bool) {
	x := &fl.exam
	steps := min(maxSteps, fl.left)
	*x = exam{buf: b, extent: e, end: end, later: x.later[:0], steps: steps}
	ok = x.run(ms, 0)
	if x.steps < 0 {
		ok, x.more = false, true
		if fl.starved = steps < maxSteps; !fl.starved {
			fl.Cut++
		}
	}
	fl.left -= steps - max(0, x.steps) + 1
	x.buf = nil
	return ok, x.more
}

// inField asks a field of the current message. final: the answer no will stay.
func (fl *Flow) inField(p *part, stream []byte) (ok, final bool) {
	b, st := p.in.read(&fl.proto, stream)
	switch st {
	case proto.Unknown:
		return false, false
	case proto.Absent:
		return false, true
	}
	e := whole
	if st == proto.Partial {
		e = growing
	}
	ok, more := fl.examine(p.ms, b, e, 0)
	return ok, !ok && !more
}

// inStream asks the stream: from its beginning, and from that of each message if the
// rule counts from there.
func (fl *Flow) inStream(c *candidate, r *Rule, p *part, stream []byte) bool {
	if c.from == 0 {
		if fl.fromStart(r, p, stream, 0) {
			return true
		}
		if !r.anchored && !r.counts() {
			return false
		}
	}
	for i := max(c.from, 1); i <= len(fl.starts); i++ {
		if fl.starts[i-1] < len(stream) && fl.fromStart(r, p, stream, i) {
			return true
		}
	}
	return false
}

// fromStart asks a message: the stream from its beginning on. A rule that asks for
// the message's length holds if it does for a beginning of the message that is as
// long: that does not depend on how the message was cut.
func (fl *Flow) fromStart(r *Rule, p *part, stream []byte, i int) bool {
	from, to := 0, len(stream)
	if i > 0 {
		from = fl.starts[i-1]
	}
	if !r.sized {
		ok, _ := fl.examine(p.ms, stream[from:to], opening, 0)
		return ok
	}
	if i < len(fl.starts) {
		to = min(to, fl.starts[i])
	}
	n := min(to-from, r.size.under-1)
	if n <= r.size.over || n <= 0 {
		return false
	}
	ok, _ := fl.examine(p.ms, stream[from:from+n], opening, r.size.over+1)
	return ok
}

// counts reports whether a rule may hold several times in a flow.
func (r *Rule) counts() bool { return r.limit != nil && r.limit.kind != limitAlerts }

// say notes that a rule holds, and whether that counts.
func (fl *Flow) say(c *candidate, r *Rule, in *Input, mem Memory) {
	c.done = !r.counts() || len(r.parts) == 0
	if r.counts() {
		c.from = len(fl.starts) + 1
		if r.hasField() {
			c.dead = fl.message + 1
		}
		if c.hits++; !r.limit.says(fl.count(c, r, in, mem)) {
			return
		}
	}
	if !r.noAlert {
		fl.fired = append(fl.fired, r)
	}
}

// count is how often the rule has held in its time.
func (fl *Flow) count(c *candidate, r *Rule, in *Input, mem Memory) int {
	k := Key{SID: r.SID}
	switch r.limit.track {
	case byFlow:
		return c.hits
	case bySrc:
		k.Src = in.Client.Addr()
	case byDst:
		k.Dst = in.Dialled.Addr()
	case byBoth:
		k.Src, k.Dst = in.Client.Addr(), in.Dialled.Addr()
	}
	if mem == nil {
		return c.hits
	}
	return mem.Count(in.Now, k, time.Duration(r.limit.seconds)*time.Second)
}

// bitsHold reports whether the bits are as the rule asks.
func (fl *Flow) bitsHold(r *Rule) bool {
	for i := range r.bits {
		b := &r.bits[i]
		if !b.op.asks() {
			continue
		}
		any := false
		for _, id := range b.ids {
			any = any || fl.bits.has(id)
		}
		if any != (b.op == bitIsSet) {
			return false
		}
	}
	return true
}

// setBits does what the rule says; it reports whether that changed a bit.
func (fl *Flow) setBits(r *Rule) (changed bool) {
	for i := range r.bits {
		b := &r.bits[i]
		if b.op.asks() {
			continue
		}
		if fl.bits == nil {
			fl.bits = newBitset(fl.set.bits)
		}
		for _, id := range b.ids {
			had := fl.bits.has(id)
			if has := b.op == bitSet || b.op == bitToggle && !had; has {
				fl.bits.add(id)
			} else {
				fl.bits.remove(id)
			}
			changed = changed || had != fl.bits.has(id)
		}
	}
	return changed
}
