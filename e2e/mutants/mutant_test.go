package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// Each patch still applies, so that `make mutants` can run whenever somebody asks.
func TestPatchesApply(t *testing.T) {
	for _, m := range patches(t) {
		if err := apply(root, m.file, "--check"); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

// Each names a test that there is.
func TestPatchesNameTests(t *testing.T) {
	for _, m := range patches(t) {
		name, _, _ := strings.Cut(m.test, "/")
		files, err := filepath.Glob(filepath.Join(root, m.pkg, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			found = found || bytes.Contains(b, []byte("\nfunc "+name+"("))
		}
		if !found {
			t.Errorf("%s: %s has no %s", m.name, m.pkg, name)
		}
	}
}

// The table is what the heads say.
func TestTheTableIsCurrent(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, doc))
	if err != nil {
		t.Fatal(err)
	}
	want, err := written(b, patches(t))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("%s is not as the patches have it: go run ./%s -docs", doc, folder)
	}
}

func patches(t *testing.T) []mutant {
	t.Helper()
	ms, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	return ms
}
