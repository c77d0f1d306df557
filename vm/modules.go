package vm

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/internal/nearest"
)

// moduleTree is what a kernel's modules folder says about its modules. A module's file is its path relative to the
// folder, "kernel/net/netfilter/nft_ct.ko.xz".
type moduleTree struct {
	dir     string
	deps    map[string][]string // file → files that it needs, each before those that it needs itself
	byName  map[string]string   // canonical name → file
	builtin map[string]bool     // canonical names
}

// canonical is the name of a module as the kernel spells it: nft_ct for kernel/net/netfilter/nft_ct.ko.xz, and for
// nft-ct.
func canonical(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// readModules reads modules.dep and modules.builtin.
func readModules(dir string) (*moduleTree, error) {
	t := &moduleTree{dir: dir, deps: map[string][]string{}, byName: map[string]string{}, builtin: map[string]bool{}}
	if dir == "" {
		return t, nil
	}
	err := eachLine(filepath.Join(dir, "modules.dep"), func(line string) {
		file, needs, ok := strings.Cut(line, ":")
		if !ok {
			return
		}
		t.deps[file] = strings.Fields(needs)
		t.byName[canonical(file)] = file
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("modules folder %s has no modules.dep: run depmod for it", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read module dependencies: %w", err)
	}
	err = eachLine(filepath.Join(dir, "modules.builtin"), func(line string) { t.builtin[canonical(line)] = true })
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read list of built-in modules: %w", err)
	}
	return t, nil
}

func eachLine(file string, do func(string)) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		do(lines.Text())
	}
	return lines.Err()
}

// has tells whether the kernel has a module, loadable or built in.
func (t *moduleTree) has(name string) bool {
	name = canonical(name)
	return t.builtin[name] || t.byName[name] != ""
}

// closure returns the files of the modules named and of those that they need, relative to the folder, each after what
// it needs. Built-in modules have none.
func (t *moduleTree) closure(kernel string, names []string) ([]string, error) {
	var files []string
	for _, name := range names {
		file, ok := t.byName[canonical(name)]
		if !ok {
			if t.builtin[canonical(name)] {
				continue
			}
			return nil, t.unknown(name, kernel)
		}
		files = append(files, file)
	}
	return t.withNeeds(files), nil
}

// withNeeds returns files and those that they need, each after what it needs.
func (t *moduleTree) withNeeds(files []string) []string {
	var out []string
	done := map[string]bool{}
	add := func(file string) {
		if !done[file] {
			done[file] = true
			out = append(out, file)
		}
	}
	for _, file := range files {
		// depmod writes the whole closure, each module before those that it needs (modules.dep(5)).
		for _, need := range slices.Backward(t.deps[file]) {
			add(need)
		}
		add(file)
	}
	return out
}

// below returns the files of modules in a folder of the kernel's source tree, as "net" or "drivers/net/vxlan".
func (t *moduleTree) below(folder string) []string {
	var out []string
	for file := range t.deps {
		if strings.HasPrefix(file, "kernel/"+folder+"/") {
			out = append(out, file)
		}
	}
	slices.Sort(out)
	return out
}

// unknown is the error for a module that the kernel does not have.
func (t *moduleTree) unknown(name, kernel string) error {
	names := slices.Sorted(maps.Keys(t.byName))
	names = slices.AppendSeq(names, maps.Keys(t.builtin))
	resembling := nearest.Names(canonical(name), slices.Values(names))
	if len(resembling) == 0 {
		// Many modules have the name that users know behind a prefix: sch_netem, nft_ct.
		resembling = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, "_"+canonical(name)) })
	}
	return &unknownModuleError{name: name, kernel: kernel, none: t.dir == "", nearest: resembling[:min(3, len(resembling))]}
}
