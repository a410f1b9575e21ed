package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	maxFile  = 1 << 20  // bytes of a configuration
	maxPage  = 16 << 20 // bytes of a page's file
	maxPages = 64 << 20 // bytes of all of them
)

// Check finds mistakes that only others can know of: in an expression, in a
// service. It is given what could be read, even beside other mistakes.
type Check func(*Config) []*Error

// Load reads and checks a configuration file.
func Load(path string, checks ...Check) (*Config, error) {
	b, err := readFile(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, b, func(name string) ([]byte, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(path), name)
		}
		return readFile(name, maxPage)
	}, checks...)
}

// readFile reads a file of at most so many bytes. A pipe may stand in its place,
// or standard input; a device may not: it has no end.
func readFile(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	const readable = os.ModeNamedPipe
	if other := info.Mode().Type() &^ readable; other != 0 && path != "/dev/stdin" {
		return nil, fmt.Errorf("%s is a %s; name a file", path, typeName(other))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s has more than %d bytes; make it smaller", path, most)
	}
	return b, err
}

func typeName(m os.FileMode) string {
	switch {
	case m&os.ModeDir != 0:
		return "directory"
	case m&os.ModeDevice != 0:
		return "device"
	case m&os.ModeSocket != 0:
		return "socket"
	}
	return "special file"
}

// decoder walks the document by hand, so that one mistake does not hide the next.
type decoder struct {
	read   func(string) ([]byte, error)
	text   source
	errs   []*Error
	routes []placed // the claimed prefixes, where they stand
	pool   []placed
	pages  int // bytes of pages' files so far
	at     map[string]Place
}

// Parse checks a configuration; read fetches the files that it names. The error
// joins one *Error for each mistake.
func Parse(name string, b []byte, read func(string) ([]byte, error), checks ...Check) (*Config, error) {
	d := &decoder{read: read, at: map[string]Place{}}
	c := defaults()
	c.File = name
	if root := d.document(bytes.TrimPrefix(b, []byte("\ufeff"))); root != nil {
		d.tree(root)
		d.config(c, root)
		c.at = d.at
		for _, check := range checks {
			d.errs = append(d.errs, check(c)...)
		}
	}
	if d.errs != nil {
		return nil, joined(name, d.errs)
	}
	return c, nil
}

// document reads the one YAML document of a file; nil: there is none that can be
// looked into.
func (d *decoder) document(b []byte) *yaml.Node {
	top := Place{1, 1}
	switch {
	case len(b) > maxFile:
		d.failAt(top, "make it smaller", "the file has more than %d bytes", maxFile)
		return nil
	case !utf8.Valid(b):
		d.failAt(top, `write raw bytes as {hex: "…"}`, "the file is not UTF-8")
		return nil
	}
	d.text = lines(b)
	var doc, second yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(b))
	err := in.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		d.failAt(top, "begin with `version: 1`", "the file is empty")
		return nil
	case err != nil:
		d.syntax(err)
		return nil
	}
	switch err := in.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.syntax(err)
	default:
		d.fail(&second, "keep one", "a second YAML document begins here")
	}
	return doc.Content[0]
}

// syntax reports what the YAML reader says, at its line.
func (d *decoder) syntax(err error) {
	at := Place{1, 1}
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	if _, serr := fmt.Sscanf(msg, "line %d:", &at.Line); serr == nil {
		_, msg, _ = strings.Cut(msg, ": ")
	}
	d.failAt(at, "look at the brackets, quotes and indentation before it", "this is not YAML: %s", msg)
}

// tree refuses, wherever it stands, what this file has no use for. What is
// reported here is passed over by all that read values.
func (d *decoder) tree(n *yaml.Node) {
	switch {
	case n.Kind == yaml.AliasNode:
		d.fail(n, "write the value out", "aliases are not supported")
		return
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(n, "take it out", "the tag %s is not supported", n.Tag)
	}
	if n.Kind == yaml.ScalarNode && n.Style&yaml.DoubleQuotedStyle != 0 {
		d.highEscapes(n)
	}
	for _, c := range n.Content {
		d.tree(c)
	}
}
