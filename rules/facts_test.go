package rules

import (
	"strings"
	"testing"
)

const request = "POST /a%2fb?x=%24%7bjndi HTTP/1.1\r\nHost: Shop.example.org\r\nUser-Agent: curl/8\r\nX-Api: ${jndi:ldap}\r\nContent-Length: 4\r\n\r\nbody"

func TestProtocolFacts(t *testing.T) {
	for _, c := range []struct {
		when, stream string
		want         bool
	}{
		{`proto == "http" and http.method == "POST"`, request, true},
		{`http.uri contains "${jndi" and http.uri_raw contains "%24%7b"`, request, true},
		{`http.host == "shop.example.org" and http.user_agent startsWith "curl/"`, request, true},
		{`http.header("x-API") matches "\\$\\{jndi"`, request, true},
		{`http.header("Nope") == ""`, request, true},
		{`http.body == "body" and http.requests == 1 and http.version == "1.1"`, request, true},
		{`http.headers contains "\r\nX-Api"`, request, true},
		{`len(http.uri) > 5 and http.method in ["PUT", "POST"]`, request, true},
		{`http.requests in 1..3`, request, true},
		{`tls.sni == ""`, request, true},
		{`tls.sni contains "x"`, request, false},
		{`smb.version == 1`, request, false},
		{`not (smb.version == 1)`, request, false},
		{`mysql.tls`, request, false},
		{`ssh.software startsWith "libssh"`, "SSH-2.0-libssh_0.9\r\n", true},
		{`proto == ""`, "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a", true},
		{`proto in ["ssh", "http"]`, "SSH-", true},
		{`syn.ttl == 64 and syn.window == 64240 and syn.mss == 1460 and syn.ipid == 54321 and syn.seq == 7`, "", true},
		{`syn.options == "mss,sack,ts,ws"`, "", true},
	} {
		if got := on(t, c.when, c.stream); got != c.want {
			t.Errorf("%s on %.30q: %v", c.when, c.stream, got)
		}
	}
}

// What is not known yet makes neither a comparison nor its negation true.
func TestARuleWaitsForWhatIsNotKnown(t *testing.T) {
	const line = "GET /x HTTP/1.1\r\n"
	for _, c := range []struct {
		when, stream string
		want         bool
	}{
		{`http.user_agent == ""`, line, false},
		{`http.user_agent == ""`, line + "\r\n", true},
		{`not (http.user_agent contains "x")`, line, false},
		{`http.user_agent != "x"`, line, false},
		{`not (http.user_agent == "x" or bytes > 99)`, line, false},
		{`not (http.user_agent == "x" and bytes > 99)`, line, true},
		{`http.user_agent == "x" or http.uri == "/x"`, line, true},
		{`not not (http.user_agent == "x" or http.uri == "/x")`, line, true},
		{`http.user_agent == "x" ? true : true`, line, false},
		{`any(["x"], http.user_agent == #)`, line, false},
		{`let u = http.user_agent; u == ""`, line, false},
		{`http.uri == "/"`, "GET /", false},
		{`proto == ""`, "GE", false},
		{`proto != "http"`, "GE", false},
		{`proto != "http"`, "", false},
		{`http.requests < 2`, "SSH-2.0-x\r\n", false},
	} {
		if got := on(t, c.when, c.stream); got != c.want {
			t.Errorf("%s on %q: %v", c.when, c.stream, got)
		}
	}
}

func TestMistakesWithFacts(t *testing.T) {
	for when, want := range map[string]string{
		`http.urii == "/"`:        "http has no urii; did you mean http.uri?",
		`tls.x == "/"`:            "tls has no x; it has sni, alpn",
		`http == "/"`:             "http is a group of facts",
		`htp.uri == "/"`:          "unknown name htp",
		`http.uri == 5`:           "mismatched types string and int",
		`http.requests == "x"`:    "mismatched types int and string",
		`http.requests`:           "mismatched types bool and int",
		`http.header == "x"`:      "http.header takes a name",
		`http.header(dport)`:      "takes one name in quotes",
		`http.header("a", "b")`:   "takes one name in quotes",
		`tls.header("a") == ""`:   "tls has no header",
		`http.uri.raw == "x"`:     "only facts like http.uri",
		`http?.uri == "x"`:        "dot or brackets",
		`stream.uri == "x"`:       "stream has no uri",
		`syn.tll > 3`:             "did you mean syn.ttl?",
		`http.uri + "x" == "/x"`:  "joined",
		`stream matches http.uri`: "literal",
	} {
		_, errs := Compile([]Rule{{When: "true and\n  " + when, Action: Stay}})
		if len(errs) == 0 || !strings.Contains(errs[0].Msg, want) || errs[0].Line != 2 {
			t.Errorf("%s: %+v, want %q in line 2", when, errs, want)
		}
	}
}

// "the same conversation gives the same verdict however it is cut", pipelined too.
func TestAPipelinedRequestDoesNotHideAnother(t *testing.T) {
	s, errs := Compile([]Rule{
		{Name: "late", When: `stream contains "/three"`, Action: Stay},
		{Name: "two", When: `http.uri == "/two" and not (http.user_agent contains "good")`, Action: Stay},
		{Name: "del", When: `redis.line matches "(?i)^config set dir "`, Action: Stay},
	})
	if errs != nil {
		t.Fatal(errs)
	}
	for stream, want := range map[string]string{
		"GET /one HTTP/1.1\r\n\r\nGET /two HTTP/1.1\r\n\r\nGET /three HTTP/1.1\r\n\r\n":                          "two",
		"GET /one HTTP/1.1\r\n\r\nGET /two HTTP/1.1\r\nUser-Agent: good\r\n\r\nGET /three HTTP/1.1\r\n\r\n":      "late",
		"ping\r\n*4\r\n$6\r\nconfig\r\n$3\r\nset\r\n$3\r\ndir\r\n$5\r\n/root\r\n*1\r\n$4\r\nPING\r\n":            "del",
		strings.Repeat("GET /one HTTP/1.1\r\n\r\n", 2000) + "GET /two HTTP/1.1\r\n\r\nGET /one HTTP/1.1\r\n\r\n": "two",
	} {
		for _, n := range []int{len(stream), 1, 13} {
			if got := inPieces(s, stream, n).Rule; got != want {
				t.Errorf("%.40q in pieces of %d: %q, want %q", stream, n, got, want)
			}
		}
	}
}

// inPieces decides while a stream comes in pieces of n bytes.
func inPieces(s *Set, stream string, n int) (v Verdict) {
	var fl Flow
	f := facts()
	all := []byte(stream)
	f.Stream, f.Last = nil, nil
	s.Start(&fl, &f)
	for i := 0; i < len(stream) && v.Action == Wait; {
		i = min(i+n, len(stream))
		f.Stream = all[:i]
		f.Last, f.Bytes = f.Stream, i
		v = s.Decide(&fl, &f)
	}
	return v
}

func TestAFactOfAnotherProtocolCostsNothing(t *testing.T) {
	s, _ := Compile([]Rule{
		{When: `tls.sni == "x"`, Action: Stay}, {When: `smb.command == 0x72`, Action: Stay},
		{When: `http.headers contains "no such text"`, Action: Stay},
	})
	f := facts()
	f.Stream = []byte(request)
	var fl Flow
	s.Start(&fl, &f)
	if n := testing.AllocsPerRun(100, func() { s.Decide(&fl, &f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// "check warns of a rule that can only fire after" its protocol's latest switch point.
func TestARuleThatSpeaksTooLate(t *testing.T) {
	for when, want := range map[string]string{
		`mysql.user == "root"`:                              "mysql.user",
		`dport == 3306 and mysql.user in ["root", "admin"]`: "mysql.user",
		`mysql.tls`:                   "mysql.tls",
		`not mysql.tls and bytes > 3`: "mysql.tls",
		`smb.command == 0x32 and smb.subcommand == 14`:          "smb.subcommand",
		`postgresql.query matches "drop table"`:                 "postgresql.query",
		`smb.share endsWith "IPC$" or stream contains "x"`:      "", // it may be true earlier
		`postgresql.query == ""`:                                "",
		`smb.command == 0x72 and smb.dialects contains "NT LM"`: "",
		`ssh.hassh == "472b5de333ad665af5cbf10ff892c4df"`:       "",
		`tls.sni == "a" and not (mysql.user == "root")`:         "",
	} {
		s, errs := Compile([]Rule{{When: when, Action: Log}, {When: when, Action: Switch}})
		if errs != nil {
			t.Fatal(errs)
		}
		ws := s.Warnings()
		if (len(ws) == 1) != (want != "") || len(ws) > 0 && (!strings.HasPrefix(ws[0].Msg, want+" comes after") || ws[0].Rule != 1) {
			t.Errorf("%s: %+v, want %q", when, ws, want)
		}
	}
}
