// Package report turns the samples of a benchmark into medians, ratios, a table, a
// file for other programs and a chart.
package report

import (
	"encoding/json"
	"math"
	"slices"
)

// Key names what is sampled.
type Key struct {
	Figure  string
	Subject string
	Streams int // connections at once, or flows that stand
}

// Sample is one measurement.
type Sample struct {
	Key
	Value float64
	Unit  string
}

// Row is one figure of one subject, as the file has it.
type Row struct {
	Figure  string   `json:"figure"`
	Subject string   `json:"subject"`
	Streams int      `json:"streams"`
	Median  float64  `json:"median"`
	Unit    string   `json:"unit"`
	Ratio   *float64 `json:"ratio"` // to the base's median; null without a base

	Spread  float64 `json:"spread"`  // (largest − smallest) ÷ median
	Samples int     `json:"samples"` // rounds
}

// Book keeps samples in the order in which their keys first came.
type Book struct {
	order  []Key
	values map[Key][]float64
	units  map[Key]string
}

// NewBook makes an empty one.
func NewBook() *Book { return &Book{values: map[Key][]float64{}, units: map[Key]string{}} }

// Add takes a sample.
func (b *Book) Add(s Sample) {
	if _, ok := b.values[s.Key]; !ok {
		b.order = append(b.order, s.Key)
	}
	b.values[s.Key] = append(b.values[s.Key], s.Value)
	b.units[s.Key] = s.Unit
}

// Rows are the medians. base says what a key is compared to; false is nothing.
func (b *Book) Rows(base func(Key) (Key, bool)) (rows []Row) {
	for _, k := range b.order {
		r := Row{
			Figure: k.Figure, Subject: k.Subject, Streams: k.Streams, Unit: b.units[k],
			Median: Median(b.values[k]), Spread: spread(b.values[k]), Samples: len(b.values[k]),
		}
		if to, ok := base(k); ok {
			if m := Median(b.values[to]); m > 0 {
				ratio := r.Median / m
				r.Ratio = &ratio
			}
		}
		rows = append(rows, r)
	}
	return rows
}

// Median is the middle value; 0 where there is none.
func Median(v []float64) float64 { return Quantile(v, 0.5) }

// Quantile is the value below which a part q of the values lies, between neighbours in
// proportion.
func Quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	at := q * float64(len(s)-1)
	low := int(math.Floor(at))
	high := min(low+1, len(s)-1)
	return s[low] + (at-float64(low))*(s[high]-s[low])
}

func spread(v []float64) float64 {
	m := Median(v)
	if m == 0 {
		return 0
	}
	return (slices.Max(v) - slices.Min(v)) / m
}

// JSON is the file: a list, one row a line.
func JSON(rows []Row) ([]byte, error) {
	out := []byte("[")
	for i, r := range rows {
		r.Median, r.Spread = round(r.Median), round(r.Spread)
		if r.Ratio != nil {
			ratio := round(*r.Ratio)
			r.Ratio = &ratio
		}
		line, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(out, "\n  "...), line...)
	}
	return append(out, "\n]\n"...), nil
}

// round keeps four digits: more would say more than was measured.
func round(x float64) float64 {
	if x == 0 {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(x))))
	return math.Round(x*scale) / scale
}
