package config

import (
	"fmt"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// ControlSocket is where the gateway listens for its operator.
func (c *Config) ControlSocket() string {
	if c.Control != "" {
		return c.Control
	}
	return filepath.Join(c.StateDir, "control.sock")
}

// FindSocket is the ControlSocket that a file asks for, whatever mistakes it has
// elsewhere: a gateway that runs can be asked although its file is being edited.
func FindSocket(path string) (string, error) {
	b, err := readFile(path, maxFile)
	if err != nil {
		return "", fmt.Errorf("read the configuration: %w", err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(b, &root); err != nil || len(root.Content) == 0 {
		return "", fmt.Errorf("%s is not YAML: name the gateway's socket itself, with --socket", path)
	}
	c := defaults()
	word(root.Content[0], "control", "socket", &c.Control)
	word(root.Content[0], "state", "dir", &c.StateDir)
	return c.ControlSocket(), nil
}

// word is the text of a key in a mapping of the file, if there is one.
func word(top *yaml.Node, mapping, key string, dst *string) {
	in := value(top, mapping)
	if n := value(in, key); in != top && n != in && n.Kind == yaml.ScalarNode && n.Value != "" {
		*dst = n.Value
	}
}
