package config

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// base is the least configuration that is right.
const base = "version: 1\nroutes: [203.0.113.0/24]\n"

func parse(text string) (*Config, error) {
	return Parse("f.yaml", []byte(text), func(string) ([]byte, error) { return nil, os.ErrNotExist })
}

func TestEachMistakeHasItsLineAndWhatToDo(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "f.yaml:1:1: the file is empty"},
		{"a: [", "f.yaml:1:1: "},
		{"routes: [203.0.113.0/24]\n", "f.yaml:1:1: version is missing"},
		{"version: 2\nroutes: [203.0.113.0/24]\n", "f.yaml:1:10: version is 2"},
		{"version: 1\n", "f.yaml:1:1: routes is empty"},
		{base + "rulez: []\n", `f.yaml:3:1: unknown key "rulez" in the configuration; did you mean "rules"?`},
		{base + "mode: watch\n", `f.yaml:3:7: mode is "watch"; use enforce or observe`},
		{base + "mode: observe\nmode: observe\n", "f.yaml:4:1: mode stands twice"},
		{base + "tun: {mtu: big}\n", "f.yaml:3:12: tun.mtu has to be a whole number"},
		{base + "tun: {mtu: 60}\n", "f.yaml:3:12: tun.mtu is 60; write a number from 1280 to 65535"},
		{base + "tun: [1]\n", "f.yaml:3:6: tun has to be a mapping"},
		{base + "limits: {record: 64KB}\n", "f.yaml:3:18: limits.record has to be a size such as 64KiB"},
		{base + "limits: {record: 999999999999GiB}\n", "f.yaml:3:18: limits.record is 999999999999GiB; write a size from 1 to 1GiB"},
		{base + "timeouts: {drain: 30}\n", "f.yaml:3:19: timeouts.drain has to be a time such as 2s"},
		{base + "control: {socket: run/x}\n", `f.yaml:3:19: control.socket: "run/x" is no absolute path; begin it with /`},
		{base + "nat: {pool: [203.0.113.0/28]}\n", "nat.pool 203.0.113.0/28 overlaps the claimed prefix 203.0.113.0/24"},
		{base + "nat: {pool: [100.64.0.1/28]}\n", "has bits beyond its length; write 100.64.0.0/28"},
		{base + "backends: [{name: a, address: 203.0.113.9}]\n", "lies in the claimed prefix"},
		{base + "backends: [{name: a, address: 10.0.0.1, mode: nat}]\n", "mode nat needs a prefix"},
		{base + "backends: [{name: a}]\n", "f.yaml:3:12: this backend has no address"},
		{base + "backends: [{name: a, address: 10.0.0.1, mode: keep, ports: {80: 81}}]\n", "ports cannot be mapped in mode keep"},
		{base + "backends: [{name: a, address: 10.0.0.1}, {name: a, address: 10.0.0.2}]\n", `another backend called "a"`},
		{base + "rules: [{name: r, action: switch}]\n", "has to name a backend"},
		{base + "rules: [{name: r, action: switch, backend: b}]\n", `no backend called "b"`},
		{base + "rules: [{name: r, action: jump}]\n", `f.yaml:3:27: action is "jump"; use switch, stay, drop, reset or log`},
		{base + "rules: [{name: r, action: stay, on: end}]\n", `f.yaml:3:37: on is "end"; use open, data or idle`},
		{base + "rules: [{name: r, action: stay, tag: {for: 1h}}]\n", "f.yaml:3:38: a tag has to have a name"},
		{base + "rules: [{name: r, action: stay, tag: {name: t, for: 1d}}]\n", "f.yaml:3:53: tag.for has to be a time"},
		{base + "rules: [{name: r, action: stay, tag: {name: " + strings.Repeat("t", 65) + "}}]\n", "more than 64 bytes"},
		{base + "rules: [{name: r, action: stay, threshold: {in: 1h}}]\n", "f.yaml:3:44: a threshold has to have a count"},
		{base + "rules: [{name: r, action: stay, threshold: {count: 1}}]\n", "threshold.count is 1; write a number from 2"},
		{base + "rules: [{name: r, action: stay, once_per: 1ms}]\n", "f.yaml:3:43: once_per is 1ms"},
		{base + "lists: {}\n", "f.yaml:3:8: lists has to be a list"},
		{base + "lists: [{name: l}]\n", "f.yaml:3:9: this list has nothing in it"},
		{base + "lists: [{words: [a]}]\n", "f.yaml:3:9: this list has no name"},
		{base + "lists: [{name: l, words: [a]}, {name: l, words: [b]}]\n", `f.yaml:3:39: there is another list called "l"`},
		{base + "lists: [{name: l, words: [a], addresses: [10.0.0.1]}]\n", "this list has addresses and words"},
		{base + "lists: [{name: l, addresses: [10.0.0.0/33]}]\n", `addresses: "10.0.0.0/33" is not a prefix`},
		{base + "lists: [{name: l, words_file: no}]\n", "words_file: file does not exist"},
		{base + "conditions: [{name: c}]\n", "f.yaml:3:14: the condition c says nothing"},
		{base + "conditions: [{when: 'true'}]\n", "f.yaml:3:14: this condition has no name"},
		{base + "memory: {file: memory}\n", `f.yaml:3:16: memory.file: "memory" is no absolute path; begin it with /`},
		{base + "memory: {clients: 0}\n", "memory.clients is 0"},
		{base + "decoys: [{name: d}]\n", "this decoy has no service"},
		{base + "decoys: [{name: d, service: {type: telnet}}]\n", `type is "telnet"`},
		{base + "decoys: [{name: d, service: {type: silent, banner: x}}]\n", `unknown key "banner" in a service of type silent`},
		{base + "decoys: [{name: d, service: {type: banner, banner: \"\\xff\"}}]\n", `f.yaml:3:53: in double quotes \xff is a character, not a byte; write {hex: "ff"}`},
		{base + "decoys: [{name: d, service: {type: script, turns: [{expect: '('}]}}]\n", "missing closing )"},
		{base + "decoys: [{name: d, service: {type: http, pages: [{path: /, file: no}]}}]\n", "file: file does not exist"},
		{base + "decoys: [{name: d, service: {type: forward, address: x}}]\n", `address: "x" is not host:port`},
		{base + "decoys: [{name: d, match: {ports: [90-80]}, service: {type: silent}}]\n", "neither a port nor a range"},
		{base + "decoys: [{name: d, replay: {compare: framed}, service: {type: silent}}]\n", "f.yaml:3:38: compare: framed does not know where this decoy's answers end; write frame: http"},
	} {
		refused(t, tt.text, tt.want)
	}
}

// form is one line: file:line:column: what is wrong; what to do.
var form = regexp.MustCompile(`^f\.yaml:[1-9]\d*:[1-9]\d*: [^\n]+; [^\n]+$`)

// refused wants a mistake that has a text in it, and every mistake in its form.
func refused(t *testing.T, text, want string) {
	t.Helper()
	_, err := parse(text)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		return
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		if !form.MatchString(line) {
			t.Errorf("%q: %q does not say what to do", text, line)
		}
	}
}

// decoy, backend and rule are files with one of them.
func decoy(service string) string { return base + "decoys: [{name: d, service: {" + service + "}}]\n" }
func backend(keys string) string  { return base + "backends: [{name: b, " + keys + "}]\n" }
func rule(keys string) string {
	return base + "backends: [{name: b, address: 10.0.0.1}]\nrules: [{name: r, " + keys + "}]\n"
}

func TestNonsenseIsRefusedAtItsValue(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{backend("address: 224.0.0.1"), "f.yaml:3:31: a backend cannot have 224.0.0.1: it is multicast"},
		{backend("address: 127.0.0.1"), "f.yaml:3:31: a backend cannot have 127.0.0.1: it is loopback"},
		{backend("address: 0.0.0.0"), "the unspecified address"},
		{backend("address: 255.255.255.255"), "broadcast"},
		{backend(`addresses: [10.0.0.1, "::1"]`), "f.yaml:3:44: a backend cannot have ::1: it is loopback"},
		{backend(`address: "::"`), "the unspecified address"},
		{backend(`address: "ff02::1"`), "multicast"},
		{backend(`address: "fe80::1"`), "link-local"},
		{backend("addresses: []"), "f.yaml:3:12: this backend has no address"},
		{backend("addresses: [10.0.0.1, 10.0.0.2]"), "f.yaml:3:44: a backend has one address per family"},
		{backend("address: 203.0.113.9"), "f.yaml:3:31: the backend's address 203.0.113.9 lies in the claimed"},
		{backend("address: 100.64.0.1") + "nat: {pool: [100.64.0.0/28]}\n", "f.yaml:3:31: the backend's address 100.64.0.1 lies in nat.pool"},
		{backend("address: 10.0.0.1, mode: nat"), "f.yaml:3:47: mode nat needs"},
		{backend("address: 10.0.0.1, ports: {80: 81, 80: 82}"), "f.yaml:3:57: ports: port 80 stands twice"},
		{backend("address: 10.0.0.1, ports: {80: 0}"), `f.yaml:3:53: ports: "0" is no port`},
		{backend("address: 10.0.0.1, device: averyveryverylongname"), "f.yaml:3:49: device"},
		{base + "backends: [a]\n", "f.yaml:3:12: a backend has to be a mapping"},

		{decoy("type: banner"), "f.yaml:3:29: the banner is empty"},
		{decoy(`type: banner, banner: ""`), "f.yaml:3:52: the banner is empty"},
		{decoy("type: script"), "f.yaml:3:29: the script is empty"},
		{decoy("type: script, turns: []"), "f.yaml:3:51: the script is empty"},
		{decoy("type: script, turns: [{delay: 1s}]"), "f.yaml:3:52: this turn does nothing"},
		{decoy("type: script, turns: [{expect: ''}]"), "f.yaml:3:61: expect is empty"},
		{decoy("type: forward"), "f.yaml:3:29: a forward service needs an address"},
		{decoy(`type: forward, address: "h:99999"`), `f.yaml:3:54: address: "99999" is no port`},
		{decoy(`type: forward, address: "h:0"`), `address: "0" is no port`},
		{decoy(`type: forward, address: ":80"`), `address: "" is no host`},
		{decoy(`type: forward, address: "a b:80"`), `address: "a b" is no host`},
		{decoy("banner: x"), "f.yaml:3:29: this service has no type"},
		{decoy("type: http, server: ''"), "f.yaml:3:50: server is empty"},
		{decoy("type: http, pages: [{path: x}]"), `f.yaml:3:57: a page's path is "x"`},
		{decoy("type: http, pages: [{path: /}, {path: /}]"), "f.yaml:3:68: there is another page at /"},
		{decoy("type: http, pages: [{path: /, body: a, file: f}]"), "a page has a body or a file, not both"},
		{decoy("type: http, pages: [{path: /, headers: [a]}]"), "headers has to be a mapping"},
		{decoy("type: http, pages: [{path: /, headers: {a b: c}}]"), `"a b" is not the name of a header`},
		{decoy("type: http, pages: [{path: /, headers: {content-length: 3}}]"), "the service itself sets content-length"},
		{decoy(`type: http, pages: [{path: /, headers: {a: "b\r\nc: d"}}]`), "the header a has a line break in it"},
		{base + "decoys: [{name: d, match: {dst: [10.0.0.0/8]}, service: {type: silent}}]\n", "f.yaml:3:34: match.dst: no packet for 10.0.0.0/8 reaches this decoy"},
		{base + "decoys: [{name: d, match: {dst: [203.0.113.1, 203.0.113.1/32]}, service: {type: silent}}]\n", "f.yaml:3:47: match.dst: 203.0.113.1/32 stands twice"},
		{base + "decoys: [{name: d, match: {ports: [80, 80]}, service: {type: silent}}]\n", "f.yaml:3:40: match.ports: 80 stands twice"},
		{base + "decoys: [{name: d, match: {ports: [99999]}, service: {type: silent}}]\n", `"99999" is neither a port nor a range`},
		{base + "decoys: [{name: d, service: {type: silent}}, {name: d, service: {type: silent}}]\n", `f.yaml:3:53: there is another decoy called "d"`},
		{base + "replay: {compare: framed}\ndecoys: [{name: d, service: {type: silent}}]\n", "f.yaml:4:10: compare: framed"},

		{rule("action: stay, backend: b"), "f.yaml:4:42: a rule with action stay goes to no backend"},
		{rule("action: switch, backend: c"), `f.yaml:4:44: there is no backend called "c"`},
		{rule("action: switch"), "f.yaml:4:27: a rule that switches has to name a backend"},
		{rule("when: 'true'"), "f.yaml:4:9: this rule has no action"},
		{rule("action: stay, match: {dst: [10.0.0.1]}"), "match.dst: no packet for 10.0.0.1/32 reaches this rule"},

		{"version: 1\nroutes: [0.0.0.0/0]\n", "f.yaml:2:10: routes: 0.0.0.0/0 is every address there is"},
		{"version: 1\nroutes: ['::/0']\n", "f.yaml:2:10: routes: ::/0 is every address there is"},
		{"version: 1\nroutes: [127.0.0.0/24]\n", "f.yaml:2:10: routes: 127.0.0.0/24 has loopback in it"},
		{"version: 1\nroutes: [128.0.0.0/1]\n", "routes: 128.0.0.0/1 has multicast in it"},
		{"version: 1\nroutes: [203.0.113.0/24, 203.0.113.0/24]\n", "f.yaml:2:26: routes: 203.0.113.0/24 stands twice"},
		{"version: 1\nroutes: []\n", "f.yaml:2:9: routes is empty"},
		{base + "nat: {pool: [100.64.0.0/28, 203.0.113.0/28]}\n", "f.yaml:3:29: nat.pool 203.0.113.0/28 overlaps"},
		{base + "limits: {record: 2MiB, record_total: 1MiB}\n", "f.yaml:3:18: limits.record of 2MiB is more than limits.record_total of 1MiB"},
		{base + "limits: {record_total: 128KiB}\n", "f.yaml:3:24: limits.decoy_record of 1MiB is more than"},
		{base + "tun: {name: ''}\n", "f.yaml:3:13: tun.name is empty"},
		{base + "tun: {name: a/b}\n", "f.yaml:3:13: tun.name"},
		{base + "tun: {name: averylongdevice}\n", "f.yaml:3:13: tun.name"},
		{base + "state: {dir: ''}\n", "f.yaml:3:14: state.dir is empty"},
		{base + "state: {dir: run}\n", `f.yaml:3:14: state.dir: "run" is no absolute path`},
		{base + "events: {file: ''}\n", "f.yaml:3:16: events.file is empty"},
		{base + "---\nversion: 1\n", "f.yaml:3:1: a second YAML document begins here"},
		{base + "sensor: !name x\n", "f.yaml:3:9: the tag !name is not supported"},
		{base + "sensor: &a x\nuser: *a\n", "f.yaml:4:7: aliases are not supported"},
		{base + "\"a\\x1b\": 1\n", `unknown key "a\x1b"`},
	} {
		refused(t, tt.text, tt.want)
	}
}

// "until then `check` says "not yet supported", which is not the same as "unknown key""
func TestWhatIsReservedIsNotYetSupported(t *testing.T) {
	for _, text := range []string{
		backend("address: 10.0.0.1, mode: local"),
		base + "outbound: rules\n",
		base + "events: [{file: a}]\n",
		base + "pools: [{name: p}]\n",
		base + "pools: p\n",
		base + "metrics: {listen: \"127.0.0.1:2112\"}\n",
		base + "user: sleight\n",
		rule("action: stay, prepare: b"),
	} {
		refused(t, text, "not yet supported")
	}
	for _, text := range []string{
		base + "pools: []\nuser: \"\"\ncontrol: {socket: \"\"}\nmetrics: {listen: \"\"}\noutbound: drop\n",
		base + "control:\n  socket:\n",
	} {
		if _, err := parse(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// "a `\x80`–`\xff` in text is an error that says so. In a regular expression `\xff` is
// the byte, and `{hex: …}` stands for itself."
func TestTextIsUTF8AndBytesAreHex(t *testing.T) {
	const advice = `\xff is a character, not a byte; write {hex: "ff"}`
	refused(t, decoy(`type: banner, banner: "a\xff"`), "f.yaml:3:54: in double quotes "+advice)
	refused(t, decoy(`type: script, turns: [{expect: "é\xff"}]`), "f.yaml:3:63: in double quotes "+advice)
	refused(t, rule(`action: stay, when: "stream contains '\xff'"`), "f.yaml:4:57: in double quotes "+advice)
	refused(t, base+"replay: {except: [\"\\xff\"]}\n", advice)
	for _, tt := range []struct{ service, banner, expect string }{
		{`type: banner, banner: "café"`, "café", ""},
		{`type: banner, banner: café`, "café", ""},
		{`type: banner, banner: "caf\u00e9\x0d\n"`, "café\r\n", ""},
		{`type: banner, banner: 'a\xff'`, `a\xff`, ""},
		{`type: banner, banner: {hex: "63 ff"}`, "c\xff", ""},
		{`type: script, turns: [{expect: '\xff.', send: a}]`, "", `\xff.`},
		{`type: script, turns: [{expect: "\\xff.", send: a}]`, "", `\xff.`},
		{`type: script, turns: [{expect: {hex: "2e ff"}, send: a}]`, "", `\x2e\xff`},
	} {
		c, err := parse(decoy(tt.service))
		if err != nil {
			t.Errorf("%s: %v", tt.service, err)
			continue
		}
		s := c.Decoys[0].Service
		if string(s.Banner) != tt.banner {
			t.Errorf("%s: banner %q", tt.service, s.Banner)
		}
		if tt.expect != "" && s.Turns[0].Expect != tt.expect {
			t.Errorf("%s: expect %q", tt.service, s.Turns[0].Expect)
		}
	}
}

func TestEveryMistakeAtOnce(t *testing.T) {
	_, err := parse("version: 1\nroutes: [x]\nmode: no\ntun: {mtu: 1}\nsensor: []\n")
	var many interface{ Unwrap() []error }
	if !errors.As(err, &many) || len(many.Unwrap()) != 4 {
		t.Errorf("got %v, want four mistakes", err)
	}
}

func TestDefaultsAndValues(t *testing.T) {
	c, err := parse(base + `
decoys:
  - {name: b, service: {type: banner, banner: {hex: "ff fd 18"}}, replay: {timeout: 3s}}
backends:
  - {name: r, addresses: [10.0.0.1, "fd00::1"], ports: {8080: 80}}
rules:
  - name: x
    when: 'stream contains "a"'
    action: switch
    backend: r
limits: {record: 1MiB}
tun: {offload: False}
`)
	if err != nil {
		t.Fatal(err)
	}
	if c.Limits.Record != 1<<20 || c.Limits.Held != 256<<10 || c.Timeouts.Established != 2*time.Hour+4*time.Minute {
		t.Errorf("%+v", c.Limits)
	}
	if c.TUN.Offload {
		t.Error("False was read as true")
	}
	if string(c.Decoys[0].Service.Banner) != "\xff\xfd\x18" || c.Decoys[0].Replay.Timeout != 3*time.Second || c.Decoys[0].Replay.Quiet != 50*time.Millisecond {
		t.Errorf("%+v", c.Decoys[0])
	}
	if b := c.Backends[0]; b.Mode != "client" || b.Ports[8080] != 80 || !b.V6.IsValid() {
		t.Errorf("%+v", b)
	}
	if r := c.Rules[0]; r.Line != 10 || r.Column != 12 {
		t.Errorf("the rule's expression begins at %d:%d, want 10:12", r.Line, r.Column)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(base))
	f.Add([]byte(decoy("type: script, turns: [{expect: 'a', send: {hex: 'ff'}}]")))
	f.Add([]byte(decoy("type: http, pages: [{path: /, headers: {a: b}, file: f}]")))
	f.Add([]byte(rule("action: switch, backend: b, when: \"a \\x41 \\\n  b\"")))
	f.Add([]byte(base + "rules:\n  - when: |2-\n      a\n\n      b\n"))
	f.Add([]byte("a: &a [*a, *a]\n"))
	example, err := os.ReadFile("../../deploy/sleight.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse("f.yaml", b, func(string) ([]byte, error) { return nil, os.ErrNotExist })
		if (c == nil) == (err == nil) {
			t.Fatalf("neither a configuration nor an error: %v", err)
		}
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				if !form.MatchString(line) {
					t.Errorf("not file:line:column: what; what to do: %q", line)
				}
			}
			return
		}
		for i := range c.Rules {
			if r := &c.Rules[i]; r.At(1, 1) != r.Place {
				t.Errorf("rule %q begins at %v and at %v", r.When, r.Place, r.At(1, 1))
			}
		}
		c.Gaps()
	})
}
