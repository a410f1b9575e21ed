package lab

import (
	"strings"
	"testing"
	"time"
)

// Both legs come in the order of time, each in its own column.
func TestDraw(t *testing.T) {
	start := time.Unix(1, 0)
	got := draw([]rung{
		{at: start, flags: "S", seq: 100},
		{at: start.Add(time.Millisecond), back: true, flags: "S.", seq: 4294967295, ack: 101},
		{at: start.Add(3 * time.Millisecond), flags: "P.", seq: 101, ack: 0, length: 5, text: "GET /"},
		{at: start.Add(2 * time.Millisecond), right: true, flags: "S", seq: 700},
	})
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	want := []string{
		"      ms  S                                      gateway                                    backend",
		"   0.000  |- S 100 (0) ----------------------------->|                                          |",
		"   1.000  |<- S. 4294967295:101 (0) -----------------|                                          |",
		"   2.000  |                                          |- S 700 (0) ----------------------------->|",
		"   3.000  |- P. 101:0 (5) --------------------------->|                                          |",
		"          |  GET /                                   |                                          |",
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), got)
	}
	for i, l := range lines[1:] {
		if len(l) != margin+2*cell+3 {
			t.Errorf("line %d has %d columns, want %d: %s", i+1, len(l), margin+2*cell+3, l)
		}
		if strings.Join(strings.FieldsFunc(l, dash), " ") != strings.Join(strings.FieldsFunc(want[i+1], dash), " ") {
			t.Errorf("line %d\n got %s\nwant %s", i+1, l, want[i+1])
		}
	}
	if strings.Fields(lines[0])[2] != "gateway" || strings.Index(lines[0], "gateway") != margin+cell-2 {
		t.Errorf("header: %s", lines[0])
	}
}

func dash(r rune) bool { return r == '-' || r == ' ' }

func TestFirstLine(t *testing.T) {
	if got := firstLine([]byte("GET /\r\n\xff")); got != "GET /..." && got != "GET /.." {
		t.Errorf("%q", got)
	}
}
