package rules

import "sleight/rules/suricata"

// Alert is one of Suricata's rules that has matched.
type Alert = suricata.Rule

// Said is a rule that has spoken by `log`, and which of Suricata's made it do so.
type Said struct {
	Rule  string
	Alert *Alert // nil: none
	// Suppressed is as in Verdict.
	Suppressed int
}

// maxAlerts bounds the alerts that a flow keeps.
const maxAlerts = 64

// UseSuricata gives the set those of Suricata's rules that its own pick. Matches are
// counted in mem over all flows; without it, within each flow. It is called before
// the first flow, and returns what cannot be used.
func (s *Set) UseSuricata(all []*suricata.Rule, mem suricata.Memory) (skipped []suricata.Skipped) {
	needed := suricata.Needed(all, func(r *suricata.Rule) bool { return s.picks(r) })
	s.heard, skipped = suricata.Compile(needed)
	s.counts = mem
	return skipped
}

// picks reports whether one of the set's rules is about one of Suricata's.
func (s *Set) picks(a *Alert) bool {
	for i := range s.rules {
		if sel := s.rules[i].Suricata; sel != nil && sel.Picks(a) {
			return true
		}
	}
	return false
}

// Suricata is those of Suricata's rules that the set uses; nil: none.
func (s *Set) Suricata() *suricata.Set { return s.heard }

// listen asks Suricata's rules about what the stream has grown by.
func (fl *Flow) listen(f *Facts) {
	if fl.hears == nil {
		return
	}
	in := suricata.Input{Client: f.Src, Dialled: f.Dst, Now: f.Now, Stream: f.Stream, Turn: len(f.Stream) - len(f.Last)}
	before := fl.hears.Steps
	for _, a := range fl.hears.Judge(&in, fl.set.counts) {
		if len(fl.alerts) < maxAlerts && fl.set.picks(a) {
			fl.alerts = append(fl.alerts, a)
		}
	}
	fl.work += fl.hears.Steps - before
	fl.Errors += fl.hears.Cut
	fl.hears.Cut = 0
}

// Unfinished reports whether there was more to do than may be done at once: what the
// client has said is not judged yet.
func (fl *Flow) Unfinished() bool { return fl.hears != nil && fl.hears.Unfinished() }

// alarmed asks a rule that picks alerts. It speaks once for each by `log`, else by
// the first.
func (fl *Flow) alarmed(r *compiled, st *seen, f *Facts, v *Verdict) bool {
	from := 0
	if r.Action == Log {
		from, st.alerts = int(st.alerts), int32(len(fl.alerts))
	}
	for _, a := range fl.alerts[from:] {
		if !r.Suricata.Picks(a) {
			continue
		}
		if !fl.holds(r, st, f) || !fl.may(r, st, f) {
			return false
		}
		if r.Action != Log {
			v.Alert = a
			return true
		}
		fl.spoke(r, f)
		v.Logged = append(v.Logged, Said{r.Name, a, int(st.suppressed)})
	}
	return false
}
