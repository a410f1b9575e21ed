package ladder

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	lane   = 44 // characters between two lifelines
	margin = 17 // characters left of the first one: time and number
)

// Colours of a terminal.
const (
	none   = ""
	dim    = "\x1b[2m"
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	reset  = "\x1b[0m"
)

// Text draws the ladder for a terminal of 108 columns.
func (l *Ladder) Text(colour bool) string {
	t := &textLadder{colour: colour}
	t.head(l)
	for i, number := range l.numbers() {
		s := &l.Steps[i]
		if s.moment() {
			t.moment(l.ms(s), s)
			continue
		}
		t.segment(l.ms(s), number, s)
	}
	return t.String()
}

// textLadder is the text so far.
type textLadder struct {
	strings.Builder
	colour bool
}

// paint puts a colour around a text.
func (t *textLadder) paint(colour, s string) string {
	if !t.colour || colour == none || s == "" {
		return s
	}
	return colour + s + reset
}

// row is one line: what stands in the margin and in the two lanes.
func (t *textLadder) row(left, first, second string) {
	bar := t.paint(dim, "│")
	line := left + bar + first + bar + second + bar
	t.WriteString(line + "\n")
}

func (t *textLadder) head(l *Ladder) {
	if l.Title != "" {
		fmt.Fprintf(t, "%s\n\n", t.paint(bold, l.Title))
	}
	for i, names := range [][3]string{{"S", "gateway", "backend"}, {l.Client, l.Gateway, l.Backend}} {
		colour := none
		if i == 0 {
			colour = bold
		}
		// S and the backend stand at the edges, the gateway around its lifeline.
		middle := pad(names[1], 0)
		half := margin + lane + 1 - utf8.RuneCountInString(middle)/2
		line := strings.Repeat(" ", margin) + names[0]
		line += strings.Repeat(" ", max(1, half-utf8.RuneCountInString(line))) + middle
		line += strings.Repeat(" ", max(1, margin+2*lane+3-utf8.RuneCountInString(line)-utf8.RuneCountInString(names[2]))) + names[2]
		t.WriteString(t.paint(colour, strings.TrimRight(line, " ")) + "\n")
	}
	t.row(fmt.Sprintf("%*s", margin-7, "ms")+strings.Repeat(" ", 7), pad("", lane), pad("", lane))
}

// segment draws an arrow, its numbers beneath it, and what is to be said beside it.
func (t *textLadder) segment(ms, number string, s *Step) {
	colour := cyan
	if !s.left() {
		colour = green
	}
	first := t.paint(colour, arrow(s.label(), s.To > s.From))
	remark := pad(" "+s.remark(), lane)
	if !s.left() {
		remark = padLeft(s.remark()+" ", lane)
	}
	remark = t.paint(colourOf(s.Mark), remark)
	t.lane(s, fmt.Sprintf("%*s %4s  ", margin-7, ms, number), first, remark)
	for _, below := range s.below(lane - 3) {
		below = t.paint(dim, pad("  "+below, lane))
		t.lane(s, strings.Repeat(" ", margin), below, pad("", lane))
	}
}

// lane writes a line of a segment's: in its own lane, and in the other one.
func (t *textLadder) lane(s *Step, left, own, other string) {
	if s.left() {
		t.row(left, own, other)
		return
	}
	t.row(left, other, own)
}

// moment draws a line through all lanes.
func (t *textLadder) moment(ms string, s *Step) {
	fill := "┄"
	if s.Mark == Committed {
		fill = "═"
	}
	label := " " + clip(s.remark(), 2*lane-6) + " "
	room := 2*lane + 3 - utf8.RuneCountInString(label)
	line := strings.Repeat(fill, room/2) + label + strings.Repeat(fill, room-room/2)
	fmt.Fprintf(t, "%*s       %s\n", margin-7, ms, t.paint(colourOf(s.Mark), line))
}

func colourOf(m Mark) string {
	switch m {
	case Held, Replayed:
		return yellow
	case Swallowed:
		return red
	case Committed:
		return bold + yellow
	}
	return dim
}

// arrow is a line with a label in it and its head at one end, as long as a lane.
func arrow(label string, right bool) string {
	label = " " + clip(label, lane-8) + " "
	line := strings.Repeat("─", lane-4-utf8.RuneCountInString(label))
	if right {
		return "──" + label + line + "─▶"
	}
	return "◀─" + label + line + "──"
}

// pad fills a text up to n characters, or cuts it there.
func pad(s string, n int) string {
	if n > 0 {
		s = clip(s, n)
	}
	return s + strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s)))
}

func padLeft(s string, n int) string {
	s = clip(s, n)
	return strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s))) + s
}

// clip cuts a text after n characters.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}
