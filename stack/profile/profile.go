// Package profile is how a host looks on the wire below its application: what
// its SYN-ACK says, its hop limit, how it refuses, what it answers to a ping.
package profile

import (
	"time"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Profile is one kind of host.
type Profile struct {
	Name     string
	TTL      uint8 // initial hop limit
	WndShift uint8 // of its windows
	SACK, TS bool  // offered, if the client offers it
	Limits   Limits
}

// Limits are how often the host says what others could make it say for ever.
// They are values: whoever speaks in its name does the counting.
type Limits struct {
	// Repeat is the least time between two bare acknowledgements that answer what
	// is not acceptable, of one connection.
	Repeat time.Duration
	// Errors4 and Errors6 are the time in which one more ICMP error to the same
	// client is allowed, ErrorBurst how many at once after a silence.
	Errors4, Errors6 time.Duration
	ErrorBurst       int
}

// Linux is a current Debian kernel (6.1 and 6.12). As measured:
//
//   - The SYN-ACK's options, each only if the client sent it: MSS always;
//     then SACK-permitted and timestamps in one word of four bytes, or NOP NOP
//     before the one that stands alone; NOP and window scale at the end.
//   - Window 65160 with timestamps, 64240 without (MTU 1500, IPv4): see window.
//   - IP ID 0 until the handshake is done and on a RST, then a series from a
//     random start; DF on all TCP, never on ICMP.
//   - ToS 0 on a connection; a RST or an answer to a ping has the asker's.
//   - An IPv6 flow label on everything, constant for a connection.
//   - Timestamps tick each millisecond.
//
// It departs from Linux in one thing: it never agrees to ECN, which Linux does
// when it is asked to (tcp_ecn = 2).
var Linux = &Profile{
	Name: "linux", TTL: 64, WndShift: 7, SACK: true, TS: true,
	Limits: Limits{
		Repeat:  500 * time.Millisecond, // tcp_invalid_ratelimit
		Errors4: time.Second, Errors6: 250 * time.Millisecond,
		ErrorBurst: 6,
	},
}

// Negotiated is what a SYN and its SYN-ACK agree on.
type Negotiated struct {
	SndMSS   uint16 // the client's: most payload and options to it, in bytes
	RcvMSS   uint16 // ours
	SndShift uint8  // of the client's windows
	RcvShift uint8  // of ours
	Scaled   bool   // both sent a window scale
	SACK, TS bool
	Wnd      uint16 // of the SYN-ACK, unscaled
}

const (
	header4 = 20 + 20
	header6 = 40 + 20
	tsSize  = 12 // timestamps, as they stand in each segment

	// Where a SYN has no MSS (RFC 9293, MUST-15 and section 3.7.1).
	defaultMSS4 = 536
	defaultMSS6 = 1220
	// bufferSpace is half of the default buffer (tcp_rmem), in bytes.
	bufferSpace = 65536
	// minMSS keeps a client from asking for segments without room for data: 40
	// bytes of options and 8 of payload, as Linux has it (CVE-2019-11479).
	minMSS = 48
)

// Negotiate answers a client's options as the host would; mtu is the path's, in
// bytes.
func (p *Profile) Negotiate(syn *wire.Segment, mtu int) Negotiated {
	o := &syn.Opts
	mtu = min(mtu, 0xffff) // no packet is longer
	n := Negotiated{
		SACK: p.SACK && o.SACKPermitted, TS: p.TS && o.HasTS, Scaled: o.HasWndShift,
		SndMSS: defaultMSS4, RcvMSS: mss(mtu - header4),
	}
	if !syn.Is4() {
		n.SndMSS, n.RcvMSS = defaultMSS6, mss(mtu-header6)
	}
	if o.HasMSS && o.MSS > 0 { // an MSS of 0 is none
		n.SndMSS = max(o.MSS, minMSS)
	}
	n.SndMSS = min(n.SndMSS, n.RcvMSS)
	if n.Scaled {
		n.SndShift, n.RcvShift = o.WndShift, p.WndShift
	}
	n.Wnd = window(n.RcvMSS, n.TS)
	return n
}

// Settled is the window, in bytes, that the host comes down to while its client says
// little at a time: a segment less than half of its default buffer (tcp_init_buffer_space
// of Linux). mtu is the path's, in bytes.
func (p *Profile) Settled(is4 bool, mtu int) int {
	header := header6
	if is4 {
		header = header4
	}
	return bufferSpace - int(mss(min(mtu, 0xffff)-header))
}

// mss brings a length into the range of the option.
func mss(n int) uint16 { return uint16(min(max(n, minMSS), 0xffff)) }

// window is what Linux offers at first: half of its default buffer (tcp_rmem),
// rounded down to whole segments as a client cuts them that has the host's own
// MSS, and no more than a window without scale can be.
func window(mss uint16, ts bool) uint16 {
	cut := int(mss)
	if ts {
		cut -= tsSize
	}
	return uint16(min(bufferSpace/cut*cut, 0xffff))
}

// SYNACK writes the answer to a SYN. tsval is the client leg's clock.
func (p *Profile) SYNACK(out, syn *wire.Segment, n *Negotiated, iss tcb.Seq, tsval uint32) {
	*out = wire.Segment{
		Src: syn.Dst, Dst: syn.Src, TTL: p.TTL, DF: true,
		Seq: iss, Ack: syn.Seq + 1, Flags: wire.SYN | wire.ACK, Wnd: n.Wnd,
	}
	o := &out.Opts
	o.HasMSS, o.MSS = true, n.RcvMSS
	o.SACKPermitted = n.SACK
	if n.Scaled {
		o.HasWndShift, o.WndShift = true, n.RcvShift
	}
	if n.TS {
		o.HasTS, o.TSVal, o.TSEcr = true, tsval, syn.Opts.TSVal
	}
}
