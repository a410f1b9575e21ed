package config

import (
	"errors"
	"os"
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
		{base + "mode: watch\n", `f.yaml:3:7: mode is "watch": use enforce, observe`},
		{base + "mode: observe\nmode: observe\n", "f.yaml:4:1: mode stands twice"},
		{base + "tun: {mtu: big}\n", "f.yaml:3:12: tun.mtu has to be a whole number"},
		{base + "tun: {mtu: 60}\n", "f.yaml:3:12: tun.mtu is 60: it has to lie between 1280 and 65535"},
		{base + "tun: [1]\n", "f.yaml:3:6: tun has to be a mapping"},
		{base + "limits: {record: 64KB}\n", "f.yaml:3:18: limits.record has to be a size such as 64KiB"},
		{base + "limits: {record: 999999999999GiB}\n", "it has to lie between"},
		{base + "timeouts: {drain: 30}\n", "f.yaml:3:19: timeouts.drain has to be a time such as 2s"},
		{base + "control: {socket: /run/x}\n", "f.yaml:3:19: control.socket is not yet supported"},
		{base + "nat: {pool: [203.0.113.0/28]}\n", "nat.pool 203.0.113.0/28 overlaps the claimed prefix 203.0.113.0/24"},
		{base + "nat: {pool: [100.64.0.1/28]}\n", "has bits beyond its length: write 100.64.0.0/28"},
		{base + "backends: [{name: a, address: 203.0.113.9}]\n", "lies in the claimed prefix"},
		{base + "backends: [{name: a, address: 10.0.0.1, mode: nat}]\n", "mode nat needs a prefix"},
		{base + "backends: [{name: a}]\n", "f.yaml:3:12: this backend has no address"},
		{base + "backends: [{name: a, address: 10.0.0.1, mode: keep, ports: {80: 81}}]\n", "ports cannot be mapped in mode keep"},
		{base + "backends: [{name: a, address: 10.0.0.1}, {name: a, address: 10.0.0.2}]\n", `another backend called "a"`},
		{base + "rules: [{name: r, action: switch}]\n", "has to name a backend"},
		{base + "rules: [{name: r, action: switch, backend: b}]\n", `no backend called "b"`},
		{base + "rules: [{name: r, action: jump}]\n", `action is "jump": use switch, stay, drop, reset, log`},
		{base + "decoys: [{name: d}]\n", "this decoy has no service"},
		{base + "decoys: [{name: d, service: {type: telnet}}]\n", `type is "telnet"`},
		{base + "decoys: [{name: d, service: {type: silent, banner: x}}]\n", `unknown key "banner" in a service of type silent`},
		{base + "decoys: [{name: d, service: {type: banner, banner: \"\\xff\"}}]\n", `use {hex: "…"}`},
		{base + "decoys: [{name: d, service: {type: script, turns: [{expect: '('}]}}]\n", "missing closing )"},
		{base + "decoys: [{name: d, service: {type: http, pages: [{path: /, file: no}]}}]\n", "file: file does not exist"},
		{base + "decoys: [{name: d, service: {type: forward, address: x}}]\n", `address: "x" is not host:port`},
		{base + "decoys: [{name: d, match: {ports: [90-80]}, service: {type: silent}}]\n", "neither a port nor a range"},
		{base + "decoys: [{name: d, replay: {compare: framed}, service: {type: silent}}]\n", "compare: framed needs"},
	} {
		_, err := parse(tt.text)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q:\n got %v\nwant %s", tt.text, err, tt.want)
		}
	}
}

func TestEveryMistakeAtOnce(t *testing.T) {
	_, err := parse("version: 1\nroutes: [x]\nmode: no\ntun: {mtu: 1}\n")
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
	f.Add([]byte(base + "decoys: [{name: d, service: {type: script, turns: [{expect: 'a', send: {hex: 'ff'}}]}}]\n"))
	f.Add([]byte("a: &a [*a, *a]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse("f", b, func(string) ([]byte, error) { return nil, os.ErrNotExist })
		if (c == nil) == (err == nil) {
			t.Fatalf("neither a configuration nor an error: %v", err)
		}
	})
}
