package vm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// terminalSize is that of a terminal, in characters.
type terminalSize struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// isTerminal tells whether a file is a terminal.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func sizeOf(f *os.File) terminalSize {
	if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && ws.Row > 0 && ws.Col > 0 {
		return terminalSize{ws.Row, ws.Col}
	}
	return terminalSize{24, 80}
}

// rawMode makes a terminal pass on every key: the guest's terminal gives them their meaning.
func rawMode(f *os.File) (restore func(), err error) {
	fd := int(f.Fd())
	was, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("set up terminal: %w", err)
	}
	raw := *was
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("set up terminal: %w", err)
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, was) }, nil
}

// input passes a file of the host on to the guest's program.
type input struct {
	from *os.File
	to   io.Writer
	tell func(message) // sends a message to the guest

	stop *os.File // closing it ends the copying
	wait sync.WaitGroup
	end  func()
}

// startInput begins to pass on what is read, and the size of a terminal when it changes.
func startInput(from *os.File, to io.Writer, tell func(message)) (*input, error) {
	i := &input{from: from, to: to, tell: tell, end: func() {}}
	stopped, stop, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pass on standard input: %w", err)
	}
	i.stop = stop
	if isTerminal(from) {
		if i.end, err = rawMode(from); err != nil {
			return nil, errors.Join(err, stop.Close(), stopped.Close())
		}
		resized := make(chan os.Signal, 1)
		signal.Notify(resized, unix.SIGWINCH)
		restore := i.end
		i.end = func() {
			signal.Stop(resized)
			close(resized)
			restore()
		}
		i.wait.Go(func() {
			for range resized {
				size := sizeOf(from)
				tell(message{Kind: msgResize, Size: &size})
			}
		})
	}
	i.wait.Go(func() {
		defer stopped.Close()
		i.copy(stopped)
	})
	return i, nil
}

// copy reads until the end of the file, or until nobody wants more.
func (i *input) copy(stopped *os.File) {
	var n int64
	buf := make([]byte, 4096)
	fds := []unix.PollFd{
		{Fd: int32(i.from.Fd()), Events: unix.POLLIN}, {Fd: int32(stopped.Fd()), Events: unix.POLLIN},
	}
	for {
		if _, err := unix.Poll(fds, -1); errors.Is(err, unix.EINTR) {
			continue
		}
		if fds[1].Revents != 0 {
			return
		}
		got, err := i.from.Read(buf)
		if got > 0 {
			if _, err := i.to.Write(buf[:got]); err != nil {
				return // the machine has ended
			}
			n += int64(got)
		}
		if err != nil {
			i.tell(message{Kind: msgInputEnd, Input: n})
			return
		}
	}
}

// close ends the copying and gives the terminal back as it was. It may be called on nil.
func (i *input) close() {
	if i == nil {
		return
	}
	_ = i.stop.Close()
	i.end()
	i.wait.Wait()
}
