// Package profile is how a host looks on the wire below its application: what
// its SYN-ACK says, its hop limit, how it refuses.
package profile

import (
	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Profile is one kind of host.
type Profile struct {
	Name     string
	TTL      uint8 // initial hop limit
	WndShift uint8 // of its windows
	SACK, TS bool  // offered, if the client offers it
}

// Linux is a current Debian kernel: SYN-ACK with MSS, SACK-permitted and
// timestamps, window scale 7; IP ID 0 on SYN-ACK and RST, then a series; DF set.
var Linux = &Profile{Name: "linux", TTL: 64, WndShift: 7, SACK: true, TS: true}

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
	minMSS  = 88    // Linux: TCP_MIN_SND_MSS with options
	wndRoom = 65535 // an initial window is at most what no scale is needed for
	header4 = 20 + 20
	header6 = 40 + 20
)

// Negotiate answers a client's options as the host would; mtu is the path's, in
// bytes.
func (p *Profile) Negotiate(syn *wire.Segment, mtu int) Negotiated {
	o := &syn.Opts
	n := Negotiated{
		SACK: p.SACK && o.SACKPermitted, TS: p.TS && o.HasTS, Scaled: o.HasWndShift,
		SndMSS: 536, RcvMSS: uint16(mtu - header4), // RFC 9293, MUST-15
	}
	if !syn.Is4() {
		n.SndMSS, n.RcvMSS = 1220, uint16(mtu-header6) // RFC 9293, section 3.7.1
	}
	if o.HasMSS {
		n.SndMSS = max(o.MSS, minMSS)
	}
	n.SndMSS = min(n.SndMSS, n.RcvMSS)
	if n.Scaled {
		n.SndShift, n.RcvShift = o.WndShift, p.WndShift
	}
	// Linux rounds its initial window down to whole segments as the client will
	// cut them: 45 of 1448 bytes are 65160.
	cut := int(n.RcvMSS)
	if n.TS {
		cut -= 12
	}
	n.Wnd = uint16(wndRoom / cut * cut)
	return n
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

// RST answers a segment to a closed port (RFC 9293, section 3.10.7.1); false: no
// answer, since it is a RST itself.
func (p *Profile) RST(out, seg *wire.Segment) bool {
	if seg.Flags.Has(wire.RST) {
		return false
	}
	*out = wire.Segment{Src: seg.Dst, Dst: seg.Src, TTL: p.TTL, DF: true, Flags: wire.RST}
	if seg.Flags.Has(wire.ACK) {
		out.Seq = seg.Ack
		return true
	}
	out.Flags |= wire.ACK
	out.Ack = seg.End()
	return true
}
