package vm

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// loaderCache is where the dynamic loader keeps the paths of the libraries that ldconfig found.
const loaderCache = "/etc/ld.so.cache"

// defaultLibraryDirs are searched after the loader's cache. The loaders of distributions differ in their built-in
// lists; this is their union.
var defaultLibraryDirs = []string{
	"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib",
}

// libraries finds the shared libraries of programs as the dynamic loader would.
type libraries struct {
	cache map[string]string // soname → path
	dirs  []string
}

func newLibraries() *libraries {
	l := &libraries{dirs: defaultLibraryDirs}
	if raw, err := os.ReadFile(loaderCache); err == nil {
		l.cache = parseLoaderCache(raw)
	}
	return l
}

// closure returns the paths of the interpreter and of every library that a program needs, directly or through
// another library. For a static program it is empty.
func (l *libraries) closure(program string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	type job struct{ path, runpath string }
	queue := []job{{path: program}}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		o, err := readObject(at.path)
		if err != nil {
			return nil, err
		}
		if o.interp != "" && at.path == program {
			if _, err := os.Stat(o.interp); err != nil {
				return nil, fmt.Errorf("program %s needs the loader %s, which is not installed: install it, or build the program "+
					"statically", program, o.interp)
			}
			if !seen[o.interp] {
				seen[o.interp] = true
				out = append(out, o.interp)
			}
		}
		// DT_RPATH holds for the libraries of libraries too, DT_RUNPATH for the object's own only (ld.so(8)).
		inherited := at.runpath
		if o.rpath != "" && o.runpath == "" {
			inherited = strings.Trim(inherited+":"+expandOrigin(o.rpath, at.path), ":")
		}
		own := strings.Trim(expandOrigin(o.runpath, at.path)+":"+inherited, ":")
		for _, name := range o.needed {
			p, err := l.find(name, own)
			if err != nil {
				return nil, fmt.Errorf("program %s needs the library %s, which is not installed: install it, or build the program statically",
					program, name)
			}
			if !seen[p] {
				seen[p] = true
				out = append(out, p)
				queue = append(queue, job{p, inherited})
			}
		}
	}
	return out, nil
}

// object is what matters of an ELF file.
type object struct {
	interp         string
	needed         []string
	rpath, runpath string
}

func readObject(path string) (object, error) {
	var o object
	f, err := elf.Open(path)
	if err != nil {
		if _, formatErr := errors.AsType[*elf.FormatError](err); formatErr || errors.Is(err, io.EOF) {
			return o, notELF(path)
		}
		return o, fmt.Errorf("read program: %w", err)
	}
	defer func() { _ = f.Close() }()
	if f.Machine != elf.EM_X86_64 || f.Class != elf.ELFCLASS64 {
		return o, fmt.Errorf("%s is built for %s, and the VM runs x86-64 programs: build it for x86-64", path,
			strings.TrimPrefix(f.Machine.String(), "EM_"))
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		raw, err := io.ReadAll(p.Open())
		if err != nil {
			return o, fmt.Errorf("read loader's name from %s: %w", path, err)
		}
		o.interp = string(bytes.TrimRight(raw, "\x00"))
	}
	// A static file has no dynamic section: the answers are then empty, without an error.
	for tag, to := range map[elf.DynTag]*string{elf.DT_RPATH: &o.rpath, elf.DT_RUNPATH: &o.runpath} {
		values, err := f.DynString(tag)
		if err != nil {
			return o, fmt.Errorf("read dynamic section of %s: %w", path, err)
		}
		*to = strings.Join(values, ":")
	}
	if o.needed, err = f.ImportedLibraries(); err != nil {
		return o, fmt.Errorf("read dynamic section of %s: %w", path, err)
	}
	return o, nil
}

// notELF says what a program that is no ELF file is instead.
func notELF(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read program: %w", err)
	}
	defer f.Close()
	head := make([]byte, 128)
	n, _ := io.ReadFull(f, head)
	if line, _, _ := strings.Cut(string(head[:n]), "\n"); strings.HasPrefix(line, "#!") {
		return fmt.Errorf("%s is a script for %s: the VM runs binaries; run the interpreter, and name the script as a file",
			path, strings.TrimSpace(line[2:]))
	}
	return fmt.Errorf("%s is not a Linux program (no ELF file)", path)
}

// expandOrigin replaces $ORIGIN in a search path by the folder of the object that has it.
func expandOrigin(path, object string) string {
	dir := filepath.Dir(object)
	return strings.NewReplacer("$ORIGIN", dir, "${ORIGIN}", dir).Replace(path)
}

func (l *libraries) find(name, runpath string) (string, error) {
	if strings.Contains(name, "/") {
		return name, loadable(name)
	}
	for dir := range strings.SplitSeq(runpath, ":") {
		if p := filepath.Join(dir, name); dir != "" && loadable(p) == nil {
			return p, nil
		}
	}
	if p, ok := l.cache[name]; ok && loadable(p) == nil {
		return p, nil
	}
	for _, dir := range l.dirs {
		if p := filepath.Join(dir, name); loadable(p) == nil {
			return p, nil
		}
	}
	return "", os.ErrNotExist
}

// loadable tells whether a file is a library that an x86-64 program can load; the loader passes over others.
func loadable(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if f.Machine != elf.EM_X86_64 || f.Class != elf.ELFCLASS64 {
		return errors.ErrUnsupported
	}
	return nil
}

// cacheMagic begins the loader's cache since glibc 2.32, and its newer half before (glibc, sysdeps/generic/dl-cache.h).
var cacheMagic = []byte("glibc-ld.so.cache1.1")

// parseLoaderCache reads which path the loader takes for which library. It returns nil for a cache it does not know;
// the default folders are searched then.
func parseLoaderCache(raw []byte) map[string]string {
	const (
		headerSize = 48
		entrySize  = 24
		// Type 3 is an ELF file for glibc, 0x300 the x86-64 ABI.
		flagsX8664 = 0x0303
	)
	start := bytes.Index(raw, cacheMagic)
	if start < 0 || len(raw) < start+headerSize {
		return nil
	}
	// Offsets of strings are relative to this header.
	raw = raw[start:]
	text := func(off uint32) string {
		if uint64(off) >= uint64(len(raw)) {
			return ""
		}
		s, _, _ := bytes.Cut(raw[off:], []byte{0})
		return string(s)
	}
	out := map[string]string{}
	count := binary.LittleEndian.Uint32(raw[len(cacheMagic):])
	for i := range int(count) {
		at := headerSize + i*entrySize
		if at+entrySize > len(raw) {
			break
		}
		entry := raw[at : at+entrySize]
		// Entries for special hardware may not run on the guest's CPU: take the plain one.
		if binary.LittleEndian.Uint32(entry) != flagsX8664 || binary.LittleEndian.Uint64(entry[16:]) != 0 {
			continue
		}
		name := text(binary.LittleEndian.Uint32(entry[4:]))
		if _, ok := out[name]; !ok {
			out[name] = text(binary.LittleEndian.Uint32(entry[8:]))
		}
	}
	return out
}
