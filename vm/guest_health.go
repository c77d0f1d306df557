package vm

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// guestHealth watches the guest's kernel from when the program is about to start.
type guestHealth struct {
	taint uint64
	log   int // /dev/kmsg, behind what was written until then; -1 if the kernel has no log
}

func newGuestHealth() guestHealth {
	h := guestHealth{taint: taint(), log: -1}
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return h // CONFIG_PRINTK is not set
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		_ = unix.Close(fd)
		return h
	}
	h.log = fd
	return h
}

// report adds to a message what has happened since.
func (h guestHealth) report(m *message) {
	m.Taint = taint() &^ h.taint
	lines := h.lines()
	m.Log, m.Killed = illLog(lines), killed(lines)
	m.Full = full()
}

// full returns the folders of those file systems where programs write that have no room left.
func full() []string {
	const room = 64 << 10 // the last pages cannot be had by every write
	var out []string
	for _, dir := range []string{"/", "/tmp", "/run", "/dev/shm"} {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil && st.Type == unix.TMPFS_MAGIC && st.Bavail*uint64(st.Bsize) < room {
			out = append(out, dir)
		}
	}
	return out
}

// lines returns what the kernel itself has logged; programs may write there too, and are marked as such
// (Documentation/ABI/testing/dev-kmsg).
func (h guestHealth) lines() []string {
	if h.log < 0 {
		return nil
	}
	var out []string
	record := make([]byte, 8192) // a read returns one record, and fails if it has no room for it
	for {
		n, err := unix.Read(h.log, record)
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR):
			continue // older records were overwritten before they were read: go on with the oldest that is left
		case err != nil || n <= 0:
			return out
		}
		head, text, ok := strings.Cut(string(record[:n]), ";")
		priority, _, _ := strings.Cut(head, ",")
		const facilities = 8 // a priority is level + 8 × facility, and the kernel's facility is 0
		if p, err := strconv.Atoi(priority); !ok || err != nil || p >= facilities {
			continue
		}
		line, _, _ := strings.Cut(text, "\n") // what follows are the record's properties
		out = append(out, strings.TrimRight(line, " "))
	}
}

func taint() uint64 {
	text, err := os.ReadFile("/proc/sys/kernel/tainted")
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return n
}
