package ladder

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	lane   = 44             // characters of a leg: S to the decoy, the gateway to the backend
	gap    = 12             // between the decoy and the gateway
	wide   = lane + 1 + gap // between S and the gateway
	margin = 17             // left of the first lifeline: time and number
	width  = margin + wide + lane + 3
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

// Text draws the ladder for a terminal of 121 columns.
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

// row is one line: what stands in the margin, between S and the gateway, and
// between the gateway and the backend.
func (t *textLadder) row(left, first, second string) {
	bar := t.bar()
	t.WriteString(left + bar + first + bar + second + bar + "\n")
}

// bar is a lifeline.
func (t *textLadder) bar() string { return t.paint(dim, "│") }

// both is what stands left and right of the decoy's lifeline.
func (t *textLadder) both(first, second string) string { return first + t.bar() + second }

func (t *textLadder) head(l *Ladder) {
	if l.Title != "" {
		fmt.Fprintf(t, "%s\n\n", t.paint(bold, l.Title))
	}
	for i, names := range [][4]string{{"S", "decoy", "gateway", "backend"}, {l.Client, l.Decoy, l.Gateway, l.Backend}} {
		colour := none
		if i == 0 {
			colour = bold
		}
		// S and the backend stand at the edges, the others around their lifelines. The
		// decoy's address may need the gateway's room, which has none to show.
		line := strings.Repeat(" ", margin) + names[0]
		line = column(line, margin+lane+1-utf8.RuneCountInString(names[1])/2, names[1])
		line = column(line, margin+wide+1-utf8.RuneCountInString(names[2])/2, names[2])
		line = column(line, width-utf8.RuneCountInString(names[3]), names[3])
		t.WriteString(t.paint(colour, line) + "\n")
	}
	t.row(fmt.Sprintf("%*s", margin-7, "ms")+strings.Repeat(" ", 7), t.both(pad("", lane), pad("", gap)), pad("", lane))
}

// column adds a text at a column, or one space behind what stands there already.
func column(line string, at int, text string) string {
	if text == "" {
		return line
	}
	return line + strings.Repeat(" ", max(1, at-utf8.RuneCountInString(line))) + text
}

// segment draws an arrow, its numbers beneath it, and what is to be said beside it.
func (t *textLadder) segment(ms, number string, s *Step) {
	left := fmt.Sprintf("%*s %4s  ", margin-7, ms, number)
	if s.left() {
		t.clientLeg(left, s)
	} else {
		t.servingLeg(left, s)
	}
	for _, below := range s.below(lane - 3) {
		below = t.paint(dim, pad("  "+below, lane))
		first, second := below, pad("", lane)
		if !s.left() {
			first, second = second, first
		}
		t.row(strings.Repeat(" ", margin), t.both(first, pad("", gap)), second)
	}
}

// clientLeg draws an arrow between S and the decoy, or past it to the gateway.
func (t *textLadder) clientLeg(left string, s *Step) {
	right := s.To > s.From
	if max(s.From, s.To) == AtGateway {
		remark := t.paint(colourOf(s.Mark), pad(" "+s.remark(), lane))
		t.row(left, t.paint(cyan, arrow(s.label(), wide, right)), remark)
		return
	}
	beside, beyond := pad(" "+s.remark(), gap), pad("", lane)
	if utf8.RuneCountInString(s.remark()) >= gap {
		beside, beyond = pad("", gap), pad(" "+s.remark(), lane)
	}
	colour := colourOf(s.Mark)
	t.row(left, t.both(t.paint(cyan, arrow(s.label(), lane, right)), t.paint(colour, beside)), t.paint(colour, beyond))
}

// servingLeg draws an arrow between the gateway and the backend.
func (t *textLadder) servingLeg(left string, s *Step) {
	before, beside := pad("", lane), padLeft(s.remark()+" ", gap)
	if utf8.RuneCountInString(s.remark()) >= gap {
		before, beside = padLeft(s.remark()+" ", lane), pad("", gap)
	}
	colour := colourOf(s.Mark)
	t.row(left, t.both(t.paint(colour, before), t.paint(colour, beside)), t.paint(green, arrow(s.label(), lane, s.To > s.From)))
}

// moment draws a line through all lanes.
func (t *textLadder) moment(ms string, s *Step) {
	fill := "┄"
	if s.Mark == Committed {
		fill = "═"
	}
	label := " " + clip(s.remark(), wide+lane-6) + " "
	room := wide + lane + 3 - utf8.RuneCountInString(label)
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

// arrow is a line with a label in it and its head at one end, of so many characters.
func arrow(label string, n int, right bool) string {
	label = " " + clip(label, n-8) + " "
	line := strings.Repeat("─", n-4-utf8.RuneCountInString(label))
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
