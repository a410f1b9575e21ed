package servers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sleight/e2e/bed"
)

// PostgresUser is the superuser of the database, and where the test runs as root the system's user
// that the server runs as: PostgreSQL refuses uid 0.
const PostgresUser = "postgres"

const postgresConf = `
listen_addresses = '*'
port = %d
unix_socket_directories = ''
max_connections = 600
shared_buffers = '16MB'
fsync = off
log_connections = on
log_disconnections = on
log_statement = all
log_line_prefix = '%%m [%%p] %%r '
`

// Anyone may come in as anyone: the test is about who answers.
const postgresHBA = `host all all 0.0.0.0/0 trust
host all all ::/0 trust
`

// template is a database cluster that is made once for each test binary and copied for each server.
var template struct {
	sync.Once
	dir string
	err error
}

// StartPostgres starts PostgreSQL; port 0 is 5432. Its Log has "connection received: host=ADDRESS
// port=N" and each statement with ADDRESS(PORT) before it. TestMain should call RemoveTemplates.
func StartPostgres(t testing.TB, ns *bed.Namespace, port uint16) *Server {
	t.Helper()
	if port == 0 {
		port = 5432
	}
	bin := postgresBin(t)
	owner := credential(t, PostgresUser)
	template.Do(func() { template.dir, template.err = makeTemplate(bin, owner) })
	if template.err != nil {
		t.Fatal(template.err)
	}
	s := newServer(t, ns, "postgres")
	data := s.path("data")
	if out, err := exec.Command("cp", "-a", template.dir, data).CombinedOutput(); err != nil {
		t.Fatalf("copy the cluster: %v: %s", err, out)
	}
	for name, content := range map[string]string{"postgresql.conf": fmt.Sprintf(postgresConf, port), "pg_hba.conf": postgresHBA} {
		s.write(t, filepath.Join("data", name), content, 0o644)
	}
	s.run(t, spec{
		port: port, user: owner, ready: "ready to accept connections", stop: unix.SIGINT,
		args: []string{filepath.Join(bin, "postgres"), "-D", data},
	})
	return s
}

// postgresBin finds the newest installed version's programs.
func postgresBin(t testing.TB) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		t.Fatal("PostgreSQL is not installed; e2e/packages.sh installs it")
	}
	sort.Strings(found)
	return filepath.Dir(found[len(found)-1])
}

func makeTemplate(bin string, owner *syscall.Credential) (string, error) {
	dir, err := os.MkdirTemp("", "sleight-initdb-")
	if err != nil {
		return "", err
	}
	if owner != nil {
		if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
			return dir, err
		}
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", dir, "-U", PostgresUser, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
	initdb.Dir = dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("initdb: %w: %s", err, out)
	}
	return dir, nil
}

// RemoveTemplates removes what was made once for the test binary. Call it at the end of TestMain.
func RemoveTemplates() error {
	if template.dir == "" {
		return nil
	}
	return os.RemoveAll(template.dir)
}
