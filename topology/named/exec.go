package named

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/nearest"
)

// Exec becomes a program that runs in a node: it returns only if that cannot be. Below /sys the program sees the node's
// devices, as with ip netns exec.
func (l Lab) Exec(node string, command, env []string) error {
	if err := l.usable(); err != nil {
		return err
	}
	if !slices.Contains(l.Nodes, node) {
		hint := ": it has " + strings.Join(l.Nodes, ", ")
		if near := nearest.Names(node, slices.Values(l.Nodes)); len(near) > 0 {
			hint = fmt.Sprintf("; did you mean %q?", near[0])
		}
		return fmt.Errorf("lab %s has no node %q%s", l.Name, node, hint)
	}
	if os.Geteuid() != 0 {
		return errors.New("running something in a node needs root: run it with sudo")
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return fmt.Errorf("run %s: %w", command[0], errors.Unwrap(err))
	}
	// The process becomes what its calling thread is; the others end.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := unix.Open(namespace(l.Name, node), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("enter node %s: %w", node, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter node %s: %w", node, err)
	}
	if err := showDevices(); err != nil {
		return fmt.Errorf("enter node %s: %w", node, err)
	}
	return fmt.Errorf("run %s: %w", path, unix.Exec(path, command, env))
}

// showDevices gives the calling thread a /sys of the network namespace that it is in.
func showDevices() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	// What is mounted from here on is nobody else's.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep mounts to itself: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	return nil
}
