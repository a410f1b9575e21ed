package stack

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func echo(p *Peer) {
	b := make([]byte, 100)
	for {
		n, err := p.Read(b)
		if err != nil {
			return
		}
		p.Begin()
		err = p.Write(b[:n])
		p.End()
		if err != nil {
			return
		}
	}
}

// withPlay makes a flow of a service of the test's own.
func withPlay(play func(*Peer)) func(*Conn) {
	return func(c *Conn) { c.Service = &Compiled{Kind: Script, play: play} }
}

func TestTranscriptKeepsTurns(t *testing.T) {
	b := newBench(t)
	g, src, dst := b.expect(Service{}, 4200, withPlay(echo))
	c := b.connect(src, dst)
	say(t, c, "one")
	want(t, c, "one")
	early, _, _ := g.Answered()
	say(t, c, "three")
	want(t, c, "three")
	answered, marks, overflow := g.Answered()
	if string(answered) != "onethree" || overflow || string(early) != "one" {
		t.Errorf("answered %q (%v), before %q", answered, overflow, early)
	}
	if diff := cmp.Diff([]Mark{{3, 3}, {8, 8}}, marks); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
	g.Forget()
	b.wantBase()
}

type purse struct{ left, given atomic.Int64 }

func (p *purse) Take(n int) bool {
	if p.left.Add(int64(-n)) < 0 {
		p.left.Add(int64(n))
		return false
	}
	return true
}
func (p *purse) Give(n int) { p.left.Add(int64(n)); p.given.Add(int64(n)) }

func TestTranscriptIsBounded(t *testing.T) {
	tests := []struct {
		name   string
		record int
		total  int64
		want   string
	}{
		{"by the flow's bound", 4 + markCost, 1000, "0123"},
		{"by the bound of all", 1000, 5, ""},
		{"by nothing", 1000, 1000, "0123456789"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			all := &purse{}
			all.left.Store(tt.total)
			g, src, dst := b.expect(Service{Kind: Banner, Banner: []byte("0123456789")}, uint16(4300+2*i), func(c *Conn) {
				c.Record, c.Budget = tt.record, all
			})
			c := b.connect(src, dst)
			want(t, c, "0123456789")
			got, _, overflow := g.Answered()
			if string(got) != tt.want || overflow != (tt.want != "0123456789") {
				t.Errorf("kept %q, overflow %v", got, overflow)
			}
			if g.Written() != 10 {
				t.Errorf("written %d", g.Written())
			}
			g.Forget()
			g.Forget()
			if all.left.Load() != tt.total {
				t.Errorf("%d of %d given back", all.left.Load(), tt.total)
			}
			b.wantBase()
		})
	}
}

func TestFrozenGateParksWritesUntilReleased(t *testing.T) {
	b := newBench(t)
	g, src, dst := b.expect(Service{}, 4202, withPlay(echo))
	c := b.connect(src, dst)
	say(t, c, "a")
	want(t, c, "a")
	if w := freeze(g); w != 1 {
		t.Fatalf("Freeze: %d", w)
	}
	say(t, c, "b")
	wantSilence(t, c)
	if g.Written() != 1 {
		t.Errorf("written %d at a frozen gate", g.Written())
	}
	g.Release()
	want(t, c, "b")
	say(t, c, "c")
	want(t, c, "c")
	g.Forget()
	b.wantBase()
}

func TestFrozenGateParksTheClose(t *testing.T) {
	b := newBench(t)
	now := make(chan struct{})
	g, src, dst := b.expect(Service{}, 4204, withPlay(func(*Peer) { <-now }))
	c := b.connect(src, dst)
	g.Freeze(0, nil)
	close(now)
	wantSilence(t, c)
	if g.Closed() {
		t.Error("closed at a frozen gate")
	}
	g.Release()
	wantEOF(t, c)
	if !g.Closed() {
		t.Error("not closed")
	}
	g.Forget()
	b.wantBase()
}

func TestDiscardEndsTheServiceAndWhatItParked(t *testing.T) {
	b := newBench(t)
	result := make(chan error, 1)
	begin := make(chan struct{})
	g, src, dst := b.expect(Service{}, 4206, withPlay(func(p *Peer) {
		<-begin
		result <- p.Write([]byte("never"))
	}))
	c := b.connect(src, dst)
	g.Freeze(0, nil)
	close(begin)
	wantSilence(t, c)
	g.Discard()
	if err := <-result; err != errOver {
		t.Errorf("the parked write ended with %v", err)
	}
	wantSilence(t, c)
	if g.Written() != 0 || g.Closed() {
		t.Errorf("written %d, closed %v", g.Written(), g.Closed())
	}
	g.Forget()
	b.wantBase()
}

// TCP.md 4: the freeze waits until an answer that the decoy has begun is
// written whole.
func TestFreezeWaitsForAnAnswerUnderWay(t *testing.T) {
	b := newBench(t)
	finish := make(chan struct{})
	g, src, dst := b.expect(Service{}, 4208, withPlay(func(p *Peer) {
		p.Begin()
		p.Write([]byte("half "))
		<-finish
		p.Write([]byte("whole"))
		p.End()
		p.Write([]byte("next"))
	}))
	c := b.connect(src, dst)
	want(t, c, "half ")
	done := make(chan uint64, 1)
	if w, frozen := g.Freeze(0, func(n uint64) {
		g.Answered() // nothing is held
		done <- n
	}); w != 5 || frozen {
		t.Fatalf("Freeze: %d %v", w, frozen)
	}
	close(finish)
	if n := <-done; n != 10 {
		t.Errorf("frozen at %d, want 10", n)
	}
	want(t, c, "whole")
	wantSilence(t, c)
	g.Release()
	want(t, c, "next")
	g.Forget()
	b.wantBase()
}

func TestReleaseTakesAFreezeBack(t *testing.T) {
	b := newBench(t)
	finish := make(chan struct{})
	g, src, dst := b.expect(Service{}, 4210, withPlay(func(p *Peer) {
		p.Begin()
		p.Write([]byte("a"))
		<-finish
		p.End()
		p.Write([]byte("b"))
	}))
	c := b.connect(src, dst)
	want(t, c, "a")
	g.Freeze(0, func(uint64) { t.Error("done after Release") })
	g.Release()
	close(finish)
	want(t, c, "b")
	g.Forget()
	b.wantBase()
}

// An answer of which nothing was written is not begun: the turn is open.
func TestUnwrittenAnswerDoesNotHoldTheFreeze(t *testing.T) {
	b := newBench(t)
	g, c := b.dial(Service{Kind: Script, Turns: []Turn{{Expect: "x", Send: []byte("y"), Delay: time.Hour}}}, 4212)
	say(t, c, "x")
	eventually(t, "the script has begun", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.busy > 0 })
	if w, frozen := g.Freeze(0, nil); w != 0 || !frozen {
		t.Errorf("Freeze: %d %v", w, frozen)
	}
	g.Discard()
	g.Forget()
	b.wantBase()
}

func TestForwardIsFrozenAfterItsSilence(t *testing.T) {
	b := newBench(t)
	addr, accepted := target(t)
	g, c := b.dial(Service{Kind: Forward, Address: addr}, 4214)
	s := <-accepted
	defer s.Close()
	say(t, s, "one")
	want(t, c, "one")
	done := make(chan uint64, 1)
	start := time.Now()
	const quiet = 100 * time.Millisecond
	if _, frozen := g.Freeze(quiet, func(n uint64) { done <- n }); frozen {
		t.Fatal("frozen at once")
	}
	if n := <-done; n != 3 || time.Since(start) < quiet/2 {
		t.Errorf("frozen at %d after %v", n, time.Since(start))
	}
	say(t, s, "two")
	wantSilence(t, c)
	g.Release()
	want(t, c, "two")
	g.Forget()
	b.wantBase()
}

// A full send buffer waits with nothing held, and 3 MB come out whole.
func TestLargeAnswerWaitsForTheClient(t *testing.T) {
	b := newBench(t)
	big := bytes.Repeat([]byte("0123456789abcdef"), 3<<16)
	g, c := b.dial(Service{Kind: Banner, Banner: big, Close: true}, 4216)
	eventually(t, "the buffer is full", func() bool { return g.Written() >= sendBuffer })
	if _, frozen := g.Freeze(0, func(uint64) {}); frozen {
		t.Error("frozen in the middle of an answer")
	}
	g.Release()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, big) {
		t.Errorf("%d bytes of %d, %v", len(got), len(big), err)
	}
	g.Forget()
	b.wantBase()
}

// DESIGN 5: service writes against a switch at the same instant. Run with -race. mu
// stands for the gateway's lock of the flow, under which others ask the gate meanwhile:
// a gate that called out under its own lock would wait for them for ever.
func TestWritesAgainstASwitchAtTheSameInstant(t *testing.T) {
	b := newBench(t)
	for i := range 60 {
		g, src, dst := b.expect(Service{}, uint16(5000+i), withPlay(func(p *Peer) {
			for more := true; more; {
				p.Begin()
				more = p.Write([]byte("chat")) == nil && p.Write([]byte("ter")) == nil
				p.End()
			}
		}))
		c := b.connect(src, dst)
		want(t, c, "chatter")
		mu := &flowLock{held: make(chan struct{}, 1), stuck: make(chan struct{})}
		settled := make(chan uint64, 1)
		mu.lock()
		n, frozen := g.Freeze(0, func(n uint64) { mu.lock(); defer mu.unlock(); settled <- n })
		mu.unlock()
		if !frozen {
			n = mu.ask(t, g, settled)
		}
		if i%2 == 0 {
			g.Release()
			want(t, c, "chatter")
		} else {
			g.Discard()
			got, _, _ := g.Answered()
			if g.Written() != n || uint64(len(got)) != n {
				t.Fatalf("frozen at %d, written %d, kept %d", n, g.Written(), len(got))
			}
		}
		mu.lock()
		g.Forget()
		mu.unlock()
		c.Close()
	}
	b.wantBase()
}

// flowLock is a lock whose waiters can be let go.
type flowLock struct{ held, stuck chan struct{} }

func (l *flowLock) lock() {
	select {
	case l.held <- struct{}{}:
	case <-l.stuck:
	}
}

func (l *flowLock) unlock() {
	select {
	case <-l.held:
	default: // stuck: it was not taken
	}
}

// ask asks the gate under the lock until it is frozen.
func (l *flowLock) ask(t *testing.T, g *Gate, settled <-chan uint64) uint64 {
	t.Helper()
	asked := make(chan struct{}, 1)
	for late := time.After(5 * time.Second); ; {
		go l.askOnce(g, asked)
		select {
		case <-asked:
		case <-late:
			close(l.stuck)
			t.Fatal("the gate's lock is held by one who waits for the flow's")
		}
		select {
		case n := <-settled:
			return n
		default:
		}
	}
}

func (l *flowLock) askOnce(g *Gate, asked chan<- struct{}) {
	l.lock()
	defer l.unlock()
	g.Answered()
	asked <- struct{}{}
}

func TestManyFlowsLeaveNothing(t *testing.T) {
	b := newBench(t)
	var wg sync.WaitGroup
	for i := range uint16(100) {
		g, src, dst := b.expect(Service{Kind: HTTP}, 6000+i, nil)
		c := b.connect(src, dst)
		wg.Add(1)
		go talkAndForget(t, &wg, g, c, i)
	}
	wg.Wait()
	b.wantBase()
}

func talkAndForget(t *testing.T, wg *sync.WaitGroup, g *Gate, c io.ReadWriteCloser, i uint16) {
	defer wg.Done()
	defer g.Forget()
	defer c.Close()
	if i%3 == 0 {
		return
	}
	io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
	if i%3 == 1 {
		if b, err := io.ReadAll(c); err != nil || !bytes.HasPrefix(b, []byte("HTTP/1.1 404")) {
			t.Errorf("%q %v", b, err)
		}
	}
}
