package report

import (
	"fmt"
	"html"
	"strings"
)

// The chart's measures, in pixels.
const (
	chartWidth = 640
	labelWidth = 170
	barHeight  = 16
	barStep    = 22
	blockGap   = 34
)

// Chart draws bars of the ratios, a block for each figure that has some.
func Chart(rows []Row, title string) []byte {
	var b strings.Builder
	y := 30
	last := ""
	for _, r := range rows {
		if r.Ratio == nil {
			continue
		}
		if h := heading(r); h != last {
			y += blockGap - barStep
			fmt.Fprintf(&b, "<text x=\"8\" y=\"%d\" font-weight=\"bold\">%s</text>\n", y, html.EscapeString(h))
			y += 8
			last = h
		}
		bar(&b, y, r)
		y += barStep
	}
	head := fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n"+
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n<text x=\"8\" y=\"20\" font-size=\"14\">%s</text>\n",
		chartWidth, y+10, html.EscapeString(title))
	return []byte(head + b.String() + "</svg>\n")
}

// bar is one subject's ratio; the field's width stands for twice the base.
func bar(b *strings.Builder, y int, r Row) {
	width := float64(chartWidth-labelWidth-150) / 2 * min(*r.Ratio, 2)
	colour := "#9aa5b1"
	if strings.HasPrefix(r.Subject, "sleight") {
		colour = "#2b6cb0"
	}
	fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>", labelWidth-8, y+12, html.EscapeString(r.Subject))
	fmt.Fprintf(b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>", labelWidth, y, width, barHeight, colour)
	fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\">%.2f (%s %s)</text>\n", labelWidth+width+6, y+12, *r.Ratio, number(r.Median), html.EscapeString(r.Unit))
}
