package host

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// examine runs doctor in the bed and returns the findings of a name.
func examine(t *testing.T, p Plan, name string) []Finding {
	t.Helper()
	return named(Doctor(p), name)
}

func named(all []Finding, name string) []Finding {
	var list []Finding
	for _, f := range all {
		if strings.HasPrefix(f.Name, name) {
			list = append(list, f)
		}
	}
	return list
}

func wantProblem(t *testing.T, list []Finding, detail, fix string) {
	t.Helper()
	for _, f := range list {
		if !f.OK && strings.Contains(f.Detail, detail) && strings.Contains(f.Fix, fix) {
			return
		}
	}
	t.Errorf("findings %+v\nwant a problem with %q and %q", list, detail, fix)
}

func wantNoProblem(t *testing.T, list []Finding) {
	t.Helper()
	if len(list) == 0 {
		t.Error("nothing was looked at")
	}
	for _, f := range list {
		if !f.OK {
			t.Errorf("%s: %s (%s)", f.Name, f.Detail, f.Fix)
		}
	}
}

func TestDoctorFindsNothingOnAGoodMachine(t *testing.T) {
	b := newBed(t)
	before := b.snapshot()
	p := b.plan()
	wantNoProblem(t, Doctor(p))
	openDoors(b)
	h := mustSetup(t, p)
	wantNoProblem(t, Doctor(p)) // beside the running gateway
	_, err := h.Close()
	must(t, err)
	_, err = Down(p.StateDir)
	must(t, err)
	if after := b.snapshot(); strings.Join(after, "\n") != strings.Join(before, "\n") {
		t.Error("doctor changed something")
	}
}

func TestDoctorSaysWhatMendsIt(t *testing.T) {
	for name, c := range map[string]struct {
		change            func(*bed, *Plan)
		name, detail, fix string
	}{
		"name taken": {
			func(b *bed, p *Plan) {
				must(b.t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "sleight0"}, PeerName: "other"}))
			},
			"name sleight0", "kind veth", "ip link del sleight0",
		},
		"name in use": {func(b *bed, p *Plan) { b.door("sleight2") }, "name sleight2", "in use by another program", ""},
		"device with the default route": {
			func(b *bed, p *Plan) { b.defaultVia("be0", "10.0.2.2") }, "backends", "default route", "",
		},
		"device with clients": {
			func(b *bed, p *Plan) { p.Backends[0].Device = "cl0" }, "backends", "not through cl0", "",
		},
		"forwarding, checked only": {
			func(b *bed, p *Plan) { p.Setup = Check }, "net.ipv4.ip_forward", "is 0", "sysctl -w net.ipv4.ip_forward=1",
		},
		"routes, checked only": {
			func(b *bed, p *Plan) { p.Setup = Check; openDoors(b) }, "routes and rules", "missing", "ip rule add iif be0 lookup 5391",
		},
		"rp_filter without rules": {
			func(b *bed, p *Plan) { p.Setup = Off }, "rp_filter", "is 1", "rp_filter=0",
		},
		"claimed prefix on-link": {
			func(b *bed, p *Plan) { p.Claimed = []netip.Prefix{netip.MustParsePrefix("192.0.2.128/25")} },
			"claimed 192.0.2.128/25", "on-link on cl0", "sysctl -w net.ipv4.conf.cl0.proxy_arp=1",
		},
		"claimed IPv6 prefix on-link": {
			func(b *bed, p *Plan) { p.Claimed = []netip.Prefix{netip.MustParsePrefix("fd00:1::80/121")} },
			"claimed fd00:1::80/121", "on-link on cl0", "ip -6 neigh add proxy",
		},
		"own address claimed": {
			func(b *bed, p *Plan) { p.Claimed = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")} },
			"claimed 192.0.2.1/32", "is an address of this machine", "",
		},
		"small MTU behind the gateway": {
			func(b *bed, p *Plan) { must(b.t, netlink.LinkSetMTU(b.link("be0"), 1400)) }, "mtu c", "1400 bytes", "tun.mtu to 1400",
		},
		"tracker drops invalid": {
			func(b *bed, p *Plan) { b.filter(false) }, "connection tracker", "inet other fwd", "daddr 203.0.113.0/24 notrack",
		},
		"tracker drops invalid by a map": {
			func(b *bed, p *Plan) { b.filter(true) }, "connection tracker", "inet other fwd", "notrack",
		},
		"forward policy": {
			func(b *bed, p *Plan) { b.filter(false) }, "forwarding filter", "inet other fwd", "-i sleight+ -j ACCEPT",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			p := b.plan()
			c.change(b, &p)
			wantProblem(t, examine(t, p, c.name), c.detail, c.fix)
		})
	}
}

// filter makes another program's firewall: a forward chain with policy drop, and
// in it `ct state invalid drop`, as a rule or as a verdict map.
func (b *bed) filter(byMap bool) {
	b.t.Helper()
	c, err := nftables.New()
	must(b.t, err)
	drop := nftables.ChainPolicyDrop
	table := c.AddTable(&nftables.Table{Name: "other", Family: nftables.TableFamilyINet})
	chain := c.AddChain(&nftables.Chain{
		Name: "fwd", Table: table, Type: nftables.ChainTypeFilter, Policy: &drop,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	exprs := []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1}}
	invalid := binaryutil.NativeEndian.PutUint32(expr.CtStateBitINVALID)
	if byMap {
		set := &nftables.Set{Table: table, Anonymous: true, Constant: true, IsMap: true, KeyType: nftables.TypeCTState, DataType: nftables.TypeVerdict}
		must(b.t, c.AddSet(set, []nftables.SetElement{{Key: invalid, VerdictData: &expr.Verdict{Kind: expr.VerdictDrop}}}))
		exprs = append(exprs, &expr.Lookup{SourceRegister: 1, IsDestRegSet: true, SetName: set.Name, SetID: set.ID})
	} else {
		exprs = append(exprs,
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: invalid, Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
			&expr.Verdict{Kind: expr.VerdictDrop})
	}
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs})
	must(b.t, c.Flush())
}

// exempt takes a prefix out of tracking, as nft does for whole bytes and, with a
// mask, for other lengths.
func (b *bed) exempt(priority nftables.ChainPriority, offset uint32, prefix string, masked bool) {
	b.t.Helper()
	c, err := nftables.New()
	must(b.t, err)
	p := netip.MustParsePrefix(prefix)
	table := c.AddTable(&nftables.Table{Name: "sleight", Family: nftables.TableFamilyINet})
	chain := c.AddChain(&nftables.Chain{
		Name: "pre", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: &priority,
	})
	data := p.Addr().AsSlice()[:p.Bits()/8]
	exprs := []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(data))}}
	if masked {
		data = p.Addr().AsSlice()
		exprs[0].(*expr.Payload).Len = uint32(len(data))
		exprs = append(exprs, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(len(data)), Mask: ipNet(p).Mask, Xor: make([]byte, len(data))})
	}
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(exprs, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}, &expr.Notrack{})})
	must(b.t, c.Flush())
}

func TestAnExemptionFromTrackingIsSeen(t *testing.T) {
	b := newBed(t)
	b.filter(false)
	p := b.plan()
	still := func(why string) {
		t.Helper()
		wantProblem(t, examine(t, p, "connection tracker"), "inet other fwd", "notrack")
		if t.Failed() {
			t.Fatal(why)
		}
	}
	b.exempt(-300, 12, "203.0.113.0/24", false)
	b.exempt(-300, 16, "203.0.113.0/24", false)
	still("IPv6 is tracked")
	b.exempt(-300, 8, "2001:db8:113::/64", false)
	b.exempt(-300, 24, "2001:db8:113:8000::/49", true)
	still("another prefix")
	b.exempt(-300, 24, "2001:db8:100::/40", true)
	wantNoProblem(t, examine(t, p, "connection tracker"))
	p.Claimed = append(p.Claimed, netip.MustParsePrefix("198.51.100.0/24"))
	still("one more prefix")
	p.Claimed = p.Claimed[:2]
	c, err := nftables.New()
	must(t, err)
	c.DelTable(&nftables.Table{Name: "sleight", Family: nftables.TableFamilyINet})
	must(t, c.Flush())
	for _, offset := range []uint32{12, 16} {
		b.exempt(0, offset, "203.0.113.0/24", false)
	}
	for _, offset := range []uint32{8, 24} {
		b.exempt(0, offset, "2001:db8:113::/64", false)
	}
	still("the rules come after the tracker")
}

func TestTrackerMattersToKeepOnly(t *testing.T) {
	b := newBed(t)
	b.filter(false)
	p := b.plan()
	p.Backends = p.Backends[:2]
	wantNoProblem(t, examine(t, p, "connection tracker"))
}

func TestProxiesMakeOnLinkPrefixesGood(t *testing.T) {
	b := newBed(t)
	p := b.plan()
	p.Claimed = []netip.Prefix{netip.MustParsePrefix("192.0.2.128/25"), netip.MustParsePrefix("fd00:1::80/121")}
	b.sysctl("net/ipv4/conf/cl0/proxy_arp", "1")
	b.sysctl("net/ipv6/conf/cl0/proxy_ndp", "1")
	must(t, netlink.NeighAdd(&netlink.Neigh{
		LinkIndex: b.link("cl0").Attrs().Index, Family: unix.AF_INET6, Flags: netlink.NTF_PROXY,
		IP: netip.MustParseAddr("fd00:1::81").AsSlice(),
	}))
	wantNoProblem(t, examine(t, p, "claimed"))
}

func TestNetworkdThatRemovesRulesIsFound(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		full := filepath.Join(root, path)
		must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		must(t, os.WriteFile(full, []byte(text), 0o644))
	}
	look := func() []Finding {
		e := &examination{root: root}
		e.networkd()
		return e.findings
	}
	wantNoProblem(t, look())
	write("run/systemd/netif/state", "")
	wantProblem(t, look(), "removes policy rules", "ManageForeignRoutingPolicyRules=no")
	write("etc/systemd/networkd.conf", "[Network]\nManageForeignRoutingPolicyRules=yes\n")
	wantProblem(t, look(), "removes policy rules", "systemctl restart")
	write("etc/systemd/networkd.conf.d/10.conf", "[Network]\n ManageForeignRoutingPolicyRules = no\n")
	wantNoProblem(t, look())
}

func TestMissingAndForbiddenTunNodes(t *testing.T) {
	e := &examination{node: filepath.Join(t.TempDir(), "tun")}
	e.tun()
	wantProblem(t, e.findings, "no such file", "modprobe tun")
}
