package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	v4Forwarding = "net/ipv4/ip_forward"
	v6Forwarding = "net/ipv6/conf/all/forwarding"
)

// sysctl raises the value at Path, under /proc/sys.
type sysctl struct {
	Path string `json:"path"`
	Old  string `json:"old"`
	New  string `json:"new"`
	// Up are the devices' own forwarding switches that were on already: the
	// kernel writes the global switch through to every device, also downward.
	Up []string `json:"up,omitempty"`
}

// undo lowers the value again, unless somebody changed it since.
func (s *sysctl) undo(k *kernel) error {
	now, err := k.sysctl(s.Path)
	if err != nil || now != s.New {
		return err
	}
	if err := k.setSysctl(s.Path, s.Old); err != nil {
		return err
	}
	var errs []error
	for _, path := range s.Up {
		if err := k.setSysctl(path, "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// prepare notes what undo needs to know. It reports whether there is anything to
// do: values are raised, never lowered.
func (s *sysctl) prepare(k *kernel) (bool, error) {
	old, err := k.sysctl(s.Path)
	if err != nil {
		return false, err
	}
	s.Old = old
	if old >= s.New { // one digit each
		return false, nil
	}
	if filepath.Base(s.Path) != "ip_forward" && s.Path != v6Forwarding {
		return true, nil
	}
	family := "ipv4"
	if s.Path == v6Forwarding {
		family = "ipv6"
	}
	s.Up, err = k.forwardingDevices(family)
	return true, err
}

// forwardingDevices are the devices' switches that are on, without the two that
// follow the global one.
func (k *kernel) forwardingDevices(family string) ([]string, error) {
	dir := filepath.Join("net", family, "conf")
	devs, err := os.ReadDir(filepath.Join(k.proc, dir))
	if err != nil {
		return nil, err
	}
	var up []string
	for _, d := range devs {
		path := filepath.Join(dir, d.Name(), "forwarding")
		if d.Name() == "all" {
			continue
		}
		if v, err := k.sysctl(path); err == nil && v == "1" {
			up = append(up, path)
		}
	}
	return up, nil
}

// sysctls are the values to raise.
func (p Plan) sysctls(k *kernel) ([]change, error) {
	list := []change{{Sysctl: &sysctl{Path: v4Forwarding, New: "1"}}}
	if len(k.families()) == 1 {
		return list, nil
	}
	devs, err := k.advertised()
	if err != nil {
		return nil, err
	}
	for _, dev := range devs {
		// With forwarding on, 1 means: ignore router advertisements. The default
		// route would expire.
		path := fmt.Sprintf("net/ipv6/conf/%s/accept_ra", dev)
		list = append(list, change{Sysctl: &sysctl{Path: path, New: "2"}})
	}
	return append(list, change{Sysctl: &sysctl{Path: v6Forwarding, New: "1"}}), nil
}

// advertised are the devices whose IPv6 default route came by a router
// advertisement.
func (k *kernel) advertised() ([]string, error) {
	routes, err := k.routes(unix.AF_INET6, unix.RT_TABLE_MAIN)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var devs []string
	for _, r := range routes {
		if r.Protocol != unix.RTPROT_RA || prefixOf(r.Dst, unix.AF_INET6).Bits() != 0 {
			continue
		}
		l, err := k.LinkByIndex(r.LinkIndex)
		if err != nil {
			return nil, err
		}
		devs = append(devs, l.Attrs().Name)
	}
	return devs, nil
}
