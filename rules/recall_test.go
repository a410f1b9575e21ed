package rules

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sleight/internal/memory"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// past is a set with a memory, and flows that it has judged.
type past struct {
	*testing.T
	set  *Set
	mem  *memory.Memory
	now  time.Time
	port uint16
}

func remembers(t *testing.T, when string) *past {
	t.Helper()
	s, errs := Compile([]Rule{{Name: "r", When: when, Action: Switch, Backend: "b"}})
	if errs != nil {
		t.Fatalf("%s: %+v", when, errs)
	}
	p := &past{t, s, memory.New(memory.Config{}), noon, 80}
	s.SetMemory(p.mem)
	return p
}

// after lets time pass.
func (p *past) after(d time.Duration) { p.now = p.now.Add(d) }

// flow is one connection, whose client says pieces; it reports after how many bytes
// the rule has spoken, or -1.
func (p *past) flow(src string, pieces ...string) (spoke int) {
	p.Helper()
	f := Facts{
		Src: netip.AddrPortFrom(netip.MustParseAddr(src), 40000), Dst: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.5"), p.port), Now: p.now,
	}
	var fl Flow
	fl.Init(1)
	p.set.Start(&fl, &f)
	spoke = -1
	for _, said := range append([]string{""}, pieces...) {
		f.Stream = append(f.Stream, said...)
		f.Last, f.Bytes = f.Stream, len(f.Stream)
		if said != "" {
			f.Packets++
		}
		if v := p.set.Decide(&fl, &f); v.Action != Wait {
			spoke = v.Offset
			break
		}
	}
	if fl.Errors > 0 {
		p.Errorf("%d evaluations failed", fl.Errors)
	}
	fl.End(&f)
	return spoke
}

func (p *past) want(spoke, want int, why string) {
	p.Helper()
	if spoke != want {
		p.Errorf("%s: spoke after %d bytes, want %d", why, spoke, want)
	}
}

const (
	mallory = "198.51.100.7"
	alice   = "198.51.100.8"
)

// "With memory (of other flows, never this one)": CONTRACT, section 3.
func TestSeenIsOfOtherFlows(t *testing.T) {
	p := remembers(t, `seen(src, "24h")`)
	p.want(p.flow(mallory, "a", "b"), -1, "the first connection")
	p.want(p.flow(mallory), 0, "the second")
	p.want(p.flow(alice), -1, "another client's")
	p.after(25 * time.Hour)
	p.want(p.flow(mallory), -1, "a day later")
}

func TestTheThirdAttempt(t *testing.T) {
	p := remembers(t, `conns(src, "10m") >= 2 and bytes > 0`)
	p.want(p.flow(mallory, "x"), -1, "the first")
	p.want(p.flow(mallory, "x"), -1, "the second")
	p.want(p.flow(mallory, "x"), 1, "the third")
	p.after(11 * time.Minute)
	p.want(p.flow(mallory, "x"), -1, "later")
}

func TestFirstSeenGrows(t *testing.T) {
	p := remembers(t, `first_seen(src) >= duration("10m") and first_seen(src) < duration("1h")`)
	p.want(p.flow(mallory), -1, "the first")
	p.after(5 * time.Minute)
	p.want(p.flow(mallory), -1, "too early")
	p.after(5 * time.Minute)
	p.want(p.flow(mallory), 0, "in time")
	p.after(time.Hour)
	p.want(p.flow(mallory), -1, "too late")
}

func TestRateCountsOthersPackets(t *testing.T) {
	p := remembers(t, `rate(src, "1m") > 4`)
	p.want(p.flow(mallory, "1", "2", "3", "4", "5", "6"), -1, "its own packets")
	p.want(p.flow(mallory), 0, "after six")
	p.want(p.flow(alice), -1, "another client")
	p.after(2 * time.Minute)
	p.want(p.flow(mallory), -1, "two minutes later")
}

func TestSwitchedAndTagged(t *testing.T) {
	p := remembers(t, `switched(src, "1h") or tagged(src, "ids")`)
	p.want(p.flow(mallory), -1, "nothing known")
	p.mem.Switch(p.now, netip.MustParseAddr(mallory))
	p.want(p.flow(mallory), 0, "after a switch")
	p.after(2 * time.Hour)
	p.want(p.flow(mallory), -1, "long after")
	if err := p.mem.Tag(p.now, netip.MustParseAddr(mallory), "ids", p.now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	p.want(p.flow(mallory), 0, "tagged")
}

// A payload is new from the byte at which it differs from all that others began with,
// however either was cut.
func TestNovelStreams(t *testing.T) {
	const known = "GET /a HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n"
	p := remembers(t, `novel(stream)`)
	p.want(p.flow(mallory), -1, "nothing said")
	p.want(p.flow(mallory, known), len(known), "the first time")
	p.want(p.flow(mallory, known), -1, "again")
	p.want(p.flow(alice, strings.Split(known, "")...), -1, "again, byte by byte")
	p.want(p.flow(alice, "GET /a HTTP/1.1\r\nHost: 203.0.113.250\r\n\r\n"), -1, "with another address")
	p.want(p.flow(alice, "GET /a HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n"), 40, "with brackets")
	p.want(p.flow(alice, "GET /a HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n"), len(known)+3, "with a port")
	p.want(p.flow(alice, strings.Split("GET /b HTTP", "")...), 7, "another path, byte by byte: b may begin an address")
	p.want(p.flow(alice, known[:20]), -1, "less than is known")
	p.port = 8080
	p.want(p.flow(alice, known), len(known), "at another port")
}

func TestAVerdictOnNoveltyIsThatOfEveryCut(t *testing.T) {
	for _, said := range []string{
		"PING 10.0.0.1 and 10.0.0.2:99 ff:fe:: 1.2.3. 1.2.3.4.5 " + strings.Repeat("deadbeef", 20) + " 1.1.1.1\r\n",
		strings.Repeat("0123456789.", 400), strings.Repeat("x", 5000) + "10.9.8.7 y",
	} {
		p := remembers(t, `novel(stream)`)
		var whole, byByte payload
		var marks []uint64
		whole.learn([]byte(said), &marks)
		for i := range said {
			byByte.feed([]byte(said[:i+1]), false, nil)
		}
		if whole != byByte {
			t.Errorf("%.40q: %+v, byte by byte %+v", said, whole, byByte)
		}
		if len(marks) > fineUnits+len(said)/coarse+1 {
			t.Errorf("%d marks of %d bytes", len(marks), len(said))
		}
		p.flow(mallory, said)
		for cut := 1; cut < len(said); cut += 7 {
			if n := p.flow(alice, said[:cut], said[cut:]); n != -1 {
				t.Fatalf("%.40q: new after %d, cut at %d", said, n, cut)
			}
		}
	}
}

func TestNovelFields(t *testing.T) {
	p := remembers(t, `novel(http.uri)`)
	p.want(p.flow(mallory, "GET /ab", "c HTTP/1.1\r\n"), 19, "the first, once it is whole")
	p.want(p.flow(alice, "GET /abc HTTP/1.1\r\nX: y\r\n\r\n"), -1, "again")
	p.want(p.flow(alice, "GET /ab HTTP/1.1\r\n\r\n"), 20, "a shorter one")
	p = remembers(t, `not novel(http.uri)`)
	p.want(p.flow(mallory, "GET /ab", "c HTTP/1.1\r\n"), -1, "the first")
	p.want(p.flow(mallory, "GET /ab", "c HTTP/1.1\r\n"), 19, "the second, once it is known")
}

func TestAFlowLeavesBoundedHashes(t *testing.T) {
	p := remembers(t, `novel(redis.line)`)
	var b strings.Builder
	for i := range 3 * maxPayloads {
		fmt.Fprintf(&b, "SET k %d\r\n", i)
	}
	p.set.rules[0].Action = Log
	p.flow(mallory, b.String())
	if _, n := p.mem.Size(); n == 0 || n > maxPayloads {
		t.Errorf("%d payloads", n)
	}
}

func TestMistakesOfFunctionsThatRemember(t *testing.T) {
	for when, want := range map[string]string{
		`seen(dst, "24h")`:                   "knows clients only",
		`seen("198.51.100.7", "24h")`:        "knows clients only",
		`seen(src)`:                          "not enough arguments",
		`seen(src, decoy)`:                   "text in quotes",
		`seen(src, "1 day")`:                 "is no time",
		`seen(src, "0s")`:                    "cannot be asked about",
		`conns(src, "1m")`:                   "bool",
		`first_seen(src) > 3`:                "mismatched types",
		`tagged(src, "")`:                    "1 to 64 bytes",
		`novel(last)`:                        "takes stream, or a fact",
		`novel(smb.command) `:                "takes stream, or a fact",
		`novel(http.header("X"))`:            "takes stream, or a fact",
		`switchd(src, "1h")`:                 "did you mean switched?",
		`rate(src, "1m") > "x"`:              "mismatched types",
		`conns(src, "10m", "1h") > 3`:        "too many arguments",
		`any([stream], novel(#))`:            "takes stream, or a fact",
		`first_seen(sport) > duration("1s")`: "",
	} {
		_, errs := Compile([]Rule{{When: when}})
		if len(errs) == 0 || !strings.Contains(errs[0].Msg, want) {
			t.Errorf("%s: %+v, want %q", when, errs, want)
		}
	}
}

func BenchmarkDecideWithMemory(b *testing.B) {
	s, errs := Compile([]Rule{{Name: "r", When: `conns(src, "10m") >= 1000 or novel(stream)`, Action: Switch}})
	if errs != nil {
		b.Fatal(errs)
	}
	m := memory.New(memory.Config{})
	s.SetMemory(m)
	f := facts()
	f.Now = noon
	var fl Flow
	s.Start(&fl, &f)
	fl.End(&f)
	var again Flow
	s.Start(&again, &f)
	b.ReportAllocs()
	for b.Loop() {
		if s.Decide(&again, &f).Action != Wait {
			b.Fatal("spoke")
		}
	}
}
