package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Pruned is something that Prune removed.
type Pruned struct {
	Name  string // of a kernel
	Why   string // "not in the list", "outdated", "left by a fetch that was killed", "asked for"
	Bytes int64
}

// Prune removes from the store what is not of use: kernels that are not in the list, or are there from other packages than
// the list says, and what killed fetches left. With all, every kernel goes. A kernel that somebody is fetching stays.
func (s Store) Prune(all bool) ([]Pruned, error) {
	dir, err := s.dir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the cache of kernels: %w", err)
	}
	var out []Pruned
	for _, e := range entries {
		name := e.Name()
		if name == ownDir && all {
			p := Pruned{Name: "what was made of your own kernels", Why: "asked for"}
			if p.Bytes, err = size(filepath.Join(dir, name)); err == nil {
				err = os.RemoveAll(filepath.Join(dir, name))
			}
			if err != nil {
				return out, fmt.Errorf("remove %s: %w", p.Name, err)
			}
			out = append(out, p)
			continue
		}
		p := Pruned{Name: name}
		if rest, ok := strings.CutSuffix(name, ".new"); ok && strings.HasPrefix(rest, ".") {
			p.Name, p.Why = rest[1:], "left by a fetch that was killed"
		} else if !e.IsDir() || strings.HasPrefix(name, ".") {
			continue
		} else if p.Why = s.useless(filepath.Join(dir, name), name, all); p.Why == "" {
			continue
		}
		removed, err := removeUnlocked(dir, p.Name, filepath.Join(dir, name), &p.Bytes)
		if err != nil {
			return out, fmt.Errorf("remove kernel %s: %w", p.Name, err)
		}
		if removed {
			out = append(out, p)
		}
	}
	return out, nil
}

// useless tells why a kernel is of no use; empty: it is.
func (s Store) useless(at, name string, all bool) string {
	if all {
		return "asked for"
	}
	i := slices.IndexFunc(s.List, func(src Source) bool { return src.Name == name && !src.Own() })
	if i < 0 {
		return "not in the list"
	}
	if m, err := readMeta(at); err != nil || !m.fits(s.List[i]) {
		return "outdated"
	}
	return ""
}

// removeUnlocked removes a folder of a kernel unless somebody fetches that kernel.
func removeUnlocked(dir, name, at string, bytes *int64) (bool, error) {
	f, err := os.OpenFile(filepath.Join(dir, "."+name+".lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if *bytes, err = size(at); err != nil {
		return false, err
	}
	return true, os.RemoveAll(at)
}
