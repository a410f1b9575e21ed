package subject

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"

	"sleight/e2e/bed"
	"sleight/internal/host"
	"sleight/tun"
)

// pass is the least that a program behind TUN devices can do: it writes every packet as
// it was read. What it costs is the price of the devices.
func pass() Subject {
	return Subject{
		Name: "tun", What: "a program that passes packets between two TUN devices as they are, offload on",
		host: claimed(), begin: beginPass,
	}
}

func beginPass(r *Running) error {
	if err := r.Bed.OwnClaimed(0); err != nil {
		return err
	}
	_, err := r.run(r.env.Self, "pass", r.file("state"))
	return err
}

// Pass is the program. It runs until it is killed.
func Pass(ctx context.Context, state string) error {
	server, _ := bed.BackendAddrs(0)
	p := host.Plan{
		Claimed: []netip.Prefix{bed.Claimed4}, Table: 5391, Priority: 5390, StateDir: state, Setup: host.Manage,
		Backends: []host.Backend{{Name: "real", Mode: host.Keep, Addrs: []netip.Addr{server}}},
	}
	p.NameDoors("pass")
	doors := map[string]*tun.Door{}
	for _, name := range p.Doors() {
		d, err := tun.Open(tun.Config{Name: name, Offload: true})
		if err != nil {
			return err
		}
		doors[name] = d
	}
	machine, err := host.Setup(p)
	if err != nil {
		return err
	}
	a, b := doors[p.ClientDoor], doors[p.Backends[0].Door]
	errs := make(chan error, 1)
	var wg sync.WaitGroup
	for q := range a.Queues() {
		wg.Add(2)
		go carry(&wg, a, b, q, errs)
		go carry(&wg, b, a, q, errs)
	}
	select {
	case err = <-errs:
	case <-ctx.Done():
	}
	a.Close()
	b.Close()
	wg.Wait()
	_, cerr := machine.Close()
	return errors.Join(err, cerr)
}

// carry writes to one door what comes from a queue of the other.
func carry(wg *sync.WaitGroup, from, to *tun.Door, q int, errs chan<- error) {
	defer wg.Done()
	b := make([]byte, tun.MaxPacket)
	for {
		n, err := from.Read(q, b)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				select {
				case errs <- err:
				default:
				}
			}
			return
		}
		// A full queue loses the packet, as any router's does.
		_, _ = to.Write(q, b[:n])
	}
}
