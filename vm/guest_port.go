package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openPort opens a port of the virtio-serial device, once the kernel has it: its driver learns of the ports from the device
// after it was probed. It makes a port's node first, and can open it a moment later (drivers/char/virtio_console.c, add_port):
// meanwhile an open fails with ENXIO. The driver sends events for both: for the node, and when the host has told it the
// port's name, which the host does when the port is ready.
func openPort(number int) (*os.File, error) {
	events, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("watch devices: %w", err)
	}
	defer unix.Close(events)
	if err := unix.Bind(events, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return nil, fmt.Errorf("watch devices: %w", err)
	}
	buf := make([]byte, 8192)
	for {
		found, err := filepath.Glob(fmt.Sprintf("/dev/vport*p%d", number))
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			f, err := os.OpenFile(found[0], os.O_RDWR, 0)
			if err == nil {
				return f, nil
			}
			if !errors.Is(err, unix.ENXIO) {
				return nil, fmt.Errorf("open channel to host: %w", err)
			}
		}
		// ENOBUFS: there were more events than could be kept.
		if _, err := unix.Read(events, buf); err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS) {
			return nil, fmt.Errorf("watch devices: %w", err)
		}
	}
}
