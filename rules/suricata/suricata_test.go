package suricata

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// talk is a conversation in which the decoy answers after each turn.
type talk struct {
	line  int
	fires bool
	turns []string
}

// sample is a rule of the test file with its conversations.
type sample struct {
	text  string
	talks []talk
}

func samples(t *testing.T) (all []sample) {
	t.Helper()
	b, err := os.ReadFile("testdata/keywords.rules")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(b), "\n") {
		switch {
		case strings.HasPrefix(line, "#+ "), strings.HasPrefix(line, "#- "):
			k := talk{line: i + 1, fires: line[1] == '+'}
			for rest := line[3:]; rest != ""; rest = strings.TrimSpace(rest) {
				q, err := strconv.QuotedPrefix(rest)
				if err != nil {
					t.Fatalf("line %d: %v", i+1, err)
				}
				turn, _ := strconv.Unquote(q)
				k.turns = append(k.turns, turn)
				rest = rest[len(q):]
			}
			all[len(all)-1].talks = append(all[len(all)-1].talks, k)
		case strings.HasPrefix(line, "alert"):
			all = append(all, sample{text: line})
		}
	}
	return all
}

// hear gives a conversation to a new flow in segments, and returns what has fired.
func hear(set *Set, turns []string, segment int) (sids []int) {
	fl, mem := set.NewFlow(), &Counters{}
	in := Input{Client: client, Dialled: dialled}
	for _, turn := range turns {
		in.Turn = len(in.Stream)
		for rest := turn; rest != ""; {
			n := min(segment, len(rest))
			in.Stream = append(in.Stream, rest[:n]...)
			rest = rest[n:]
			for _, r := range fl.Judge(&in, mem) {
				sids = append(sids, r.SID)
			}
			for fl.Unfinished() {
				for _, r := range fl.Judge(&in, mem) {
					sids = append(sids, r.SID)
				}
			}
		}
	}
	return sids
}

// Each rule fires where it says so and only there, however the conversation is cut.
func TestEveryKeyword(t *testing.T) {
	b, err := os.ReadFile("testdata/keywords.rules")
	if err != nil {
		t.Fatal(err)
	}
	set := compiled(t, string(b))
	all := samples(t)
	if len(all) != set.Len() {
		t.Fatalf("%d rules of %d", set.Len(), len(all))
	}
	for i, s := range all {
		sid := set.Rules()[i].SID
		for _, k := range s.talks {
			for _, segment := range []int{1, 2, 3, 7, 1460} {
				if got := slices.Contains(hear(set, k.turns, segment), sid); got != k.fires {
					t.Errorf("line %d: sid %d in segments of %d: fires %v", k.line, sid, segment, got)
				}
			}
		}
	}
}

func TestNoKeywordIsLeftOut(t *testing.T) {
	b, err := os.ReadFile("testdata/keywords.rules")
	if err != nil {
		t.Fatal(err)
	}
	uses := func(name string) bool {
		return strings.Contains(string(b), " "+name+";") || strings.Contains(string(b), " "+name+":") || strings.Contains(string(b), "("+name+":")
	}
	for name := range keywords {
		if name != "logto" && !uses(name) {
			t.Errorf("no rule uses %s", name)
		}
	}
	for _, names := range []map[string]buffer{stickies, modifiers} {
		for name, in := range names {
			if in != serverSaid && !uses(name) {
				t.Errorf("no rule uses %s", name)
			}
		}
	}
}
