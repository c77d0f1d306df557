package vm

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-quicktest/qt"
)

// fakeELF is the little of an ELF file that the loader looks at.
type fakeELF struct {
	machine elf.Machine
	interp  string
	tags    map[elf.DynTag][]string
}

func (f fakeELF) write(t *testing.T, name string) string {
	t.Helper()
	if f.machine == 0 {
		f.machine = elf.EM_X86_64
	}
	const base = 64 + 2*56
	strtab := []byte{0}
	text := func(s string) uint64 {
		at := len(strtab)
		strtab = append(append(strtab, s...), 0)
		return uint64(at)
	}
	var dynamic []elf.Dyn64
	for tag, values := range f.tags {
		for _, v := range values {
			dynamic = append(dynamic, elf.Dyn64{Tag: int64(tag), Val: text(v)})
		}
	}
	dynamic = append(dynamic, elf.Dyn64{Tag: int64(elf.DT_NULL)})
	interp := []byte(f.interp + "\x00")
	dynSize := uint64(16 * len(dynamic))
	strOff := base + uint64(len(interp)) + dynSize
	shOff := strOff + uint64(len(strtab))

	var b bytes.Buffer
	put := func(v any) { qt.Assert(t, qt.IsNil(binary.Write(&b, binary.LittleEndian, v))) }
	put(elf.Header64{
		Ident:   [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:    uint16(elf.ET_DYN),
		Machine: uint16(f.machine), Version: uint32(elf.EV_CURRENT), Phoff: 64, Shoff: shOff,
		Ehsize: 64, Phentsize: 56, Phnum: 2, Shentsize: 64, Shnum: 3,
	})
	interpType := elf.PT_INTERP
	if f.interp == "" {
		interpType = elf.PT_NULL
	}
	put(elf.Prog64{Type: uint32(interpType), Off: base, Filesz: uint64(len(interp)), Memsz: uint64(len(interp))})
	put(elf.Prog64{Type: uint32(elf.PT_DYNAMIC), Off: base + uint64(len(interp)), Filesz: dynSize, Memsz: dynSize})
	put(interp)
	put(dynamic)
	put(strtab)
	put(elf.Section64{Type: uint32(elf.SHT_STRTAB), Off: strOff, Size: 1})
	put(elf.Section64{Type: uint32(elf.SHT_STRTAB), Off: strOff, Size: uint64(len(strtab))})
	put(elf.Section64{
		Type: uint32(elf.SHT_DYNAMIC), Off: base + uint64(len(interp)), Size: dynSize, Link: 1, Entsize: 16,
	})
	qt.Assert(t, qt.IsNil(os.MkdirAll(filepath.Dir(name), 0o755)))
	qt.Assert(t, qt.IsNil(os.WriteFile(name, b.Bytes(), 0o755)))
	return name
}

func TestLibraryClosure(t *testing.T) {
	dir := t.TempDir()
	at := func(p string) string { return filepath.Join(dir, p) }
	needs := func(names ...string) map[elf.DynTag][]string { return map[elf.DynTag][]string{elf.DT_NEEDED: names} }
	loader := fakeELF{}.write(t, at("ld.so"))
	program := fakeELF{interp: loader, tags: map[elf.DynTag][]string{
		elf.DT_NEEDED: {"liba.so.1", "libb.so"}, elf.DT_RUNPATH: {"$ORIGIN/../private"},
	}}.write(t, at("bin/program"))
	fakeELF{tags: needs("libc.so.6")}.write(t, at("private/liba.so.1"))
	fakeELF{tags: needs("liba.so.1", "libc.so.6")}.write(t, at("cached/libb.so"))
	fakeELF{}.write(t, at("lib/libc.so.6"))
	fakeELF{}.write(t, at("lib/liba.so.1"))
	// A library for another machine is passed over, as the loader does.
	fakeELF{machine: elf.EM_386}.write(t, at("lib32/libc.so.6"))

	l := &libraries{
		cache: map[string]string{"libb.so": at("cached/libb.so")},
		dirs:  []string{at("lib32"), at("lib")},
	}
	got, err := l.closure(program)
	qt.Assert(t, qt.IsNil(err))
	slices.Sort(got)
	// DT_RUNPATH is the program's own: libb gets the liba of the system.
	want := []string{
		at("cached/libb.so"), loader, at("lib/liba.so.1"), at("lib/libc.so.6"), at("private/liba.so.1"),
	}
	slices.Sort(want)
	qt.Assert(t, qt.DeepEquals(got, want))
}

func TestRPathIsInherited(t *testing.T) {
	dir := t.TempDir()
	at := func(p string) string { return filepath.Join(dir, p) }
	program := fakeELF{tags: map[elf.DynTag][]string{
		elf.DT_NEEDED: {"liba.so"}, elf.DT_RPATH: {"${ORIGIN}/own"},
	}}.write(t, at("program"))
	fakeELF{tags: map[elf.DynTag][]string{elf.DT_NEEDED: {"libb.so"}}}.write(t, at("own/liba.so"))
	fakeELF{}.write(t, at("own/libb.so"))
	got, err := (&libraries{}).closure(program)
	qt.Assert(t, qt.IsNil(err))
	qt.Assert(t, qt.DeepEquals(got, []string{at("own/liba.so"), at("own/libb.so")}))
}

func TestLibraryErrors(t *testing.T) {
	dir := t.TempDir()
	at := func(p string) string { return filepath.Join(dir, p) }
	script := at("script")
	qt.Assert(t, qt.IsNil(os.WriteFile(script, []byte("#!/bin/sh -e\nexit\n"), 0o755)))
	text := at("text")
	qt.Assert(t, qt.IsNil(os.WriteFile(text, []byte("hello, this is just a text of some length, which is no program"), 0o755)))
	empty := at("empty")
	qt.Assert(t, qt.IsNil(os.WriteFile(empty, nil, 0o755)))
	for _, test := range []struct{ program, want string }{
		{
			fakeELF{machine: elf.EM_AARCH64}.write(t, at("arm")),
			at("arm") + " is built for AARCH64, and the VM runs x86-64 programs: build it for x86-64",
		},
		{
			fakeELF{tags: map[elf.DynTag][]string{elf.DT_NEEDED: {"libgone.so.3"}}}.write(t, at("needy")),
			"program " + at("needy") + " needs the library libgone.so.3, which is not installed: install it, or build the program statically",
		},
		{
			fakeELF{interp: "/gone/ld.so"}.write(t, at("loaderless")),
			"program " + at("loaderless") + " needs the loader /gone/ld.so, which is not installed: install it, or build the program statically",
		},
		{
			script, script + " is a script for /bin/sh -e: the VM runs binaries; " +
				"run the interpreter, and name the script as a file",
		},
		{text, text + " is not a Linux program (no ELF file)"},
		{empty, empty + " is not a Linux program (no ELF file)"},
	} {
		_, err := (&libraries{}).closure(test.program)
		qt.Check(t, qt.ErrorMatches(err, literally(test.want)))
	}
}

func TestParseLoaderCache(t *testing.T) {
	type entry struct {
		flags      uint32
		name, path string
		hwcap      uint64
	}
	build := func(prefix string, entries ...entry) []byte {
		var table, text bytes.Buffer
		textStart := uint32(48 + 24*len(entries))
		add := func(s string) uint32 {
			off := textStart + uint32(text.Len())
			text.WriteString(s + "\x00")
			return off
		}
		for _, e := range entries {
			for _, v := range []any{e.flags, add(e.name), add(e.path), uint32(0), e.hwcap} {
				qt.Assert(t, qt.IsNil(binary.Write(&table, binary.LittleEndian, v)))
			}
		}
		header := make([]byte, 48)
		copy(header, cacheMagic)
		binary.LittleEndian.PutUint32(header[len(cacheMagic):], uint32(len(entries)))
		return slices.Concat([]byte(prefix), header, table.Bytes(), text.Bytes())
	}
	entries := []entry{
		{0x303, "liba.so", "/hw/liba.so", 1},
		{0x303, "liba.so", "/lib/liba.so", 0},
		{0x303, "liba.so", "/later/liba.so", 0},
		{0x803, "libb.so", "/lib32/libb.so", 0},
		{0x303, "libc.so.6", "/lib/libc.so.6", 0},
	}
	want := map[string]string{"liba.so": "/lib/liba.so", "libc.so.6": "/lib/libc.so.6"}
	qt.Check(t, qt.DeepEquals(parseLoaderCache(build("", entries...)), want))
	qt.Check(t, qt.DeepEquals(parseLoaderCache(build("ld.so-1.7.0 and an older table", entries...)), want))
	qt.Check(t, qt.IsNil(parseLoaderCache([]byte("something else"))))
	whole := build("", entries...)
	for n := range whole {
		parseLoaderCache(whole[:n]) // must not panic
	}
}
