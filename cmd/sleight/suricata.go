package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"sleight/internal/config"
	"sleight/rules"
	"sleight/rules/suricata"
)

// maxRuleFiles bounds the files with Suricata's rules together, in bytes.
const maxRuleFiles = 256 << 20

// suricataRules is what is in the files that a configuration names.
type suricataRules struct {
	all     []*suricata.Rule
	skipped []suricata.Skipped
	total   int // in the files
	files   map[string]bool
}

// readSuricata reads the files that a configuration names.
func readSuricata(cfg *config.Config) (s suricataRules, mistakes []*config.Error) {
	s.files = map[string]bool{}
	vars, err := suricata.NewVars(withHome(cfg))
	if err != nil {
		mistakes = append(mistakes, &config.Error{Place: cfg.Suricata.Place, Msg: fmt.Sprintf("suricata.vars: %s; see docs/rules.md", oneLine(err))})
	}
	left := int64(maxRuleFiles)
	for _, f := range cfg.Suricata.Files {
		names, err := matching(cfg, f.Name)
		for i := 0; i < len(names) && err == nil; i++ {
			err = s.read(names[i], vars, &left)
		}
		if err != nil {
			mistakes = append(mistakes, &config.Error{Place: f.Place, Msg: fmt.Sprintf("suricata.files: %v; name files that this user can read", err)})
		}
	}
	return s, mistakes
}

// oneLine joins what errors.Join has put in lines.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// withHome is the variables, HOME_NET being the claimed prefixes unless it is set.
func withHome(cfg *config.Config) map[string]string {
	vars := map[string]string{}
	var home []string
	for _, p := range cfg.Routes {
		home = append(home, p.String())
	}
	if len(home) > 0 {
		vars["HOME_NET"] = "[" + strings.Join(home, ",") + "]"
	}
	for name, text := range cfg.Suricata.Vars {
		vars[name] = text
	}
	return vars
}

// matching are the files that a pattern names.
func matching(cfg *config.Config, pattern string) ([]string, error) {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(filepath.Dir(cfg.File), pattern)
	}
	names, err := filepath.Glob(pattern)
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("there is no file %s", pattern)
	}
	return names, err
}

func (s *suricataRules) read(name string, vars *suricata.Vars, left *int64) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, *left+1))
	if err != nil {
		return err
	}
	if *left -= int64(len(b)); *left < 0 {
		return fmt.Errorf("the files have more than %d MiB together", maxRuleFiles>>20)
	}
	base := filepath.Base(name)
	s.files[base] = true
	all, skipped := suricata.Parse(base, string(b), vars)
	s.all, s.skipped = append(s.all, all...), append(s.skipped, skipped...)
	s.total += len(all) + len(skipped)
	return nil
}

// use gives a set the rules that it picks.
func (s *suricataRules) use(cfg *config.Config, set *rules.Set) (mistakes []*config.Error) {
	for i := range cfg.Rules {
		r := &cfg.Rules[i]
		if r.Suricata == nil {
			continue
		}
		for _, f := range r.Suricata.Files {
			if !s.files[f.Name] {
				mistakes = append(mistakes, &config.Error{Place: f.Place, Msg: fmt.Sprintf("rule %s: no file of suricata.files is called %q; write its name without a directory", r.Name, f.Name)})
			}
		}
	}
	if mistakes == nil && set != nil {
		s.skipped = append(s.skipped, set.UseSuricata(s.all, &counters{})...)
	}
	return mistakes
}

// selector is a rule's choice in the words of the rules' package.
func selector(c *config.Selector) *suricata.Selector {
	if c == nil {
		return nil
	}
	s := &suricata.Selector{Classtypes: c.Classtypes, Priorities: c.Priorities}
	for _, f := range c.Files {
		s.Files = append(s.Files, f.Name)
	}
	for _, r := range c.SIDs {
		s.SIDs = append(s.SIDs, suricata.Range{First: r[0], Last: r[1]})
	}
	return s
}

// counters count matches for all flows.
type counters struct {
	mu sync.Mutex
	c  suricata.Counters
}

// Count is suricata.Memory's.
func (c *counters) Count(now time.Time, key suricata.Key, window time.Duration) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.c.Count(now, key, window)
}
