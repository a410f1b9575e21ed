package servers

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sleight/e2e/bed"
)

// SSHD is an OpenSSH server that lets the test's own user in by a key.
type SSHD struct {
	*Server
	User string
	// Key is the private key's file; Known the known_hosts file with the server's host key.
	Key, Known string
}

const hostAlias = "real-host"

// Without PAM the login needs no files of the system but the user's entry.
const sshdConf = `Port %[2]d
ListenAddress 0.0.0.0
ListenAddress ::
HostKey %[1]s/host_key
PidFile none
AuthorizedKeysFile %[1]s/authorized_keys
AuthenticationMethods publickey
StrictModes no
PermitRootLogin yes
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 1000
LogLevel VERBOSE
Subsystem sftp internal-sftp
`

// StartSSHD starts sshd; port 0 is 22. Its Log is what it writes to standard error: the lines
// "Connection from ADDRESS port N on ADDRESS port N" and "Accepted publickey for USER from …".
func StartSSHD(t testing.TB, ns *bed.Namespace, port uint16) *SSHD {
	t.Helper()
	if port == 0 {
		port = 22
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &SSHD{Server: newServer(t, ns, "sshd"), User: me.Username}
	s.Key, s.Known = s.path("user_key"), s.path("known_hosts")
	s.makeKeys(t)
	if os.Getuid() == 0 {
		// sshd's unprivileged child is put there; Debian makes it when the service starts.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	conf := s.write(t, "sshd_config", fmt.Sprintf(sshdConf, s.Dir, port), 0o644)
	s.run(t, spec{
		port: port, stop: unix.SIGTERM,
		args: []string{"sshd", "-D", "-e", "-f", conf},
	})
	return s
}

func (s *SSHD) makeKeys(t testing.TB) {
	t.Helper()
	for _, name := range []string{"host_key", "user_key"} {
		out, err := exec.Command(program(t, "ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", s.path(name)).CombinedOutput()
		if err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
	}
	public := func(name string) string {
		b, err := os.ReadFile(s.path(name + ".pub"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	s.write(t, "authorized_keys", public("user_key"), 0o644)
	s.write(t, "known_hosts", hostAlias+" "+public("host_key"), 0o644)
}

// options are those of ssh and scp: the key, nothing of the machine's configuration, and a refusal
// of any host that is not this server.
func (s *SSHD) options() []string {
	return []string{
		"-F", "none", "-i", s.Key,
		"-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=yes", "-o", "HostKeyAlias=" + hostAlias,
		"-o", "UserKnownHostsFile=" + s.Known, "-o", "GlobalKnownHostsFile=/dev/null",
	}
}

// SSHArgs are ssh's arguments to run a command at an address that leads to this server.
func (s *SSHD) SSHArgs(at netip.AddrPort, command ...string) []string {
	args := append(s.options(), "-p", strconv.Itoa(int(at.Port())), s.User+"@"+at.Addr().String())
	return append(args, command...)
}

// SCPArgs are scp's arguments; from or to is remote if it starts with a colon (":/tmp/file").
func (s *SSHD) SCPArgs(at netip.AddrPort, from, to string) []string {
	host := at.Addr().String()
	if at.Addr().Is6() {
		host = "[" + host + "]"
	}
	remote := func(path string) string {
		if strings.HasPrefix(path, ":") {
			return s.User + "@" + host + path
		}
		return path
	}
	return append(s.options(), "-q", "-P", strconv.Itoa(int(at.Port())), remote(from), remote(to))
}
