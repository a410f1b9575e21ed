package seam

import "sleight/stack/wire"

// headers are the fields of the IP header that a host keeps or counts.
type headers struct {
	met   bool
	first wire.Segment // of which TTL, DF and FlowLabel count
	ids   ids
}

// constant is a value that a constant field has taken, to tell of it once.
type constant struct {
	kind  Kind
	value uint32
}

// checkHeaders checks what a host's IP layer writes.
func (c *checker) checkHeaders(f *flow, s *wire.Segment) {
	h := &f.server.header
	if !h.met {
		h.met, h.first = true, *s
		h.first.Payload = nil
	}
	// IPv6 has no header checksum: a wire that flips bits changes these unnoticed.
	if s.Is4() || !c.o.Corrupting {
		c.constant(f, TTLChanged, "TTL", uint32(h.first.TTL), uint32(s.TTL))
		c.constant(f, FlowLabelChanged, "flow label", h.first.FlowLabel, s.FlowLabel)
	}
	if s.Is4() {
		c.constant(f, DFChanged, "DF", bit(h.first.DF), bit(s.DF))
		c.checkID(f, s)
	}
}

// constant tells of each other value of a constant field once.
func (c *checker) constant(f *flow, kind Kind, name string, want, got uint32) {
	const most = 64
	k := constant{kind, got}
	if got == want || f.told[k] || len(f.told) == most {
		return
	}
	if f.told == nil {
		f.told = map[constant]bool{}
	}
	f.told[k] = true
	c.found(kind, "%s %#x, and %#x before", name, got, want)
}

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// ids is the series of a socket's IPv4 identifications.
type ids struct {
	met  bool
	last uint16
	// One that breaks the series is told of once: what continues the series from
	// before the break is in order again.
	broken bool
	before uint16
}

// idSlack is how far apart identifications may be where segments get lost.
const idSlack = 1024

// checkID checks that a flow's identifications are one series, as Linux makes it:
// what is not a socket's own (a SYN-ACK, the answer of a closed port or of
// TIME-WAIT) has 0 if DF is set; every packet of a socket has the next number.
func (c *checker) checkID(f *flow, s *wire.Segment) {
	i := &f.server.header.ids
	switch {
	case s.Flags.Has(wire.SYN):
		if s.DF && s.ID != 0 {
			c.found(IPID, "a SYN-ACK with %d, and Linux sends 0", s.ID)
		}
		return
	case s.ID == 0 && s.DF && (s.Flags.Has(wire.RST) || f.socketless(s)):
		return
	case !i.met:
		i.met, i.last = true, s.ID
		return
	case i.continues(s.ID, c.o.Lossless):
		return
	}
	c.found(IPID, "%d after %d", s.ID, i.last)
	i.broken, i.before, i.last = true, i.last, s.ID
}

// socketless reports whether a bare ACK may come from a host that has no socket
// for the connection: in TIME-WAIT, and before the handshake is complete.
func (f *flow) socketless(s *wire.Segment) bool {
	if len(s.Payload) > 0 || s.Flags.Has(wire.FIN) {
		return false
	}
	return !f.client.acked || f.server.finSeen && f.client.fin
}

// continues reports whether an identification is the series' next one, and
// moves the series on.
func (i *ids) continues(id uint16, lossless bool) bool {
	if !lossless {
		if d := int16(id - i.last); d > -idSlack && d < idSlack {
			if d > 0 {
				i.last = id
			}
			return true
		}
	}
	switch {
	case id == i.last+1:
	case i.broken && (id == i.before+1 || id == i.before+2):
	default:
		return false
	}
	i.last, i.broken = id, false
	return true
}

// checkECN finds congestion marks that the handshake did not agree on (RFC 3168,
// section 6.1.1).
func (c *checker) checkECN(f *flow, s *wire.Segment) {
	const bits = wire.ECE | wire.CWR | wire.AE
	if f.Partial {
		return
	}
	agreed := f.client.flags.Any(bits)
	if !s.Flags.Has(wire.SYN) {
		agreed = agreed && f.server.synack.Flags.Any(bits)
	}
	if agreed {
		return
	}
	switch {
	case s.Flags.Any(bits):
		c.found(ECN, "%v, and it was not agreed on", s.Flags)
	case s.TOS&3 != 0 && (s.Is4() || !c.o.Corrupting):
		c.found(ECN, "code point %d, and it was not agreed on", s.TOS&3)
	}
}
