// Package evidence writes what happened as JSON lines, shaped as Suricata's EVE
// so that what reads EVE reads them.
package evidence

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"time"
)

// Flow names a flow as its client sees it.
type Flow struct {
	ID              uint64
	Client, Dialled netip.AddrPort
}

// Event is one line. Exactly one of the objects is set.
type Event struct {
	Timestamp   string `json:"timestamp"`
	Type        string `json:"event_type"`
	FlowID      uint64 `json:"flow_id,omitempty"`
	CommunityID string `json:"community_id,omitempty"`
	SrcIP       string `json:"src_ip,omitempty"`
	SrcPort     uint16 `json:"src_port,omitempty"`
	DestIP      string `json:"dest_ip,omitempty"`
	DestPort    uint16 `json:"dest_port,omitempty"`
	Proto       string `json:"proto,omitempty"`
	Sensor      string `json:"sensor"`

	FlowStart         *FlowStart        `json:"flow_start,omitempty"`
	Decision          *Decision         `json:"decision,omitempty"`
	Switch            *Switch           `json:"switch,omitempty"`
	FlowEnd           *FlowEnd          `json:"flow_end,omitempty"`
	DropSummary       map[string]uint64 `json:"drop_summary,omitempty"`
	SuppressedSummary map[string]uint64 `json:"suppressed_summary,omitempty"`
	Gateway           *Gateway          `json:"gateway,omitempty"`
}

// FlowStart says that a handshake is complete.
type FlowStart struct {
	Decoy string `json:"decoy"`
	RTT   int64  `json:"rtt_us"`
}

// Decision is what a rule, or a bound, has said.
type Decision struct {
	Rule    string `json:"rule"`
	Verdict string `json:"verdict"`
	Offset  int    `json:"offset"`
	Reason  string `json:"reason"`
	Alert   *Alert `json:"alert,omitempty"`
	// Suppressed is how often the rule kept silent for this client since it last spoke.
	Suppressed int `json:"suppressed,omitempty"`
}

// Alert is the rule of Suricata's that a rule has picked, in EVE's words.
type Alert struct {
	GID       int      `json:"gid"`
	ID        int      `json:"signature_id"`
	Rev       int      `json:"rev"`
	Signature string   `json:"signature"`
	Category  string   `json:"category"`
	Severity  int      `json:"severity"`
	Reference []string `json:"reference,omitempty"`
	File      string   `json:"file"`
}

// Switch is how a switch ended. Turn and Offset tell where a mismatch lies, with
// the two bytes that differ.
type Switch struct {
	Backend     string `json:"backend"`
	BackendIP   string `json:"backend_ip,omitempty"`
	BackendPort uint16 `json:"backend_port,omitempty"`
	Result      string `json:"result"`
	ClientBytes int    `json:"client_bytes"`
	DecoyBytes  int    `json:"decoy_bytes"`
	Duration    int64  `json:"duration_us"`
	Executed    int    `json:"executed_bytes"`
	Turn        *int   `json:"turn,omitempty"`
	Offset      *int   `json:"offset,omitempty"`
	DecoyByte   *int   `json:"decoy_byte,omitempty"`
	BackendByte *int   `json:"backend_byte,omitempty"`
	CommunityID string `json:"community_id,omitempty"`
}

// FlowEnd says why a flow is gone.
type FlowEnd struct {
	Reason          string `json:"reason"`
	Phase           string `json:"phase"`
	BytesToServer   uint64 `json:"bytes_toserver"`
	BytesToClient   uint64 `json:"bytes_toclient"`
	PacketsToServer uint64 `json:"packets_toserver"`
	PacketsToClient uint64 `json:"packets_toclient"`
	Age             int64  `json:"age_us"`
}

// Gateway is the gateway's own state: started, stopped, reloaded or
// reload_failed.
type Gateway struct {
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`
}

// stamp writes a time as EVE does: microseconds, with a zone.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000-0700") }

// Of begins a flow's event.
func (f Flow) Of(now time.Time, kind string) Event {
	return Event{
		Timestamp: stamp(now), Type: kind, FlowID: f.ID, CommunityID: CommunityID(f.Client, f.Dialled),
		SrcIP: f.Client.Addr().String(), SrcPort: f.Client.Port(),
		DestIP: f.Dialled.Addr().String(), DestPort: f.Dialled.Port(), Proto: "TCP",
	}
}

// Plain begins an event of no flow.
func Plain(now time.Time, kind string) Event { return Event{Timestamp: stamp(now), Type: kind} }

// CommunityID is version 1 with seed 0, for TCP: both directions have the same.
func CommunityID(a, b netip.AddrPort) string {
	if b.Addr().Less(a.Addr()) || a.Addr() == b.Addr() && b.Port() < a.Port() {
		a, b = b, a
	}
	var m []byte
	m = append(m, 0, 0) // seed
	m = append(m, a.Addr().AsSlice()...)
	m = append(m, b.Addr().AsSlice()...)
	m = append(m, 6, 0)
	m = binary.BigEndian.AppendUint16(m, a.Port())
	m = binary.BigEndian.AppendUint16(m, b.Port())
	sum := sha1.Sum(m)
	return "1:" + base64.StdEncoding.EncodeToString(sum[:])
}
