package lab

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"sleight/e2e/bed"
	"sleight/internal/evidence"
)

const (
	decoyServer = "nginx/1.22.1"
	exploit     = "() { :; }; /usr/bin/id"
	web         = "203.0.113.7:80"
	closedPort  = "203.0.113.7:8081"

	dialTimeout = 10 * time.Second
	scanTimeout = 2 * time.Second
	talkTimeout = 2 * time.Minute
	progress    = 5_000_000 // bytes between two updates
)

// talk is one connection by S.
type talk struct {
	conn  net.Conn
	in    *bufio.Reader
	local netip.AddrPort // S's own socket
}

// answer is what came back; body is the caller's to read.
type answer struct {
	*http.Response
	delay time.Duration // request sent to first byte
}

func dial(ctx context.Context, ns *bed.Namespace, addr string) (*talk, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := ns.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(talkTimeout))
	return &talk{c, bufio.NewReaderSize(c, 1<<16), netip.MustParseAddrPort(c.LocalAddr().String())}, nil
}

func (t *talk) get(path, agent string) (*answer, error) {
	sent := time.Now()
	if _, err := fmt.Fprintf(t.conn, "GET %s HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: %s\r\n\r\n", path, agent); err != nil {
		return nil, err
	}
	if _, err := t.in.Peek(1); err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	delay := time.Since(sent)
	res, err := http.ReadResponse(t.in, &http.Request{Method: http.MethodGet})
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	return &answer{res, delay}, nil
}

// ask is get for a short page: it returns who answered, and the page.
func (t *talk) ask(path, agent string) (server, page string, delay time.Duration, err error) {
	a, err := t.get(path, agent)
	if err != nil {
		return "", "", 0, err
	}
	b, err := io.ReadAll(a.Body)
	return a.Header.Get("Server"), strings.TrimSpace(string(b)), a.delay, err
}

// close ends the connection as a client does, and reads the server's end.
func (t *talk) close() {
	if c, ok := t.conn.(*net.TCPConn); ok {
		_ = c.CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, t.in)
	}
	_ = t.conn.Close()
}

// tell asks and prints the exchange; it is an error if another server answers.
func (l *lab) tell(t *talk, path, agent, want string) (time.Duration, error) {
	server, page, delay, err := t.ask(path, agent)
	if err != nil {
		return 0, err
	}
	l.say("   S -> GET %-10s %-30s <- %-12s %q", path, agent, server, page)
	if server != want {
		return 0, fmt.Errorf("GET %s: %q answered, want %q", path, server, want)
	}
	return delay, nil
}

func (l *lab) converse(ctx context.Context) error {
	// Packets that a sender on two CPUs sends overtake each other; a capture that is
	// to prove that nothing did must not show that. The download has other bounds.
	restore, err := bed.OneCPU(l.gateway.cmd.Process.Pid)
	if err != nil {
		return err
	}
	if err = l.scan(ctx); err == nil {
		err = l.keepAlive(ctx)
	}
	if err = errors.Join(err, restore()); err != nil {
		return err
	}
	if err := l.download(ctx); err != nil {
		return err
	}
	return l.gateway.wait(ctx, "switch", l.allSwitched)
}

func (l *lab) allSwitched(*evidence.Event) bool {
	return len(l.gateway.events.All("switch")) >= len(l.switched)
}

// scan is the first conversation: it never leaves the decoy.
func (l *lab) scan(ctx context.Context) error {
	l.say("\n1. A scan and a harmless request: the decoy's alone")
	short, cancel := context.WithTimeout(ctx, scanTimeout)
	defer cancel()
	t, err := dial(short, l.bed.Attacker, closedPort)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		l.say("   S -> connect %s: refused, as a closed port is", closedPort)
	case isTimeout(err):
		l.say("   S -> connect %s: no answer, as of a port behind a filter", closedPort)
	case err != nil:
		return err
	default:
		l.say("   S -> connect %s: open, and closed again", closedPort)
		l.stayed = append(l.stayed, t)
		t.close()
	}
	if t, err = dial(ctx, l.bed.Attacker, web); err != nil {
		return err
	}
	defer t.close()
	l.stayed = append(l.stayed, t)
	_, err = l.tell(t, "/", "harmless", decoyServer)
	return err
}

// isTimeout is true of a connection that nobody has answered.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// keepAlive is the second: the same connection has two servers.
func (l *lab) keepAlive(ctx context.Context) error {
	l.say("\n2. One connection, two servers: the second request is an exploit")
	t, err := l.dialSwitched(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	if _, err := l.tell(t, "/", "Mozilla/5.0", decoyServer); err != nil {
		return err
	}
	l.delay, err = l.tell(t, "/cgi-bin/id", exploit, "real-host")
	return err
}

// download is the third: bulk through a spliced connection.
func (l *lab) download(ctx context.Context) error {
	l.say("\n3. %d MB through a connection that has changed hands", bulkSize/1_000_000)
	t, err := l.dialSwitched(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	if _, err := l.tell(t, "/", "Mozilla/5.0", decoyServer); err != nil {
		return err
	}
	if _, err := l.tell(t, "/cgi-bin/id", exploit, "real-host"); err != nil {
		return err
	}
	a, err := t.get("/download", "Mozilla/5.0")
	if err != nil {
		return err
	}
	return l.receive(a.Body)
}

// receive hashes the download and shows how far it is.
func (l *lab) receive(body io.Reader) error {
	h, start, total := sha256.New(), time.Now(), int64(0)
	for {
		n, err := io.CopyN(h, body, progress)
		total += n
		if n == 0 && errors.Is(err, io.EOF) {
			break
		}
		fmt.Fprintf(l.Out, "\r   S <- %5.1f MB of %d MB, %5.1f MB/s", float64(total)/1e6, bulkSize/1_000_000,
			float64(total)/1e6/time.Since(start).Seconds())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("download: %w after %d bytes", err, total)
		}
	}
	l.say("")
	l.hash = fmt.Sprintf("%x", h.Sum(nil))
	return nil
}

func (l *lab) dialSwitched(ctx context.Context) (*talk, error) {
	t, err := dial(ctx, l.bed.Attacker, web)
	if err == nil {
		l.switched = append(l.switched, t)
		l.say("   S %s -> %s", t.local, web)
	}
	return t, err
}
