package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindSocket(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.yaml")
	for text, want := range map[string]string{
		"version: 1\n": "/run/sleight/control.sock",
		"state: {dir: /srv/s}\nrulez: [it, has, mistakes]\nrules: 5\n": "/srv/s/control.sock",
		"control: {socket: /x.sock}\nstate: {dir: /srv/s}\n":           "/x.sock",
		"control: {socket: \"\"}\nstate: {dir: [a]}\n":                 "/run/sleight/control.sock",
		"control: 5\nstate:\n":                                         "/run/sleight/control.sock",
		"[list]\n":                                                     "/run/sleight/control.sock",
		"rules: {[\n":                                                  "is not YAML: name the gateway's socket itself, with --socket",
		"":                                                             "is not YAML",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := FindSocket(file)
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if _, err := FindSocket(file + ".not"); err == nil {
		t.Error("there is no such file")
	}
}
