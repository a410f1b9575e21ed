package suricata

import (
	"errors"
	"fmt"
	"strings"
)

// flowbit is what a rule does with a name that its flow remembers.
type flowbit struct {
	op    bitOp
	names []string
	ids   []int // of the names, within a Set
}

type bitOp uint8

const (
	bitSet bitOp = iota
	bitUnset
	bitToggle
	bitIsSet // one of them
	bitIsNotSet
)

var bitOps = map[string]bitOp{
	"set": bitSet, "unset": bitUnset, "toggle": bitToggle, "isset": bitIsSet, "isnotset": bitIsNotSet,
}

// asks reports whether the rule depends on the bit.
func (op bitOp) asks() bool { return op == bitIsSet || op == bitIsNotSet }

func (p *parser) flowbits(value string) error {
	word, names, _ := strings.Cut(value, ",")
	word = strings.TrimSpace(word)
	if word == "noalert" {
		return p.noalert("")
	}
	op, ok := bitOps[word]
	if !ok {
		return fmt.Errorf("the word %s", word)
	}
	b := flowbit{op: op}
	for name := range strings.SplitSeq(names, "|") {
		if name = strings.TrimSpace(name); name == "" {
			return errors.New("it names no bit")
		}
		b.names = append(b.names, name)
	}
	p.r.bits = append(p.r.bits, b)
	p.r.asksBits = p.r.asksBits || op.asks()
	return nil
}

// track is whose matches are counted together.
type track uint8

const (
	byRule track = iota
	bySrc
	byDst
	byBoth
	byFlow
)

var tracks = map[string]track{"by_rule": byRule, "by_src": bySrc, "by_dst": byDst, "by_both": byBoth, "by_flow": byFlow}

// limitKind is when matches that are counted speak.
type limitKind uint8

const (
	// limitAlerts only says how many alerts are written: the verdict is the same.
	limitAlerts limitKind = iota
	limitEvery            // each count-th
	limitBoth             // the count-th in the time
	limitOver             // each beyond the count (detection_filter)
)

var limitKinds = map[string]limitKind{"limit": limitAlerts, "threshold": limitEvery, "both": limitBoth}

type threshold struct {
	kind    limitKind
	track   track
	count   int
	seconds int
}

func (p *parser) threshold(value string) error { return p.limit(value, &threshold{}, true) }

func (p *parser) detectionFilter(value string) error {
	return p.limit(value, &threshold{kind: limitOver}, false)
}

func (p *parser) limit(value string, t *threshold, typed bool) (err error) {
	for _, w := range fieldsOf(value) {
		name, arg, _ := strings.Cut(w, " ")
		arg = strings.TrimSpace(arg)
		ok := true
		switch {
		case name == "type" && typed:
			t.kind, ok = limitKinds[arg]
		case name == "track":
			t.track, ok = tracks[arg]
		case name == "count":
			t.count, err = number(arg, 1, 1<<20)
		case name == "seconds":
			t.seconds, err = number(arg, 1, 1<<30)
		default:
			ok = false
		}
		if !ok {
			return fmt.Errorf("the words %s", w)
		}
		if err != nil {
			return err
		}
	}
	if t.count == 0 || t.seconds == 0 {
		return errors.New("it needs count and seconds")
	}
	if p.r.limit == nil || p.r.limit.kind == limitAlerts {
		p.r.limit = t
	}
	return nil
}

// says reports whether the n-th match in the time speaks.
func (t *threshold) says(n int) bool {
	switch t.kind {
	case limitEvery:
		return n%t.count == 0
	case limitBoth:
		return n == t.count
	case limitOver:
		return n > t.count
	}
	return true
}
