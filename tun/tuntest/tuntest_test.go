package tuntest

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sleight/tun"
)

var _ Device = (*tun.Door)(nil)

var start = time.Unix(1_000_000, 0)

// packet is numbered by its last byte, so that order shows.
func packet(n byte) Packet {
	p := Packet{Data: make([]byte, Header+40)}
	p.Data[len(p.Data)-1] = n
	return p
}

// pass sends n packets, one each millisecond, and returns the order in which
// they come out and when, in milliseconds.
func pass(l *Link, n int) (order []byte, at []int64) {
	for i := range n {
		l.Send(start.Add(time.Duration(i)*time.Millisecond), packet(byte(i)))
	}
	for {
		now, ok := l.Deadline()
		if !ok {
			return order, at
		}
		if _, early := l.Receive(now.Add(-1)); early {
			panic("a packet came out before its time")
		}
		p, _ := l.Receive(now)
		order = append(order, p.Data[len(p.Data)-1])
		at = append(at, now.Sub(start).Milliseconds())
	}
}

func TestHeaderIsTheDoors(t *testing.T) {
	if Header != tun.VnetHeader {
		t.Errorf("header of %d bytes, tun has %d", Header, tun.VnetHeader)
	}
}

func TestAPerfectLinkKeepsOrderAndTime(t *testing.T) {
	order, at := pass(NewLink(1, Faults{Delay: 7 * time.Millisecond}), 4)
	if d := cmp.Diff([]byte{0, 1, 2, 3}, order); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]int64{7, 8, 9, 10}, at); d != "" {
		t.Error(d)
	}
}

func TestTheSameSeedGivesTheSameFaults(t *testing.T) {
	f := Faults{Loss: .1, Duplicate: .1, Reorder: .2, ReorderBy: 5 * time.Millisecond, Corrupt: .1, Delay: time.Millisecond, Jitter: 3 * time.Millisecond}
	a, b, other := NewLink(7, f), NewLink(7, f), NewLink(8, f)
	orderA, atA := pass(a, 200)
	orderB, atB := pass(b, 200)
	if d := cmp.Diff(orderA, orderB); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(atA, atB); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(a.Stats(), b.Stats()); d != "" {
		t.Error(d)
	}
	if orderC, _ := pass(other, 200); cmp.Equal(orderA, orderC) {
		t.Error("another seed gives the same faults")
	}
	s := a.Stats()
	if s.Lost == 0 || s.Duplicated == 0 || s.Reordered == 0 || s.Corrupted == 0 {
		t.Errorf("a fault never happened: %+v", s)
	}
	if s.Delivered != s.Sent-s.Lost+s.Duplicated {
		t.Errorf("the counts do not add up: %+v", s)
	}
}

func TestEachFaultDoesWhatItSays(t *testing.T) {
	for name, c := range map[string]struct {
		faults Faults
		want   []byte
	}{
		"loss":      {Faults{Loss: 1}, nil},
		"duplicate": {Faults{Duplicate: 1}, []byte{0, 0, 1, 1, 2, 2}},
		"queue":     {Faults{Queue: 2, Delay: time.Hour}, []byte{0, 1}},
		"jitter":    {Faults{Jitter: time.Second}, []byte{0, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			order, _ := pass(NewLink(1, c.faults), 3)
			if d := cmp.Diff(c.want, order); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCorruptFlipsOneBitBehindTheHeader(t *testing.T) {
	for seed := range uint64(200) {
		l := NewLink(seed, Faults{Corrupt: 1})
		sent := packet(0)
		l.Send(start, sent)
		got, _ := l.Receive(start)
		flipped := 0
		for i := range got.Data {
			for x := got.Data[i] ^ sent.Data[i]; x != 0; x &= x - 1 {
				flipped++
				if i < Header {
					t.Fatalf("seed %d: the header is damaged", seed)
				}
			}
		}
		if flipped != 1 {
			t.Fatalf("seed %d: %d bits flipped", seed, flipped)
		}
	}
}

func TestReorderedPacketsAreOvertaken(t *testing.T) {
	l := NewLink(1, Faults{Reorder: 1, ReorderBy: 10 * time.Millisecond})
	l.Send(start, packet(0))
	l.Set(Faults{})
	l.Send(start.Add(time.Millisecond), packet(1))
	order, _ := pass(l, 0)
	if d := cmp.Diff([]byte{1, 0}, order); d != "" {
		t.Error(d)
	}
}

func TestRateSpacesPackets(t *testing.T) {
	l := NewLink(1, Faults{Rate: 50_000}) // a packet of 50 bytes each ms
	for range 3 {
		l.Send(start, packet(0))
	}
	_, at := pass(l, 0)
	if d := cmp.Diff([]int64{1, 2, 3}, at); d != "" {
		t.Error(d)
	}
}

func TestDoorGivesWhatWasInjectedAndKeepsWhatWasWritten(t *testing.T) {
	d := NewDoor("door0", 2, 1)
	if err := d.InjectIP(1, []byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if err := d.InjectIP(1, nil); !errors.Is(err, ErrFull) {
		t.Errorf("a full queue says %v", err)
	}
	b := make([]byte, 100)
	n, err := d.Read(1, b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(append(make([]byte, Header), 1, 2, 3), b[:n]); d != "" {
		t.Error(d)
	}
	if _, err := d.Write(1, b[:n]); err != nil {
		t.Fatal(err)
	}
	clear(b)
	p, err := d.Take()
	if d := cmp.Diff([]byte{1, 2, 3}, p.IP()); d != "" || err != nil || p.Queue != 1 {
		t.Error(d, err, p.Queue)
	}
	if _, ok := d.TryTake(); ok {
		t.Error("a packet is left")
	}
}

func TestClosedDoorsEndEveryCall(t *testing.T) {
	d := NewDoor("door0", 1, 1)
	errs := make(chan error)
	go readOne(d, errs)
	d.Close()
	if err := <-errs; !errors.Is(err, os.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if _, err := d.Write(0, make([]byte, 20)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if _, err := d.Take(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("take: %v", err)
	}
}

func readOne(d *Door, errs chan<- error) {
	_, err := d.Read(0, make([]byte, 100))
	errs <- err
}

func TestFaultyDelaysInVirtualTime(t *testing.T) {
	now := start
	inner := NewDoor("door0", 1, 4)
	out := NewLink(1, Faults{Delay: time.Second})
	f := NewFaulty(inner, NewLink(2, Faults{Duplicate: 1}), out, func() time.Time { return now })
	if _, err := f.Write(0, packet(5).Data); err != nil {
		t.Fatal(err)
	}
	if _, ok := inner.TryTake(); ok {
		t.Error("the packet did not take its time")
	}
	if at, ok := f.Deadline(); !ok || at.Sub(start) != time.Second {
		t.Errorf("deadline %v, %v", at, ok)
	}
	now = now.Add(time.Second)
	if err := f.Pump(); err != nil {
		t.Fatal(err)
	}
	if p, ok := inner.TryTake(); !ok || p.Data[Header+39] != 5 {
		t.Errorf("took % x, %v", p.Data, ok)
	}
	inner.Inject(0, packet(6).Data)
	b := make([]byte, 100)
	for range 2 {
		if n, err := f.Read(0, b); err != nil || b[n-1] != 6 {
			t.Errorf("read % x, %v", b[:n], err)
		}
	}
}

func TestTraceSeesBothDirections(t *testing.T) {
	inner := NewDoor("door0", 1, 4)
	var saw []string
	d := Trace(inner, func(dir Direction, p Packet) { saw = append(saw, dir.String()+string(p.IP())) })
	inner.InjectIP(0, []byte("a"))
	b := make([]byte, 100)
	n, _ := d.Read(0, b)
	d.Write(0, b[:n])
	d.Close()
	d.Read(0, b)
	if diff := cmp.Diff([]string{"ina", "outa"}, saw); diff != "" {
		t.Error(diff)
	}
}
