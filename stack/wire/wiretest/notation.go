// Package wiretest writes packets as packetdrill does, for tests that are read
// as dialogues: one line for each segment, with the side of the flow and the
// direction in front.
//
//	client  < S 1000:1000(0) win 65535 <mss 1460,sackOK,TS val 1 ecr 0,wscale 7>
//	client  > S. 7000:7000(0) ack 1001 win 65160 <mss 1460,sackOK,TS val 90 ecr 1,wscale 7>
//	serving < P. 501:506(5) ack 1006 win 500 "hello"
//
// '<' is what the peer of that side sends to the gateway, '>' what the gateway
// sends to it. Sequence numbers are absolute and, as in packetdrill, start:end
// counts payload only. A segment whose payload is not written out carries Fill's
// bytes. nop and eol may be written and mean nothing: a Segment does not keep
// the padding between options.
package wiretest

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"sleight/stack/tcb"
	"sleight/stack/wire"
)

// Dir is a segment's direction as the gateway sees it.
type Dir uint8

const (
	// In is from the side's peer to the gateway.
	In Dir = iota
	// Out is from the gateway to the side's peer.
	Out
)

// String is the arrow.
func (d Dir) String() string {
	if d == Out {
		return ">"
	}
	return "<"
}

// Line is one line of a dialogue.
type Line struct {
	Side    tcb.Side
	Dir     Dir
	Segment wire.Segment
}

// Ends are the sockets of one leg: the peer's, and the one that the gateway
// shows to it.
type Ends struct{ Peer, Gateway netip.AddrPort }

// Legs are the sockets that Parse gives to the segments of each side, IPv4.
var Legs = [...]Ends{
	tcb.Client:  {netip.MustParseAddrPort("198.51.100.7:40000"), netip.MustParseAddrPort("203.0.113.5:80")},
	tcb.Serving: {netip.MustParseAddrPort("10.0.2.2:80"), netip.MustParseAddrPort("198.51.100.7:40000")},
}

// Legs6 are the same in IPv6, for Line.To6.
var Legs6 = [...]Ends{
	tcb.Client:  {netip.MustParseAddrPort("[2001:db8::7]:40000"), netip.MustParseAddrPort("[2001:db8:1::5]:80")},
	tcb.Serving: {netip.MustParseAddrPort("[fd00:2::2]:80"), netip.MustParseAddrPort("[2001:db8::7]:40000")},
}

// Fill is the payload of n bytes at seq of a stream in which each byte follows
// from its sequence number, so that a wrong cut is seen.
func Fill(seq tcb.Seq, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		at := uint32(seq) + uint32(i)
		b[i] = 'a' + byte(at%23)
	}
	return b
}

// To6 returns the line with the sockets of Legs6 in place of those of Legs.
func (l Line) To6() Line {
	l.place(Legs6[l.Side])
	return l
}

func (l *Line) place(e Ends) {
	l.Segment.Src, l.Segment.Dst = e.Peer, e.Gateway
	if l.Dir == Out {
		l.Segment.Src, l.Segment.Dst = e.Gateway, e.Peer
	}
}

// String writes the line as Parse reads it.
func (l Line) String() string { return Format(l.Side, l.Dir, &l.Segment) }

// Format writes a segment as one line.
func Format(side tcb.Side, dir Dir, s *wire.Segment) string {
	var b strings.Builder
	n := len(s.Payload)
	fmt.Fprintf(&b, "%-7s %s %s %d:%d(%d)", side, dir, s.Flags, s.Seq, uint32(s.Seq)+uint32(n), n)
	if s.Flags.Has(wire.ACK) {
		fmt.Fprintf(&b, " ack %d", s.Ack)
	}
	fmt.Fprintf(&b, " win %d", s.Wnd)
	if s.Flags.Has(wire.URG) {
		fmt.Fprintf(&b, " urg %d", s.Urg)
	}
	if opts := formatOptions(&s.Opts); opts != "" {
		fmt.Fprintf(&b, " <%s>", opts)
	}
	if n > 0 && !bytes.Equal(s.Payload, Fill(s.Seq, n)) {
		fmt.Fprintf(&b, " %q", s.Payload)
	}
	return b.String()
}

func formatOptions(o *wire.Options) string {
	var w []string
	add := func(format string, a ...any) { w = append(w, fmt.Sprintf(format, a...)) }
	if o.HasMSS {
		add("mss %d", o.MSS)
	}
	if o.SACKPermitted {
		add("sackOK")
	}
	if o.HasTS {
		add("TS val %d ecr %d", o.TSVal, o.TSEcr)
	}
	if o.HasWndShift {
		add("wscale %d", o.WndShift)
	}
	if o.NumSACK > 0 {
		s := "sack"
		for _, blk := range o.Blocks() {
			s += fmt.Sprintf(" %d:%d", blk.Start, blk.End)
		}
		add("%s", s)
	}
	return strings.Join(w, ",")
}

// MustParse is Parse for lines that stand in a test's own text.
func MustParse(line string) Line {
	l, err := Parse(line)
	if err != nil {
		panic(err)
	}
	return l
}

// Parse reads one line. TTL is 64 and the sockets are those of Legs.
func Parse(line string) (Line, error) {
	l, err := parse(line)
	if err != nil {
		return Line{}, fmt.Errorf("%q: %w", line, err)
	}
	l.Segment.TTL = 64
	l.place(Legs[l.Side])
	return l, nil
}

func parse(line string) (l Line, err error) {
	head, text, quoted := strings.Cut(line, `"`)
	head, opts, hasOpts, err := cutOptions(head)
	if err != nil {
		return l, err
	}
	w := strings.Fields(head)
	if len(w) < 4 {
		return l, errors.New("want: side arrow flags start:end(length) …")
	}
	s := &l.Segment
	l.Side, err = parseSide(w[0])
	err = errors.Join(err, parseDir(&l.Dir, w[1]), parseFlags(&s.Flags, w[2]))
	n, errRange := parseRange(s, w[3])
	if err = errors.Join(err, errRange, parseWords(s, w[4:])); err != nil {
		return l, err
	}
	if hasOpts {
		if err := parseOptions(&s.Opts, opts); err != nil {
			return l, err
		}
	}
	if !quoted {
		if n > 0 {
			s.Payload = Fill(s.Seq, n)
		}
		return l, nil
	}
	payload, err := strconv.Unquote(`"` + strings.TrimSpace(text))
	if err != nil {
		return l, fmt.Errorf("payload: %w", err)
	}
	if len(payload) != n {
		return l, fmt.Errorf("payload has %d bytes, not %d", len(payload), n)
	}
	s.Payload = []byte(payload)
	return l, nil
}

// cutOptions takes "<…>" off the end of what stands before the payload. The
// arrow is a '<' too, so the search begins behind it.
func cutOptions(head string) (rest, opts string, found bool, err error) {
	head = strings.TrimSpace(head)
	if !strings.HasSuffix(head, ">") || len(strings.Fields(head)) < 4 {
		return head, "", false, nil
	}
	at := strings.LastIndexByte(head, '<')
	if at < 0 || at <= strings.IndexAny(head, "<>") {
		return "", "", false, errors.New("'>' without '<'")
	}
	return head[:at], head[at+1 : len(head)-1], true, nil
}
