package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/vm"
)

// Host is the name of the kernel that this machine runs.
const Host = "host"

// NotFoundError says that a name is neither in the list nor one of a file.
type NotFoundError struct {
	Name  string
	Known []string
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("unknown kernel %q: known are %s, and %s; or give the path of a kernel image, of a package or of a "+
		"folder that one was unpacked into", e.Name, strings.Join(e.Known, ", "), Host)
}

// Check tells whether a name may be one for [Store.Open], without fetching or unpacking anything.
func (s Store) Check(name string) error {
	unknown, isUnknown := errors.AsType[*UnknownError](s.find(name))
	switch {
	case !isUnknown:
		return nil
	case name == Host:
		_, err := hostImage()
		return err
	}
	_, err := os.Stat(name)
	switch {
	case err == nil:
		return nil
	case strings.Contains(name, "/") && errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("kernel %s does not exist", name)
	case strings.Contains(name, "/"):
		return fmt.Errorf("look at kernel: %w", err)
	}
	return &NotFoundError{Name: name, Known: unknown.Known}
}

func (s Store) find(name string) error {
	_, err := s.List.Find(name)
	return err
}

// Open returns the kernel that a user names: one of the list, as [Store.Get] does; [Host]; or by the path of its files,
// which are an image, a Debian package, or a folder that packages were unpacked into or that a kernel was built in.
// The modules are found beside the image, in lib/modules of the folder above it, or in the folder modules, which has
// them itself or in lib/modules; a kernel needs none.
func (s Store) Open(ctx context.Context, name, modules string) (vm.Kernel, error) {
	if err := s.Check(name); err != nil {
		return vm.Kernel{}, err
	}
	var k vm.Kernel
	var err error
	switch {
	case s.find(name) == nil:
		k, err = s.Get(ctx, name)
	case name == Host:
		k.Name = Host
		k.Image, err = hostImage()
	default:
		k, err = s.byPath(ctx, name)
	}
	if err != nil {
		return vm.Kernel{}, err
	}
	if modules != "" {
		k.Modules, err = modulesIn(modules, version(k.Image))
	} else if k.Modules == "" {
		k.Modules = modulesBeside(k.Image)
	}
	if err != nil || k.Modules == "" {
		return k, err
	}
	k.Modules, err = s.withDependencies(ctx, k.Modules)
	return k, err
}

// hostImage finds the image of the running kernel.
func hostImage() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("ask for the running kernel's version: %w", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	places := []string{"/boot/vmlinuz-" + release, "/lib/modules/" + release + "/vmlinuz"}
	for _, p := range places {
		if _, err := os.Stat(p); err == nil {
			return p, readable(p)
		}
	}
	return "", fmt.Errorf("the files of the running kernel, %s, are not on this machine: neither %s exists; "+
		"give the path of its image", release, strings.Join(places, " nor "))
}

// readable tells what to do about an image that only root may read, as on Ubuntu.
func readable(image string) error {
	f, err := os.Open(image)
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("kernel image %s may be read by root only: run sudo chmod a+r on it, or copy it", image)
	}
	if err == nil {
		err = f.Close()
	}
	return err
}

// byPath finds a kernel's files. Its name is that of what the user named.
func (s Store) byPath(ctx context.Context, name string) (vm.Kernel, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return vm.Kernel{}, fmt.Errorf("find kernel: %w", err)
	}
	st, err := os.Stat(abs)
	if err != nil {
		return vm.Kernel{}, fmt.Errorf("find kernel: %w", err)
	}
	k := vm.Kernel{Name: name, Image: abs}
	switch {
	case st.IsDir():
		k.Image, err = imageIn(abs, name)
	case isPackage(abs):
		var dir string
		if dir, err = s.unpacked(ctx, abs); err == nil {
			k.Image, err = imageIn(dir, name)
		}
	default:
		if err = readable(abs); err == nil && version(abs) == "" {
			err = fmt.Errorf("%s is no kernel image for x86: name a vmlinuz or bzImage", name)
		}
	}
	return k, err
}

// imageIn finds the one image in a folder, or in what a package was unpacked into; what the user calls it is for errors.
func imageIn(dir, name string) (string, error) {
	var found []string
	for _, pattern := range []string{
		"vmlinuz", "boot/vmlinuz*", "lib/modules/*/vmlinuz", "usr/lib/modules/*/vmlinuz", "arch/x86/boot/bzImage",
	} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", err
		}
		found = append(found, names...)
	}
	switch {
	case len(found) == 0:
		return "", fmt.Errorf("%s holds no kernel: there is no vmlinuz, boot/vmlinuz*, lib/modules/*/vmlinuz or "+
			"arch/x86/boot/bzImage in it", name)
	case len(found) > 1 && !slices.ContainsFunc(found, func(f string) bool { return f == filepath.Join(dir, "vmlinuz") }):
		return "", fmt.Errorf("%s holds several kernels; name one: %s", name, strings.Join(found, ", "))
	}
	return found[0], readable(found[0])
}

// version reads the version in an image's setup header (Documentation/arch/x86/boot.rst); empty if it is no image.
func version(image string) string {
	f, err := os.Open(image)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 0x10000) // the setup code ends before
	n, _ := io.ReadFull(f, head)
	head = head[:n]
	const magic, offset = 0x202, 0x20e
	if len(head) < offset+2 || string(head[magic:magic+4]) != "HdrS" {
		return ""
	}
	start := int(binary.LittleEndian.Uint16(head[offset:])) + 0x200
	if start >= len(head) {
		return ""
	}
	text, _, _ := strings.Cut(string(head[start:]), "\x00")
	text, _, _ = strings.Cut(text, " ")
	return text
}

// modulesBeside finds the modules of an image where its packages or its installation have put them; empty if there are
// none.
func modulesBeside(image string) string {
	dir := filepath.Dir(image)
	v := version(image)
	candidates := []string{dir}
	for _, base := range []string{dir, filepath.Dir(dir)} {
		for _, lib := range []string{"lib", "usr/lib"} {
			candidates = append(candidates, filepath.Join(base, lib, "modules", v))
		}
	}
	for _, c := range candidates {
		if v != "" && filepath.Base(c) == v && holdsModules(c) {
			return c
		}
	}
	return ""
}

func holdsModules(dir string) bool {
	for _, name := range []string{"modules.dep", "kernel"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// modulesIn finds modules in a folder that a user named.
func modulesIn(dir, version string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find modules: %w", err)
	}
	for _, c := range []string{
		abs, filepath.Join(abs, "lib/modules", version), filepath.Join(abs, "usr/lib/modules", version), filepath.Join(abs, version),
	} {
		if holdsModules(c) {
			return c, nil
		}
	}
	return "", fmt.Errorf("folder %s holds no modules of kernel %s: name the folder that make modules_install wrote, or "+
		"lib/modules/VERSION", dir, version)
}

// isPackage tells whether a file is a Debian package, an archive of ar(1).
func isPackage(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	const magic = "!<arch>\n"
	head := make([]byte, len(magic))
	_, err = io.ReadFull(f, head)
	return err == nil && string(head) == magic || strings.HasSuffix(file, ".deb")
}

// ownDir is the folder, in that of the store, of what was made of files that are not in the list.
const ownDir = ".own"

// derived makes a folder in the cache for what is made of a file, once for each version of the file.
func (s Store) derived(ctx context.Context, file string, build func(dir string) error) (string, error) {
	st, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	dir, err := s.dir()
	if err != nil {
		return "", err
	}
	own := filepath.Join(dir, ownDir)
	if err := os.MkdirAll(own, 0o755); err != nil {
		return "", fmt.Errorf("make folder for kernels: %w", err)
	}
	prefix := fmt.Sprintf("%x", sha256.Sum256([]byte(file)))[:24]
	unlock, err := lock(ctx, filepath.Join(own, prefix+".lock"), func() {
		s.progress("waiting for another process that reads %s", file)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	at := filepath.Join(own, fmt.Sprintf("%s-%x-%x", prefix, st.Size(), st.ModTime().UnixNano()))
	if _, err := os.Stat(at); err == nil {
		return at, nil
	}
	// Of an older version, or of a process that was killed.
	old, err := filepath.Glob(filepath.Join(own, prefix+"-*"))
	if err != nil {
		return "", err
	}
	for _, o := range old {
		if err := os.RemoveAll(o); err != nil {
			return "", fmt.Errorf("clear folder for kernel: %w", err)
		}
	}
	work := at + ".new"
	if err = os.Mkdir(work, 0o755); err == nil {
		err = build(work)
	}
	if err == nil {
		err = os.Rename(work, at)
	}
	if err != nil {
		_ = os.RemoveAll(work)
		return "", withAdvice(err, dir)
	}
	return at, nil
}

// unpacked returns the folder that a package was unpacked into.
func (s Store) unpacked(ctx context.Context, deb string) (string, error) {
	return s.derived(ctx, deb, func(dir string) error {
		s.progress("unpacking %s, once", filepath.Base(deb))
		err := unpack(ctx, deb, dir)
		if err != nil && ctx.Err() == nil && !isFull(err) {
			return fmt.Errorf("%s is damaged or no Debian package; fetch or build it again (%w)", deb, err)
		}
		return err
	})
}

// withDependencies returns a folder of modules that has modules.dep: that folder, or one of links to it.
func (s Store) withDependencies(ctx context.Context, modules string) (string, error) {
	if _, err := os.Stat(filepath.Join(modules, "modules.dep")); err == nil {
		return modules, nil
	}
	version := filepath.Base(modules)
	dir, err := s.derived(ctx, modules, func(dir string) error {
		at := filepath.Join(dir, "lib/modules", version)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return fmt.Errorf("make folder for modules: %w", err)
		}
		entries, err := os.ReadDir(modules)
		if err != nil {
			return fmt.Errorf("read modules: %w", err)
		}
		for _, e := range entries {
			if err := os.Symlink(filepath.Join(modules, e.Name()), filepath.Join(at, e.Name())); err != nil {
				return fmt.Errorf("make folder for modules: %w", err)
			}
		}
		s.progress("computing the dependencies of modules in %s, once", modules)
		if _, err := command(ctx, "", "depmod", "-b", dir, version); err != nil {
			return fmt.Errorf("compute the dependencies of modules: %w", err)
		}
		return nil
	})
	return filepath.Join(dir, "lib/modules", version), err
}
