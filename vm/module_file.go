package vm

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ulikunitz/xz"
)

// openModule opens a module, uncompressed: the guest's kernel may not be able to uncompress it, and would be slow.
func openModule(file string) (*os.File, error) {
	if strings.HasSuffix(file, ".ko") {
		return os.Open(file)
	}
	return derived(file, func(raw []byte, w io.Writer) error {
		var r io.Reader
		var err error
		switch filepath.Ext(file) {
		case ".xz":
			r, err = xz.NewReader(bytes.NewReader(raw))
		case ".gz":
			r, err = gzip.NewReader(bytes.NewReader(raw))
		case ".zst":
			return unzstd(raw, w)
		default:
			return errors.New("its kind of compression is not known here")
		}
		if err != nil {
			return err
		}
		_, err = io.Copy(w, r)
		return err
	})
}
