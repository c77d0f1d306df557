package vm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// program is the program under way.
type program struct {
	pid     int
	input   *guestInput
	outputs [2]*forward // standard output, standard error
}

// forward copies one output of the program to the host, and counts.
type forward struct {
	n    int64
	err  error
	done chan struct{}
}

func startForward(to io.Writer, from io.Reader) *forward {
	f := &forward{done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.n, f.err = io.Copy(to, from)
	}()
	return f
}

func startProgram(s spec) (*program, error) {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make working folder: %w", err)
	}
	input, err := newGuestInput(s)
	if err != nil {
		return nil, err
	}
	defer input.program.Close()
	p := &program{input: input}
	files := [3]*os.File{input.program, input.program, input.program}
	for i, port := range [...]int{portStdout, portStderr} {
		to, err := openPort(port)
		if err != nil {
			return nil, err
		}
		if port == portStdout {
			go input.copy(to)
		}
		if input.tty {
			if port == portStdout {
				p.outputs[i] = startForward(to, readTerminal{input.write})
			} else {
				p.outputs[i] = startForward(to, strings.NewReader(""))
			}
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("make pipe: %w", err)
		}
		defer w.Close()
		files[i+1], p.outputs[i] = w, startForward(to, r)
	}
	// Not os/exec: a wait for this one child would race with the loop that reaps every orphan.
	p.pid, err = syscall.ForkExec(s.Path, s.Args, &syscall.ProcAttr{
		Dir:   s.Dir,
		Env:   s.Env,
		Files: []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: input.tty},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Path, err)
	}
	return p, nil
}

// resize gives the program's terminal the size of the host's.
func (p *program) resize(size *terminalSize) {
	if p.input.tty && size != nil {
		_ = setSize(p.input.write, *size) // at worst lines are broken at the wrong place
	}
}

// wait reaps processes until the program has ended, ends those that it left, and waits until its output has gone to
// the host.
func (p *program) wait() (message, error) {
	m := message{}
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return m, fmt.Errorf("wait for program: %w", err)
		}
		if pid != p.pid {
			continue
		}
		m.Code = ws.ExitStatus()
		if ws.Signaled() {
			m.Code = 128 + int(ws.Signal())
		}
		break
	}
	// What still holds the other ends of the pipes would keep them open.
	_ = unix.Kill(-1, unix.SIGKILL)
	for _, f := range p.outputs {
		<-f.done
		if f.err != nil {
			return m, fmt.Errorf("pass output to host: %w", f.err)
		}
	}
	m.Stdout, m.Stderr = p.outputs[0].n, p.outputs[1].n
	return m, nil
}
