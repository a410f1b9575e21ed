package rules

import (
	"fmt"
	"hash/fnv"
	"time"
)

// Occasion is when a rule is asked.
type Occasion uint8

// The occasions: the handshake is complete, the client has said more, 100 ms have
// passed without that. A rule with none of them is asked at the first two, and at the
// third if it names time.
const (
	OnOpen Occasion = 1 << iota
	OnData
	OnIdle
)

// ParseOccasion reads an occasion's name; "" is any.
func ParseOccasion(s string) (Occasion, error) {
	switch s {
	case "":
		return 0, nil
	case "open":
		return OnOpen, nil
	case "data":
		return OnData, nil
	case "idle":
		return OnIdle, nil
	}
	return 0, fmt.Errorf("unknown occasion %q: use open, data or idle", s)
}

// String is the occasion's name.
func (o Occasion) String() string {
	return map[Occasion]string{OnOpen: "open", OnData: "data", OnIdle: "idle"}[o]
}

// Tag is what a rule gives to the client that it speaks about.
type Tag struct {
	Name string // empty: none
	For  time.Duration
}

// Threshold lets a rule speak only from a client's so manieth connection on in which it
// would. The window begins with the first.
type Threshold struct {
	Count int // 0: at once
	In    time.Duration
}

// occasion notes why the rules are asked now.
func (fl *Flow) occasion(f *Facts) {
	fl.on = 0
	if !fl.opened {
		fl.opened, fl.on = true, OnOpen
	}
	if len(f.Stream) > int(fl.heard) || fl.Unfinished() {
		fl.on |= OnData
	}
	if fl.on == 0 {
		fl.on = OnIdle
	}
	fl.heard = int32(len(f.Stream))
}

// asks reports whether a rule is asked on this occasion.
func (fl *Flow) asks(r *compiled) bool { return r.On == 0 || r.On&fl.on != 0 }

// counted is what the rule's threshold and once_per have said of a flow: they count
// flows and not evaluations.
type counted uint8

const (
	uncounted counted = iota
	free
	barred
)

// may reports whether a rule that holds may speak in this flow.
func (fl *Flow) may(r *compiled, st *seen, f *Facts) bool {
	if r.Threshold.Count == 0 && r.OncePer == 0 {
		return true
	}
	if st.counted == uncounted {
		st.counted = free
		if !fl.count(r, st, f) {
			st.counted = barred
		}
	}
	return st.counted == free
}

// count counts a flow for its client. Without a memory each flow is the first.
func (fl *Flow) count(r *compiled, st *seen, f *Facts) bool {
	n, before := 1, 0
	if r.Threshold.Count > 0 {
		if fl.set.memory != nil {
			n, _ = fl.set.memory.Count(f.Now, f.Src.Addr(), r.thresholdKey, r.Threshold.In)
		}
		if n < r.Threshold.Count {
			return false
		}
	}
	if r.OncePer == 0 {
		return true
	}
	n = 1
	if fl.set.memory != nil {
		n, before = fl.set.memory.Count(f.Now, f.Src.Addr(), r.onceKey, r.OncePer)
	}
	st.suppressed = int32(max(0, before-1))
	if n > 1 && fl.set.silent != nil {
		fl.set.silent(r.Name)
	}
	return n == 1
}

// spoke carries out what a rule that speaks does beside its action.
func (fl *Flow) spoke(r *compiled, f *Facts) {
	if r.Tag.Name != "" && fl.set.memory != nil {
		// A name that is too long was refused when the rule was compiled.
		_ = fl.set.memory.Tag(f.Now, f.Src.Addr(), r.Tag.Name, f.Now.Add(r.Tag.For))
	}
}

// countKey is what a rule's connections are counted as, over reloads: its name.
func countKey(kind, name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(kind + "\x00" + name)) // it never fails
	return h.Sum64()
}
