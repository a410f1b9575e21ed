package sim

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"sleight/redirect"
)

// The known failures of the field, one by one. Each was seen red with its rule
// taken out.

// "TSecr not translated": to the backend every echo is one of its own clock,
// wherever that stands against the decoy's and the gateway's.
func TestTSecrNotTranslated(t *testing.T) {
	for _, base := range []uint32{0, 1 << 30, 1 << 31, 3 << 30, 0xfffff000} {
		s := plain()
		s.decoy.TSBase, s.backend.TSBase = 1<<29, base
		s.lines(true, "hello", "and", Trigger, "more", "to", "say")
		t.Run(fmt.Sprintf("%#x", base), s.must)
	}
}

// "SACK blocks in the wrong numbering": S loses a segment of the backend's long
// answer, of the decoy's, or the decoy's last one while the backend already
// speaks, and what it SACKs each host knows.
func TestSACKBlocksInTheWrongNumbering(t *testing.T) {
	for lost := 3; lost < 40; lost++ {
		s := plain()
		s.Lossless = false
		for _, h := range []*HostConfig{&s.client, &s.decoy, &s.backend} {
			h.Strict = false
		}
		s.loseS = func(n int) bool { return n == lost }
		long := strings.Repeat("x", 9000)
		s.lines(true, long, Trigger+long, long)
		t.Run(fmt.Sprint(lost), s.must)
	}
}

// "SACK blocks are split at the cut, each leg gets its part": S loses a segment of
// what the decoy said last, or one of each, while the backend's first is already on
// its way. Where the decoy has said more than the backend, none of its bytes ever was
// the backend's.
func TestSACKBlocksAcrossTheCut(t *testing.T) {
	long := strings.Repeat("x", 9000)
	for i := range 78 {
		lost := 9 + i%39/3                 // one of the decoy's answer
		too := [...]int{lost, 23, 32}[i%3] // and one of the backend's
		s := plain()
		s.Lossless = false
		for _, h := range []*HostConfig{&s.client, &s.decoy, &s.backend} {
			h.Strict = false
		}
		s.fault[0].Delay, s.pause = 20*time.Millisecond, 5*time.Millisecond
		s.loseS = func(n int) bool { return n == lost || n == too }
		if more := i >= 39; more {
			s.stamped(" #"+strings.Repeat("1", 9000), " #2")
			s.lines(true, "hello", Trigger, long)
			s.wantStamp(" #" + strings.Repeat("1", 9000))
		} else {
			s.lines(true, long, Trigger, long)
		}
		s.waits = []bool{false, false, false}
		t.Run(fmt.Sprint(i/39, lost, too), s.must)
	}
}

// speaks is a service whose answers until the trigger are its own: stamp is in
// each of them. It writes at most cut bytes at once, if that is not 0.
type speaks struct {
	lines
	stamp string
	cut   int
}

func (v *speaks) Serve(got []byte, say func([]byte), end func()) {
	v.lines.Serve(got, func(b []byte) {
		if !v.moved {
			b = []byte(strings.Replace(string(b), ":", v.stamp+":", 1))
		}
		for n := v.cut; n > 0 && len(b) > n; b = b[n:] {
			say(b[:n])
		}
		say(b)
	}, end)
}

// stamped makes the answers until the trigger differ by stamps that no comparison looks at.
func (s *Scenario) stamped(decoy, backend string) {
	s.config = func(c *redirect.Config) { c.Decoys[0].Except = []*regexp.Regexp{regexp.MustCompile(`#[0-9]+`)} }
	stamps := map[string]string{"decoy": decoy, "backend": backend}
	s.service = func(name string) Service { return &speaks{lines: lines{name: name}, stamp: stamps[name]} }
}

// wantStamp is that S hears the decoy's.
func (s *Scenario) wantStamp(stamp string) {
	s.want = []byte(strings.ReplaceAll(string(s.want), "same:", "same"+stamp+":"))
}

// "answers of different length": the cut is the decoy's, what is swallowed the
// backend's.
func TestAnswersOfDifferentLength(t *testing.T) {
	for _, v := range [][2]string{
		{" #7", " #1234567"}, {" #1234567", " #7"}, {" #" + strings.Repeat("1", 5000), " #2"}, {" #2", " #" + strings.Repeat("1", 5000)},
	} {
		s := plain()
		s.stamped(v[0], v[1])
		s.lines(true, "hello", "again", Trigger, "more")
		s.wantStamp(v[0])
		t.Run(fmt.Sprintf("%d against %d", len(v[0]), len(v[1])), s.must)
	}
}

// "the same answer cut differently": streams are compared, never segments.
func TestTheSameAnswerCutDifferently(t *testing.T) {
	for _, v := range []struct{ decoy, backend, mss int }{
		{0, 7, 1460}, {7, 0, 1460}, {100, 33, 1460}, {0, 0, 536}, {0, 1, 536},
	} {
		s := plain()
		s.backend.MSS = uint16(v.mss)
		// A backend that dribbles is no slower than the time of a switch.
		s.fault[1].Delay = 10 * time.Microsecond
		s.service = func(name string) Service {
			return &speaks{lines: lines{name: name}, cut: map[string]int{"decoy": v.decoy, "backend": v.backend}[name]}
		}
		s.lines(true, strings.Repeat("hello ", 30), strings.Repeat("again ", 400), Trigger, "more")
		t.Run(fmt.Sprintf("%d against %d, MSS %d", v.decoy, v.backend, v.mss), s.must)
	}
}

// S uploads to the decoy after its verdict, over a wire that loses: what S sends
// again below bytes that wait for the decoy's window reaches the decoy, and so
// does what follows while they wait.
func TestALongUploadToTheDecoyOverALossyWire(t *testing.T) {
	for seed := range uint64(20) {
		s := plain()
		s.Seed, s.Lossless = seed, false
		for _, h := range []*HostConfig{&s.client, &s.decoy, &s.backend} {
			h.Strict, h.SACK, h.WndShift = false, seed%2 == 0, 7
		}
		s.decoy.Buffer = 30_000
		s.fault[0] = Fault{Lose: .03, Reorder: .03, Delay: 2 * time.Millisecond}
		s.config = func(c *redirect.Config) { c.Limits.Record = 4 << 10 }
		s.lines(false, "hello", strings.Repeat("x", 100_000), "end")
		t.Run(fmt.Sprint(seed), s.must)
	}
}
