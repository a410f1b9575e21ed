package redirect

import (
	"net/netip"
	"time"

	"sleight/rules"
)

// FlowInfo names a flow in every report, as the client sees it.
type FlowInfo struct {
	ID              uint64
	Client, Dialled netip.AddrPort
}

// Started reports that a handshake is complete.
type Started struct {
	Decoy string
	RTT   time.Duration // 0: not measured
}

// Decided reports what a rule said.
type Decided struct {
	Rule, Verdict, Reason string
	Offset                int
	Alert                 *rules.Alert // of Suricata's; nil: none
	Suppressed            int          // how often the rule kept silent for the client before (once_per)
}

// Switched reports how a switch ended.
type Switched struct {
	Backend      string
	Addr         netip.AddrPort
	Result       string
	ClientBytes  int
	DecoyBytes   int
	Duration     time.Duration
	Executed     int // bytes of the client's that the backend has taken
	Turn, Offset int // of a mismatch; −1: none
	Decoy, Peer  int // the two bytes that differ
	Leg          [2]netip.AddrPort
}

// Ended reports that a flow is gone.
type Ended struct {
	Reason, Phase                    string
	BytesToServer, BytesToClient     uint64
	PacketsToServer, PacketsToClient uint64
	Age                              time.Duration
}

// Observer is told what happens to flows. It must not block and must not call
// the gateway.
type Observer interface {
	FlowStart(time.Time, FlowInfo, Started)
	Decision(time.Time, FlowInfo, Decided)
	Switch(time.Time, FlowInfo, Switched)
	FlowEnd(time.Time, FlowInfo, Ended)
}
