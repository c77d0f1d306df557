package vm

import (
	"bytes"
	"io"

	"github.com/klauspost/compress/zstd"
)

// largestWindow is that of kernel images: zstd compresses them with --ultra -22.
const largestWindow = 128 << 20

// unzstd uncompresses zstd data.
func unzstd(raw []byte, w io.Writer) error {
	r, err := zstd.NewReader(bytes.NewReader(raw), zstd.WithDecoderMaxWindow(largestWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.WriteTo(w)
	return err
}
