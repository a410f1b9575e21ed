package servers

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestScriptInstallsThesePackages(t *testing.T) {
	b, err := os.ReadFile("../packages.sh")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^packages='(.*)'$`).FindSubmatch(b)
	if m == nil {
		t.Fatal("the script has no list of packages")
	}
	if diff := cmp.Diff(Packages, strings.Fields(string(m[1]))); diff != "" {
		t.Errorf("packages (-here +script):\n%s", diff)
	}
}

func TestListeningLooksAtStateAndPort(t *testing.T) {
	table := []byte("  sl  local_address rem_address   st\n" +
		"   0: 00000000:0050 00000000:0000 0A 0\n" +
		"   1: 0100007F:1F90 00000000:0000 01 0\n")
	for port, want := range map[uint16]bool{80: true, 8080: false, 81: false} {
		if got := listening(table, port); got != want {
			t.Errorf("port %d: %v, want %v", port, got, want)
		}
	}
}
