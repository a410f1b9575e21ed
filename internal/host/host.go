// Package host makes the machine send the right packets through the doors, and
// takes that back: routes, policy rules and sysctls (netlink and /proc/sys; no
// program is executed). It also finds what on this machine would keep the
// gateway from working.
//
// What stands while a gateway runs:
//
//	claimed prefix ─► clients' door          main table, a blackhole beneath
//	from a backend's device ─► backends' door  TABLE, a blackhole beneath
//	from a keep backend's door to a claimed prefix ─► that backend
//	from its device with a claimed source ─► its door
//	from this machine to the pool ─► backends' door; from elsewhere: blackhole
//
// Each change is written to a journal in the state directory before it is made,
// so that the next start, or Down, can take back what a killed gateway left. A
// device vanishes with its process, and its routes with it: the blackholes
// beneath, and the rules that lead a backend's packets to them, stay.
//
// Everything happens in the network namespace of the thread that called Setup.
package host

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Protocol is the routing protocol number of our routes and rules, by which
// leftovers are known as ours (`ip route show table all proto 191`).
const Protocol = 191

// Mode is how a backend is reached.
type Mode string

// The ways to reach a backend.
const (
	Keep   Mode = "keep"
	Client Mode = "client"
	NAT    Mode = "nat"
)

// Policy says what to do about routing.
type Policy string

// The policies of `routing.setup`.
const (
	Manage Policy = "manage" // set up and take back
	Check  Policy = "check"  // verify, change nothing
	Off    Policy = "off"    // nothing at all
)

// Backend is a real host.
type Backend struct {
	Name  string
	Addrs []netip.Addr // at most one of each family
	Mode  Mode
	// Device is where it is reached; "" is what the kernel's route says.
	Device string
	// Door is the device of the gateway that it talks through: in keep mode one
	// of its own, else the same as Plan.BackendDoor or "".
	Door string
}

// Plan is what the machine should do while the gateway runs: plain values from
// the configuration.
type Plan struct {
	ClientDoor  string // sleight0
	BackendDoor string // sleight1
	Claimed     []netip.Prefix
	Pool        []netip.Prefix
	Backends    []Backend
	// Table is the routing table of the backends' packets. A keep backend takes
	// two more each, from Table+1 on.
	Table int
	// Priority of our policy rules; those for a keep backend's own door have the
	// one before it.
	Priority int
	StateDir string
	Setup    Policy
	Kernel   bool // carries plain flows, if it can: not a change of the machine
}

// Host is a machine that was set up. Close takes it back.
type Host struct {
	ns      *namespace
	journal *journal
	notes   []string
	wanted  []change // by the plan that it was set up for
}

// Setup does what the plan says; the doors must be open. It reports all mistakes
// at once, and on failure leaves the machine as it was. What a killed gateway
// left is taken back first, but for what keeps backends contained and is wanted
// again.
func Setup(p Plan) (*Host, error) {
	ns, err := currentNamespace()
	if err != nil {
		return nil, err
	}
	h := &Host{ns: ns}
	switch p.Setup {
	case Off:
		return h, nil
	case Check:
		err = ns.do(func(k *kernel) error { return h.check(k, p) })
	default:
		err = h.manage(p)
	}
	if err != nil {
		return nil, errors.Join(err, h.release())
	}
	return h, nil
}

func (h *Host) manage(p Plan) error {
	j, err := openJournal(p.StateDir, h.ns.id())
	if err != nil {
		return err
	}
	h.journal = j
	if j.foreign {
		// A container that came back with the same state directory: what the
		// journal tells of vanished with the old namespace.
		j.Changes = nil
	}
	return h.ns.do(func(k *kernel) error {
		wanted, err := p.changes(k)
		if err != nil {
			return err
		}
		h.wanted = wanted
		if err := j.takeBack(k, func(c change) bool { return !c.Contains || !contains(wanted, c) }); err != nil {
			return fmt.Errorf("take back what the last run left: %w", err)
		}
		kept := len(j.Changes)
		for _, c := range wanted {
			made, err := j.make(k, c)
			if err != nil {
				return errors.Join(err, j.takeBackFrom(k, kept))
			}
			if made {
				h.notes = append(h.notes, c.String())
			}
		}
		return nil
	})
}

// check verifies that everything that the plan wants is there.
func (h *Host) check(k *kernel, p Plan) error {
	wanted, err := p.changes(k)
	if err != nil {
		return err
	}
	h.wanted = wanted
	var errs []error
	for _, c := range wanted {
		ok, err := c.present(k, 0)
		if err != nil {
			errs = append(errs, err)
		} else if !ok {
			errs = append(errs, fmt.Errorf("missing, and routing.setup is check: %s", c))
		}
	}
	return errors.Join(errs...)
}

// Holds reports what another plan needs of the machine that is not set up for this
// one: a reload may only bring what the routes and rules that stand serve, and
// contain. It changes nothing.
func (h *Host) Holds(p Plan) error {
	if p.Setup == Off {
		return nil
	}
	return h.ns.do(func(k *kernel) error {
		wanted, err := p.changes(k)
		if err != nil {
			return err
		}
		// Switches are raised and never lowered: what was wanted stands.
		missing := slices.DeleteFunc(wanted, func(c change) bool { return c.Sysctl != nil || contains(h.wanted, c) })
		if len(missing) > 0 {
			return fmt.Errorf("this machine is set up for the backends as they are; a change of where one is or how it is reached needs a restart (first missing of %d: %s)", len(missing), missing[0])
		}
		return nil
	})
}

// Notes says what Setup changed, a line each, as the commands that do the same.
func (h *Host) Notes() []string { return h.notes }

// Close takes back everything but what keeps backends contained, and says what
// remains. Down takes that too.
func (h *Host) Close() (remains []string, err error) {
	if h.journal != nil {
		err = h.ns.do(func(k *kernel) error {
			return h.journal.takeBack(k, func(c change) bool { return !c.Contains })
		})
		for _, c := range h.journal.Changes {
			remains = append(remains, c.String())
		}
	}
	return remains, errors.Join(err, h.release())
}

func (h *Host) release() error {
	err := h.ns.close()
	if h.journal != nil {
		err = errors.Join(err, h.journal.close())
	}
	h.journal = nil
	return err
}

// Down takes back all that a stopped or killed gateway left, in the namespace of
// the calling thread, and says what that was. It refuses while a gateway runs.
func Down(stateDir string) (done []string, err error) {
	ns, err := currentNamespace()
	if err != nil {
		return nil, err
	}
	defer ns.close()
	if !hasJournal(stateDir) {
		return nil, nil
	}
	j, err := openJournal(stateDir, ns.id())
	if err != nil {
		return nil, err
	}
	defer j.close()
	if j.foreign {
		return nil, fmt.Errorf("%s was written in another network namespace: run this there, or delete the file if that namespace is gone", j.path())
	}
	were := j.Changes
	err = ns.do(func(k *kernel) error { return j.takeBackFrom(k, 0) })
	for _, c := range were {
		if !contains(j.Changes, c) {
			done = append(done, c.String())
		}
	}
	return done, err
}

// BackendMTU returns the MTU in bytes of the way to a backend: the route's where
// it has one (a learned path MTU included), else the device's.
func (h *Host) BackendMTU(addr netip.Addr) (mtu int, err error) {
	err = h.ns.do(func(k *kernel) error {
		mtu, err = k.mtu(addr)
		return err
	})
	return mtu, err
}
