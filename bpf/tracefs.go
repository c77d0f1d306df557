package bpf

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// tracefs is the kernel's tracing file system, mounted nowhere: it is there for root whatever this system, a container or
// an initramfs, has mounted.
type tracefs struct{ mount *os.File }

func openTracefs() (tracefs, error) {
	wrap := func(err error) (tracefs, error) { return tracefs{}, fmt.Errorf("open tracefs: %w", err) }
	context, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return wrap(err)
	}
	defer func() { _ = unix.Close(context) }()
	if err := unix.FsconfigCreate(context); err != nil {
		return wrap(err)
	}
	mount, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return wrap(err)
	}
	return tracefs{os.NewFile(uintptr(mount), "tracefs")}, nil
}

func (t tracefs) open(path string) (*os.File, error) {
	fd, err := unix.Openat(int(t.mount.Fd()), path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s of tracefs: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (t tracefs) read(path string) ([]byte, error) {
	file, err := t.open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(bufio.NewReaderSize(file, 1<<16))
	if err != nil {
		return nil, fmt.Errorf("read %s of tracefs: %w", path, err)
	}
	return data, nil
}

// groups lists the tracepoints of each group: "net" has "net_dev_queue" and others.
func (t tracefs) groups() (map[string][]string, error) {
	groups := make(map[string][]string)
	list := func(path string) ([]fs.DirEntry, error) {
		file, err := t.open(path)
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		return file.ReadDir(-1)
	}
	folders, err := list("events")
	if err != nil {
		return nil, err
	}
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		events, err := list("events/" + folder.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // its module was just unloaded
		}
		if err != nil {
			return nil, err
		}
		for _, event := range events {
			if event.IsDir() {
				groups[folder.Name()] = append(groups[folder.Name()], event.Name())
			}
		}
	}
	return groups, nil
}

func (t tracefs) Close() error { return t.mount.Close() }

// traceable is the kernel's list of functions to which programs can attach (available_filter_functions). The kernel's
// types know of more: functions that are not to be traced (notrace), and those that ran at boot and are gone.
type traceable struct {
	// text has a line for each, beginning and ending with a line feed: the name, then, after a space, the module in
	// brackets. There are 40,000 lines. For a few names it is searched.
	text []byte

	parse  sync.Once
	parsed map[string][]string // modules by name; for patterns, which ask for all names
	asked  sync.Map            // what was searched for: a list of modules by name
}

func (t *traceable) index() map[string][]string {
	t.parse.Do(func() {
		parsed := make(map[string][]string)
		for line := range strings.Lines(string(t.text)) {
			name, module := splitLine(strings.TrimSpace(line))
			if name != "" {
				parsed[name] = append(parsed[name], module)
			}
		}
		t.parsed = parsed
	})
	return t.parsed
}

// splitLine reads "name [module]".
func splitLine(line string) (name, module string) {
	name, module, _ = strings.Cut(line, " ")
	return name, strings.Trim(module, " []\t")
}

func newTraceable(text []byte) *traceable {
	return &traceable{text: append([]byte{'\n'}, text...)}
}

// loadTraceable fails with an error that wraps fs.ErrNotExist where the kernel traces no functions.
func loadTraceable(t tracefs) (*traceable, error) {
	text, err := t.read("available_filter_functions")
	if err != nil {
		return nil, err
	}
	return newTraceable(text), nil
}

// modules tells where functions of this name are, a module for each; the empty one is the kernel itself.
func (t *traceable) modules(name string) []string {
	if known, ok := t.asked.Load(name); ok {
		return known.([]string)
	}
	modules := t.search(name)
	t.asked.Store(name, modules)
	return modules
}

func (t *traceable) search(name string) []string {
	var modules []string
	for text, line := t.text, []byte("\n"+name); ; {
		i := bytes.Index(text, line)
		if i < 0 {
			return modules
		}
		text = text[i+1:]
		rest, _, _ := bytes.Cut(text, []byte("\n"))
		if found, module := splitLine(string(rest)); found == name {
			modules = append(modules, module)
		}
	}
}

// matching lists the names that are chosen.
func (t *traceable) matching(chosen func(name string) bool) []string {
	var names []string
	for name := range t.index() {
		if chosen(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// variants are functions that the compiler made of one, by leaving out arguments or parts: tcp_ack.constprop.0.
func (t *traceable) variants(name string) []string {
	return t.matching(func(other string) bool {
		return len(other) > len(name) && other[len(name)] == '.' && strings.HasPrefix(other, name)
	})
}

// has tells whether there is a function of that name in a module.
func (t *traceable) has(name, module string) bool { return slices.Contains(t.index()[name], module) }

// symbol is a line of /proc/kallsyms.
type symbol struct {
	address uint64
	module  string // empty: the kernel itself
}

// functionSymbols finds all functions of some names.
func functionSymbols(kallsyms io.Reader, wanted func(name string) bool) (map[string][]symbol, error) {
	found := make(map[string][]symbol)
	lines := bufio.NewScanner(kallsyms)
	for lines.Scan() {
		// "ffffffff81000000 t name	[module]"
		address, rest, _ := strings.Cut(lines.Text(), " ")
		kind, rest, _ := strings.Cut(rest, " ")
		name, module, _ := strings.Cut(rest, "\t")
		isFunction := kind == "t" || kind == "T" || kind == "w" || kind == "W"
		if !isFunction || !wanted(name) {
			continue
		}
		n, err := strconv.ParseUint(address, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("read the kernel's symbols: %w", err)
		}
		found[name] = append(found[name], symbol{n, strings.Trim(module, "[]")})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the kernel's symbols: %w", err)
	}
	return found, nil
}

// entry is the most by which the place where a function is traced comes after its address: an instruction that marks the
// target of an indirect branch stands before it (CONFIG_X86_KERNEL_IBT).
const entry = 16

// functionAddresses finds where all traceable functions of these names are. Names alone do not tell them apart:
// the kernel attaches a program that is given a name to the first only. It needs Linux 6.5.
func functionAddresses(t tracefs, kallsyms io.Reader, names []string) (map[string][]symbol, error) {
	symbols, err := functionSymbols(kallsyms, func(name string) bool { return slices.Contains(names, name) })
	if err != nil {
		return nil, err
	}
	text, err := t.read("available_filter_functions_addrs")
	if err != nil {
		return nil, err
	}
	return traced(symbols, text), nil
}

// traced leaves those symbols at which functions are traced, in lines "ffffffff81000004 name [module]".
func traced(symbols map[string][]symbol, text []byte) map[string][]symbol {
	places := make(map[string][]uint64)
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		if len(fields) < 2 || symbols[fields[1]] == nil {
			continue
		}
		if n, err := strconv.ParseUint(fields[0], 16, 64); err == nil {
			places[fields[1]] = append(places[fields[1]], n)
		}
	}
	left := make(map[string][]symbol)
	for name, all := range symbols {
		for _, s := range all {
			if slices.ContainsFunc(places[name], func(p uint64) bool { return p >= s.address && p-s.address < entry }) {
				left[name] = append(left[name], s)
			}
		}
	}
	return left
}
