package kernel

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

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
	// Cached tells whether the store has what the list says. A kernel of the user's own never is.
	Cached bool
	// Outdated tells that the store has the kernel, but from other packages than the list says.
	Outdated bool
	// Release is what the kernel calls itself, "6.12.95+deb12-cloud-amd64"; empty if it is not in the store.
	Release string
	Bytes   int64 // on disk
}

// meta is kept beside the files of a kernel.
type meta struct {
	Source  Source
	Version string // the release
}

// fits tells whether what was fetched is what the list says.
func (m meta) fits(s Source) bool {
	return s.Version == "" || m.Source.Version == s.Version && slices.Equal(m.Source.Files, s.Files)
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
		if m, err := readMeta(at); err == nil && !src.Own() {
			e.Cached, e.Outdated, e.Release = m.fits(src), !m.fits(src), m.Version
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

// Get returns a kernel by name, and fetches it first if the store does not have it as the list says.
func (s Store) Get(ctx context.Context, name string) (vm.Kernel, error) {
	src, err := s.List.Find(name)
	if err != nil {
		return vm.Kernel{}, err
	}
	if src.Own() {
		return src.files()
	}
	dir, err := s.dir()
	if err != nil {
		return vm.Kernel{}, err
	}
	at := filepath.Join(dir, name)
	m, err := readMeta(at)
	if err != nil || !m.fits(src) {
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

// files returns a kernel of the user's own.
func (s Source) files() (vm.Kernel, error) {
	for _, path := range []string{s.Image, s.Modules} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			return vm.Kernel{}, fmt.Errorf("kernel %s: %w: correct the list of kernels", s.Name, err)
		}
	}
	return vm.Kernel{Name: s.Name, Image: s.Image, Modules: s.Modules}, nil
}

// Update fetches the newest version of a kernel that the mirror has, whatever the list says, and returns what the list is
// to say of it then. What the store has stays until the new one is complete.
func (s Store) Update(ctx context.Context, name string) (Source, error) {
	src, err := s.List.Find(name)
	if err != nil {
		return Source{}, err
	}
	if src.Own() {
		return Source{}, fmt.Errorf("kernel %s is your own, %s: there is nothing to fetch", name, src.Image)
	}
	dir, err := s.dir()
	if err != nil {
		return Source{}, err
	}
	m, err := s.fetch(ctx, src, dir, true)
	return m.Source, err
}
