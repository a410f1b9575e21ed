package proto

import "testing"

func TestHTTP(t *testing.T) {
	for _, c := range []struct{ stream, want string }{
		{
			"GET /a?b=c HTTP/1.1\r\nHost: Example.ORG:8080\r\nUser-Agent: curl/8\r\n\r\n",
			`method="GET" uri="/a?b=c" uri_raw="/a?b=c" version="1.1" host="example.org" user_agent="curl/8" headers="Host: Example.ORG:8080\r\nUser-Agent: curl/8\r\n" body="" requests=1`,
		},
		{
			"POST /x HTTP/1.0\ncontent-length: 9\n\nabc",
			`method="POST" uri="/x" uri_raw="/x" version="1.0" headers="content-length: 9\n" body="abc"… requests=1`,
		},
		{
			"POST /x HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n3;q\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: u\r\n\r\n",
			`method="POST" uri="/x" uri_raw="/x" version="1.1" headers="Transfer-Encoding: gzip, Chunked\r\n" body="abc0123456789" requests=1`,
		},
		{"GET /%2e%2E/%61//b HTTP/1.1\r\nA: b", `method="GET" uri="/a/b" uri_raw="/%2e%2E/%61//b" version="1.1" requests=1`},
		{"GET /old\r\n", `method="GET" uri="/old" uri_raw="/old" requests=1`},
		{"GET  /two  words  HTTP/1.1\r\n", `method="GET" uri="/two  words" uri_raw="/two  words" version="1.1" requests=1`},
		{"\r\nGET /a HTTP/1.1\r\n\r\nHEAD /b HTTP/1.1\r\n\r\n", `method="HEAD" uri="/b" uri_raw="/b" version="1.1" headers="" body="" requests=2`},
		{"GET /a HTTP/1.1\r\n\r\n\x00\x01garbage\n", `requests=1`},
		{"GET /a HTTP/1.1\r\n\r\n\r\n\n\r\n\n\r\n\n\r\n\n\r\n\n\r\n\n\r\n\nGET /b HTTP/1.1\r\n", `method="GET" uri="/b" uri_raw="/b" version="1.1" requests=2`},
		{"CONNECT a:1 HTTP/1.1\r\n\r\nGET /in HTTP/1.1\r\n", `method="GET" uri="/in" uri_raw="/in" version="1.1" requests=2`},
		{"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nmore", `method="POST" uri="/" uri_raw="/" version="1.1" headers="Transfer-Encoding: chunked\r\n" body=""… requests=1`},
	} {
		wantFields(t, c.stream, "http", c.want)
	}
}

func TestURIs(t *testing.T) {
	for raw, want := range map[string]string{
		"/":                            "/",
		"/a/./b/../c":                  "/a/c",
		"/../../x":                     "/x",
		"/a/..":                        "/",
		"/a/.":                         "/a/",
		"/vpn/../vpns/cfg/smb.conf":    "/vpns/cfg/smb.conf",
		"/cgi-bin/.%2e/%2e%2e/bin/sh":  "/bin/sh",
		"/%252e/":                      "/%2e/", // once
		"/%zz%4":                       "/%zz%4",
		"//a///b//":                    "/a/b/",
		"/a?x=%2f../..//&y=%00":        "/a?x=/../..//&y=\x00",
		"http://h:1//a/../b":           "http://h:1/b",
		"http://h":                     "http://h",
		"*":                            "*",
		"/%24%7bjndi:ldap://x/a%7d":    "/${jndi:ldap:/x/a}",
		"/?q=%24%7bjndi:ldap://x/a%7d": "/?q=${jndi:ldap://x/a}",
	} {
		if got := string(appendURI(nil, []byte(raw))); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
		if plainURI([]byte(raw)) && raw != want {
			t.Errorf("%q is called plain", raw)
		}
	}
}

// "Step stops at the end of each" message.
func TestPipelinedRequestsComeOneByOne(t *testing.T) {
	stream := []byte("POST /1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nab" + "GET /2 HTTP/1.1\r\n\r\n" + "GET /3 HTTP/1.1\r\n\r\n" + "GE")
	var f Flow
	var got []string
	for at := 0; at < len(stream); {
		at = f.Step(stream)
		uri, st := f.Bytes(stream, HTTPURI)
		n, _ := f.Int(HTTPRequests)
		got = append(got, string(uri))
		if st == Unknown && (n != 3 || at != len(stream)) {
			t.Errorf("%d requests at %d", n, at)
		}
	}
	if len(got) != 4 || got[0] != "/1" || got[1] != "/2" || got[2] != "/3" || got[3] != "" {
		t.Errorf("%q", got)
	}
}

func TestHeaderFields(t *testing.T) {
	stream := "GET / HTTP/1.1\r\nX-Api-Version: ${jndi:x}\r\nX-Api:\r\nx-api-version: second\r\n\r\n"
	f := read(stream, 3)
	for name, want := range map[string]string{"x-api-version": "${jndi:x}", "x-api": "", "x": "-"} {
		b, st := f.Header([]byte(stream), name)
		if want == "-" && st != Absent || want != "-" && (st != Known || string(b) != want) {
			t.Errorf("%s: %q, %d", name, b, st)
		}
	}
}

// A field that is a part of the stream costs nothing.
func TestFieldsAreNotCopied(t *testing.T) {
	stream := []byte("POST /a?b HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\nContent-Length: 2\r\n\r\nab")
	var f Flow
	n := testing.AllocsPerRun(100, func() {
		f = Flow{}
		f.Step(stream)
		for i := HTTPMethod; i <= HTTPBody; i++ {
			if _, st := f.Bytes(stream, i); st != Known {
				t.Fatalf("%s: %d", i, st)
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
