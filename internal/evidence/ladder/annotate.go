package ladder

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// annotate marks what the switch has done: steps are in the order of their time.
// The client's numbers are the same on both legs, so the record ends where the
// first segment to the backend has a byte that nobody had acknowledged to S.
func annotate(steps []Step) []Step {
	opened := slices.IndexFunc(steps, func(s Step) bool { return !s.left() })
	if opened < 0 {
		return steps
	}
	record := acknowledged(steps[:opened])
	committed := slices.IndexFunc(steps, func(s Step) bool {
		return s.From == AtGateway && s.To == AtBackend && s.Len > 0 && int32(s.end()-record) > 0
	})
	until, event := committed, Step{From: AtGateway, To: AtGateway, Mark: Committed}
	if committed < 0 {
		event.Mark = RolledBack
		until = slices.IndexFunc(steps, func(s Step) bool { return !s.left() && strings.Contains(s.Flags, "RST") })
	}
	if until < 0 {
		mark(steps, record)
		return steps
	}
	replayed, swallowed := mark(steps[:until], record)
	event.Time = steps[until].Time
	event.Note = fmt.Sprintf("rolled back: %s replayed, the decoy goes on", count(replayed))
	if event.Mark == Committed {
		event.Note = fmt.Sprintf("switch committed: %s replayed, %s swallowed", count(replayed), count(swallowed))
		translated(steps, committed)
	}
	return slices.Insert(steps, until, event)
}

// mark marks the steps before the switch and counts the bytes that were replayed
// and swallowed.
func mark(steps []Step, record uint32) (replayed, swallowed int) {
	for i := range steps {
		s := &steps[i]
		switch s.Mark = markOf(s, record); s.Mark {
		case Replayed:
			replayed = max(replayed, int(s.end()-1))
		case Swallowed:
			swallowed = max(swallowed, int(s.end()-1))
		}
	}
	return replayed, swallowed
}

// acknowledged is how far the client leg's server has acknowledged.
func acknowledged(steps []Step) uint32 {
	ack := uint32(1)
	for _, s := range steps {
		if s.From == AtGateway && s.To == AtClient && s.HasAck && int32(s.RelAck-ack) > 0 {
			ack = s.RelAck
		}
	}
	return ack
}

// markOf says what a step before the commit is.
func markOf(s *Step, record uint32) Mark {
	switch {
	case s.Len == 0:
		return Plain
	case s.From == AtClient && int32(s.end()-record) > 0:
		return Held
	case s.From == AtGateway && s.To == AtClient:
		return Decoy
	case s.To == AtBackend:
		return Replayed
	case s.From == AtBackend:
		return Swallowed
	}
	return Plain
}

// answerers gives the decoy its part of the client leg: all before the switch but
// what is held, and afterwards what it had said and says again.
func answerers(steps []Step) []Step {
	spliced, cut := false, uint32(1)
	for i := range steps {
		s := &steps[i]
		switch {
		case s.Mark == Committed:
			spliced = true
		case s.moment() || !s.left() || s.Mark == Held:
		case s.From == AtClient && !spliced:
			s.To = AtDecoy
		case s.To == AtClient && !spliced:
			s.From = AtDecoy
			if s.Len > 0 && int32(s.end()-cut) > 0 {
				cut = s.end()
			}
		case s.To == AtClient && s.Len > 0 && int32(s.end()-cut) <= 0:
			s.From, s.Mark = AtDecoy, Decoy
		}
	}
	return steps
}

// translated notes, at the first segment that the backend's answer reaches S in,
// what its numbers were.
func translated(steps []Step, committed int) {
	said := slices.IndexFunc(steps[committed:], func(s Step) bool { return s.From == AtBackend && s.Len > 0 })
	if said < 0 {
		return
	}
	b := steps[committed+said]
	for i := committed + said + 1; i < len(steps); i++ {
		s := &steps[i]
		if s.To != AtClient || s.Len == 0 || !bytes.HasPrefix(s.Payload, b.Payload[:min(len(b.Payload), len(s.Payload))]) {
			continue
		}
		s.Note = fmt.Sprintf("the backend's, SEQ %+d", int32(s.Seq-b.Seq))
		return
	}
}
