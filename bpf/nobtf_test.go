package bpf

import (
	"os"
	"runtime"
	"testing"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"
)

// TestOpenWithoutBTF hides the kernel's types, and the images in which the loader would look for them.
func TestOpenWithoutBTF(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to hide /sys/kernel/btf from one thread")
	}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its mount namespace with it
		failed <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
				return err
			}
			for _, folder := range []string{"/sys/kernel/btf", "/boot", "/usr/lib/debug", "/lib/modules"} {
				if _, err := os.Stat(folder); err != nil {
					continue
				}
				if err := unix.Mount("none", folder, "tmpfs", 0, ""); err != nil {
					return err
				}
			}
			tracker, err := Open(Options{})
			if err == nil {
				_ = tracker.Close()
			}
			return err
		}()
	}()
	err := <-failed
	qt.Assert(t, qt.ErrorIs(err, ErrNoBTF))
	qt.Assert(t, qt.ErrorMatches(err, `the kernel has no BTF \(CONFIG_DEBUG_INFO_BTF\): use a kernel that has it.*`))
}
