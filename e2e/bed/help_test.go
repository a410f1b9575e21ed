package bed_test

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"

	"sleight/e2e/bed"
)

func containsLine(out []byte, word string) bool {
	for line := range bytes.Lines(out) {
		if bytes.Contains(line, []byte(word)) {
			return true
		}
	}
	return false
}

// snmp reads a counter of a namespace's /proc/net/snmp: a line of names and one of values each.
func snmp(t *testing.T, n *bed.Namespace, group, name string) uint64 {
	t.Helper()
	var file []byte
	err := n.Do(func() (err error) {
		file, err = os.ReadFile("/proc/thread-self/net/snmp")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(file)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != group {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, f := range names {
			if f == name {
				return number(t, fields[i])
			}
		}
	}
	t.Fatalf("no counter %s %s", group, name)
	return 0
}

func number(t *testing.T, s string) uint64 {
	t.Helper()
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// checksumErrors counts damaged packets that kernels found.
func checksumErrors(t *testing.T, hosts ...*bed.Namespace) uint64 {
	t.Helper()
	var sum uint64
	for _, h := range hosts {
		sum += snmp(t, h, "Tcp:", "InCsumErrors") + snmp(t, h, "Ip:", "InHdrErrors")
	}
	return sum
}
