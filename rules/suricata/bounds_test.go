package suricata

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// While no rule's text occurs, nothing is allocated.
func TestNoAllocationWhereNothingMatches(t *testing.T) {
	set := compiled(t, generated(1000))
	stream := harmless(64 << 10)
	fl, n := set.NewFlow(), 0
	in := Input{Client: client, Dialled: dialled}
	fl.Judge(&in, nil)
	if got := testing.AllocsPerRun(40, func() {
		n += 1460
		in.Stream = stream[:n]
		fl.Judge(&in, nil)
	}); got != 0 {
		t.Errorf("%v allocations for each segment", got)
	}
	if len(fl.cands) > 0 {
		t.Errorf("%d candidates: the stream is not as harmless as the test needs", len(fl.cands))
	}
}

// A rule whose evaluation costs more than it may does not hold, and is counted; what
// one call may cost is bounded too, and the next one goes on.
func TestEvaluationsAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, `alert tcp any any -> any any (content:"start"; pcre:"/(x+x+)+y%d/"; sid:%d;)`+"\n", i, i+1)
	}
	b.WriteString(`alert tcp any any -> any any (content:"start"; content:"the end"; sid:1000;)` + "\n")
	set := compiled(t, b.String())
	in := Input{Client: client, Dialled: dialled, Stream: []byte("start" + strings.Repeat("x", 60<<10) + "the end")}
	fl := set.NewFlow()
	calls, fired := 1, len(fl.Judge(&in, nil))
	for ; fl.Unfinished(); calls++ {
		before := fl.Steps
		fired += len(fl.Judge(&in, nil))
		if n := fl.Steps - before; n > maxCallSteps+maxSteps {
			t.Fatalf("a call took %d steps", n)
		}
		if calls > 1000 {
			t.Fatal("it does not end")
		}
	}
	if fired != 1 || calls < 10 {
		t.Errorf("%d rules fired in %d calls", fired, calls)
	}
}

// hostile are streams of 1 MiB that are made to be dear.
func hostile(set *Set) map[string][]byte {
	const size = 1 << 20
	rnd := rand.New(rand.NewPCG(5, 6))
	var prefixes, all bytes.Buffer
	for prefixes.Len() < size {
		text := set.rules[rnd.IntN(len(set.rules))].fast.text
		prefixes.Write(text[:len(text)-1])
	}
	for all.Len() < size {
		all.Write(set.rules[all.Len()%len(set.rules)].fast.text)
		all.WriteString(strings.Repeat("a", 50))
	}
	return map[string][]byte{
		"aaaa":         bytes.Repeat([]byte("a"), size),
		"all prefixes": prefixes.Bytes()[:size],
		"all texts":    all.Bytes()[:size],
		"zeros":        make([]byte, size),
		"pipelined":    bytes.Repeat([]byte("GET / HTTP/1.1\r\n\r\n"), size/18),
	}
}

// hard are rules whose evaluation is dear where they are evaluated at all.
const hard = `alert tcp any any -> any any (content:"aaaa"; content:"aaab"; distance:0; content:"aaac"; distance:0; sid:1;)
alert tcp any any -> any any (content:"aaaa"; pcre:"/(a+)+(a+)+b/"; sid:2;)
alert tcp any any -> any any (content:"aaaa"; content:"a"; distance:0; content:"a"; distance:0; content:"z"; within:2; sid:3;)
alert tcp any any -> any any (content:"aaaa"; nocase; content:"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"; nocase; sid:4;)
alert tcp any any -> any any (content:"aaaa"; pcre:"/(((a{0,30}){0,30}){0,1}b)/"; sid:5;)
`

func BenchmarkHostile(b *testing.B) {
	set := compiled(b, generated(15000)+hard)
	for name, stream := range hostile(set) {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				fl := set.NewFlow()
				in := Input{Client: client, Dialled: dialled, Stream: stream}
				fl.Judge(&in, nil)
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "median-ms/MiB")
			b.ReportMetric(float64(took[0].Microseconds())/1e3, "least-ms/MiB")
		})
	}
}

// "1 MiB of adversarial input at most 20 ms": counted in steps, since the machine may
// be busy; a step is some nanoseconds.
func TestHostileStreamsCostFewSteps(t *testing.T) {
	set := compiled(t, generated(2000)+hard)
	for name, stream := range hostile(set) {
		fl := set.NewFlow()
		in := Input{Client: client, Dialled: dialled, Stream: stream}
		began := time.Now()
		fl.Judge(&in, nil)
		if fl.Steps > maxCallSteps+maxSteps {
			t.Errorf("%s: %d steps", name, fl.Steps)
		}
		t.Logf("%s: %v, %d steps, unfinished: %v", name, time.Since(began), fl.Steps, fl.Unfinished())
	}
}

// The automaton finds what a plain search finds, wherever the stream is cut.
func TestTheAutomatonFindsEveryText(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	letters := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abAB\x00"[rnd.IntN(5)]
		}
		return b
	}
	for range 300 {
		var text strings.Builder
		var texts []string
		for i := range 1 + rnd.IntN(20) {
			w := letters(gram + rnd.IntN(6))
			texts = append(texts, string(lower(w)))
			fmt.Fprintf(&text, "alert tcp any any -> any any (content:\"|% x|\"; nocase; sid:%d;)\n", w, i+1)
		}
		set := compiled(t, text.String())
		stream := letters(200)
		fl := set.NewFlow()
		in := Input{Client: client, Dialled: dialled}
		for n := 0; n < len(stream); {
			n = min(len(stream), n+1+rnd.IntN(9))
			in.Stream = stream[:n]
			fl.Judge(&in, nil)
		}
		found := map[int]bool{}
		for _, c := range fl.cands {
			found[c.rule] = true
			if !c.done {
				t.Fatalf("%q in %q is not confirmed", texts[c.rule], stream)
			}
		}
		for i, w := range texts {
			if bytes.Contains(lower(stream), []byte(w)) != found[i] {
				t.Fatalf("%q in %q: found %v", w, stream, found[i])
			}
		}
	}
}

func TestCountersHaveABound(t *testing.T) {
	var c Counters
	now := time.Unix(1000, 0)
	for i := range maxCounters + 100 {
		c.Count(now, Key{SID: i}, time.Minute)
	}
	if len(c.windows) != maxCounters {
		t.Errorf("%d windows", len(c.windows))
	}
	if n := c.Count(now, Key{SID: maxCounters + 99}, time.Minute); n != 2 {
		t.Errorf("the newest was counted %d times", n)
	}
	if n := c.Count(now.Add(time.Minute), Key{SID: maxCounters + 99}, time.Minute); n != 1 {
		t.Errorf("in the next window it was counted %d times", n)
	}
}
