package redirect

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"sleight/stack/profile"
)

// errorSlots bounds what is remembered of the clients that drew ICMP errors. Two
// that meet in a slot share one allowance: a flood costs others an error now and
// then, as it does on a host with a limit for all.
const errorSlots = 1 << 12

// errorLimit says how often each host that a decoy plays tells each client by
// ICMP that a port is closed (RFC 1812, section 4.3.2.8; RFC 4443, section 2.4 f).
type errorLimit struct {
	begun time.Time
	seed  maphash.Seed

	mu    sync.Mutex
	spent [errorSlots]time.Duration // since begun: up to then the allowance is used
}

// newErrorLimit makes one in which every client has been silent for long.
func newErrorLimit(now time.Time) *errorLimit {
	return &errorLimit{begun: now.Add(-time.Hour), seed: maphash.MakeSeed()}
}

// allow reports whether the host may send the client an error now, and counts it.
func (l *errorLimit) allow(now time.Time, host, client netip.Addr, lim *profile.Limits) bool {
	every := lim.Errors6
	if client.Is4() {
		every = lim.Errors4
	}
	at := now.Sub(l.begun)
	slot := maphash.Comparable(l.seed, [2]netip.Addr{host, client}) % errorSlots
	l.mu.Lock()
	defer l.mu.Unlock()
	spent := max(l.spent[slot], at-time.Duration(lim.ErrorBurst)*every)
	if at-spent < every {
		return false
	}
	l.spent[slot] = spent + every
	return true
}
