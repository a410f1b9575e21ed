package subject

import (
	"fmt"
	"os"

	"sleight/e2e/bed"
)

// haproxy is the proxy that others use: two connections for one, copied by a process,
// or by the kernel for it.
func haproxy(name, what, option string) Subject {
	return Subject{
		Name: name, What: what, Needs: "haproxy", Package: "haproxy",
		host: bed.Gateway4, begin: func(r *Running) error { return r.beginHAProxy(option) },
	}
}

const haproxyConfiguration = `global
	maxconn 1000
defaults
	mode tcp
	%s
	timeout connect 5s
	timeout client 1m
	timeout server 1m
listen bench
	bind %s
	server real %s:%d
`

func (r *Running) beginHAProxy(option string) error {
	server, _ := bed.BackendAddrs(0)
	text := fmt.Sprintf(haproxyConfiguration, option, r.To(Port), server, Port)
	if err := os.WriteFile(r.file("haproxy.cfg"), []byte(text), 0o600); err != nil {
		return err
	}
	_, err := r.run("haproxy", "-db", "-f", r.file("haproxy.cfg"))
	return err
}
