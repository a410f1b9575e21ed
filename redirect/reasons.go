package redirect

import (
	"sync/atomic"

	"sleight/stack/wire"
)

// Reason is why a packet was dropped or answered by the gateway itself. Each is
// counted.
type Reason uint8

// The reasons below the parser's own, which come first in the count.
const (
	badChecksum Reason = iota
	fragment
	malformed
	notTCP
	impossibleSource
	notOurs
	noFlow
	filtered
	noDecoy
	halfOpenFull
	flowsFull
	clientFull
	unacceptable
	heldFull
	aheadFull
	ipOptions
	badOptions
	suppressed
	swallowed
	invalidServing
	keptFull
	trueWindow
	decoyMiss
	backendMiss
	backendSource
	outbound
	icmpDropped
	writeFailed
	ruleDrop
	icmpRate
	switchingFull
	numReasons
)

var reasonNames = [numReasons]string{
	badChecksum: "bad_checksum", fragment: "fragment", malformed: "malformed", notTCP: "not_tcp",
	impossibleSource: "impossible_source", notOurs: "not_ours", noFlow: "no_flow",
	filtered: "filtered", noDecoy: "no_decoy", halfOpenFull: "half_open_full",
	flowsFull: "flows_full", clientFull: "flows_per_client", unacceptable: "unacceptable",
	heldFull: "held_full", aheadFull: "ahead_full", ipOptions: "ip_options",
	badOptions: "bad_options", suppressed: "suppressed", swallowed: "swallowed",
	invalidServing: "invalid_serving", keptFull: "kept_full", trueWindow: "true_window",
	decoyMiss: "decoy_miss", backendMiss: "backend_miss", backendSource: "backend_source",
	outbound: "outbound", icmpDropped: "icmp", writeFailed: "write_failed",
	ruleDrop: "rule_drop", icmpRate: "icmp_rate", switchingFull: "switching_full",
}

// Counters are the gateway's own, each by its reason.
type Counters struct{ n [numReasons]atomic.Uint64 }

func (c *Counters) add(r Reason) { c.n[r].Add(1) }

// Each calls f with every count that is not zero.
func (c *Counters) Each(f func(reason string, n uint64)) {
	for r := range numReasons {
		if n := c.n[r].Load(); n > 0 {
			f(reasonNames[r], n)
		}
	}
}

// parsed maps the parser's reasons to ours.
func parsed(r wire.Reason) Reason {
	switch r {
	case wire.BadIPSum, wire.BadChecksum:
		return badChecksum
	case wire.Fragment:
		return fragment
	case wire.NotTCP:
		return notTCP
	}
	return malformed
}

// Budget is an amount of memory that many flows share, in bytes.
type Budget struct {
	max  int64
	used atomic.Int64
}

// NewBudget makes a budget of max bytes.
func NewBudget(max int64) *Budget { return &Budget{max: max} }

// Take reserves n bytes, or reports false.
func (b *Budget) Take(n int) bool {
	if b.used.Add(int64(n)) > b.max {
		b.used.Add(int64(-n))
		return false
	}
	return true
}

// Give returns n bytes.
func (b *Budget) Give(n int) { b.used.Add(int64(-n)) }

// Used is how much is taken, in bytes.
func (b *Budget) Used() int64 { return b.used.Load() }
