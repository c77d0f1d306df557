package vm

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// derived opens what convert writes for a file of the host, from the user's cache folder if it was made before. It is
// made again when the file has changed, and the old one is removed.
func derived(file string, convert func(raw []byte, w io.Writer) error) (*os.File, error) {
	abs, err := filepath.Abs(file)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs) // however it is reached
	}
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(abs)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(abs))
	prefix := hex.EncodeToString(sum[:12])
	cached, err := cachePath(derivedDir, fmt.Sprintf("%s-%x-%x", prefix, st.Size(), st.ModTime().UnixNano()))
	if err != nil {
		return nil, err
	}
	if f, err := os.Open(cached); err == nil {
		used(f)
		return f, nil
	}
	raw, err := os.ReadFile(abs)
	if err != nil {
		return nil, err
	}
	old, err := filepath.Glob(filepath.Join(filepath.Dir(cached), prefix+"-*"))
	if err != nil {
		return nil, err
	}
	if err := writeAtomically(cached, func(w io.Writer) error { return convert(raw, w) }); err != nil {
		return nil, fmt.Errorf("uncompress %s: %w", file, err)
	}
	for _, o := range old {
		if o != cached { // which another process may have made meanwhile
			_ = os.Remove(o)
		}
	}
	return os.Open(cached)
}

// derivedDir is the folder, in the cache, of what derived writes.
const derivedDir = "derived"

// used notes that a file of the cache is in use, to the day.
func used(f *os.File) {
	if st, err := f.Stat(); err == nil && time.Since(st.ModTime()) > 24*time.Hour {
		now := time.Now()
		_ = os.Chtimes(f.Name(), now, now) // at worst it is made again
	}
}

// unusedAfter is how long a file of the cache stays that is not used.
const unusedAfter = 14 * 24 * time.Hour

// PruneCache removes from the user's cache folder what was uncompressed of kernels and modules and was not used for two
// weeks; with all, all of it. It returns the size of what it removed, in bytes.
func PruneCache(all bool) (bytes int64, err error) {
	dir, err := cachePath(derivedDir)
	if err != nil {
		return 0, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("look at the cache: %w", err)
	}
	for _, e := range entries {
		st, err := e.Info()
		if err != nil || !all && time.Since(st.ModTime()) < unusedAfter {
			continue // gone meanwhile, or of use
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err == nil {
			bytes += st.Size()
		} else if !errors.Is(err, os.ErrNotExist) {
			return bytes, fmt.Errorf("prune the cache: %w", err)
		}
	}
	return bytes, nil
}

// cachePath returns the path of a file in this project's part of the user's cache folder, and makes its folder.
func cachePath(elements ...string) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache folder: %w", err)
	}
	p := filepath.Join(append([]string{base, "waybill"}, elements...)...)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return "", fmt.Errorf("make cache folder: %w", err)
	}
	return p, nil
}

// writeAtomically writes a file that others see either whole or not at all. If this process is killed meanwhile, nothing
// is left: until it is whole, the file has no name.
func writeAtomically(file string, write func(io.Writer) error) error {
	dir := filepath.Dir(file)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return withAdvice(&os.PathError{Op: "create file in", Path: dir, Err: err}, dir)
	}
	f := os.NewFile(uintptr(fd), file)
	err = write(f)
	if err == nil {
		err = link(f, file)
	}
	return withAdvice(errors.Join(err, f.Close()), dir)
}

// link gives a file without a name its name, also if another file has that now.
func link(f *os.File, name string) error {
	fd := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	err := unix.Linkat(unix.AT_FDCWD, fd, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
	if errors.Is(err, unix.EEXIST) {
		// Links cannot replace files, renames can.
		tmp := fmt.Sprintf("%s.%d.new", name, os.Getpid())
		if err = unix.Linkat(unix.AT_FDCWD, fd, unix.AT_FDCWD, tmp, unix.AT_SYMLINK_FOLLOW); err == nil {
			err = os.Rename(tmp, name)
		}
	}
	return err
}

// withAdvice says what to do about a folder that cannot be written to.
func withAdvice(err error, dir string) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: make room in %s", err, dir)
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: choose a folder that can be written to instead of %s", err, dir)
	}
	return err
}
