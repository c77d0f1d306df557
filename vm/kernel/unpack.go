package kernel

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// unpack takes out of a package what a VM needs: the image, its configuration and the modules.
func unpack(ctx context.Context, deb, to string) error {
	r, w := io.Pipe()
	extracted := make(chan error, 1)
	go func() {
		err := extract(tar.NewReader(r), to)
		if err == nil {
			_, err = io.Copy(io.Discard, r) // the padding after the archive's end
		}
		_ = r.CloseWithError(err)
		extracted <- err
	}()
	err := runTool(ctx, "", w, "dpkg-deb", "--fsys-tarfile", deb)
	_ = w.CloseWithError(err) // an archive that was cut short must not look like one that ended
	if extractErr := <-extracted; err == nil {
		err = extractErr
	}
	if err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
	}
	return nil
}

// place tells where a file of a package goes in the cache; "" for one that is not needed.
func place(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	name = strings.TrimPrefix(name, "usr/")
	base := path.Base(name)
	switch {
	case strings.HasPrefix(base, "vmlinuz"):
		return "vmlinuz"
	case strings.HasPrefix(name, "boot/config-"), strings.HasPrefix(name, "lib/modules/") && base == "config":
		return "config"
	case !strings.HasPrefix(name, "lib/modules/"):
		return ""
	}
	for _, dir := range unneeded {
		if strings.Contains(name, "/kernel/"+dir+"/") {
			return ""
		}
	}
	return name
}

// unneeded are modules for hardware that the VM does not have, and for disks, half of some packages.
var unneeded = []string{
	"sound", "drivers/gpu", "drivers/media", "drivers/infiniband", "drivers/scsi", "drivers/ata", "drivers/comedi", "drivers/hid",
	"drivers/md", "drivers/staging", "drivers/usb", "fs/btrfs", "fs/ext4", "fs/f2fs", "fs/gfs2", "fs/jfs", "fs/ntfs3", "fs/ocfs2",
	"fs/xfs",
}

func extract(r *tar.Reader, to string) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := place(h.Name)
		if name == "" || h.Typeflag != tar.TypeReg {
			continue
		}
		if err := writeFile(filepath.Join(to, name), r); err != nil {
			return err
		}
	}
}

func writeFile(name string, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// finish checks that a kernel is complete, has its modules' dependencies computed, and returns its version.
func finish(ctx context.Context, dir string) (version string, err error) {
	if _, err := os.Stat(filepath.Join(dir, "vmlinuz")); err != nil {
		return "", errors.New("the packages hold no kernel image")
	}
	versions, err := filepath.Glob(filepath.Join(dir, "lib/modules/*"))
	if err != nil {
		return "", err
	}
	if len(versions) != 1 {
		return "", fmt.Errorf("the packages hold modules of %d kernels where one was expected", len(versions))
	}
	version = filepath.Base(versions[0])
	if _, err := command(ctx, "", "depmod", "-b", dir, version); err != nil {
		return "", fmt.Errorf("compute the dependencies of modules: %w", err)
	}
	return version, nil
}
