package servers

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"sleight/e2e/bed"
)

const redisConf = `port %[2]d
bind 0.0.0.0 ::
protected-mode no
dir %[1]s
save ""
appendonly no
daemonize no
maxclients 4064
tcp-backlog 4096
loglevel verbose
`

// StartRedis starts redis-server; port 0 is 6379. Its Log has "Accepted ADDRESS:PORT" for each client.
func StartRedis(t testing.TB, ns *bed.Namespace, port uint16) *Server {
	t.Helper()
	if port == 0 {
		port = 6379
	}
	s := newServer(t, ns, "redis")
	conf := s.write(t, "redis.conf", fmt.Sprintf(redisConf, s.Dir, port), 0o644)
	s.run(t, spec{
		port: port, ready: "Ready to accept connections", stop: unix.SIGTERM,
		args: []string{"redis-server", conf},
	})
	return s
}
