package main

import (
	"time"

	"sleight/internal/evidence"
	"sleight/redirect"
	"sleight/rules"
)

// reporter turns what the gateway reports into events.
type reporter struct{ out *evidence.Writer }

func begin(now time.Time, f redirect.FlowInfo, kind string) evidence.Event {
	return evidence.Flow{ID: f.ID, Client: f.Client, Dialled: f.Dialled}.Of(now, kind)
}

// FlowStart reports a completed handshake.
func (r reporter) FlowStart(now time.Time, f redirect.FlowInfo, s redirect.Started) {
	e := begin(now, f, "flow_start")
	e.FlowStart = &evidence.FlowStart{Decoy: s.Decoy, RTT: s.RTT.Microseconds()}
	r.out.Emit(e)
}

// Decision reports what a rule or a bound has said.
func (r reporter) Decision(now time.Time, f redirect.FlowInfo, d redirect.Decided) {
	e := begin(now, f, "decision")
	e.Decision = &evidence.Decision{Rule: d.Rule, Verdict: d.Verdict, Offset: d.Offset, Reason: d.Reason, Alert: alert(d.Alert), Suppressed: d.Suppressed}
	r.out.Emit(e)
}

// alert is one of Suricata's rules in EVE's words.
func alert(a *rules.Alert) *evidence.Alert {
	if a == nil {
		return nil
	}
	return &evidence.Alert{
		GID: a.GID, ID: a.SID, Rev: a.Rev, Signature: a.Msg, Category: a.Classtype, Severity: a.Priority,
		Reference: a.References, File: a.File,
	}
}

// Switch reports how a switch ended.
func (r reporter) Switch(now time.Time, f redirect.FlowInfo, s redirect.Switched) {
	e := begin(now, f, "switch")
	v := &evidence.Switch{
		Backend: s.Backend, Result: s.Result, ClientBytes: s.ClientBytes, DecoyBytes: s.DecoyBytes,
		Duration: s.Duration.Microseconds(), Executed: s.Executed,
	}
	if s.Addr.IsValid() {
		v.BackendIP, v.BackendPort = s.Addr.Addr().String(), s.Addr.Port()
		v.CommunityID = evidence.CommunityID(s.Leg[0], s.Leg[1])
	}
	if s.Turn >= 0 {
		v.Turn, v.Offset, v.DecoyByte, v.BackendByte = &s.Turn, &s.Offset, &s.Decoy, &s.Peer
	}
	e.Switch = v
	r.out.Emit(e)
}

// FlowEnd reports that a flow is gone.
func (r reporter) FlowEnd(now time.Time, f redirect.FlowInfo, d redirect.Ended) {
	e := begin(now, f, "flow_end")
	e.FlowEnd = &evidence.FlowEnd{
		Reason: d.Reason, Phase: d.Phase, BytesToServer: d.BytesToServer, BytesToClient: d.BytesToClient,
		PacketsToServer: d.PacketsToServer, PacketsToClient: d.PacketsToClient, Age: d.Age.Microseconds(),
	}
	r.out.Emit(e)
}
