package memory

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func full(t *testing.T) *Memory {
	t.Helper()
	m := New(Config{Secret: 99})
	for i := range 300 {
		at := noon.Add(time.Duration(i) * time.Minute)
		m.Begin(at, s1)
		m.Begin(at, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		m.End(at, s1, 3, []uint64{uint64(i) << 7})
		m.Count(at, s1, 7, 24*time.Hour)
	}
	m.Begin(noon, netip.MustParseAddr("2001:db8::1"))
	m.Switch(noon, s2)
	if err := m.Tag(noon, s2, "ids", noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestARestartForgetsNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory")
	m := full(t)
	if err := m.Save(file); err != nil {
		t.Fatal(err)
	}
	again := New(Config{})
	if err := again.Load(file); err != nil {
		t.Fatal(err)
	}
	at := noon.Add(5 * time.Hour)
	if diff := cmp.Diff(m.List(at, netip.Prefix{}, 0), again.List(at, netip.Prefix{}, 0), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	for _, window := range []time.Duration{time.Minute, time.Hour, 24 * time.Hour} {
		if a, b := m.Conns(at, at, s1, window), again.Conns(at, at, s1, window); a != b || a == 0 && window > time.Hour {
			t.Errorf("within %v: %d before, %d after", window, a, b)
		}
		if a, b := m.Packets(at, s1, window), again.Packets(at, s1, window); a != b {
			t.Errorf("packets within %v: %d before, %d after", window, a, b)
		}
	}
	if again.Secret() != 99 || !again.Known(7<<7) || again.Known(1) || !again.Switched(at, s2, 24*time.Hour) {
		t.Error("payloads, or a switch")
	}
	if n, _ := again.Count(at, s1, 7, time.Hour); n != 301 {
		t.Errorf("counted %d", n)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestAnUnchangedMemoryIsNotWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory")
	m := full(t)
	if err := m.Save(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := m.Save(file); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Error("it was written again")
	}
	if err := New(Config{}).Load(file); err != nil {
		t.Errorf("without a file: %v", err)
	}
}

func TestADamagedFileIsFound(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory")
	if err := full(t).Save(file); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, len(magic), len(magic) + 4, len(whole) / 2, len(whole) - 1} {
		if err := New(Config{}).decode(whole[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes of it: %v", n, err)
		}
	}
	whole[len(whole)/2] ^= 1
	if err := New(Config{}).decode(whole); !errors.Is(err, ErrDamaged) {
		t.Errorf("one bit: %v", err)
	}
	m := New(Config{Clients: 10})
	whole[len(whole)/2] ^= 1
	if err := m.decode(whole); err != nil {
		t.Fatal(err)
	}
	if n, _ := m.Size(); n != 10 {
		t.Errorf("%d clients, where there is room for 10", n)
	}
}

func TestAFileThatCannotBeWrittenLeavesTheOld(t *testing.T) {
	m := full(t)
	dir := t.TempDir()
	if err := m.Save(filepath.Join(dir, "absent", "memory")); err == nil {
		t.Error("a directory that is not there")
	}
	if err := os.Mkdir(filepath.Join(dir, "memory"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := m.Save(filepath.Join(dir, "memory")); err == nil {
		t.Error("a directory in its place")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}
