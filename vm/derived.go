package vm

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// derived opens what convert writes for a file of the host, from the user's cache folder if it was made before. It is
// made again when the file has changed, and the old one is removed.
func derived(file string, convert func(raw []byte, w io.Writer) error) (*os.File, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(abs)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(abs))
	prefix := hex.EncodeToString(sum[:12])
	cached, err := cachePath("derived", fmt.Sprintf("%s-%x-%x", prefix, st.Size(), st.ModTime().UnixNano()))
	if err != nil {
		return nil, err
	}
	if f, err := os.Open(cached); err == nil {
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

// writeAtomically writes a file that others see either whole or not at all.
func writeAtomically(file string, write func(io.Writer) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return err
	}
	err = write(tmp)
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
