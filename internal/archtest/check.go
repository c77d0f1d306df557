package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// check reads every Go file of a repository and returns what breaks the rules, one line each.
func check(repository fs.FS, module string) ([]string, error) {
	c := checker{module: module, files: token.NewFileSet(), packages: map[string]*goPackage{}}
	err := fs.WalkDir(repository, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && skipped(name):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		content, err := fs.ReadFile(repository, name)
		if err != nil {
			return err
		}
		return c.file(name, content)
	})
	if err != nil {
		return nil, fmt.Errorf("check the layout: %w", err)
	}
	if len(c.packages) == 0 {
		return nil, fmt.Errorf("check the layout: no Go file found")
	}
	for folder, p := range c.packages {
		c.wholePackage(folder, p)
	}
	slices.Sort(c.faults)
	return c.faults, nil
}

// skipped says which folders the go command leaves out too.
func skipped(name string) bool {
	base := path.Base(name)
	return name != "." && (base == "testdata" || base == "vendor" || base[0] == '.' || base[0] == '_')
}

type goPackage struct {
	name    string
	doc     bool // has a doc.go
	program bool // has a file that is not a test
	tests   bool
}

type checker struct {
	module   string
	files    *token.FileSet
	packages map[string]*goPackage // by folder
	faults   []string
}

func (c *checker) fault(where, format string, args ...any) {
	c.faults = append(c.faults, where+": "+fmt.Sprintf(format, args...))
}

func (c *checker) file(name string, content []byte) error {
	parsed, err := parser.ParseFile(c.files, name, content, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	folder, test := path.Dir(name), strings.HasSuffix(name, "_test.go")
	p := c.packages[folder]
	if p == nil {
		p = &goPackage{}
		c.packages[folder] = p
	}
	switch {
	case test:
		p.tests = true
	case path.Base(name) == "doc.go":
		p.doc, p.name = true, parsed.Name.Name
		if parsed.Doc == nil {
			c.fault(name, "it does not say what the package is for")
		}
	default:
		p.program, p.name = true, parsed.Name.Name
	}
	if lines := bytes.Count(content, []byte("\n")); lines > longest && !ast.IsGenerated(parsed) {
		c.fault(name, "%d lines, where %d are the limit", lines, longest)
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return fmt.Errorf("%s: read an import: %w", name, err)
		}
		if spec.Name != nil && spec.Name.Name == "." && !test {
			c.fault(name, "dot-imports %s outside of a test", imported)
		}
		c.imported(name, folder, imported, test)
	}
	return nil
}

func (c *checker) imported(name, folder, imported string, test bool) {
	if imported == c.module || strings.HasPrefix(imported, c.module+"/") {
		c.own(name, folder, strings.TrimPrefix(strings.TrimPrefix(imported, c.module), "/"), test)
		return
	}
	for _, l := range libraries {
		allowed := l.folders
		if test {
			allowed = slices.Concat(allowed, l.tests)
		}
		if within(imported, l.path) && !slices.ContainsFunc(allowed, func(f string) bool { return within(folder, f) }) {
			c.fault(name, "imports %s, which is for %s", imported, listed(allowed, "nobody"))
		}
	}
}

func (c *checker) own(name, folder, imported string, test bool) {
	r, ok := ruleOf(folder)
	if !ok {
		return // reported for the package
	}
	allowed := r.own
	if test {
		allowed = slices.Concat(allowed, r.tests, inTests)
	}
	inside := within(imported, r.folder) && r.folder != "internal" || imported == folder || slices.Contains(everywhere, imported)
	if !inside && !slices.ContainsFunc(allowed, func(f string) bool { return within(imported, f) }) {
		c.fault(name, "imports %s; %s may import %s", imported, r.folder, listed(allowed, "nothing of ours"))
	}
}

func (c *checker) wholePackage(folder string, p *goPackage) {
	r, ok := ruleOf(folder)
	switch {
	case !ok:
		c.fault(folder, "no rule says what this package may import; add one to internal/archtest")
	case r.testsOnly && p.program:
		c.fault(folder, "%s holds tests only", r.folder)
	}
	if !p.doc {
		c.fault(folder, "the package has no doc.go")
	}
	if slices.Contains(vagueNames, p.name) {
		c.fault(folder, "the name %s says nothing of what the package is for", p.name)
	}
}

// ruleOf finds the rule for a folder: the longest that applies.
func ruleOf(folder string) (found rule, ok bool) {
	for _, r := range rules {
		if within(folder, r.folder) && len(r.folder) > len(found.folder) {
			found, ok = r, true
		}
	}
	return found, ok
}

func within(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, folder+"/")
}

func listed(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return strings.Join(names, ", ")
}
