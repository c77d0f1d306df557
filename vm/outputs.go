package vm

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Output is a file or a folder of the guest that comes back to the host when the program has ended, however it ended.
// Of a folder, what is new or has changed since the program began comes back, with its folders; links and devices do
// not. A file or folder that is not there is passed over.
type Output struct {
	Guest string // absolute path in the guest; the folders on the way are made before the program begins
	Host  string // path on the host; folders on the way are made when something comes back
	// Folder: it is a folder, and made on both sides before the program begins.
	Folder bool
}

// artifactsVariable names the folder whose content comes back to [Config.Artifacts], in the program's environment.
const artifactsVariable = "WAYBILL_ARTIFACTS"

// artifactsHostVariable tells the program what that folder is called on the host, for what it says to its user.
const artifactsHostVariable = "WAYBILL_ARTIFACTS_HOST"

// guestArtifacts is that folder.
const guestArtifacts = "/waybill/artifacts"

// DefaultOutputLimit is how many bytes come back if a configuration does not say.
const DefaultOutputLimit = 256 << 20

// outputs returns everything that comes back.
func (c Config) outputs() []Output {
	if c.Artifacts == "" {
		return c.Outputs
	}
	return append([]Output{{Guest: guestArtifacts, Host: c.Artifacts, Folder: true}}, c.Outputs...)
}

// OutputError says that not everything that the program wrote came back. What Run returns beside it is valid.
type OutputError struct {
	// Reason is what went wrong on the host; nil if there was more than the limit allows.
	Reason error
	Limit  int64    // in bytes
	Left   []string // guest paths of what was left out because of the limit
	Size   int64    // of those, in bytes
}

func (e *OutputError) Error() string {
	if e.Reason != nil {
		return fmt.Sprintf("what the program wrote did not come back: %s", e.Reason)
	}
	files := e.Left[0]
	if n := len(e.Left) - 1; n > 0 {
		files += fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("what the program wrote exceeds the limit of %s: %s (%s) did not come back; raise the limit or write less",
		bytesText(e.Limit), files, bytesText(e.Size))
}

func (e *OutputError) Unwrap() error { return e.Reason }

func bytesText(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.4g MiB", float64(n)/(1<<20))
}

// collector writes what the guest sends back: a tar archive, in which a name begins with the number of its output.
type collector struct {
	outputs []Output
	roots   map[int]*os.Root
	limit   int64
	err     error
	done    chan struct{} // closed when the archive or the channel has ended
}

// newCollector prepares collecting. A folder that cannot be made is found here, before anything runs.
func newCollector(c Config) (*collector, error) {
	k := &collector{outputs: slices.Clone(c.outputs()), roots: map[int]*os.Root{}, limit: c.OutputLimit, done: make(chan struct{})}
	for i, o := range k.outputs {
		abs, err := filepath.Abs(o.Host)
		if err != nil {
			return nil, fmt.Errorf("find folder for what comes back: %w", err)
		}
		k.outputs[i].Host = abs
		if o.Folder {
			if err := os.MkdirAll(o.Host, 0o755); err != nil {
				return nil, fmt.Errorf("make folder for what comes back: %w", err)
			}
		}
		if resolved, err := filepath.EvalSymlinks(abs); err == nil {
			k.outputs[i].Host = resolved
		}
	}
	return k, nil
}

// root holds the folder that an output is in. Names from the guest cannot lead out of it.
func (k *collector) root(i int) (*os.Root, error) {
	if r, ok := k.roots[i]; ok {
		return r, nil
	}
	dir := filepath.Dir(k.outputs[i].Host)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	r, err := os.OpenRoot(dir)
	if err == nil {
		k.roots[i] = r
	}
	return r, err
}

func (k *collector) close() {
	for _, r := range k.roots {
		_ = r.Close()
	}
}

// start reads the archive from the guest.
func (k *collector) start(from io.Reader) {
	go func() {
		defer close(k.done)
		k.err = k.collect(tar.NewReader(from))
	}()
}

func (k *collector) collect(archive *tar.Reader) error {
	left := k.limit
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		number, name, _ := strings.Cut(h.Name, "/")
		name = path.Clean(name)
		i, err := strconv.Atoi(number)
		if err != nil || i < 0 || i >= len(k.outputs) || !filepath.IsLocal(name) {
			return fmt.Errorf("the guest sent %q, which was not asked for", h.Name)
		}
		if left -= h.Size; left < 0 {
			return fmt.Errorf("the guest sent more than %s", bytesText(k.limit))
		}
		root, err := k.root(i)
		if err != nil {
			return withAdvice(err, k.outputs[i].Host)
		}
		if err := store(root, path.Join(filepath.Base(k.outputs[i].Host), name), h, archive); err != nil {
			return withAdvice(err, k.outputs[i].Host)
		}
	}
}

// store writes one file or makes one folder. A file appears under its name when it is complete.
func store(root *os.Root, name string, h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeDir {
		return root.MkdirAll(name, 0o755)
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	tmp := path.Join(path.Dir(name), ".waybill-"+path.Base(name))
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, h.FileInfo().Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(tmp, name)
	}
	if err != nil {
		_ = root.Remove(tmp)
	}
	return err
}
