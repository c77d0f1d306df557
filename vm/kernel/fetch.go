package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// fetch puts a kernel into the store. It appears there under its name when it is complete, never before.
func (s Store) fetch(ctx context.Context, src Source, dir string, newest bool) (meta, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return meta{}, fmt.Errorf("make folder for kernels: %w", withAdvice(err, dir))
	}
	unlock, err := lock(ctx, filepath.Join(dir, "."+src.Name+".lock"), func() {
		s.progress("kernel %s: waiting for another process that fetches it", src.Name)
	})
	if err != nil {
		return meta{}, err
	}
	defer unlock()
	at := filepath.Join(dir, src.Name)
	if m, err := readMeta(at); err == nil && !newest && m.fits(src) {
		return m, nil // the other process has done it
	}
	// Under the lock, whatever is left there is from a process that was killed.
	work := filepath.Join(dir, "."+src.Name+".new")
	if err := os.RemoveAll(work); err != nil {
		return meta{}, fmt.Errorf("clear folder for new kernel: %w", err)
	}
	defer os.RemoveAll(work)
	m, err := s.fetchInto(ctx, src, work, newest)
	if err != nil {
		return meta{}, fmt.Errorf("fetch kernel %s: %w", src.Name, withAdvice(err, dir))
	}
	if err := replace(filepath.Join(work, "kernel"), at); err != nil {
		return meta{}, fmt.Errorf("put kernel %s into the cache: %w", src.Name, err)
	}
	return m, nil
}

// isFull tells whether an error is about a disk without room, in words of the system's or of a tool's.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) ||
		strings.Contains(err.Error(), "No space left on device") || strings.Contains(err.Error(), "Disk quota exceeded")
}

// withAdvice says what to do about the folder of kernels if it has no room, or may not be written to.
func withAdvice(err error, dir string) error {
	switch {
	case isFull(err):
		return fmt.Errorf("%w: make room in %s", err, dir)
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: set XDG_CACHE_HOME to a folder that can be written to", err)
	}
	return err
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

// lock takes a lock file, and calls waiting if another process has it. The lock ends with the process that holds it.
func lock(ctx context.Context, path string, waiting func()) (unlock func(), _ error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	release := func() { _ = f.Close() }
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return release, nil
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		release()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	waiting()
	locked := make(chan error, 1)
	go func() {
		var err error = unix.EINTR
		for errors.Is(err, unix.EINTR) {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}
		locked <- err
		close(locked)
	}()
	select {
	case err := <-locked:
		if err != nil {
			release()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		return release, nil
	case <-ctx.Done():
		// A wait for flock cannot be taken back: it ends, and lets go, when the other process does.
		go func() {
			for range locked {
				release()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// GoneError says that the mirror has another version of a kernel now than the list names.
type GoneError struct {
	Name, Version, Suite string
	// Now is the version that the mirror has now, and Package one of its packages; empty if there is none.
	Now, Package string
}

func (e *GoneError) Error() string {
	if e.Now == "" {
		return fmt.Sprintf("version %s is gone from %s, and there is no other", e.Version, e.Suite)
	}
	return fmt.Sprintf("version %s is gone from %s, which has %s now (%s): to use that, run waybill kernel fetch --update %s",
		e.Version, e.Suite, e.Now, e.Package, e.Name)
}

// choose returns the packages to fetch, and their version: those of the list, or the newest that the mirror has.
func (a *apt) choose(ctx context.Context, src Source, newest bool) (packages []string, version string, err error) {
	if newest || src.Version == "" {
		return a.newest(ctx, src.Package)
	}
	for _, f := range src.Files {
		has, err := a.versions(ctx, f.Package)
		if err != nil {
			return nil, "", err
		}
		if !slices.Contains(has, src.Version) {
			gone := &GoneError{Name: src.Name, Version: src.Version, Suite: src.Suite}
			if now, version, err := a.newest(ctx, src.Package); err == nil {
				gone.Now, gone.Package = version, now[0]
			} else if ctx.Err() != nil {
				return nil, "", err
			}
			return nil, "", gone
		}
		packages = append(packages, f.Package)
	}
	return packages, src.Version, nil
}

// fetchInto downloads, verifies and unpacks a kernel into work/kernel.
func (s Store) fetchInto(ctx context.Context, src Source, work string, newest bool) (meta, error) {
	a, err := newApt(ctx, filepath.Join(work, "apt"), src.Suite, s.Mirror)
	if err != nil {
		return meta{}, err
	}
	s.progress("kernel %s: reading the list of packages in %s", src.Name, src.Suite)
	if err := a.update(ctx); err != nil {
		return meta{}, err
	}
	packages, version, err := a.choose(ctx, src, newest)
	if err != nil {
		return meta{}, err
	}
	s.progress("kernel %s: downloading %s", src.Name, strings.Join(packages, ", "))
	files, err := a.download(ctx, packages, version)
	if err != nil {
		return meta{}, err
	}
	pins, err := pin(packages, files)
	if err != nil {
		return meta{}, err
	}
	if src.Version != "" && !newest {
		if err := compare(src, pins); err != nil {
			return meta{}, err
		}
	}
	s.progress("kernel %s: unpacking", src.Name)
	to := filepath.Join(work, "kernel")
	for _, f := range files {
		if err := unpack(ctx, f, to); err != nil {
			return meta{}, err
		}
	}
	m := meta{Source: src}
	m.Source.Version, m.Source.Files = version, pins
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

// pin computes what the list says of files.
func pin(packages, files []string) ([]Pin, error) {
	var pins []Pin
	for i, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read package: %w", err)
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("read package: %w", err)
		}
		pins = append(pins, Pin{Package: packages[i], SHA256: hex.EncodeToString(sum.Sum(nil))})
	}
	return pins, nil
}

// compare checks that packages are those of the list.
func compare(src Source, got []Pin) error {
	for i, want := range src.Files {
		if got[i] != want {
			return fmt.Errorf("%s of version %s is not the package that the list of kernels means: its SHA-256 is %s, not %s; "+
				"if you trust the mirror, run waybill kernel fetch --update %s", want.Package, src.Version, got[i].SHA256, want.SHA256, src.Name)
		}
	}
	return nil
}
