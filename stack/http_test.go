package stack

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	nginx  = "nginx/1.22.1"
	apache = "Apache/2.4.57 (Debian)"
)

func site(server string) Service {
	return Service{Kind: HTTP, Server: server, Pages: []Page{
		{Path: "/", Body: []byte("<p>hi</p>")},
		{Path: "/a b", Headers: [][2]string{{"Content-Type", "text/plain"}, {"X-Powered-By", "PHP/8.2"}}, Body: []byte("spaced")},
		{Path: "/moved", Status: 302, Headers: [][2]string{{"Location", "/"}}},
		{Path: "/none", Status: 204},
	}}
}

var dates = regexp.MustCompile(`Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT`)

func nginxPage(title string) string {
	return "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title +
		"</h1></center>\r\n<hr><center>" + nginx + "</center>\r\n</body>\r\n</html>\r\n"
}

func apachePage(title, words string) string {
	_, reason, _ := strings.Cut(title, " ")
	return "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><head>\n<title>" + title +
		"</title>\n</head><body>\n<h1>" + reason + "</h1>\n<p>" + words + "</p>\n<hr>\n<address>" + apache +
		" Server at example.org Port 8080</address>\n</body></html>\n"
}

func nginxAnswer(status, connection, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nServer: %s\r\nDate: D\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s",
		status, nginx, len(body), connection, body)
}

// The answer to the last byte, as the servers themselves give it.
func TestHTTPAnswersByteForByte(t *testing.T) {
	long := strings.Repeat("a", 9000)
	tests := []struct {
		name, server, in, want string
		stays                  bool // the connection lives on
	}{
		{"nginx page", nginx, "GET /?q=1 HTTP/1.1\r\nHost: example.org\r\n\r\n",
			nginxAnswer("200 OK", "keep-alive", "<p>hi</p>"), true},
		{"nginx 404", nginx, "GET /x HTTP/1.1\r\nHost: example.org\r\n\r\n",
			nginxAnswer("404 Not Found", "keep-alive", nginxPage("404 Not Found")), true},
		{"nginx HEAD", nginx, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
			"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: D\r\nContent-Type: text/html\r\nContent-Length: 9\r\nConnection: keep-alive\r\n\r\n", true},
		{"nginx own headers", nginx, "GET /a%20b HTTP/1.1\r\nHost: h\r\n\r\n",
			"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: D\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nConnection: keep-alive\r\nX-Powered-By: PHP/8.2\r\n\r\nspaced", true},
		{"nginx 204 has no body", nginx, "GET /none HTTP/1.1\r\nHost: h\r\n\r\n",
			"HTTP/1.1 204 No Content\r\nServer: nginx/1.22.1\r\nDate: D\r\nConnection: keep-alive\r\n\r\n", true},
		{"nginx 1.0 closes", nginx, "GET / HTTP/1.0\r\n\r\n", nginxAnswer("200 OK", "close", "<p>hi</p>"), false},
		{"nginx 1.0 keep-alive", nginx, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
			nginxAnswer("200 OK", "keep-alive", "<p>hi</p>"), true},
		{"nginx Connection: close", nginx, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
			nginxAnswer("200 OK", "close", "<p>hi</p>"), false},
		{"nginx 0.9", nginx, "GET /\r\n", "<p>hi</p>", false},
		{"nginx 405", nginx, "DELETE / HTTP/1.1\r\nHost: h\r\n\r\n",
			nginxAnswer("405 Not Allowed", "keep-alive", nginxPage("405 Not Allowed")), true},
		{"nginx POST to a page", nginx, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
			nginxAnswer("405 Not Allowed", "keep-alive", nginxPage("405 Not Allowed")), true},
		{"nginx no Host", nginx, "GET / HTTP/1.1\r\n\r\n",
			nginxAnswer("400 Bad Request", "close", nginxPage("400 Bad Request")), false},
		{"nginx TLS hello, at once", nginx, "\x16\x03\x01\x02\x00",
			nginxAnswer("400 Bad Request", "close", nginxPage("400 Bad Request")), false},
		{"nginx two lengths", nginx, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
			nginxAnswer("400 Bad Request", "close", nginxPage("400 Bad Request")), false},
		{"nginx 414", nginx, "GET /" + long, nginxAnswer("414 Request-URI Too Large", "close", nginxPage("414 Request-URI Too Large")), false},
		{"nginx header too long", nginx, "GET / HTTP/1.1\r\nX: " + long, nginxAnswer("400 Bad Request", "close", nginxPage("400 Bad Request")), false},
		{"nginx 413", nginx, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n",
			nginxAnswer("413 Request Entity Too Large", "close", nginxPage("413 Request Entity Too Large")), false},
		{"nginx 505", nginx, "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
			nginxAnswer("505 HTTP Version Not Supported", "close", nginxPage("505 HTTP Version Not Supported")), false},
		{"nginx pipelined", nginx, "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\nPOST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: t\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
			nginxAnswer("200 OK", "keep-alive", "<p>hi</p>") + nginxAnswer("404 Not Found", "keep-alive", nginxPage("404 Not Found")) +
				nginxAnswer("200 OK", "keep-alive", "<p>hi</p>"), true},
		{"apache page", apache, "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
			"HTTP/1.1 200 OK\r\nDate: D\r\nServer: Apache/2.4.57 (Debian)\r\nContent-Length: 9\r\nContent-Type: text/html\r\n\r\n<p>hi</p>", true},
		{"apache 404, asked to keep alive", apache, "GET /<x> HTTP/1.1\r\nHost: Example.org:8080\r\nConnection: keep-alive\r\n\r\n",
			"HTTP/1.1 404 Not Found\r\nDate: D\r\nServer: Apache/2.4.57 (Debian)\r\nContent-Length: 275\r\nKeep-Alive: timeout=5, max=100\r\nConnection: Keep-Alive\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n" +
				apachePage("404 Not Found", "The requested URL was not found on this server."), true},
		{"apache 405", apache, "PUT / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 405 Method Not Allowed\r\nDate: D\r\nServer: Apache/2.4.57 (Debian)\r\nAllow: GET,POST,OPTIONS,HEAD\r\nContent-Length: 299\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n" +
				apachePage("405 Method Not Allowed", "The requested method PUT is not allowed for this URL."), true},
		{"apache 400", apache, "GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
			strings.ReplaceAll("HTTP/1.1 400 Bad Request\r\nDate: D\r\nServer: Apache/2.4.57 (Debian)\r\nContent-Length: 303\r\nConnection: close\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n"+
				apachePage("400 Bad Request", "Your browser sent a request that this server could not understand.<br />\n"), "at example.org", "at localhost"), false},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			g, c := b.dial(site(tt.server), uint16(7000+i))
			say(t, c, tt.in)
			if tt.stays {
				c.CloseWrite()
			}
			got, err := io.ReadAll(c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, dates.ReplaceAllString(string(got), "Date: D")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			g.Forget()
			b.wantBase()
		})
	}
}

func TestHTTPKeepsTheConnectionOpen(t *testing.T) {
	b := newBench(t)
	g, c := b.dial(site(nginx), 7100)
	r := bufio.NewReader(c)
	for range 3 {
		say(t, c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		want(t, resp.Body, "<p>hi</p>")
	}
	g.Forget()
	b.wantBase()
}

func TestHTTPSatisfiesTheStandardClient(t *testing.T) {
	b := newBench(t)
	big := bytes.Repeat([]byte("0123456789abcdef"), 8<<16) // 8 MiB
	for i, server := range []string{nginx, apache, "lighttpd/1.4"} {
		s := site(server)
		s.Pages = append(s.Pages, Page{Path: "/big", Body: big})
		g, conn := b.dial(s, uint16(7200+i))
		tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
		client := &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		steps := []struct {
			method, path string
			status       int
			length       int
		}{
			{"GET", "/", 200, 9}, {"HEAD", "/", 200, 0}, {"GET", "/big", 200, len(big)},
			{"GET", "/moved", 302, -1}, {"GET", "/none", 204, 0}, {"POST", "/nowhere", 404, -1},
		}
		for _, st := range steps {
			req, _ := http.NewRequest(st.method, "http://example.org"+st.path, nil)
			if st.method == "POST" {
				req, _ = http.NewRequest("POST", "http://example.org"+st.path, io.MultiReader(strings.NewReader("a=b")))
				req.Header.Set("Expect", "100-continue")
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatalf("%s: %s %s: %v", server, st.method, st.path, err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != st.status || st.length >= 0 && len(body) != st.length {
				t.Errorf("%s: %s %s: %s, %d bytes, %v", server, st.method, st.path, resp.Status, len(body), err)
			}
			if resp.Header.Get("Server") != server || resp.Header.Get("Date") == "" {
				t.Errorf("%s: headers %v", server, resp.Header)
			}
		}
		tr.CloseIdleConnections()
		g.Forget()
	}
	b.wantBase()
}

func TestCleanPath(t *testing.T) {
	for in, want := range map[string]string{
		"/": "/", "/a/../b?x": "/b", "//a/": "/a/", "http://h": "/", "http://h/p#f": "/p", "/%41": "/A", "/%zz": "/%zz", "*": "/*",
	} {
		if got := cleanPath(in); got != want {
			t.Errorf("cleanPath(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzHTTPRequest(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
	f.Add([]byte("POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n"))
	f.Add([]byte("\x16\x03\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &requestReader{r: bufio.NewReaderSize(bytes.NewReader(b), maxLine), limits: &nginxStyle.limits, goOn: func() error { return nil }}
		for range len(b) + 1 {
			req, status := r.next()
			if status == 0 && !isMethod(req.method) {
				t.Fatalf("took method %q", req.method)
			}
			if status != 0 {
				return
			}
		}
		t.Fatal("more requests than bytes")
	})
}
