package vm

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// The guest's kernel, like any other, runs /sbin/modprobe when it lacks something that a module may bring: a rule
// asks for an expression, a link for its type, a socket for its family. In the guest that is this executable.

const modprobePath = "/sbin/modprobe"

// enableModprobe lets the kernel find its modprobe. Not before the program is about to start: while it boots, the
// kernel asks for ciphers that it can do without, and each answer would take emulation a quarter of a second.
func enableModprobe() error {
	if err := os.Symlink("/init", modprobePath); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("provide modprobe: %w", err)
	}
	return nil
}

// modprobe loads the modules that the arguments of modprobe(8) name, by name or alias. Of its options it knows those
// that the kernel uses (-q, --) and -a.
func modprobe(args []string) error {
	tree, err := readModules(guestModules)
	if err != nil {
		return err
	}
	var names []string
	all := false
	for i, a := range args {
		switch {
		case a == "--":
			names = append(names, args[i+1:]...)
		case a == "-a" || a == "--all":
			all = true
			continue
		case strings.HasPrefix(a, "-"):
			continue
		default:
			names = append(names, a)
			continue
		}
		break
	}
	if len(names) == 0 {
		return errors.New("no module was named")
	}
	if all {
		for _, n := range names {
			if err := tree.modprobe(n, ""); err != nil {
				return err
			}
		}
		return nil
	}
	return tree.modprobe(names[0], strings.Join(names[1:], " "))
}

// modprobe loads what a name or an alias stands for.
func (t *moduleTree) modprobe(name, params string) error {
	names := []string{name}
	if !t.has(name) {
		var err error
		if names, err = t.aliases(name); err != nil {
			return err
		}
		if len(names) == 0 {
			return &unknownModuleError{name: name, kernel: "of this VM"}
		}
	}
	for _, n := range names {
		file, ok := t.byName[canonical(n)]
		if !ok {
			continue // built in
		}
		if params == "" {
			params = quietParams[canonical(file)]
		}
		if err := t.load(t.withNeeds(t.deps[file])); err != nil {
			return err
		}
		if err := loadModule(filepath.Join(t.dir, file), params); err != nil {
			return fmt.Errorf("load kernel module %s: %w", n, err)
		}
	}
	return nil
}

// aliases returns the modules that have an alias which fits name.
func (t *moduleTree) aliases(name string) ([]string, error) {
	var out []string
	name = strings.ReplaceAll(name, "-", "_")
	err := eachAlias(t.dir, func(pattern, module string) {
		// No alias of a network module has brackets, in which a dash would be a range.
		if ok, err := path.Match(strings.ReplaceAll(pattern, "-", "_"), name); err == nil && ok {
			out = append(out, module)
		}
	})
	return out, err
}

// eachAlias goes through modules.alias, which may be missing.
func eachAlias(dir string, do func(pattern, module string)) error {
	err := eachLine(filepath.Join(dir, "modules.alias"), func(line string) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "alias" {
			do(words[1], words[2])
		}
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read aliases of modules: %w", err)
	}
	return nil
}
