package main

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sleight/internal/control"
	"sleight/internal/memory"
)

func TestTheMemoryByTheSocket(t *testing.T) {
	m := memory.New(memory.Config{PrefixV4: 24})
	a, b := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::7")
	m.Begin(time.Now(), b)
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	h := control.Handlers{}
	handleMemory(h, m)
	s := control.Serve(l, h)
	t.Cleanup(s.Close)
	c, err := control.Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ask := func(do string, args, result any, want string) {
		t.Helper()
		err := c.Ask(t.Context(), do, args, result)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s %+v: %v, want %q", do, args, err, want)
		}
	}
	ask(doTag, tagArgs{a, "ids", time.Hour.Microseconds()}, nil, "")
	if !m.Tagged(time.Now(), a, "ids") {
		t.Error("no tag")
	}
	ask(doTag, tagArgs{a, "", 1}, nil, "1 to 64 bytes")
	ask(doTag, tagArgs{a, "ids", -1}, nil, "stays for up to")
	ask(doTag, tagArgs{netip.Addr{}, "ids", 1}, nil, "needs an address")
	var r remembered
	ask(doMemoryList, listArgs{}, &r, "")
	if r.Clients != 2 || len(r.Listed) != 2 {
		t.Errorf("%+v", r)
	}
	r = remembered{}
	ask(doMemoryList, listArgs{Within: netip.MustParsePrefix("198.51.0.0/16")}, &r, "")
	if len(r.Listed) != 1 || r.Listed[0].Client != netip.MustParsePrefix("198.51.100.0/24") || r.Listed[0].Tags["ids"].IsZero() {
		t.Errorf("%+v", r)
	}
	r = remembered{}
	ask(doMemoryList, listArgs{Most: 1}, &r, "")
	if len(r.Listed) != 1 || r.Clients != 2 {
		t.Errorf("%+v", r)
	}
	ask(doTag, tagArgs{a, "ids", 0}, nil, "")
	if m.Tagged(time.Now(), a, "ids") {
		t.Error("the tag is still there")
	}
	var n cleared
	ask(doMemoryClear, clearArgs{netip.MustParsePrefix("198.51.100.7/32")}, &n, "")
	if n.Clients != 1 {
		t.Errorf("%+v", n)
	}
	ask(doMemoryClear, clearArgs{}, &n, "")
	if clients, _ := m.Size(); n.Clients != 1 || clients != 0 {
		t.Errorf("%+v, %d are left", n, clients)
	}
}
