package harness

import (
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelLog is what the kernel logs from a moment on.
type kernelLog struct{ file *os.File }

// openKernelLog begins now. It returns nil where the log cannot be read.
func openKernelLog() *kernelLog {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	if _, err := unix.Seek(fd, 0, io.SeekEnd); err != nil {
		_ = unix.Close(fd)
		return nil
	}
	return &kernelLog{os.NewFile(uintptr(fd), "/dev/kmsg")}
}

// copyTo writes what has been logged. A read returns one record: "6,339,5140900,-;the text", and continuation lines
// (Documentation/ABI/testing/dev-kmsg).
func (k *kernelLog) copyTo(w io.Writer) error {
	connection, err := k.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = connection.Control(func(fd uintptr) {
		buffer := make([]byte, 8<<10) // CONSOLE_EXT_LOG_MAX
		for {
			n, err := unix.Read(int(fd), buffer)
			switch {
			case errors.Is(err, unix.EAGAIN):
				return
			case errors.Is(err, unix.EPIPE): // older records have been overwritten
				continue
			case err != nil:
				failed = err
				return
			}
			head, text, _ := strings.Cut(string(buffer[:n]), ";")
			if fields := strings.Split(head, ","); len(fields) > 2 {
				text = "[" + seconds(fields[2]) + "] " + text
			}
			if _, failed = io.WriteString(w, text); failed != nil {
				return
			}
		}
	})
	return errors.Join(err, failed)
}

// seconds is a number of microseconds in seconds, as dmesg prints it.
func seconds(microseconds string) string {
	padded := strings.Repeat("0", max(0, 7-len(microseconds))) + microseconds
	return padded[:len(padded)-6] + "." + padded[len(padded)-6:]
}

func (k *kernelLog) Close() error { return k.file.Close() }
