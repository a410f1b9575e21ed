package suricata

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sleight/rules/proto"
)

// header is a rule's cheap part.
type header struct {
	src, dst           *nets
	srcPorts, dstPorts *ports
	both               bool // <>
}

// fits reports whether the header is about what the client says.
func (h *header) fits(client, dialled netip.AddrPort) bool {
	return h.forward(client, dialled) || h.both && h.forward(dialled, client)
}

func (h *header) forward(from, to netip.AddrPort) bool {
	return h.srcPorts.has(from.Port()) && h.dstPorts.has(to.Port()) &&
		h.src.has(from.Addr().Unmap()) && h.dst.has(to.Addr().Unmap())
}

// nets is a list of addresses as a rule writes it. One that has nothing but
// exceptions is all the others.
type nets struct {
	any    bool
	ranges []ipRange // in order, none touching another
	groups []*nets
	except []*nets
}

type ipRange struct{ first, last netip.Addr }

func (n *nets) has(a netip.Addr) bool {
	for _, e := range n.except {
		if e.has(a) {
			return false
		}
	}
	if n.any || len(n.ranges) == 0 && len(n.groups) == 0 {
		return true
	}
	_, found := slices.BinarySearchFunc(n.ranges, a, func(r ipRange, a netip.Addr) int {
		switch {
		case r.last.Less(a):
			return -1
		case a.Less(r.first):
			return 1
		}
		return 0
	})
	return found || slices.ContainsFunc(n.groups, func(g *nets) bool { return g.has(a) })
}

// everywhere reports whether the list leaves nothing out.
func (n *nets) everywhere() bool { return n.any && len(n.except) == 0 }

// addresses reads a list of addresses.
func (v *Vars) addresses(text string) (*nets, error) {
	entries, err := cutList(text)
	if err != nil {
		return nil, err
	}
	n := &nets{}
	for _, e := range entries {
		if err := v.address(n, e); err != nil {
			return nil, err
		}
	}
	n.settle()
	return n, nil
}

// address adds one entry to a list.
func (v *Vars) address(n *nets, e string) (err error) {
	except := strings.HasPrefix(e, "!")
	e = strings.TrimSpace(strings.TrimPrefix(e, "!"))
	var g *nets
	switch {
	case e == "any":
		g = &nets{any: true}
	case strings.HasPrefix(e, "$"):
		g, err = expand(v, v.nets, e[1:], v.addresses)
	case strings.HasPrefix(e, "["):
		g, err = v.addresses(e)
	default:
		var r ipRange
		if r, err = addressRange(e); err == nil && !except {
			n.ranges = append(n.ranges, r)
			return nil
		}
		g = &nets{ranges: []ipRange{r}}
	}
	switch {
	case err != nil:
		return err
	case except && g.everywhere():
		return errors.New("!any is no address")
	case except:
		n.except = append(n.except, g)
	case g.any:
		n.any = true
	default:
		n.groups = append(n.groups, g)
	}
	return nil
}

// settle puts the ranges in order and joins those that touch.
func (n *nets) settle() {
	slices.SortFunc(n.ranges, func(a, b ipRange) int { return a.first.Compare(b.first) })
	out := n.ranges[:0]
	for _, r := range n.ranges {
		if last := len(out) - 1; last >= 0 && !out[last].last.Less(r.first) {
			if out[last].last.Less(r.last) {
				out[last].last = r.last
			}
			continue
		}
		out = append(out, r)
	}
	n.ranges = out
}

// addressRange reads an address, a prefix, or two addresses with a dash.
func addressRange(e string) (r ipRange, err error) {
	bad := fmt.Errorf("%q is not an address", e)
	if first, last, ok := strings.Cut(e, "-"); ok {
		r.first, err = netip.ParseAddr(strings.TrimSpace(first))
		if err != nil {
			return r, bad
		}
		if r.last, err = netip.ParseAddr(strings.TrimSpace(last)); err != nil || r.last.Less(r.first) {
			return r, bad
		}
		return r, nil
	}
	p, err := netip.ParsePrefix(e)
	if err != nil {
		a, aerr := netip.ParseAddr(e)
		if aerr != nil {
			return r, bad
		}
		return ipRange{a, a}, nil
	}
	p = p.Masked()
	return ipRange{p.Addr(), lastOf(p)}, nil
}

// lastOf is a prefix's last address.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// ports is a list of ports, each with what it excepts.
type ports struct{ ranges []portRange }

type portRange struct{ first, last uint16 }

func (p *ports) has(port uint16) bool {
	return slices.ContainsFunc(p.ranges, func(r portRange) bool { return r.first <= port && port <= r.last })
}

// ports reads a list of ports.
func (v *Vars) ports(text string) (*ports, error) {
	entries, err := cutList(text)
	if err != nil {
		return nil, err
	}
	var in, out []portRange
	for _, e := range entries {
		except := strings.HasPrefix(e, "!")
		rs, err := v.portEntry(strings.TrimSpace(strings.TrimPrefix(e, "!")))
		switch {
		case err != nil:
			return nil, err
		case except:
			out = append(out, rs...)
		default:
			in = append(in, rs...)
		}
	}
	if in == nil {
		in = []portRange{{0, 65535}}
	}
	p := &ports{ranges: subtract(in, out)}
	if len(p.ranges) == 0 {
		return nil, fmt.Errorf("%q is no port", text)
	}
	return p, nil
}

// portEntry reads one entry of a list.
func (v *Vars) portEntry(e string) ([]portRange, error) {
	switch {
	case e == "any":
		return []portRange{{0, 65535}}, nil
	case strings.HasPrefix(e, "$"):
		p, err := expand(v, v.port, e[1:], v.ports)
		if err != nil {
			return nil, err
		}
		return p.ranges, nil
	case strings.HasPrefix(e, "["):
		p, err := v.ports(e)
		if err != nil {
			return nil, err
		}
		return p.ranges, nil
	}
	first, last, ranged := strings.Cut(e, ":")
	if !ranged {
		last = first
	}
	if ranged && first == "" {
		first = "0"
	}
	if ranged && last == "" {
		last = "65535"
	}
	a, err1 := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	b, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	if err1 != nil || err2 != nil || a > b {
		return nil, fmt.Errorf("%q is not a port", e)
	}
	return []portRange{{uint16(a), uint16(b)}}, nil
}

// subtract takes ranges out of others; what is left is in order.
func subtract(in, out []portRange) (left []portRange) {
	for _, o := range out {
		var next []portRange
		for _, r := range in {
			if o.last < r.first || r.last < o.first {
				next = append(next, r)
				continue
			}
			if r.first < o.first {
				next = append(next, portRange{r.first, o.first - 1})
			}
			if o.last < r.last {
				next = append(next, portRange{o.last + 1, r.last})
			}
		}
		in = next
	}
	slices.SortFunc(in, func(a, b portRange) int { return cmp.Compare(a.first, b.first) })
	return in
}

// actions are those that say that something is found.
var actions = []string{"alert", "drop", "reject", "rejectsrc", "rejectdst", "rejectboth"}

// head reads what stands before the brackets.
func (p *parser) head(text string) error {
	w, err := headWords(text)
	if err != nil {
		return err
	}
	if len(w) > 1 {
		p.r.Protocol = w[1]
	}
	if len(w) != 7 {
		return errors.New("not a rule: before the brackets stand action, protocol, addresses, ports, a direction, addresses, ports")
	}
	if !slices.Contains(actions, w[0]) {
		return fmt.Errorf("the action %s", w[0])
	}
	if w[4] != "->" && w[4] != "<>" {
		return fmt.Errorf("the direction %s", w[4])
	}
	if err := p.protocol(w[1]); err != nil {
		return err
	}
	return p.ends(strings.Join(w[2:], " "), w)
}

// ends reads both ends. Rules with the same ones share them.
func (p *parser) ends(text string, w []string) (err error) {
	h, ok := p.headers[text]
	if !ok {
		var errs [4]error
		h = &header{both: w[4] == "<>"}
		h.src, errs[0] = p.vars.addresses(w[2])
		h.srcPorts, errs[1] = p.vars.ports(w[3])
		h.dst, errs[2] = p.vars.addresses(w[5])
		h.dstPorts, errs[3] = p.vars.ports(w[6])
		if err = errors.Join(errs[:]...); err != nil {
			return err
		}
		p.headers[text] = h
	}
	p.r.header = h
	return nil
}

// protocol reads the header's protocol.
func (p *parser) protocol(name string) error {
	switch name {
	case "tcp", "tcp-pkt", "tcp-stream", "ip", "pkthdr":
		return nil
	case "http1":
		name = "http"
	case "ssl":
		name = "tls"
	}
	if !proto.Named(name) {
		return fmt.Errorf("protocol %s", name)
	}
	return p.require(name)
}

// require says which protocol has to be recognised.
func (p *parser) require(app string) error {
	if p.r.app != "" && p.r.app != app {
		return fmt.Errorf("it is about %s and about %s", p.r.app, app)
	}
	p.r.app = app
	return nil
}

// headWords splits at spaces that stand in no bracket, and takes the others out.
func headWords(text string) (words []string, err error) {
	depth := 0
	var word []byte
	for i := range len(text) {
		switch c := text[i]; {
		case c == ' ' || c == '\t':
			if depth == 0 && len(word) > 0 {
				words = append(words, string(word))
				word = word[:0]
			}
			continue
		case c == '[':
			depth++
		case c == ']':
			depth--
		}
		word = append(word, text[i])
	}
	if len(word) > 0 {
		words = append(words, string(word))
	}
	if depth != 0 {
		return words, errors.New("a bracket is not closed")
	}
	return words, nil
}
