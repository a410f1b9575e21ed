package host

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// filters looks at the machine's netfilter rules. We have none of our own; these
// are other programs', in the way of forwarded packets.
func (e *examination) filters() {
	drops, err := scanFilters()
	if err != nil {
		e.problem("netfilter", "nft list ruleset", "cannot be read: %v", err)
		return
	}
	e.invalid(drops)
	e.policies(drops.policies)
}

// invalid tells of rules that drop what a connection tracker calls invalid. In
// keep mode both legs are one 5-tuple with two sequence spaces, and the tracker
// sees both.
func (e *examination) invalid(d drops) {
	keep, tracked := false, false
	for _, b := range e.plan.Backends {
		keep = keep || b.Mode == Keep
	}
	for _, p := range e.plan.Claimed {
		tracked = tracked || !exempted(d.exempt, p)
	}
	rules := d.invalid
	switch {
	case len(rules) == 0:
		e.ok("connection tracker", "nothing drops what it calls invalid")
	case !keep:
		e.ok("connection tracker", "%s drops what it calls invalid, which matters to keep backends only", rules[0])
	case !tracked:
		e.ok("connection tracker", "%s drops what it calls invalid, but the claimed prefixes are not tracked", rules[0])
	default:
		for _, r := range rules {
			e.problem("connection tracker", e.exemption(), "%s drops what the tracker calls invalid: in keep mode both legs of a flow have the same addresses and ports but other sequence numbers", r)
		}
	}
}

// exemption takes the packets of the doors and the backends' devices out of
// connection tracking.
func (e *examination) exemption() string {
	fix := "nft add table inet sleight; nft 'add chain inet sleight pre { type filter hook prerouting priority raw; }'"
	for _, p := range e.plan.Claimed {
		ip := "ip"
		if p.Addr().Is6() {
			ip = "ip6"
		}
		fix += fmt.Sprintf("; nft add rule inet sleight pre %s daddr %s notrack; nft add rule inet sleight pre %s saddr %s notrack", ip, p, ip, p)
	}
	return fix
}

// policies tells of forward chains that drop what no rule accepts, as Docker
// makes one.
func (e *examination) policies(chains []string) {
	if len(chains) == 0 {
		e.ok("forwarding filter", "no forward chain in nftables drops by default")
		return
	}
	for _, c := range chains {
		fix := "iptables -I FORWARD -i sleight+ -j ACCEPT && iptables -I FORWARD -o sleight+ -j ACCEPT"
		e.problem("forwarding filter", fix, "%s drops what no rule accepts (Docker does this): accept what passes the doors (IPv6: ip6tables likewise)", c)
	}
}

// drops is what scanFilters found, each named `family table chain`.
type drops struct {
	invalid  []string // rules that drop ct state invalid
	policies []string // base chains at the forward hook with policy drop
	exempt   []untracked
}

func scanFilters() (drops, error) {
	var d drops
	c, err := nftables.New()
	if err != nil {
		return d, err
	}
	chains, err := c.ListChains()
	if err != nil {
		return d, err
	}
	for _, chain := range chains {
		if chain.Hooknum != nil && *chain.Hooknum == *nftables.ChainHookForward && forwards(chain.Table.Family) &&
			chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop {
			d.policies = append(d.policies, chainName(chain))
		}
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return d, err
		}
		d.exempt = append(d.exempt, exempts(chain, rules)...)
		for _, r := range rules {
			if dropsInvalid(r.Exprs) || mapDropsInvalid(c, chain.Table, r.Exprs) {
				d.invalid = append(d.invalid, chainName(chain))
			}
		}
	}
	return d, nil
}

func forwards(f nftables.TableFamily) bool {
	return f == nftables.TableFamilyIPv4 || f == nftables.TableFamilyIPv6 || f == nftables.TableFamilyINet
}

func chainName(c *nftables.Chain) string {
	family := map[nftables.TableFamily]string{
		nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet",
	}[c.Table.Family]
	return fmt.Sprintf("nft chain %s %s %s", family, c.Table.Name, c.Name)
}

// dropsInvalid recognises `ct state invalid drop`, also in a set of states and
// in the form of iptables-nft.
func dropsInvalid(exprs []expr.Any) bool {
	matches, state := false, uint32(0)
	for _, x := range exprs {
		switch x := x.(type) {
		case *expr.Ct:
			state = x.Register
			if x.Key != expr.CtKeySTATE {
				state = 0
			}
		case *expr.Bitwise:
			if state != 0 && x.SourceRegister == state && len(x.Mask) == 4 {
				matches = matches || binary.NativeEndian.Uint32(x.Mask)&expr.CtStateBitINVALID != 0
			}
		case *expr.Cmp:
			if state != 0 && x.Register == state && x.Op == expr.CmpOpEq && len(x.Data) == 4 {
				matches = matches || binary.NativeEndian.Uint32(x.Data)&expr.CtStateBitINVALID != 0
			}
		case *expr.Match:
			matches = matches || matchesInvalid(x)
		case *expr.Verdict:
			if matches && x.Kind == expr.VerdictDrop {
				return true
			}
		case *expr.Reject:
			if matches {
				return true
			}
		}
	}
	return false
}

// mapDropsInvalid recognises `ct state vmap { invalid : drop, … }`.
func mapDropsInvalid(c *nftables.Conn, table *nftables.Table, exprs []expr.Any) bool {
	state := false
	for _, x := range exprs {
		switch x := x.(type) {
		case *expr.Ct:
			state = x.Key == expr.CtKeySTATE
		case *expr.Lookup:
			if !state || !x.IsDestRegSet {
				continue
			}
			elements, err := c.GetSetElements(&nftables.Set{Table: table, Name: x.SetName, ID: x.SetID})
			if err != nil {
				continue
			}
			for _, e := range elements {
				if len(e.Key) == 4 && binary.NativeEndian.Uint32(e.Key)&expr.CtStateBitINVALID != 0 &&
					verdictDrops(e) {
					return true
				}
			}
		}
	}
	return false
}

// verdictDrops reads an element's verdict, which the library leaves as it came:
// one attribute NFTA_VERDICT_CODE with a big-endian code, of which NF_DROP is 0.
func verdictDrops(e nftables.SetElement) bool {
	const code = 1
	return len(e.Val) == 8 && binary.NativeEndian.Uint16(e.Val[2:]) == code && binary.BigEndian.Uint32(e.Val[4:]) == 0
}

// matchesInvalid looks into an xtables match; 1 is XT_CONNTRACK_STATE_INVALID.
func matchesInvalid(m *expr.Match) bool {
	if m.Name != "conntrack" {
		return false
	}
	switch i := m.Info.(type) {
	case *xt.ConntrackMtinfo1:
		return i.MatchFlags&uint16(xt.ConntrackState) != 0 && i.StateMask&1 != 0
	case *xt.ConntrackMtinfo2:
		return i.MatchFlags&uint16(xt.ConntrackState) != 0 && i.StateMask&1 != 0
	case *xt.ConntrackMtinfo3:
		return i.MatchFlags&(uint16(xt.ConntrackState)|uint16(xt.ConntrackStateAlias)) != 0 && i.StateMask&1 != 0
	}
	return false
}
