package vm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// errNoZstd says that zstd data cannot be read here.
var errNoZstd = errors.New("zstd is not installed: run ci/setup")

// unzstd uncompresses zstd data with the program of that name: the standard library's decoder is not exported and
// refuses the window of 128 MiB that kernel images are compressed with.
func unzstd(raw []byte, w io.Writer) error {
	p, err := exec.LookPath("zstd")
	if err != nil {
		return errNoZstd
	}
	cmd := exec.Command(p, "--decompress", "--quiet", "--stdout", "--long=31")
	var stderr strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(raw), w, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("zstd: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}
