package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"strings"
	"testing"

	"sleight/e2e/bed"
	"sleight/e2e/servers"
	"sleight/internal/evidence"
)

const nothingHere = `{name: web, service: {type: http, server: nginx/1.22.1, pages: [{path: /cgi-bin/status, body: "nothing here"}]}}`

// remembering is a gateway with an http decoy and nginx behind it, whose rules remember.
type remembering struct {
	cell
	web *servers.Nginx
	g   *gateway
}

func remembers(t *testing.T, rules string) *remembering {
	t.Helper()
	c := cell{t, newBed(t, bed.Config{}), "client", netip.MustParseAddr("203.0.113.7"), false}
	return &remembering{c, servers.StartNginx(t, c.b.Backends[0], servers.NginxOptions{}), start(t, c.b, c.config(nothingHere, rules))}
}

// asks has curl ask for a page at one of the decoys' addresses.
func (r *remembering) asks(at, want, why string) {
	r.Helper()
	if out := servers.Run(r.T, r.b.Attacker, "curl", servers.CurlArgs(servers.URL(netip.MustParseAddrPort(at), "/cgi-bin/status"))...); out != want {
		r.Errorf("%s: %q, want %q", why, out, want)
	}
}

// reloads has the gateway read one rule more.
func (r *remembering) reloads() {
	r.Helper()
	file := r.g.file("sleight.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		r.Fatal(err)
	}
	text := strings.Replace(string(b), "rules:\n", "rules:\n  - {name: more, when: 'bytes > 99999', action: log}\n", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
	if out, code := sleight(r.T, r.b.Gateway, "reload", "-c", file); code != 0 || !strings.Contains(out, "rules new: more") {
		r.Errorf("reload: exit %d\n%s", code, out)
	}
}

// A payload that no connection has begun with goes to the real host; once it is known,
// and with another address in it, it stays; and so it does after a reload and a restart.
func TestANewPayloadIsSwitched(t *testing.T) {
	r := remembers(t, `{name: new, when: 'novel(stream)', action: switch, backend: real}`)
	r.asks("203.0.113.7:80", servers.NginxStatus, "a new payload")
	r.asks("203.0.113.7:80", "nothing here", "the same again")
	r.asks("203.0.113.99:80", "nothing here", "with another decoy's address in it")
	r.g.wantSwitches(1, "ok")
	r.reloads()
	r.asks("203.0.113.7:80", "nothing here", "after a reload")
	dir := r.g.dir
	r.g.stop()
	r.g = launch(t, r.b, dir, r.config(nothingHere, `{name: new, when: 'novel(stream)', action: switch, backend: real}`))
	r.g.started()
	r.asks("203.0.113.7:80", "nothing here", "after a restart")
	r.asks("[2001:db8:113::7]:80", servers.NginxStatus, "in brackets, which no one has said")
	r.g.wantSwitches(1, "ok")
}

// A client that has had enough to say in a minute is switched; another one is not.
func TestAClientsRateIsSwitched(t *testing.T) {
	r := remembers(t, `{name: rate, when: 'rate(src, "1m") >= 3 and bytes > 0', action: switch, backend: real}
  - {name: first, when: 'bytes > 0', action: stay}`)
	for _, why := range []string{"the first", "the second", "the third"} {
		r.asks("203.0.113.7:80", "nothing here", why)
	}
	r.asks("203.0.113.7:80", servers.NginxStatus, "the fourth")
	r.asks("[2001:db8:113::7]:80", "nothing here", "another client")
	r.g.wantSwitches(1, "ok")
}

// A client that was with the real host goes there as soon as it comes again.
func TestAKnownClientIsSwitched(t *testing.T) {
	r := remembers(t, `{name: known, on: open, when: 'switched(src, "1h")', action: switch, backend: real}
  - {name: shellshock, when: 'http.user_agent contains "() {"', action: switch, backend: real}`)
	r.asks("203.0.113.7:80", "nothing here", "a client that is not known")
	attack := servers.CurlArgs("-A", "() { :; }; id", servers.URL(r.at(80), "/cgi-bin/status"))
	if out := servers.Run(t, r.b.Attacker, "curl", attack...); out != servers.NginxStatus {
		t.Errorf("the exploit's answer: %q", out)
	}
	r.asks("203.0.113.7:80", servers.NginxStatus, "a client that is known")
	r.asks("[2001:db8:113::7]:80", "nothing here", "another client")
	r.g.wantSwitches(2, "ok")
	e := r.g.wait("decision", func(e *evidence.Event) bool { return e.Decision.Rule == "known" })
	if e.Decision.Offset != 0 {
		t.Errorf("it was switched after %d bytes", e.Decision.Offset)
	}
}

// A rule that speaks once an hour: the real host serves the client's first connection, the
// decoy the next ones, and a summary says how many they were, over a reload.
func TestARuleThatSpeaksOnce(t *testing.T) {
	r := remembers(t, `{name: once, when: 'bytes > 0', action: switch, backend: real, once_per: 1h}
  - {name: others, when: 'bytes > 0', action: stay}`)
	r.asks("203.0.113.7:80", servers.NginxStatus, "the first")
	r.asks("203.0.113.7:80", "nothing here", "the second")
	r.reloads()
	r.asks("203.0.113.7:80", "nothing here", "the third")
	r.g.wantSwitches(1, "ok")
	r.g.stop()
	var got map[string]uint64
	for _, e := range r.g.All("suppressed_summary") {
		got = e.SuppressedSummary
	}
	if want := map[string]uint64{"once": 2}; !maps.Equal(got, want) {
		t.Errorf("kept silent: %v, want %v", got, want)
	}
}

// ran is what a client's run has come to.
type ran struct {
	out string
	err error
}

func runs(t *testing.T, ns *bed.Namespace, done chan<- ran, name string, args ...string) {
	out, err := servers.TryRun(t, ns, name, args...)
	done <- ran{out, err}
}

// An IDS's word, by the control socket: the live connection of a client who waits for an
// answer is switched, and the next one at once; without the tag, none.
func TestATaggedClientIsSwitched(t *testing.T) {
	c := cell{t, newBed(t, bed.Config{}), "client", netip.MustParseAddr("203.0.113.7"), false}
	sshd := servers.StartSSHD(t, c.b.Backends[0], 22)
	said := strings.TrimSpace(banner(t, c.b.Gateway, "10.0.2.2:22"))
	g := start(t, c.b, c.config(fmt.Sprintf(`{name: ssh, service: {type: banner, banner: "%s\r\n"}}`, said),
		`{name: ids, when: 'tagged(src, "ids") and bytes > 0', action: switch, backend: real}`))
	done := make(chan ran, 1)
	go runs(t, c.b.Attacker, done, "ssh", sshd.SSHArgs(c.at(22), "echo", "let in")...)
	g.wait("flow_start", func(*evidence.Event) bool { return true })
	for _, client := range []string{"198.51.100.9", bed.Attacker4.String()} {
		if out, code := sleight(t, c.b.Gateway, "tag", "-c", g.file("sleight.yaml"), client, "ids", "--for", "1h"); code != 0 {
			t.Fatalf("tag: exit %d\n%s", code, out)
		}
	}
	if r := <-done; r.err != nil || r.out != "let in\n" {
		t.Errorf("ssh printed %q, %v", r.out, r.err)
	}
	g.wantSwitches(1, "ok")
	out, _ := sleight(t, c.b.Gateway, "memory", "list", "-c", g.file("sleight.yaml"))
	if !strings.Contains(out, bed.Attacker4.String()+"/32") || !strings.Contains(out, "ids until ") || !strings.Contains(out, "2 of 2 clients") {
		t.Errorf("memory list:\n%s", out)
	}
	if out := servers.Run(t, c.b.Attacker, "ssh", sshd.SSHArgs(c.at(22), "echo", "again")...); out != "again\n" {
		t.Errorf("ssh printed %q", out)
	}
	g.wantSwitches(2, "ok")
	if out, code := sleight(t, c.b.Gateway, "memory", "clear", "-c", g.file("sleight.yaml"), "--all"); code != 0 || !strings.Contains(out, "2 clients are forgotten") {
		t.Errorf("memory clear: exit %d\n%s", code, out)
	}
}
