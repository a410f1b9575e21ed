package servers

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"sleight/e2e/bed"
)

// NginxOptions: the zero value is a server on port 80 with the default pages.
type NginxOptions struct {
	Port uint16 // 0: 80
	// Pages are more files, by path without the first slash.
	Pages map[string]string
	// Big is the size in bytes of /big.bin; 0: there is none.
	Big int64
}

// Nginx serves / and /cgi-bin/status, /big.bin if asked for, and stores what is PUT below /upload/.
type Nginx struct {
	*Server
	// BigSHA256 is of /big.bin, in hexadecimal.
	BigSHA256 string
	// Uploads is the folder with what was PUT.
	Uploads string
}

// The default pages.
const (
	NginxIndex  = "<html><body><h1>the real host</h1></body></html>\n"
	NginxStatus = "uid=33(www-data) gid=33(www-data) groups=33(www-data) on the real host\n"
)

// One process serves all: the master process would only add a user to change to. The access log
// starts with the client's address.
const nginxConf = `daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr notice;
worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
	log_format bed '$remote_addr:$remote_port -> $server_addr:$server_port "$request" $status $body_bytes_sent c=$connection r=$connection_requests "$http_user_agent"';
	access_log %[1]s/access.log bed;
	default_type application/octet-stream;
	types { text/html html; text/plain txt status; }
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	client_max_body_size 0;
	keepalive_requests 100000;
	sendfile on;
	server {
		listen 0.0.0.0:%[2]d backlog=4096;
		listen [::]:%[2]d ipv6only=on backlog=4096;
		root %[1]s/root;
		location = /cgi-bin/status { default_type text/plain; }
		location /upload/ { root %[1]s; dav_methods PUT; create_full_put_path on; }
	}
}
`

// StartNginx starts nginx. Its Log is the access log.
func StartNginx(t testing.TB, ns *bed.Namespace, o NginxOptions) *Nginx {
	t.Helper()
	if o.Port == 0 {
		o.Port = 80
	}
	n := &Nginx{Server: newServer(t, ns, "nginx")}
	root := n.mkdir(t, "root", nil)
	n.Uploads = n.mkdir(t, "upload", nil)
	pages := map[string]string{"index.html": NginxIndex, "cgi-bin/status": NginxStatus}
	for name, content := range o.Pages {
		pages[name] = content
	}
	for name, content := range pages {
		writePage(t, filepath.Join(root, name), content)
	}
	if o.Big > 0 {
		n.BigSHA256 = WriteRandom(t, filepath.Join(root, "big.bin"), o.Big, 1)
	}
	conf := n.write(t, "nginx.conf", fmt.Sprintf(nginxConf, n.Dir, o.Port), 0o644)
	n.run(t, spec{
		port: o.Port, log: "access.log", stop: unix.SIGTERM,
		args: []string{"nginx", "-p", n.Dir, "-e", "stderr", "-c", conf},
	})
	return n
}

func writePage(t testing.TB, file, content string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte(content), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// WriteRandom writes a file of random bytes that depend on the seed only, and returns its SHA-256 in
// hexadecimal.
func WriteRandom(t testing.TB, file string, size int64, seed byte) string {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	src := rand.NewChaCha8([32]byte{seed})
	if _, err := io.CopyN(io.MultiWriter(f, sum), src, size); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// SHA256 is a file's SHA-256 in hexadecimal.
func SHA256(t testing.TB, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
