package report

import (
	"fmt"
	"io"
	"strings"
)

// Table writes the rows for a terminal, a block for each figure.
func Table(w io.Writer, rows []Row) error {
	var b strings.Builder
	last := ""
	for _, r := range rows {
		if title := heading(r); title != last {
			fmt.Fprintf(&b, "\n%s\n", title)
			last = title
		}
		ratio := ""
		if r.Ratio != nil {
			ratio = fmt.Sprintf("%.2f", *r.Ratio)
		}
		fmt.Fprintf(&b, "  %-20s %12s %-6s %6s   ± %.0f %%\n", r.Subject, number(r.Median), r.Unit, ratio, 50*r.Spread)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// heading names a figure with its number of streams.
func heading(r Row) string {
	switch {
	case r.Streams == 1:
		return r.Figure
	case r.Streams >= 1000:
		return fmt.Sprintf("%s, %dk flows", r.Figure, r.Streams/1000)
	}
	return fmt.Sprintf("%s, %d streams", r.Figure, r.Streams)
}

// number prints as many digits as can be read.
func number(x float64) string {
	switch {
	case x >= 1000:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.3g", x)
}

// Noisy are the rows whose rounds lie further apart than a quiet machine's.
func Noisy(rows []Row, limit float64) (bad []string) {
	for _, r := range rows {
		if r.Spread > limit {
			bad = append(bad, fmt.Sprintf("%s of %s", heading(r), r.Subject))
		}
	}
	return bad
}
