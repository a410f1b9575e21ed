package pcap

import "encoding/binary"

// Link types (https://www.tcpdump.org/linktypes.html).
const (
	linkNull      = 0
	linkEthernet  = 1
	linkRawBSD    = 12
	linkRaw       = 101
	linkSLL       = 113
	linkIPv4      = 228
	linkIPv6      = 229
	linkSLL2      = 276
	ethernetSize  = 14
	sllSize       = 16
	sll2Size      = 20
	maxVLANTags   = 4
	etherIPv4     = 0x0800
	etherIPv6     = 0x86dd
	etherVLAN     = 0x8100
	etherQinQ     = 0x88a8
	etherOldQinQ  = 0x9100
	nullHeaderLen = 4
)

// What network found in a frame.
type found uint8

const (
	linkIP found = iota
	linkOther
	linkBad
)

// network takes the link header off a frame.
func network(link uint32, frame []byte) ([]byte, found) {
	switch link {
	case linkEthernet:
		if len(frame) < ethernetSize {
			return nil, linkBad
		}
		return ether(binary.BigEndian.Uint16(frame[12:]), frame[ethernetSize:])
	case linkSLL:
		if len(frame) < sllSize {
			return nil, linkBad
		}
		return ether(binary.BigEndian.Uint16(frame[14:]), frame[sllSize:])
	case linkSLL2:
		if len(frame) < sll2Size {
			return nil, linkBad
		}
		return ether(binary.BigEndian.Uint16(frame), frame[sll2Size:])
	case linkNull:
		if len(frame) < nullHeaderLen {
			return nil, linkBad
		}
		return raw(frame[nullHeaderLen:])
	case linkRaw, linkRawBSD, linkIPv4, linkIPv6:
		return raw(frame)
	}
	return nil, linkBad
}

// ether follows an EtherType, through VLAN tags.
func ether(kind uint16, b []byte) ([]byte, found) {
	for range maxVLANTags + 1 {
		switch kind {
		case etherIPv4, etherIPv6:
			return raw(b)
		case etherVLAN, etherQinQ, etherOldQinQ:
			if len(b) < 4 {
				return nil, linkBad
			}
			kind, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		default:
			return nil, linkOther
		}
	}
	return nil, linkBad
}

// raw takes what begins like IP.
func raw(b []byte) ([]byte, found) {
	if len(b) == 0 {
		return nil, linkBad
	}
	if v := b[0] >> 4; v != 4 && v != 6 {
		return nil, linkOther
	}
	return b, linkIP
}
