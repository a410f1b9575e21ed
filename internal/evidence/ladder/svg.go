package ladder

import (
	"fmt"
	"html"
	"strings"
)

// The figure's measures, in pixels.
const (
	figureWidth = firstX + 2*laneX + gapX + 140
	firstX      = 140 // S's lifeline
	laneX       = 390 // from S to the decoy, and from the gateway to the backend
	gapX        = 170 // from the decoy to the gateway
	topY        = 128 // of the first step
	segmentY    = 44  // a segment's height
	momentY     = 38
	lineY       = 13 // of another line beneath an arrow
	figureLane  = 52 // characters that fit between two lifelines
	slope       = 7  // how much an arrow falls: time goes by on the way
)

// The colours follow the reader's: light or dark.
const figureStyle = `
.bg{fill:#fff}.life{stroke:#9aa4b2;stroke-width:2}.party{fill:#f2f5f9;stroke:#9aa4b2}
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#1b2430}
.title{font:600 18px system-ui,sans-serif}.name{font:600 15px system-ui,sans-serif;text-anchor:middle}
.addr{font-size:11px;fill:#66707e;text-anchor:middle}.time{font-size:11px;fill:#66707e;text-anchor:end}
.num{font-weight:600;text-anchor:end}.label{font-weight:600}.small{font-size:11px;fill:#66707e}
.s{stroke:#1565c0;fill:#1565c0}.d2{stroke:#1b7f3b;fill:#1b7f3b}.decoy{stroke:#b26a00;fill:#b26a00}.gone{stroke:#b3261e;fill:#b3261e}
line.s,line.d2,line.decoy,line.gone{stroke-width:2}text.s,text.d2,text.decoy,text.gone{stroke:none}
.gone line,line.gone{stroke-dasharray:6 4}.tag{font:600 12px system-ui,sans-serif}
.bar-decoy{fill:#ffb74d}.bar-hold{fill:#e53935}.bar-d2{fill:#66bb6a}
.commit{fill:#fff3c4;stroke:#d39e00}.commit-text{font:600 14px system-ui,sans-serif;fill:#6b4e00;text-anchor:middle}
@media (prefers-color-scheme:dark){
.bg{fill:#12171e}.party{fill:#1c2530;stroke:#556070}.life{stroke:#556070}text{fill:#e4e9f0}
.addr,.time,.small{fill:#97a3b3}.s{stroke:#64b5f6;fill:#64b5f6}.d2{stroke:#81c784;fill:#81c784}
.decoy{stroke:#ffb74d;fill:#ffb74d}.gone{stroke:#ef9a9a;fill:#ef9a9a}
.commit{fill:#3b3212;stroke:#d39e00}.commit-text{fill:#ffe082}}
`

// figure is the SVG so far.
type figure struct {
	strings.Builder
	y int
}

// SVG draws the ladder as one self-contained figure.
func (l *Ladder) SVG() string {
	f := &figure{y: topY}
	height := topY + 30
	for i := range l.Steps {
		height += l.Steps[i].height()
	}
	f.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`,
		figureWidth, height, figureWidth, height, html.EscapeString(l.Title))
	f.add("<title>%s</title><style>%s</style>", html.EscapeString(l.Title), figureStyle)
	f.add(`<rect class="bg" width="%d" height="%d"/>`, figureWidth, height)
	f.text("title", 24, 34, l.Title)
	f.text("time", firstX-56, topY-18, "ms")
	f.parties(l, height)
	f.bars(l, height)
	for i, number := range l.numbers() {
		s := &l.Steps[i]
		f.text("time", firstX-56, f.y+4, l.ms(s))
		if s.moment() {
			f.moment(s)
		} else {
			f.segment(number, s)
		}
		f.y += s.height()
	}
	f.add("</svg>")
	return f.String()
}

func (s *Step) height() int {
	if s.moment() {
		return momentY
	}
	return segmentY + lineY*(len(s.below(figureLane))-1)
}

func (f *figure) add(format string, args ...any) { fmt.Fprintf(f, format+"\n", args...) }

func (f *figure) text(class string, x, y int, s string) {
	if s != "" {
		f.add(`<text class="%s" x="%d" y="%d">%s</text>`, class, x, y, html.EscapeString(s))
	}
}

// x is a party's lifeline.
func (p Place) x() int {
	return [...]int{AtClient: firstX, AtDecoy: firstX + laneX, AtGateway: firstX + laneX + gapX, AtBackend: firstX + 2*laneX + gapX}[p]
}

// parties draws the heads of the columns and their lifelines.
func (f *figure) parties(l *Ladder, height int) {
	for i, names := range [][2]string{{"S, the client", l.Client}, {"D1, the decoy", l.Decoy}, {"gateway", l.Gateway}, {"D2, the backend", l.Backend}} {
		x := Place(i).x()
		f.add(`<line class="life" x1="%d" y1="98" x2="%d" y2="%d"/>`, x, x, height-14)
		f.add(`<rect class="party" x="%d" y="54" width="164" height="46" rx="6"/>`, x-82)
		f.text("name", x, 74, names[0])
		f.text("addr", x, 91, names[1])
	}
}

// bars shows who answers: on the decoy's lifeline the decoy, on the gateway's
// nobody, and then the backend.
func (f *figure) bars(l *Ladder, height int) {
	class, from, y := "bar-decoy", topY-12, topY
	next := func(to string, at int) {
		at, x := max(at, from), AtGateway.x()
		if class == "bar-decoy" {
			x = AtDecoy.x()
		}
		f.add(`<rect class="%s" x="%d" y="%d" width="8" height="%d" rx="3"/>`, class, x-4, from, at-from)
		class, from = to, at
	}
	for i := range l.Steps {
		s := &l.Steps[i]
		switch {
		case s.Mark == Held && class == "bar-decoy":
			next("bar-hold", y+slope)
		case s.Mark == Committed:
			next("bar-d2", y)
		case s.Mark == RolledBack:
			next("bar-decoy", y)
		}
		y += s.height()
	}
	next("", height-14)
}

// segment draws an arrow with its numbers and its remark.
func (f *figure) segment(number string, s *Step) {
	class := s.class()
	from, to := s.From.x(), s.To.x()
	left := min(from, to)
	towards := 1
	if to < from {
		towards = -1
	}
	y, end := f.y, f.y+slope
	tip := to - towards*6
	f.add(`<line class="%s" x1="%d" y1="%d" x2="%d" y2="%d"/>`, class, from+towards*6, y, tip-towards*6, end)
	f.add(`<path class="%s" d="M%d %dl%d -5v10z"/>`, class, tip, end, -towards*10)
	f.text("num", firstX-16, y+4, number)
	f.text("label "+class, left+24, y-4, s.label())
	for i, below := range s.below(figureLane) {
		f.text("small", left+24, y+slope+13+lineY*i, below)
	}
	f.remark(class, s)
}

// remark stands beside the inner end of the arrow.
func (f *figure) remark(class string, s *Step) {
	x, anchor := max(s.From, s.To).x()+16, "start"
	if !s.left() {
		x, anchor = AtGateway.x()-16, "end"
	}
	if r := s.remark(); r != "" {
		f.add(`<text class="tag %s" x="%d" y="%d" text-anchor="%s">%s</text>`, class, x, f.y+8, anchor, html.EscapeString(clip(r, 48)))
	}
}

// class is the colour of a segment.
func (s *Step) class() string {
	switch {
	case s.Mark == Held, s.Mark == Swallowed:
		return "gone"
	case s.Mark == Decoy:
		return "decoy"
	case s.left():
		return "s"
	}
	return "d2"
}

// moment draws a band through all columns.
func (f *figure) moment(s *Step) {
	f.add(`<rect class="commit" x="%d" y="%d" width="%d" height="26" rx="5"/>`, firstX-40, f.y-14, 2*laneX+gapX+80)
	f.text("commit-text", figureWidth/2, f.y+4, s.remark())
}
