package config

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOnlyFilesOfABoundedSizeAreRead(t *testing.T) {
	for _, tt := range []struct{ path, want string }{
		{"/dev/zero", "/dev/zero is a device; name a file"},
		{t.TempDir(), "is a directory; name a file"},
		{write(t, "large", strings.Repeat("#", maxFile+1)), "has more than 1048576 bytes; make it smaller"},
		{filepath.Join(t.TempDir(), "none"), "no such file"},
	} {
		if _, err := Load(tt.path); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.path, err, tt.want)
		}
	}
}

func TestPagesAreFilesOfABoundedSize(t *testing.T) {
	page := "version: 1\nroutes: [203.0.113.0/24]\ndecoys: [{name: d, service: {type: http, pages: [{path: /, file: FILE}]}}]\n"
	path := write(t, "f.yaml", strings.Replace(page, "FILE", "/dev/zero", 1))
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), ":3:66: file: /dev/zero is a device; name a file") {
		t.Errorf("%v", err)
	}
	body := filepath.Join(filepath.Dir(path), "index.html")
	for size, ok := range map[int64]bool{maxPage: true, maxPage + 1: false} {
		if err := os.WriteFile(body, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(body, size); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(filepath.Dir(path), "g.yaml")
		if err := os.WriteFile(path, []byte(strings.Replace(page, "FILE", "index.html", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := Load(path); (err == nil) != ok {
			t.Errorf("%d bytes: %v, %v", size, c, err)
		}
	}
}

func TestThePagesTogetherHaveABound(t *testing.T) {
	pages := strings.Repeat("{path: /, file: f}, ", maxPages/maxPage+1)
	text := decoy("type: http, pages: [" + strings.TrimSuffix(pages, ", ") + "]")
	_, err := Parse("f", []byte(text), func(string) ([]byte, error) { return make([]byte, maxPage), nil })
	if err == nil || !strings.Contains(err.Error(), "the pages' files have more than 64MiB together; make them smaller") {
		t.Errorf("%v", err)
	}
}

func TestAPipeMayStandInAFilesPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go feed(path, written)
	if c, err := Load(path); err != nil || len(c.Routes) != 1 {
		t.Errorf("%v, %v", c, err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

func feed(path string, written chan<- error) { written <- os.WriteFile(path, []byte(base), 0o600) }
