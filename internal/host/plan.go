package host

import (
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// NameDoors gives every door its name: prefix0 faces the clients, prefix1 the
// backends, and each keep backend has one of its own from prefix2 on.
func (p *Plan) NameDoors(prefix string) {
	p.ClientDoor, p.BackendDoor = prefix+"0", prefix+"1"
	next := 2
	for i := range p.Backends {
		p.Backends[i].Door = p.BackendDoor
		if p.Backends[i].Mode == Keep {
			p.Backends[i].Door = prefix + strconv.Itoa(next)
			next++
		}
	}
}

// Doors are the names of all devices that the gateway must open.
func (p Plan) Doors() []string {
	names := []string{p.ClientDoor, p.BackendDoor}
	for _, b := range p.Backends {
		if b.Mode == Keep {
			names = append(names, b.Door)
		}
	}
	return names
}

// changes is everything that the plan wants, in the order in which it is safe to
// make it: first what contains, then the ways through the doors, forwarding
// last.
func (p Plan) changes(k *kernel) ([]change, error) {
	reached, err := p.resolve(k)
	if err != nil {
		return nil, err
	}
	var list []change
	for _, f := range k.families() {
		list = append(list, p.containment(f, reached)...)
	}
	for _, f := range k.families() {
		list = append(list, p.doors(f, reached)...)
	}
	switches, err := p.sysctls(k)
	return append(list, switches...), err
}

// containment leads the packets of the backends' devices away from the main
// table, whose default would let them out, and puts blackholes beneath
// everything that a door serves.
func (p Plan) containment(family int, reached []reach) []change {
	var list []change
	add := func(c change) { list = append(list, c) }
	if len(reached) > 0 {
		add(change{Contains: true, Route: &route{Table: p.Table, Prefix: anywhere(family)}})
	}
	for i, r := range reached {
		if r.Mode == Keep && r.addr(family).IsValid() {
			add(change{Contains: true, Route: &route{Table: p.fromTable(i), Prefix: anywhere(family)}})
			add(change{Route: &route{Table: p.toTable(i), Prefix: anywhere(family)}})
		}
	}
	for _, dev := range devices(reached) {
		add(change{Contains: true, Rule: &rule{Family: family, Priority: p.Priority, Iif: dev, Table: p.Table}})
	}
	for _, prefix := range of(family, p.Claimed, p.Pool) {
		add(change{Route: &route{Table: unix.RT_TABLE_MAIN, Prefix: prefix}})
	}
	return list
}

// doors leads packets to the doors, and from a keep backend's door to it.
func (p Plan) doors(family int, reached []reach) []change {
	var list []change
	add := func(c change) { list = append(list, c) }
	if len(reached) > 0 {
		add(change{Route: &route{Table: p.Table, Prefix: anywhere(family), Device: p.BackendDoor}})
	}
	for i, r := range reached {
		if r.Mode == Keep && r.addr(family).IsValid() {
			list = append(list, p.keep(family, i, r)...)
		}
	}
	// Only the machine itself talks to the pool, in ICMP errors about what was
	// sent from there. Nobody else may come in through a backends' door.
	for _, prefix := range of(family, p.Pool) {
		add(change{Rule: &rule{Family: family, Priority: p.Priority, Iif: "lo", To: prefix, Table: p.Table}})
	}
	for _, prefix := range of(family, p.Claimed) {
		add(change{Route: &route{Table: unix.RT_TABLE_MAIN, Prefix: prefix, Device: p.ClientDoor}})
	}
	return list
}

// keep is the way to and from a backend that owns the claimed addresses itself.
// Its answers come with a claimed source, and go to its own door: so a strict
// rp_filter finds each packet on the door where it expects it, and backends of
// other modes can share the device.
func (p Plan) keep(family, i int, r reach) []change {
	list := []change{{Route: &route{Table: p.fromTable(i), Prefix: anywhere(family), Device: r.Door}}}
	for _, prefix := range of(family, p.Claimed) {
		list = append(list,
			change{Route: &route{Table: p.toTable(i), Prefix: prefix, Device: r.Device, Via: r.addr(family)}},
			change{Rule: &rule{Family: family, Priority: p.Priority, Iif: r.Door, To: prefix, Table: p.toTable(i)}},
			change{Contains: true, Rule: &rule{Family: family, Priority: p.Priority - 1, Iif: r.Device, From: prefix, Table: p.fromTable(i)}},
		)
	}
	return list
}

// toTable has the way from the door of backend i to it, fromTable the way back.
func (p Plan) toTable(i int) int   { return p.Table + 1 + 2*i }
func (p Plan) fromTable(i int) int { return p.Table + 2 + 2*i }

// of collects the prefixes of one family.
func of(family int, lists ...[]netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, list := range lists {
		for _, p := range list {
			if familyOf(p.Addr()) == family {
				out = append(out, p.Masked())
			}
		}
	}
	return out
}
