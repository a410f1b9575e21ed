package host

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A reload may bring backends that the machine is set up for, and no others.
func TestHolds(t *testing.T) {
	b := newBed(t)
	openDoors(b)
	for _, setup := range []Policy{Manage, Check} {
		p := b.plan()
		p.Setup = setup
		h := mustSetup(t, p)
		before := b.snapshot()
		for _, c := range []struct {
			why  string
			edit func(*Plan)
			want string // "": it holds
		}{
			{"the same", func(*Plan) {}, ""},
			{"another address on the backends' device", func(p *Plan) {
				p.Backends[0].Addrs = []netip.Addr{netip.MustParseAddr("10.0.2.77")}
			}, ""},
			{"one is gone", func(p *Plan) { p.Backends = []Backend{p.Backends[0], p.Backends[0], p.Backends[2]} }, ""},
			{"one in mode keep is new", func(p *Plan) {
				p.Backends[0].Mode, p.Backends[0].Door = Keep, "sleight3"
				p.Backends[2].Mode, p.Backends[2].Door = NAT, "sleight1"
			}, "needs a restart (first missing of"},
			{"one is where the clients are", func(p *Plan) {
				p.Backends[0].Addrs = []netip.Addr{netip.MustParseAddr("198.51.100.77")}
			}, "backend"},
		} {
			other := b.plan()
			other.Setup = setup
			other.Backends = append([]Backend(nil), other.Backends...)
			c.edit(&other)
			err := h.Holds(other)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %s: %v", setup, c.why, err)
			}
		}
		if d := cmp.Diff(before, b.snapshot()); d != "" {
			t.Errorf("%s: it has changed something:\n%s", setup, d)
		}
		if setup == Check {
			_, err := h.Close()
			must(t, err)
			continue
		}
		defer h.Close() // what Check looks for
	}
}
