package host

import (
	"os"
	"path/filepath"
	"strings"
)

// networkd looks for a systemd-networkd that removes other programs' rules.
func (e *examination) networkd() {
	const key = "ManageForeignRoutingPolicyRules"
	if _, err := os.Stat(filepath.Join(e.root, "run/systemd/netif/state")); err != nil {
		e.ok("systemd-networkd", "does not run")
		return
	}
	value := ""
	for _, f := range e.networkdFiles() {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.TrimSpace(k) == key {
				value = strings.ToLower(strings.TrimSpace(v))
			}
		}
	}
	if value == "no" || value == "false" || value == "0" || value == "off" {
		e.ok("systemd-networkd", "leaves other programs' policy rules alone")
		return
	}
	e.problem("systemd-networkd", `mkdir -p /etc/systemd/networkd.conf.d && printf '[Network]\nManageForeignRoutingPolicyRules=no\n' > /etc/systemd/networkd.conf.d/sleight.conf && systemctl restart systemd-networkd`,
		"removes policy rules that it did not make, each time that it configures a link: backends would no longer be contained")
}

// networkdFiles are the configuration files, the one that decides last.
func (e *examination) networkdFiles() []string {
	files := []string{filepath.Join(e.root, "usr/lib/systemd/networkd.conf"), filepath.Join(e.root, "etc/systemd/networkd.conf")}
	for _, dir := range []string{"usr/lib", "run", "etc"} {
		more, _ := filepath.Glob(filepath.Join(e.root, dir, "systemd/networkd.conf.d/*.conf"))
		files = append(files, more...)
	}
	return files
}
