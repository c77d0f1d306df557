package vm

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"

	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

// openImage opens the kernel image to boot. Uncompressing a kernel takes an emulated machine more than a second, a
// third of its boot: for emulation it is done once, here, and QEMU enters the kernel by its PVH entry point. An image
// for which that is not possible is booted as it is.
func openImage(image string, accel Accel) (*os.File, error) {
	if accel != TCG {
		return os.Open(image)
	}
	f, err := derived(image, func(raw []byte, w io.Writer) error {
		plain, err := uncompressImage(raw)
		if err != nil {
			return err
		}
		_, err = w.Write(plain)
		return err
	})
	if _, ok := errors.AsType[*imageError](err); ok {
		return os.Open(image)
	}
	return f, err
}

// imageError says why an image cannot be booted uncompressed.
type imageError struct{ reason string }

func (e *imageError) Error() string { return e.reason }

// Offsets in the setup header of an x86 image (Documentation/arch/x86/boot.rst).
const (
	offsetSetupSectors  = 0x1f1
	offsetHeaderMagic   = 0x202
	offsetVersion       = 0x206
	offsetPayload       = 0x248
	offsetPayloadLength = 0x24c
	payloadVersion      = 0x0208 // the protocol's first version with a payload
)

// uncompressImage returns the ELF file inside a bzImage. An error that is an imageError says that there is none that
// QEMU could boot.
func uncompressImage(raw []byte) ([]byte, error) {
	if len(raw) < offsetPayloadLength+4 || string(raw[offsetHeaderMagic:][:4]) != "HdrS" ||
		binary.LittleEndian.Uint16(raw[offsetVersion:]) < payloadVersion {
		return nil, &imageError{"it is no bzImage"}
	}
	setup := (uint64(raw[offsetSetupSectors]) + 1) * 512
	start := setup + uint64(binary.LittleEndian.Uint32(raw[offsetPayload:]))
	end := start + uint64(binary.LittleEndian.Uint32(raw[offsetPayloadLength:]))
	if end > uint64(len(raw)) || end < start+8 {
		return nil, &imageError{"its payload ends beyond the file"}
	}
	// Formats that do not say how long the content is have that appended, in four bytes.
	payload, stream := raw[start:end], raw[start:end-4]
	out := bytes.NewBuffer(make([]byte, 0, binary.LittleEndian.Uint32(raw[end-4:])))
	var err error
	switch {
	case bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		err = unzstd(stream, out)
	case bytes.HasPrefix(payload, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		var r io.Reader
		if r, err = (xz.ReaderConfig{SingleStream: true}).NewReader(bytes.NewReader(stream)); err == nil {
			_, err = io.Copy(out, r)
		}
	case bytes.HasPrefix(payload, []byte{0x02, 0x21, 0x4c, 0x18}): // LZ4's older format
		_, err = io.Copy(out, lz4.NewReader(bytes.NewReader(stream)))
	default:
		return nil, &imageError{"its kind of compression is not known here"}
	}
	if err != nil {
		// A filter may be unknown here: the kernel can uncompress itself.
		return nil, &imageError{err.Error()}
	}
	if !hasPVHEntry(out.Bytes()) {
		return nil, &imageError{"it has no PVH entry point"}
	}
	return out.Bytes(), nil
}

// hasPVHEntry tells whether an ELF file has the note that names the PVH entry point, XEN_ELFNOTE_PHYS32_ENTRY
// (include/xen/interface/elfnote.h).
func hasPVHEntry(plain []byte) bool {
	f, err := elf.NewFile(bytes.NewReader(plain))
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	const physEntry = 18
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		notes, err := io.ReadAll(p.Open())
		if err != nil {
			return false
		}
		for len(notes) >= 12 {
			nameLen := int(f.ByteOrder.Uint32(notes))
			descLen := int(f.ByteOrder.Uint32(notes[4:]))
			kind := f.ByteOrder.Uint32(notes[8:])
			name := notes[12:]
			if nameLen > len(name) {
				return false
			}
			if kind == physEntry && bytes.HasPrefix(name, []byte("Xen\x00")) {
				return true
			}
			notes = notes[min(len(notes), 12+roundUp4(nameLen)+roundUp4(descLen)):]
		}
	}
	return false
}

func roundUp4(n int) int { return (n + 3) &^ 3 }
