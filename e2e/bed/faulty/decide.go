package faulty

import "time"

// fate is what happens to one frame.
type fate struct {
	drop, duplicate, flip bool
	bit                   uint64 // random: which one flips
	extra                 time.Duration
}

const defaultReorderBy = 3 * time.Millisecond

// decide draws the same number of random values for each frame, whatever the settings are, so that
// a decision depends on the seed and the frame's number only.
func (h *half) decide(f *Faults, frame *Frame) fate {
	loss, reorder, duplicate, flip := h.rng.Float64(), h.rng.Float64(), h.rng.Float64(), h.rng.Float64()
	bit := h.rng.Uint64()
	var v Verdict
	if f.Target != nil {
		v = f.Target(frame)
	}
	if v.Spare {
		return fate{}
	}
	if v.Drop || loss < f.Loss {
		return fate{drop: true}
	}
	out := fate{duplicate: v.Duplicate || duplicate < f.Duplicate, flip: v.Flip || flip < f.Flip, bit: bit, extra: v.Delay}
	if out.duplicate {
		h.counts.duplicated.Add(1)
	}
	if reorder < f.Reorder {
		out.extra += reorderBy(f)
	}
	if out.extra > 0 {
		h.counts.reordered.Add(1)
	}
	return out
}

func reorderBy(f *Faults) time.Duration {
	if f.ReorderBy == 0 {
		return defaultReorderBy
	}
	return f.ReorderBy
}

// First applies a verdict to the first n frames that match.
func First(n int, match func(*Frame) bool, v Verdict) func(*Frame) Verdict {
	return Nth(1, n, match, v)
}

// Nth applies a verdict to matching frames number from (the first is 1) to from+n-1. The function
// that it returns counts: give each direction and each wire its own.
func Nth(from, n int, match func(*Frame) bool, v Verdict) func(*Frame) Verdict {
	seen := 0
	return func(f *Frame) Verdict {
		if !match(f) {
			return Verdict{}
		}
		seen++
		if seen < from || seen >= from+n {
			return Verdict{}
		}
		return v
	}
}

// IsSYN matches a SYN without ACK.
func IsSYN(f *Frame) bool { return f.Flags&(SYN|ACK) == SYN }

// IsSYNACK matches a SYN with ACK.
func IsSYNACK(f *Frame) bool { return f.Flags&(SYN|ACK) == SYN|ACK }

// IsData matches a segment that carries payload.
func IsData(f *Frame) bool { return len(f.Payload) > 0 }

// IsPureACK matches a bare acknowledgement.
func IsPureACK(f *Frame) bool { return f.Flags&(SYN|FIN|RST|ACK) == ACK && len(f.Payload) == 0 }
