package wire

import (
	"encoding/binary"

	"sleight/stack/tcb"
)

// Kinds of TCP options.
const (
	kindEnd           = 0
	kindNop           = 1
	kindMSS           = 2
	kindWndShift      = 3
	kindSACKPermitted = 4
	kindSACK          = 5
	kindTS            = 8

	maxWndShift = 14
	maxOptions  = 40
)

// parse reads the options of a header; what belongs only in a SYN is ignored
// elsewhere. It reports false where an option's length is impossible; what came
// before it stands, as Linux has it.
func (o *Options) parse(b []byte, syn bool) bool {
	for len(b) > 0 {
		switch b[0] {
		case kindEnd:
			return true
		case kindNop:
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return false
		}
		o.one(b[0], b[2:b[1]], syn)
		b = b[b[1]:]
	}
	return true
}

// one reads a single option of more than one byte.
func (o *Options) one(kind byte, v []byte, syn bool) {
	switch {
	case kind == kindMSS && len(v) == 2:
		if syn {
			o.MSS, o.HasMSS = binary.BigEndian.Uint16(v), true
		}
	case kind == kindWndShift && len(v) == 1:
		if syn {
			// A shift over 14 is used as 14 (RFC 7323, section 2.3).
			o.WndShift, o.HasWndShift = min(v[0], maxWndShift), true
		}
	case kind == kindSACKPermitted && len(v) == 0:
		if syn {
			o.SACKPermitted = true
		}
	case kind == kindTS && len(v) == 8:
		o.HasTS = true
		o.TSVal, o.TSEcr = binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])
	case kind == kindSACK && len(v)%8 == 0 && len(v) > 0:
		if syn {
			return
		}
		o.NumSACK = 0
		for ; len(v) > 0; v = v[8:] {
			o.AddBlock(Block{
				tcb.Seq(binary.BigEndian.Uint32(v)), tcb.Seq(binary.BigEndian.Uint32(v[4:])),
			})
		}
	default:
		o.Unknown++
	}
}

// Size is the length of the options as put writes them, in bytes: a multiple
// of 4 and at most 40.
func (o *Options) Size(syn bool) int {
	n := 0
	if o.HasTS {
		n += 12
	}
	if syn {
		if o.HasMSS {
			n += 4
		}
		if o.HasWndShift {
			n += 4
		}
		if o.SACKPermitted && !o.HasTS {
			n += 4
		}
		return n
	}
	if o.NumSACK > 0 {
		n += 4 + 8*o.fitting()
	}
	return n
}

// fitting is how many SACK blocks there is room for. The last one goes first,
// never the first: it is the newest, or a D-SACK (RFC 2018, section 4; RFC 2883).
func (o *Options) fitting() int {
	room := maxOptions - 4
	if o.HasTS {
		room -= 12
	}
	return min(o.NumSACK, room/8)
}

// put writes the options in the order in which Linux writes them.
func (o *Options) put(b []byte, syn bool) {
	if syn && o.HasMSS {
		b = putBytes(b, kindMSS, 4, byte(o.MSS>>8), byte(o.MSS))
	}
	if o.HasTS {
		if syn && o.SACKPermitted {
			b = putBytes(b, kindSACKPermitted, 2, kindTS, 10)
		} else {
			b = putBytes(b, kindNop, kindNop, kindTS, 10)
		}
		binary.BigEndian.PutUint32(b, o.TSVal)
		binary.BigEndian.PutUint32(b[4:], o.TSEcr)
		b = b[8:]
	}
	if syn {
		o.putSYN(b)
		return
	}
	if n := o.fitting(); n > 0 {
		b = putBytes(b, kindNop, kindNop, kindSACK, byte(2+8*n))
		for _, blk := range o.SACK[:n] {
			binary.BigEndian.PutUint32(b, uint32(blk.Start))
			binary.BigEndian.PutUint32(b[4:], uint32(blk.End))
			b = b[8:]
		}
	}
}

// putSYN writes what follows the timestamps in a SYN.
func (o *Options) putSYN(b []byte) {
	if o.SACKPermitted && !o.HasTS {
		b = putBytes(b, kindNop, kindNop, kindSACKPermitted, 2)
	}
	if o.HasWndShift {
		putBytes(b, kindNop, kindWndShift, 3, o.WndShift)
	}
}

// putBytes writes four bytes and returns what is left of b.
func putBytes(b []byte, v0, v1, v2, v3 byte) []byte {
	b[0], b[1], b[2], b[3] = v0, v1, v2, v3
	return b[4:]
}
