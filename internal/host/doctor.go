package host

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Finding is one thing that doctor looked at.
type Finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	// Fix is the command that mends it, where there is one.
	Fix string `json:"fix,omitempty"`
}

// Doctor finds what on this machine would keep the plan from working. It changes
// nothing, and works beside a running gateway and without one.
func Doctor(p Plan) []Finding {
	ns, err := currentNamespace()
	if err != nil {
		return []Finding{{Name: "namespace", Detail: err.Error()}}
	}
	defer ns.close()
	e := &examination{plan: p, root: "/", node: "/dev/net/tun"}
	if err := ns.do(e.all); err != nil {
		e.problem("netlink", "", "%v", err)
	}
	return e.findings
}

// examination collects findings. The paths are fields for tests.
type examination struct {
	plan     Plan
	root     string // of the file system, for other programs' configuration
	node     string // of the TUN driver
	running  bool   // a gateway of this state directory runs
	findings []Finding
}

func (e *examination) ok(name, format string, args ...any) {
	e.findings = append(e.findings, Finding{Name: name, OK: true, Detail: fmt.Sprintf(format, args...)})
}

func (e *examination) problem(name, fix, format string, args ...any) {
	e.findings = append(e.findings, Finding{Name: name, Detail: fmt.Sprintf(format, args...), Fix: fix})
}

func (e *examination) all(k *kernel) error {
	e.running = locked(e.plan.StateDir)
	e.tun()
	e.capability()
	e.names(k)
	e.backends(k)
	e.sysctls(k)
	e.standing(k)
	e.claimed(k)
	e.reversePath(k)
	e.mtus(k)
	e.networkd()
	e.filters()
	return nil
}

// locked reports whether a gateway holds the state directory.
func locked(dir string) bool {
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	return errors.Is(unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

func (e *examination) tun() {
	fd, err := unix.Open(e.node, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		unix.Close(fd)
		e.ok("tun", "%s opens", e.node)
	case errors.Is(err, os.ErrPermission):
		e.problem("tun", "chmod 0666 "+e.node, "%s: %v", e.node, err)
	default:
		e.problem("tun", "modprobe tun", "%s: %v", e.node, err)
	}
}

// capability asks whether this process may make devices and routes.
func (e *examination) capability() {
	if hasNetAdmin() {
		e.ok("capability", "CAP_NET_ADMIN is held")
		return
	}
	if e.plan.Setup != Manage {
		e.ok("capability", "no CAP_NET_ADMIN; routing.setup is %s, and devices made by an administrator will do", e.plan.Setup)
		return
	}
	self, _ := os.Executable()
	e.problem("capability", "setcap cap_net_admin+ep "+self, "no CAP_NET_ADMIN: neither devices nor routes can be made")
}

func hasNetAdmin() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&hdr, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0
}

// names looks for devices that have a door's name.
func (e *examination) names(k *kernel) {
	for _, name := range e.plan.Doors() {
		l, err := k.LinkByName(name)
		tun, isTun := l.(*netlink.Tuntap)
		switch {
		case err != nil:
			e.ok("name "+name, "free")
		case e.running:
			e.ok("name "+name, "in use by the running gateway")
		case !isTun:
			e.problem("name "+name, "ip link del "+name, "taken by a device of kind %s; or choose another tun.name", l.Type())
		case tun.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 && tun.Attrs().RawFlags&unix.IFF_UP != 0:
			e.problem("name "+name, "", "in use by another program: stop it, or choose another tun.name")
		default:
			e.ok("name "+name, "a TUN that nobody uses: it will be taken")
		}
	}
}

// backends asks for the way to each backend, and who else is on it.
func (e *examination) backends(k *kernel) {
	reached, err := e.plan.resolve(k)
	if err == nil {
		for _, r := range reached {
			e.ok("backend "+r.Name, "reached through %s", r.Device)
		}
		return
	}
	for _, err := range flatten(err) {
		e.problem("backends", "", "%v", err)
	}
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var list []error
	for _, e := range joined.Unwrap() {
		list = append(list, flatten(e)...)
	}
	return list
}

func (e *examination) sysctls(k *kernel) {
	list, err := e.plan.sysctls(k)
	if err != nil {
		e.problem("sysctls", "", "%v", err)
		return
	}
	for _, c := range list {
		name := strings.ReplaceAll(c.Sysctl.Path, "/", ".")
		v, err := k.sysctl(c.Sysctl.Path)
		switch {
		case err != nil:
			e.problem(name, "", "%v", err)
		case v >= c.Sysctl.New:
			e.ok(name, "is %s", v)
		case e.plan.Setup == Manage:
			e.ok(name, "is %s; run raises it to %s", v, c.Sysctl.New)
		default:
			e.problem(name, c.String(), "is %s, and routing.setup is %s", v, e.plan.Setup)
		}
	}
}

// standing looks for the routes and rules, where they should be there by now:
// beside a running gateway, or where an administrator made them.
func (e *examination) standing(k *kernel) {
	if e.plan.Setup == Manage && !e.running {
		e.ok("routes and rules", "run makes them")
		return
	}
	wanted, err := e.plan.changes(k)
	if err != nil {
		return // told by backends
	}
	missing := 0
	for _, c := range wanted {
		if c.Sysctl != nil {
			continue
		}
		if ok, err := c.present(k, 0); err != nil || !ok {
			missing++
			e.problem("routes and rules", c.String(), "missing: %s", c)
		}
	}
	if missing == 0 {
		e.ok("routes and rules", "all %d are there", len(wanted))
	}
}

// reversePath tells of strict source checks, which our rules satisfy.
func (e *examination) reversePath(k *kernel) {
	all, err := k.sysctl("net/ipv4/conf/all/rp_filter")
	if err != nil {
		return
	}
	if e.plan.Setup == Off && all != "0" {
		e.problem("rp_filter", "sysctl -w net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.all.rp_filter is %s, and routing.setup is off: without the rules for the backends' devices the kernel drops what the gateway sends", all)
		return
	}
	e.ok("rp_filter", "net.ipv4.conf.all.rp_filter is %s; every value works with our policy rules", all)
}

// mtus compares the way to each backend with what clients were promised.
func (e *examination) mtus(k *kernel) {
	door := 1500
	if l, err := k.LinkByName(e.plan.ClientDoor); err == nil {
		door = l.Attrs().MTU
	}
	for _, b := range e.plan.Backends {
		for _, a := range b.Addrs {
			mtu, err := k.mtu(a)
			if err != nil {
				continue // told by backends
			}
			if mtu < door {
				e.problem("mtu "+b.Name, fmt.Sprintf("set tun.mtu to %d", mtu), "the way to %s carries packets of %d bytes, %s of %d: full segments that a client learned to send do not fit", a, mtu, e.plan.ClientDoor, door)
				continue
			}
			e.ok("mtu "+b.Name, "the way to %s carries %d bytes", a, mtu)
		}
	}
}
