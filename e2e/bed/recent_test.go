package bed

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"

	"sleight/e2e/bed/ring"
)

// The first frames and the last ones are kept, in order, however many there were.
func TestRecentKeepsTheFirstAndTheLast(t *testing.T) {
	for _, n := range []int{0, 1, recentFirst + 1, recentFirst + recentLast, recentFirst + 2*recentLast + 5} {
		r := &Recent{name: "test"}
		for i := range n {
			b := []byte(strconv.Itoa(i))
			r.keep(ring.Frame{Data: b, Len: len(b)})
		}
		file := filepath.Join(t.TempDir(), "r.pcapng")
		saved, seen, err := r.Save(file)
		if err != nil {
			t.Fatal(err)
		}
		if want := min(n, recentFirst+recentLast); len(numbers(t, file)) != want || saved != want || seen != n {
			t.Errorf("%d of %d saved, want %d of %d", saved, seen, want, n)
		}
		for i, got := range numbers(t, file) {
			want := i
			if i >= recentFirst {
				want += n - saved
			}
			if got != strconv.Itoa(want) {
				t.Fatalf("frame %s, want %d", got, want)
			}
		}
	}
}

func numbers(t *testing.T, file string) (all []string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, _, err := in.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(data))
	}
}

func TestRecentSeesWhatPasses(t *testing.T) {
	a, err := NewNamespace("a")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	r, err := a.Recent("lo")
	if err != nil {
		t.Fatal(err)
	}
	l, err := a.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := a.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	n, _, err := r.Save(filepath.Join(t.TempDir(), "r.pcapng"))
	if err != nil || n < 3 {
		t.Errorf("a handshake has left %d frames, %v", n, err)
	}
}
