package servers

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"sleight/e2e/bed"
)

// SMTPBanner is what the mail server says first.
const SMTPBanner = "220 mail.example.net ESMTP\r\n"

// Messages are accepted for anyone and stay in the spool. There is no TLS, no look-up of the
// client's name, and no limit on connections.
const eximConf = `exim_path = %[4]s
spool_directory = %[1]s/spool
log_file_path = %[1]s/spool/%%slog
pid_file_path = %[1]s/spool/exim.pid
primary_hostname = mail.example.net
smtp_banner = $primary_hostname ESMTP
daemon_smtp_ports = %[2]d
local_interfaces = <; 0.0.0.0 ; ::0
exim_user = %[3]s
exim_group = %[3]s
log_selector = +smtp_connection +incoming_port +incoming_interface +subject
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max = 0
smtp_connect_backlog = 1024
queue_only = true
keep_environment =
acl_smtp_rcpt = accept
acl_smtp_data = accept

begin acl

begin routers

begin transports

begin retry

begin rewrite

begin authenticators
`

const eximUser = "Debian-exim"

// StartSMTP starts Exim; port 0 is 25. Its Log has "SMTP connection from [ADDRESS]:PORT" and for each
// message a line with "<=", its sender and H=(NAME) [ADDRESS]:PORT.
func StartSMTP(t testing.TB, ns *bed.Namespace, port uint16) *Server {
	t.Helper()
	if port == 0 {
		port = 25
	}
	s := newServer(t, ns, "smtp")
	s.mkdir(t, "spool", credential(t, eximUser))
	exim := program(t, "exim4")
	conf := s.write(t, "exim.conf", fmt.Sprintf(eximConf, s.Dir, port, eximUser, exim), 0o644)
	s.run(t, spec{
		port: port, log: "spool/mainlog", stop: unix.SIGTERM,
		args: []string{exim, "-C", conf, "-bdf"},
	})
	return s
}
