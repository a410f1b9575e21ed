package rules

import (
	"os"
	"regexp"
	"testing"
	"time"
)

// The table of docs/rules.md: what each of Honeybrid's modules is here. Each case is a
// row of the manual, and each expression of the table is one of a case.
func TestHoneybridsModules(t *testing.T) {
	cases := map[string]func(p *past){
		`packets >= N`: func(p *past) {
			p.want(p.flow(mallory, "a"), -1, "one packet")
			p.want(p.flow(mallory, "a", "b", "c"), 2, "the second packet")
		},
		`chance(0.1)`: func(p *past) {
			// Once a connection, and not once a packet: TestChanceRollsOncePerFlow.
			p.want(p.flow(mallory, "a", "b", "c"), -1, "a connection that is not drawn")
		},
		`not seen(src, "10m")`: func(p *past) {
			p.want(p.flow(mallory), 0, "an unknown client")
			p.want(p.flow(mallory), -1, "a known one")
			p.want(p.flow(alice), 0, "another one")
			p.after(11 * time.Minute)
			p.want(p.flow(mallory), 0, "expired")
		},
		`first_seen(src) >= duration("1m") and first_seen(src) <= duration("20m")`: func(p *past) {
			p.want(p.flow(mallory), -1, "allow_after has not passed")
			p.after(10 * time.Minute)
			p.want(p.flow(mallory), 0, "between the two")
			p.after(11 * time.Minute)
			p.want(p.flow(mallory), -1, "deny_after has passed")
		},
		`novel(stream)`: func(p *past) {
			p.want(p.flow(mallory, "GET 192.0.2.1"), 13, "a new payload")
			p.want(p.flow(alice, "GET 192.0.2.1"), -1, "a known one")
			p.want(p.flow(alice, "GET 192.0.2.77"), -1, "but for the address")
			p.port = 81
			p.want(p.flow(alice, "GET 192.0.2.1"), 13, "at another port")
		},
		`rate(src, "10m") <= 1000`: func(p *past) {
			for range 101 {
				p.flow(alice, "a")
				for range 10 {
					p.set.memory.End(p.now, facts().Src.Addr(), 1, nil)
				}
			}
			p.want(p.flow(alice), 0, "below max_packet")
			p.want(p.flow(mallory), -1, "above it")
			p.after(11 * time.Minute)
			p.want(p.flow(mallory), 0, "expired")
		},
		`chance(0.5)`: func(p *past) {
			drawn := 0
			for seed := range uint64(100) {
				var fl Flow
				fl.Init(seed)
				f := facts()
				p.set.Start(&fl, &f)
				if p.set.Decide(&fl, &f).Action == Switch {
					drawn++
				}
			}
			if drawn < 25 || drawn > 75 {
				p.Errorf("one of two backends was drawn %d times in 100", drawn)
			}
		},
	}
	for when, run := range cases {
		t.Run(when, func(t *testing.T) {
			run(remembers(t, regexp.MustCompile(`\bN\b`).ReplaceAllString(when, "2")))
		})
	}
	b, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `\\w+`[^|]*\\| ([^|]*) \\|$").FindAllStringSubmatch(
		regexp.MustCompile(`(?s)### Honeybrid's modules.*?\n## `).FindString(string(b)), -1)
	if len(rows) != 8 {
		t.Fatalf("%d rows in the document", len(rows))
	}
	for _, row := range rows {
		for _, m := range regexp.MustCompile("`([^`]*\\([^`]*|packets[^`]*)`").FindAllStringSubmatch(row[1], -1) {
			if cases[m[1]] == nil {
				t.Errorf("no case for %s", m[1])
			}
		}
	}
}
