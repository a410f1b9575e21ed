package e2e

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pkg is what `go list -json` says of a package of ours.
type pkg struct {
	ImportPath, Dir, Doc string
	GoFiles, Imports     []string
}

func packages(t *testing.T) (ps []pkg) {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,GoFiles,Imports", "sleight/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}

// arrows are the imports that the picture has, by package: of ours, and of gVisor
// for the pure ones.
var arrows = map[string][]string{
	"stack/tcb":       {"gvisor:seqnum"},
	"stack/wire":      {"stack/tcb", "gvisor:checksum", "gvisor:header"},
	"stack/profile":   {"stack/wire", "stack/tcb", "gvisor:checksum"},
	"redirect/flow":   {"stack/tcb"},
	"redirect/front":  {"stack/wire", "stack/tcb", "stack/profile"},
	"redirect/record": {"stack/wire", "stack/tcb"},
	"redirect/replay": {"stack/wire", "stack/tcb"},
	"redirect/splice": {"stack/wire", "stack/tcb"},
	"redirect/frame":  {},
	"rules":           {"rules/pattern", "rules/proto", "rules/suricata", "internal/spelling"},
	"rules/pattern":   {},
	"rules/suricata":  {"rules/pattern", "rules/proto"},
	"rules/proto":     {},
	"redirect": {
		"redirect/flow", "redirect/front", "redirect/record", "redirect/replay", "redirect/splice",
		"rules", "stack/profile", "stack/tcb", "stack/wire",
	},
	"tun":                      {},
	"tun/kernel":               {"redirect", "redirect/splice", "stack/tcb"},
	"internal/spelling":        {},
	"internal/control":         {},
	"internal/config":          {"internal/spelling"},
	"internal/evidence":        {"internal/config", "stack/wire", "stack/tcb"},
	"internal/evidence/ladder": {"stack/wire", "stack/tcb"},
	"internal/pcap":            {"internal/config"},
	"internal/memory":          {},
	"internal/offline":         {"redirect/record", "rules", "stack/tcb", "stack/wire"},
	"internal/host":            {"internal/config"},
}

// pure packages do no I/O, start no goroutine and know no clock.
var pure = []string{
	"stack/tcb", "stack/wire", "stack/profile", "redirect/flow", "redirect/front", "redirect/record",
	"redirect/replay", "redirect/splice", "redirect/frame", "rules",
	"rules/pattern", "rules/proto", "rules/suricata", "internal/spelling",
}

func TestImportsAreThoseOfThePicture(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, "sleight/")
		allowed, known := arrows[name]
		for _, imp := range p.Imports {
			if imp == "github.com/urfave/cli/v2" && name != "cmd/sleight" {
				t.Errorf("%s imports %s: only cmd does", name, imp)
			}
			if strings.Contains(imp, "pkg/tcpip/") && name != "stack" && !known {
				t.Errorf("%s imports %s: only stack does", name, imp)
			}
			if !known {
				continue
			}
			switch {
			case strings.HasPrefix(imp, "sleight/"):
				imp = strings.TrimPrefix(imp, "sleight/")
			case strings.HasPrefix(imp, "gvisor.dev/"):
				imp = "gvisor:" + filepath.Base(imp)
			default:
				continue
			}
			if !slices.Contains(allowed, imp) {
				t.Errorf("an arrow that the picture does not have: %s → %s", name, imp)
			}
		}
	}
}

func TestPurePackagesArePure(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, "sleight/")
		if !slices.Contains(pure, name) {
			continue
		}
		for _, imp := range p.Imports {
			locks := imp == "sync" && name != "redirect/flow" && name != "redirect/splice" // a table; a pool
			if slices.Contains([]string{"os", "net", "syscall", "log", "context"}, imp) || locks {
				t.Errorf("%s is pure but imports %s", name, imp)
			}
		}
		each(t, p, func(file string, n ast.Node) {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a goroutine in a pure package", file)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Sleep", "After", "Since", "NewTimer"}, n.Sel.Name) {
					t.Errorf("%s: time.%s in a pure package", file, n.Sel.Name)
				}
			}
		})
	}
}

// each walks every file of a package, tests excepted.
func each(t *testing.T, p pkg, f func(file string, n ast.Node)) {
	t.Helper()
	for _, name := range p.GoFiles {
		file := filepath.Join(p.Dir, name)
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool { f(file, n); return true })
	}
}

// "Goroutine leak check in every package that starts goroutines" (STYLE.md). The
// benchmark's programs end with what they measure.
func TestWhoStartsGoroutinesLooksForLeaks(t *testing.T) {
	for _, p := range packages(t) {
		starts := false
		each(t, p, func(_ string, n ast.Node) {
			_, isGo := n.(*ast.GoStmt)
			starts = starts || isGo
		})
		if !starts || strings.HasPrefix(p.ImportPath, "sleight/e2e/bench") {
			continue
		}
		tests, err := filepath.Glob(filepath.Join(p.Dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		looks := slices.ContainsFunc(tests, func(file string) bool {
			b, err := os.ReadFile(file)
			return err == nil && strings.Contains(string(b), `"go.uber.org/goleak"`)
		})
		if !looks {
			t.Errorf("%s starts goroutines, and no test of it looks for leaks (goleak)", p.ImportPath)
		}
	}
}

func TestTheHouseIsTidy(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		each(t, p, func(file string, n ast.Node) {
			if g, ok := n.(*ast.GoStmt); ok {
				if _, anonymous := g.Call.Fun.(*ast.FuncLit); anonymous {
					t.Errorf("%s: a goroutine without a name", file)
				}
			}
		})
		files, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(b), "\n"); n > 600 {
				t.Errorf("%s has %d lines", f, n)
			}
			if strings.Contains(string(b), "t."+"Skip") {
				t.Errorf("%s skips a test", f)
			}
		}
	}
}
