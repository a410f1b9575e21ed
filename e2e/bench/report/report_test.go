package report

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

func filled() []Row {
	b := NewBook()
	for _, v := range []float64{3, 1, 2} {
		b.Add(Sample{Key{"bulk", "nft", 4}, v * 10, "Gbit/s"})
		b.Add(Sample{Key{"bulk", "sleight", 4}, v * 5, "Gbit/s"})
	}
	b.Add(Sample{Key{"memory", "sleight", 1_000_000}, 512.34567, "B"})
	return b.Rows(func(k Key) (Key, bool) { return Key{k.Figure, "nft", k.Streams}, k.Figure == "bulk" })
}

func TestMediansAndRatios(t *testing.T) {
	rows := filled()
	if len(rows) != 3 || rows[0].Median != 20 || rows[1].Median != 10 || *rows[1].Ratio != 0.5 || rows[1].Spread != 1 {
		t.Errorf("%+v", rows)
	}
	if rows[2].Ratio != nil {
		t.Error("a ratio to nothing")
	}
}

func TestQuantiles(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		q    float64
		want float64
	}{{nil, 0.5, 0}, {[]float64{7}, 0.99, 7}, {[]float64{4, 1}, 0.5, 2.5}, {[]float64{0, 10, 20}, 0.75, 15}} {
		if got := Quantile(c.v, c.q); got != c.want {
			t.Errorf("quantile %v of %v is %v, want %v", c.q, c.v, got, c.want)
		}
	}
}

func TestTheFileIsAList(t *testing.T) {
	b, err := JSON(filled())
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	if err := json.Unmarshal(b, &rows); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	for _, key := range []string{"figure", "subject", "streams", "median", "unit", "ratio"} {
		if _, ok := rows[2][key]; !ok {
			t.Errorf("no %s in %v", key, rows[2])
		}
	}
	if rows[2]["median"] != 512.3 || rows[2]["ratio"] != nil {
		t.Errorf("%v", rows[2])
	}
}

func TestChartAndTable(t *testing.T) {
	for d := xml.NewDecoder(strings.NewReader(string(Chart(filled(), "a < b")))); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	if err := Table(&b, filled()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bulk, 4 streams", "memory, 1000k flows", "0.50"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	page, err := Page([]byte("a\n"+pageBegin+"old\n"+pageEnd+"z\n"), Markdown(filled()))
	if err != nil || strings.Contains(string(page), "old") || !strings.Contains(string(page), "| bulk, 4 streams | Gbit/s | 20.0 (1.00) | 10.0 (0.50) |") {
		t.Errorf("%v: %s", err, page)
	}
	if _, err := Page([]byte("no marks"), ""); err == nil {
		t.Error("a page without marks was written")
	}
	if got := Noisy(filled(), 0.5); len(got) != 2 {
		t.Errorf("noisy: %v", got)
	}
}
