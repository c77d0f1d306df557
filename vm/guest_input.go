package vm

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// guestInput is the program's standard input: /dev/null, a pipe, or the guest's end of a terminal.
type guestInput struct {
	program *os.File // what the program reads from; for a terminal, what it writes to as well
	write   *os.File // the other end; nil for /dev/null
	tty     bool
	total   chan int64 // gets how much there is in all, when the host knows
}

func newGuestInput(s spec) (*guestInput, error) {
	i := &guestInput{tty: s.Terminal != nil, total: make(chan int64, 1)}
	var err error
	switch {
	case i.tty:
		i.write, i.program, err = openTerminal(*s.Terminal)
	case s.Input:
		i.program, i.write, err = os.Pipe()
	default:
		i.program, err = os.Open(os.DevNull)
	}
	if err != nil {
		return nil, fmt.Errorf("open standard input: %w", err)
	}
	return i, nil
}

// openTerminal makes a pseudo-terminal (pts(4)).
func openTerminal(size terminalSize) (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = setSize(master, size)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		_ = master.Close()
		return nil, nil, err
	}
	return master, slave, nil
}

func setSize(terminal *os.File, size terminalSize) error {
	return unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
}

// endOfInput is what a terminal in its usual mode takes for the end of a file, Ctrl-D.
const endOfInput = 4

// copy passes on what comes from the host until the program or the input ends.
func (i *guestInput) copy(from io.Reader) {
	if i.write == nil {
		return
	}
	chunks := make(chan []byte)
	go func() {
		for {
			buf := make([]byte, 4096)
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			chunks <- buf[:n]
		}
	}()
	var n int64
	total := int64(-1)
	for total < 0 || n < total {
		select {
		case c := <-chunks:
			n += int64(len(c))
			if _, err := i.write.Write(c); err != nil {
				return // the program has closed its input
			}
		case total = <-i.total:
		}
	}
	if i.tty {
		_, _ = i.write.Write([]byte{endOfInput})
		return
	}
	_ = i.write.Close()
}

// readTerminal reads what the program writes to its terminal. That the last process has closed it is an error of
// read(2), EIO.
type readTerminal struct{ *os.File }

func (r readTerminal) Read(p []byte) (int, error) {
	n, err := r.File.Read(p)
	if errors.Is(err, unix.EIO) {
		return n, io.EOF
	}
	return n, err
}

// WriteTo keeps io.Copy from going around Read.
func (r readTerminal) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{r})
}
