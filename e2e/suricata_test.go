package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"sleight/e2e/bed"
	"sleight/e2e/servers"
	"sleight/internal/evidence"
)

// A rule of Suricata's with content and pcre switches a live connection, and stands in
// the event; one like it that does not match lets the decoy go on.
func TestASuricataRuleSwitchesCurlToNginx(t *testing.T) {
	c := cell{t, newBed(t, bed.Config{}), "client", netip.MustParseAddr("203.0.113.7"), false}
	web := servers.StartNginx(t, c.b.Backends[0], servers.NginxOptions{})
	file := filepath.Join(t.TempDir(), "own.rules")
	const text = `alert http $EXTERNAL_NET any -> $HOME_NET $HTTP_PORTS (msg:"a probe of ours"; flow:established,to_server; ` +
		`http.uri; content:"/CGI-BIN/"; nocase; pcre:"/\/status\?id=\d{3}$/U"; http.user_agent; content:!"Mozilla"; ` +
		`reference:url,example.com/probe; classtype:web-application-attack; sid:9000001; rev:2;)
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g := start(t, c.b, c.config(
		`{name: web, service: {type: http, server: nginx/1.22.1, pages: [{path: /, body: "nothing here"}]}}`,
		`{name: attacks, suricata: {classtypes: [web-application-attack]}, action: switch, backend: real}`)+
		"suricata: {files: ["+file+"]}\n")
	if out := servers.Run(t, c.b.Attacker, "curl", servers.CurlArgs(servers.URL(c.at(80), "/"), servers.URL(c.at(80), "/?id=123"))...); out != "nothing herenothing here" {
		t.Fatalf("the decoy said %q", out)
	}
	out := servers.Run(t, c.b.Attacker, "curl", servers.CurlArgs(servers.URL(c.at(80), "/"), servers.URL(c.at(80), "/cgi-bin/%73tatus?id=123"))...)
	if out != "nothing here"+servers.NginxStatus {
		t.Errorf("decoy and real host said %q", out)
	}
	e := g.wait("decision", func(e *evidence.Event) bool { return e.Decision.Verdict == "switch" })
	if a := e.Decision.Alert; a == nil || a.ID != 9000001 || a.Rev != 2 || a.Signature != "a probe of ours" || a.Severity != 1 || len(a.Reference) != 1 {
		t.Errorf("the decision's alert: %+v", a)
	}
	g.wantSwitches(1, "ok")
	c.wantClient(web.Server, "GET /cgi-bin/%73tatus?id=123")
}
