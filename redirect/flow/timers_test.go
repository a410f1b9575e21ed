package flow

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

var t0 = time.Unix(1_700_000_000, 0)

func sleeper[E comparable](e E) *Member[E] { return &Member[E]{Node: Node[E]{Of: e}} }

// sleepers are n members that are their own numbers.
func sleepers(n int) []*Member[int] {
	ms := make([]*Member[int], n)
	for i := range ms {
		ms[i] = sleeper(i)
	}
	return ms
}

func TestTimersWakeInOrder(t *testing.T) {
	tm := NewTimers[string]()
	tm.Schedule(sleeper("c"), t0.Add(3))
	tm.Schedule(sleeper("a"), t0.Add(1))
	tm.Schedule(sleeper("b"), t0.Add(2))
	if got := tm.Due(t0, nil); got != nil {
		t.Fatalf("woke %v too early", got)
	}
	if got := tm.Due(t0.Add(2), nil); len(got) != 2 || got[0] != "a" || got[1] != "b" || tm.Len() != 1 {
		t.Errorf("woke %v", got)
	}
}

// A flow whose next deadline moves back and forth, as each of its client's
// segments can make it, takes one place and no more.
func TestAnEntryStandsInTheScheduleOnce(t *testing.T) {
	tm := NewTimers[string]()
	now, flow := t0, sleeper("flow")
	for range 10_000 {
		tm.Schedule(flow, now.Add(2*time.Hour))
		tm.Schedule(flow, now.Add(200*time.Millisecond))
		now = now.Add(time.Second)
		if got := tm.Due(now, nil); len(got) != 1 {
			t.Fatalf("woke %d times", len(got))
		}
		tm.Schedule(flow, now.Add(2*time.Hour))
	}
	if tm.Len() != 1 || len(tm.q) != 1 {
		t.Errorf("%d wakings of one flow", tm.Len())
	}
}

func TestCancel(t *testing.T) {
	tm := NewTimers[string]()
	a := sleeper("a")
	tm.Schedule(a, t0)
	tm.Schedule(sleeper("b"), t0)
	tm.Cancel(a)
	tm.Cancel(a)
	tm.Cancel(sleeper("never there"))
	if got := tm.Due(t0, nil); len(got) != 1 || got[0] != "b" {
		t.Errorf("woke %v", got)
	}
}

// Against a plain map, under a random sequence of everything.
func TestTimersAgainstAModel(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		tm, ms, model := NewTimers[int](), sleepers(200), map[int]time.Time{}
		now := t0
		for range 2000 {
			e := r.IntN(200)
			switch r.IntN(8) {
			case 0:
				tm.Cancel(ms[e])
				delete(model, e)
			case 1:
				now = now.Add(time.Duration(r.IntN(100)))
				wake(t, tm, model, now)
			default:
				at := now.Add(time.Duration(r.IntN(1000) - 10))
				tm.Schedule(ms[e], at)
				model[e] = at
			}
		}
		wake(t, tm, model, now.Add(time.Hour))
		if tm.Len() != 0 {
			t.Fatalf("seed %d: %d left", seed, tm.Len())
		}
	}
}

// wake wants exactly those of the model whose time has come, in order.
func wake(t *testing.T, tm *Timers[int], model map[int]time.Time, now time.Time) {
	t.Helper()
	last := time.Time{}
	for _, e := range tm.Due(now, nil) {
		at, ok := model[e]
		if !ok || now.Before(at) || at.Before(last) {
			t.Fatalf("%d woke at the wrong time", e)
		}
		last = at
		delete(model, e)
	}
	for e, at := range model {
		if !now.Before(at) {
			t.Fatalf("%d slept on", e)
		}
	}
}

func TestScheduleDoesNotAllocate(t *testing.T) {
	tm, ms := NewTimers[int](), sleepers(1000)
	for e := range 1000 {
		tm.Schedule(ms[e], t0.Add(time.Duration(e)))
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() { i++; tm.Schedule(ms[i%1000], t0.Add(time.Duration(i*7919%5000))) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTimersConcurrently(t *testing.T) {
	tm, ms := NewTimers[int](), sleepers(400)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go churn(&wg, tm, ms[g*100:])
	}
	wg.Wait()
	if n := len(tm.Due(t0.Add(time.Hour), nil)); n != tm.Len()+n || n > 400 {
		t.Errorf("%d woke of 400", n)
	}
}

func churn(wg *sync.WaitGroup, tm *Timers[int], ms []*Member[int]) {
	defer wg.Done()
	for i := range 1000 {
		tm.Schedule(ms[i%100], t0.Add(time.Duration(i)))
		if i%10 == 0 {
			tm.Due(t0.Add(time.Duration(i/2)), nil)
		}
		tm.Cancel(ms[(i+50)%100])
	}
}

func BenchmarkSchedule(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		tm, ms := NewTimers[int](), sleepers(n)
		for e := range n {
			tm.Schedule(ms[e], t0.Add(time.Duration(e)*time.Millisecond))
		}
		b.Run(map[int]string{1_000: "1k", 1_000_000: "1M"}[n], func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				tm.Schedule(ms[i*7919%n], t0.Add(time.Duration(i)*time.Millisecond))
			}
		})
	}
}
