package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/ci/report"
)

// testPackage is a package whose tests are run.
type testPackage struct {
	name   string // its folder, relative to where the matrix runs
	path   string // import path
	dir    string
	binary string
	ginkgo bool // a test of it imports Ginkgo
	stable bool // it runs on the stable kernel only
}

const ginkgoPath = "github.com/onsi/ginkgo/v2"

// build finds the packages, and builds a test binary of each.
func (c *command) build(ctx context.Context, root string) ([]testPackage, error) {
	args := append([]string{"list", "-json=Dir,ImportPath,TestGoFiles,XTestGoFiles,TestImports,XTestImports", "--"}, c.Packages...)
	out, err := output(ctx, "go", args...)
	if err != nil {
		return nil, fmt.Errorf("find the packages: %w", err)
	}
	packages, err := listed(out, root)
	if err != nil {
		return nil, err
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("no package has tests in %s", strings.Join(c.Packages, " "))
	}
	for _, name := range c.Stable {
		i := slices.IndexFunc(packages, func(p testPackage) bool { return p.name == filepath.Clean(name) || p.path == name })
		if i < 0 {
			return nil, fmt.Errorf("--stable %s: no such package is among those to run", name)
		}
		packages[i].stable = true
	}
	for i := range packages {
		p := &packages[i]
		p.binary = filepath.Join(c.Report, "bin", strings.ReplaceAll(p.path, "/", "-")+".test")
		if _, err := output(ctx, "go", "test", "-c", "-o", p.binary, p.path); err != nil {
			return nil, fmt.Errorf("build the tests of %s: %w", p.name, err)
		}
	}
	return packages, nil
}

// listed reads the output of go list -json.
func listed(text, root string) ([]testPackage, error) {
	var packages []testPackage
	for d := json.NewDecoder(strings.NewReader(text)); ; {
		var l struct {
			Dir, ImportPath                                      string
			TestGoFiles, XTestGoFiles, TestImports, XTestImports []string
		}
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("read what go list says: %w", err)
		}
		if len(l.TestGoFiles)+len(l.XTestGoFiles) == 0 {
			continue
		}
		p := testPackage{name: l.ImportPath, path: l.ImportPath, dir: l.Dir}
		if rel, err := filepath.Rel(root, l.Dir); err == nil && filepath.IsLocal(rel) {
			p.name = rel
		}
		p.ginkgo = slices.ContainsFunc(slices.Concat(l.TestImports, l.XTestImports), func(i string) bool { return i == ginkgoPath })
		packages = append(packages, p)
	}
}

// kernels fetches the kernels that are wanted, and returns what the list of kernels says of them.
func (c *command) kernels(ctx context.Context) ([]report.Kernel, error) {
	known, err := c.listKernels(ctx)
	if err != nil {
		return nil, err
	}
	names := c.Kernel
	if len(names) == 0 {
		for _, k := range known {
			if k.Role != "" {
				names = append(names, k.Name)
			}
		}
	}
	// A word of progress is for whoever waits; an unknown name is an error of waybill's.
	if err := run(ctx, "", os.Stdout, os.Stderr, c.Waybill, append([]string{"kernel", "fetch"}, names...)...); err != nil {
		return nil, fmt.Errorf("fetch the kernels: %w", err)
	}
	if known, err = c.listKernels(ctx); err != nil { // with the versions that are there now
		return nil, err
	}
	var out []report.Kernel
	for _, name := range names {
		i := slices.IndexFunc(known, func(k report.Kernel) bool { return k.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown kernel %q: see waybill kernel list", name)
		}
		out = append(out, known[i])
	}
	return out, nil
}

func (c *command) listKernels(ctx context.Context) ([]report.Kernel, error) {
	text, err := output(ctx, c.Waybill, "kernel", "list", "--json")
	if err != nil {
		return nil, fmt.Errorf("list the kernels: %w", err)
	}
	var known []report.Kernel
	if err := json.Unmarshal([]byte(text), &known); err != nil {
		return nil, fmt.Errorf("read the list of kernels: %w", err)
	}
	return known, nil
}

func findWaybill(name string) (string, error) {
	p, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find the waybill command: %w; build it with go build ./cmd/waybill, and name it by --waybill", err)
	}
	return filepath.Abs(p)
}
