package e2e

import (
	"errors"
	"net/netip"
	"testing"

	"sleight/e2e/bed"
)

// routed is a bed with two routers more on each side of the gateway, so that both
// ends and the gateway have links of 1500 bytes while those between the routers may
// have less:
//
//	S ── near ══ attacker ── gateway ── backend0 ══ far ── D2
//
// The attacker and backend 0 of the bed are routers here.
type routed struct {
	*bed.Bed
	s, near, far, d2 *bed.Namespace
}

// side is what lies on one side of the gateway, in IPv4 and IPv6.
type side struct {
	end, mid, router               *bed.Namespace
	endAt, midAt, transit, outerAt [2]string
}

// The devices of the link between two routers, which tests make small.
const small = "small"

func prefixes(addrs [2]string) [2]netip.Prefix {
	return [2]netip.Prefix{
		netip.PrefixFrom(netip.MustParseAddr(addrs[0]), 24), netip.PrefixFrom(netip.MustParseAddr(addrs[1]), 64),
	}
}

func newRouted(t *testing.T, mode string) *routed {
	t.Helper()
	r := &routed{Bed: newBed(t, bed.Config{Ordered: true})}
	for name, n := range map[string]**bed.Namespace{"s": &r.s, "near": &r.near, "far": &r.far, "d2": &r.d2} {
		ns, err := bed.NewNamespace(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ns.Close() })
		*n = ns
	}
	clients := side{
		r.s, r.near, r.Attacker, [2]string{"192.0.2.2", "2001:db8:2::2"}, [2]string{"192.0.2.1", "2001:db8:2::1"},
		[2]string{"192.0.3.1", "2001:db8:3::1"}, [2]string{"192.0.3.2", "2001:db8:3::2"},
	}
	backends := side{
		r.d2, r.far, r.Backends[0], [2]string{"10.0.20.2", "fd00:20::2"}, [2]string{"10.0.20.1", "fd00:20::1"},
		[2]string{"10.0.21.1", "fd00:21::1"}, [2]string{"10.0.21.2", "fd00:21::2"},
	}
	behind, behind6 := bed.BackendAddrs(0)
	err := errors.Join(clients.build(), backends.build(),
		r.reach(clients, bed.Attacker4, bed.Attacker6))
	if mode == "keep" {
		err = errors.Join(err, r.ownClaimed(backends))
	} else {
		err = errors.Join(err, r.reach(backends, behind, behind6))
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// build joins a side up and routes in it.
func (s side) build() error {
	errs := []error{
		bed.Connect(bed.End{Namespace: s.end, Device: "eth0"}, bed.End{Namespace: s.mid, Device: "eth0"}, 0, false),
		bed.Connect(bed.End{Namespace: s.mid, Device: small}, bed.End{Namespace: s.router, Device: small}, 0, false),
	}
	for _, n := range []*bed.Namespace{s.mid, s.router} {
		errs = append(errs, n.Sysctl("net/ipv4/ip_forward", "1"), n.Sysctl("net/ipv6/conf/all/forwarding", "1"))
	}
	errs = append(errs, s.end.Ordered("eth0"), s.mid.Ordered("eth0"), s.mid.Ordered(small), s.router.Ordered(small))
	anywhere := [2]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	end, mid, transit, outer := prefixes(s.endAt), prefixes(s.midAt), prefixes(s.transit), prefixes(s.outerAt)
	for i := range end {
		errs = append(errs,
			s.end.AddAddr("eth0", end[i]), s.mid.AddAddr("eth0", mid[i]),
			s.mid.AddAddr(small, transit[i]), s.router.AddAddr(small, outer[i]),
			s.end.AddRoute(anywhere[i], mid[i].Addr()), s.mid.AddRoute(anywhere[i], outer[i].Addr()),
			s.router.AddRoute(end[i].Masked(), transit[i].Addr()))
	}
	return errors.Join(errs...)
}

// reach tells the gateway the way to a side's end.
func (r *routed) reach(s side, v4, v6 netip.Addr) error {
	end := prefixes(s.endAt)
	return errors.Join(r.Gateway.AddRoute(end[0].Masked(), v4), r.Gateway.AddRoute(end[1].Masked(), v6))
}

// ownClaimed makes the claimed addresses D2's own, and routes them there.
func (r *routed) ownClaimed(s side) (err error) {
	end, transit := prefixes(s.endAt), prefixes(s.transit)
	for i, p := range []netip.Prefix{bed.Claimed4, bed.Claimed6} {
		err = errors.Join(err, r.d2.AddLocal(p),
			r.Backends[0].AddRoute(p, transit[i].Addr()), r.far.AddRoute(p, end[i].Addr()))
	}
	return err
}

// narrow sets the MTU of the links between the routers.
func (r *routed) narrow(t *testing.T, clients, backends int) {
	t.Helper()
	err := errors.Join(
		r.near.SetMTU(small, clients), r.Attacker.SetMTU(small, clients),
		r.far.SetMTU(small, backends), r.Backends[0].SetMTU(small, backends))
	if err != nil {
		t.Fatal(err)
	}
}
