package vm

import (
	"archive/tar"
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// stamp changes when a file is written.
type stamp struct {
	size, mtime, ctime int64
	ino                uint64
}

// guestOutputs knows what was there before the program began.
type guestOutputs struct {
	paths  []string
	limit  int64
	before map[string]stamp
}

// outputFile is a file or folder that goes back.
type outputFile struct {
	name string // in the archive
	path string
	info fs.FileInfo
}

func newGuestOutputs(paths []string, limit int64) (*guestOutputs, error) {
	g := &guestOutputs{paths: paths, limit: limit, before: map[string]stamp{}}
	err := g.walk(func(f outputFile) { g.before[f.path] = stampOf(f.info) })
	return g, err
}

func stampOf(info fs.FileInfo) stamp {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{size: info.Size(), mtime: info.ModTime().UnixNano()}
	}
	return stamp{size: st.Size, mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(), ino: st.Ino}
}

// walk visits the files and folders of all outputs.
func (g *guestOutputs) walk(visit func(outputFile)) error {
	for i, root := range g.paths {
		err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil || !info.Mode().IsRegular() && !info.IsDir() {
				return err
			}
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			visit(outputFile{fmt.Sprintf("%d/%s", i, rel), p, info})
			return nil
		})
		if err != nil {
			return fmt.Errorf("look through %s: %w", root, err)
		}
	}
	return nil
}

// send writes what is new or has changed as an archive, and returns which files were left out because of the limit.
func (g *guestOutputs) send(to io.Writer) (left []string, size int64, err error) {
	var files []outputFile
	if err := g.walk(func(f outputFile) {
		if was, ok := g.before[f.path]; !ok || !f.info.IsDir() && was != stampOf(f.info) {
			files = append(files, f)
		}
	}); err != nil {
		return nil, 0, err
	}
	buffered := bufio.NewWriterSize(to, 1<<20)
	archive := tar.NewWriter(buffered)
	files, left, size = within(files, g.limit)
	for _, f := range files {
		if err := sendFile(archive, f); err != nil {
			return nil, 0, fmt.Errorf("send %s to host: %w", f.path, err)
		}
	}
	if err := errors.Join(archive.Close(), buffered.Flush()); err != nil {
		return nil, 0, fmt.Errorf("send files to host: %w", err)
	}
	return left, size, nil
}

// within leaves out the largest files until the rest fits: what a test writes to be read (reports, profiles) is small.
func within(files []outputFile, limit int64) (keep []outputFile, left []string, size int64) {
	var total int64
	for _, f := range files {
		if !f.info.IsDir() {
			total += f.info.Size()
		}
	}
	drop := map[string]bool{}
	bySize := slices.SortedStableFunc(slices.Values(files), func(a, b outputFile) int {
		return cmp.Compare(b.info.Size(), a.info.Size())
	})
	for _, f := range bySize {
		if total <= limit {
			break
		}
		if f.info.IsDir() {
			continue
		}
		drop[f.path] = true
		left = append(left, f.path)
		size += f.info.Size()
		total -= f.info.Size()
	}
	for _, f := range files {
		if !drop[f.path] {
			keep = append(keep, f)
		}
	}
	return keep, left, size
}

func sendFile(archive *tar.Writer, f outputFile) error {
	h, err := tar.FileInfoHeader(f.info, "")
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname = f.name, "", ""
	h.Format = tar.FormatPAX
	if err := archive.WriteHeader(h); err != nil || f.info.IsDir() {
		return err
	}
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	// No process is left that could make the file longer or shorter.
	_, err = io.Copy(archive, file)
	return err
}
