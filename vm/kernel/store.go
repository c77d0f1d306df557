package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/vm"
)

// Store is the folder of kernels that were fetched.
type Store struct {
	// Dir is the folder; empty: waybill/kernels in the user's cache folder.
	Dir string
	// List holds the kernels that can be fetched.
	List List
	// Mirror is the address of a mirror of Debian's archive; empty: the one that apt is configured with.
	Mirror string
	// Progress is called with a line for each step that may take longer than a second. Nil: not called.
	Progress func(step string)
}

// Entry is a kernel of the list, and what the store has of it.
type Entry struct {
	Source
	Cached   bool
	Version  string // of the kernel, "6.12.95+deb12-cloud-amd64"; empty if not cached
	Packages []string
	Bytes    int64 // on disk
}

// meta is kept beside the files of a kernel.
type meta struct {
	Source   Source
	Version  string
	Packages []string // with their versions: name=version
}

const metaFile = "kernel.json"

func (s Store) dir() (string, error) {
	if s.Dir != "" {
		return s.Dir, nil
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache folder: %w", err)
	}
	return filepath.Join(base, "waybill", "kernels"), nil
}

func (s Store) progress(format string, args ...any) {
	if s.Progress != nil {
		s.Progress(fmt.Sprintf(format, args...))
	}
}

// Entries returns every kernel of the list, and whether it is in the store.
func (s Store) Entries() ([]Entry, error) {
	dir, err := s.dir()
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, src := range s.List {
		e := Entry{Source: src}
		at := filepath.Join(dir, src.Name)
		if m, err := readMeta(at); err == nil {
			e.Cached, e.Version, e.Packages = true, m.Version, m.Packages
			if e.Bytes, err = size(at); err != nil {
				return nil, err
			}
		}
		out = append(out, e)
	}
	return out, nil
}

func size(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("measure cached kernel: %w", err)
	}
	return total, nil
}

func readMeta(dir string) (meta, error) {
	var m meta
	text, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(text, &m)
}

// Get returns a kernel by name, and fetches it first if the store lacks it.
func (s Store) Get(ctx context.Context, name string) (vm.Kernel, error) {
	src, err := s.List.Find(name)
	if err != nil {
		return vm.Kernel{}, err
	}
	dir, err := s.dir()
	if err != nil {
		return vm.Kernel{}, err
	}
	at := filepath.Join(dir, name)
	m, err := readMeta(at)
	if err != nil {
		if m, err = s.fetch(ctx, src, dir, false); err != nil {
			return vm.Kernel{}, err
		}
	}
	return vm.Kernel{
		Name:    name,
		Image:   filepath.Join(at, "vmlinuz"),
		Modules: filepath.Join(at, "lib/modules", m.Version),
	}, nil
}

// Update fetches a kernel by name, also if the store has one of that name already: there may be a newer version. What
// the store has stays until the new one is complete.
func (s Store) Update(ctx context.Context, name string) error {
	src, err := s.List.Find(name)
	if err != nil {
		return err
	}
	dir, err := s.dir()
	if err != nil {
		return err
	}
	_, err = s.fetch(ctx, src, dir, true)
	return err
}

// fetch puts a kernel into the store. It appears there under its name when it is complete, never before.
func (s Store) fetch(ctx context.Context, src Source, dir string, again bool) (meta, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return meta{}, fmt.Errorf("make folder for kernels: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, "."+src.Name+".lock"), func() {
		s.progress("kernel %s: waiting for another process that fetches it", src.Name)
	})
	if err != nil {
		return meta{}, err
	}
	defer unlock()
	at := filepath.Join(dir, src.Name)
	if m, err := readMeta(at); err == nil && !again {
		return m, nil // the other process has done it
	}
	// Under the lock, whatever is left there is from a process that was killed.
	work := filepath.Join(dir, "."+src.Name+".new")
	if err := os.RemoveAll(work); err != nil {
		return meta{}, fmt.Errorf("clear folder for new kernel: %w", err)
	}
	defer os.RemoveAll(work)
	m, err := s.fetchInto(ctx, src, work)
	if err != nil {
		return meta{}, fmt.Errorf("fetch kernel %s: %w", src.Name, err)
	}
	if err := replace(filepath.Join(work, "kernel"), at); err != nil {
		return meta{}, fmt.Errorf("put kernel %s into the cache: %w", src.Name, err)
	}
	return m, nil
}

// replace puts a folder in the place of another one, which may not exist.
func replace(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		// Nothing to exchange with, or a file system that cannot.
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		return os.Rename(from, to)
	}
	return err
}

func lock(path string, waiting func()) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		waiting()
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}

// fetchInto downloads, verifies and unpacks a kernel into work/kernel.
func (s Store) fetchInto(ctx context.Context, src Source, work string) (meta, error) {
	a, err := newApt(ctx, filepath.Join(work, "apt"), src.Suite, s.Mirror)
	if err != nil {
		return meta{}, err
	}
	s.progress("kernel %s: reading the list of packages in %s", src.Name, src.Suite)
	if err := a.update(ctx); err != nil {
		return meta{}, err
	}
	packages, err := a.kernelPackages(ctx, src.Package)
	if err != nil {
		return meta{}, err
	}
	s.progress("kernel %s: downloading %s", src.Name, strings.Join(packages, ", "))
	files, err := a.download(ctx, packages)
	if err != nil {
		return meta{}, err
	}
	s.progress("kernel %s: unpacking", src.Name)
	to := filepath.Join(work, "kernel")
	m := meta{Source: src}
	for _, f := range files {
		if err := unpack(ctx, f, to); err != nil {
			return meta{}, err
		}
		m.Packages = append(m.Packages, strings.TrimSuffix(filepath.Base(f), ".deb"))
	}
	if m.Version, err = finish(ctx, to); err != nil {
		return meta{}, err
	}
	text, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return meta{}, fmt.Errorf("describe kernel: %w", err)
	}
	if err := os.WriteFile(filepath.Join(to, metaFile), text, 0o644); err != nil {
		return meta{}, fmt.Errorf("describe kernel: %w", err)
	}
	return m, nil
}
