package wiretest

import (
	"fmt"
	"strconv"
	"strings"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

func parseSide(w string) (tcb.Side, error) {
	for _, side := range []tcb.Side{tcb.Client, tcb.Serving} {
		if w == side.String() {
			return side, nil
		}
	}
	return 0, fmt.Errorf("side %q is neither client nor serving", w)
}

func parseDir(d *Dir, w string) error {
	switch w {
	case "<":
		*d = In
	case ">":
		*d = Out
	default:
		return fmt.Errorf("arrow %q is neither < nor >", w)
	}
	return nil
}

func parseFlags(f *wire.Flags, w string) error {
	if w == "-" {
		return nil
	}
	for _, c := range w {
		i := strings.IndexRune("FSRP.UEWA", c)
		if i < 0 {
			return fmt.Errorf("flag %q is unknown", c)
		}
		*f |= 1 << i
	}
	return nil
}

// parseRange reads "start:end(length)".
func parseRange(s *wire.Segment, w string) (length int, err error) {
	var start, end uint32
	var n uint16
	start, rest, err := number(w, ":")
	if err == nil {
		end, rest, err = number(rest, "(")
	}
	if err == nil {
		var v uint64
		v, err = strconv.ParseUint(strings.TrimSuffix(rest, ")"), 10, 16)
		n = uint16(v)
	}
	if err != nil || !strings.HasSuffix(rest, ")") {
		return 0, fmt.Errorf("%q is not start:end(length)", w)
	}
	if end-start != uint32(n) { // modulo 2^32
		return 0, fmt.Errorf("%q: from start to end are %d bytes, not %d", w, end-start, n)
	}
	s.Seq = tcb.Seq(start)
	return int(n), nil
}

// number reads a 32-bit number up to a separator.
func number(w, sep string) (v uint32, rest string, err error) {
	head, rest, _ := strings.Cut(w, sep)
	n, err := strconv.ParseUint(head, 10, 32)
	return uint32(n), rest, err
}

// parseWords reads "ack N", "win N" and "urg N".
func parseWords(s *wire.Segment, w []string) error {
	for ; len(w) > 0; w = w[2:] {
		if len(w) < 2 {
			return fmt.Errorf("%q without a number", w[0])
		}
		bits := 16
		if w[0] == "ack" {
			bits = 32
		}
		v, err := strconv.ParseUint(w[1], 10, bits)
		if err != nil {
			return fmt.Errorf("%s %q: no number of %d bits", w[0], w[1], bits)
		}
		switch w[0] {
		case "ack":
			s.Ack = tcb.Seq(v)
		case "win":
			s.Wnd = uint16(v)
		case "urg":
			s.Urg = uint16(v)
		default:
			return fmt.Errorf("word %q is unknown", w[0])
		}
	}
	return nil
}

// parseOptions reads what stands between '<' and '>'.
func parseOptions(o *wire.Options, text string) error {
	for opt := range strings.SplitSeq(text, ",") {
		w := strings.Fields(opt)
		if len(w) == 0 {
			return fmt.Errorf("an option of <%s> is empty", text)
		}
		if err := parseOption(o, w); err != nil {
			return fmt.Errorf("option %q: %w", strings.TrimSpace(opt), err)
		}
	}
	return nil
}

func parseOption(o *wire.Options, w []string) (err error) {
	var v uint64
	switch {
	case len(w) == 1 && (w[0] == "nop" || w[0] == "eol"):
	case len(w) == 1 && w[0] == "sackOK":
		o.SACKPermitted = true
	case len(w) == 2 && w[0] == "mss":
		v, err = strconv.ParseUint(w[1], 10, 16)
		o.MSS, o.HasMSS = uint16(v), true
	case len(w) == 2 && w[0] == "wscale":
		v, err = strconv.ParseUint(w[1], 10, 8)
		o.WndShift, o.HasWndShift = uint8(v), true
	case len(w) == 5 && w[0] == "TS" && w[1] == "val" && w[3] == "ecr":
		o.HasTS = true
		if v, err = strconv.ParseUint(w[2], 10, 32); err != nil {
			return err
		}
		o.TSVal = uint32(v)
		v, err = strconv.ParseUint(w[4], 10, 32)
		o.TSEcr = uint32(v)
	case len(w) > 1 && w[0] == "sack":
		return parseBlocks(o, w[1:])
	default:
		return fmt.Errorf("unknown, or wrong number of words")
	}
	return err
}

func parseBlocks(o *wire.Options, w []string) error {
	for _, blk := range w {
		start, rest, err := number(blk, ":")
		if err != nil {
			return err
		}
		end, err := strconv.ParseUint(rest, 10, 32)
		if err != nil {
			return err
		}
		if !o.AddBlock(wire.Block{Start: tcb.Seq(start), End: tcb.Seq(end)}) {
			return fmt.Errorf("more than %d blocks", wire.MaxBlocks)
		}
	}
	return nil
}
