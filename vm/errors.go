package vm

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// ErrNoQEMU is wrapped by the error of a machine that has no QEMU.
var ErrNoQEMU = errors.New("qemu-system-x86_64 is not installed")

// BootError says that the guest did not get as far as starting the program.
type BootError struct {
	Kernel  string
	Reason  string   // what was seen
	Console []string // the console's last lines
}

func (e *BootError) Error() string {
	return withConsole(fmt.Sprintf("kernel %s did not start the program: %s", e.Kernel, e.Reason), e.Console)
}

// unknownModuleError says that a kernel has no such module.
type unknownModuleError struct {
	name, kernel string
	none         bool // no modules of it are known
	nearest      []string
}

func (e *unknownModuleError) Error() string {
	text := fmt.Sprintf("kernel %s has no module %s", e.kernel, e.name)
	switch {
	case e.none:
		text += ": its modules are not known; name their folder, or leave out the module if it is built in"
	case len(e.nearest) > 0:
		text += "; the nearest names are " + strings.Join(e.nearest, ", ")
	}
	return text
}

// PanicError says that the guest's kernel gave up: a panic, or an oops, which is made a panic.
type PanicError struct {
	Kernel  string
	Message string   // the kernel's own words, "Fatal exception in interrupt"
	Console []string // the console from the first sign of trouble on
	// OutputsLost: artifacts and other outputs were to come back, and ended with the machine.
	OutputsLost bool
}

func (e *PanicError) Error() string {
	text := fmt.Sprintf("kernel %s panicked: %s", e.Kernel, e.Message)
	if strings.Contains(e.Message, "deadlocked on memory") {
		text += "; give the VM more memory"
	}
	if e.OutputsLost {
		text += "; the files that the program had written are lost"
	}
	return withConsole(text, e.Console)
}

// DeadlineError says that the program had not ended when its time was over.
type DeadlineError struct {
	Kernel  string
	Timeout time.Duration
	Console []string
}

// Error does not show the console: a program that takes too long is seldom the kernel's doing.
func (e *DeadlineError) Error() string {
	return fmt.Sprintf("the program did not end within %s and was killed: give it more time, or see its goroutines above",
		e.Timeout)
}

// InterruptedError says that a signal came before the program ran.
type InterruptedError struct {
	Signal os.Signal
}

func (e *InterruptedError) Error() string {
	return fmt.Sprintf("interrupted (%s)", e.Signal)
}

// ExitCode is 128 + the signal's number, as shells have it.
func (e *InterruptedError) ExitCode() int {
	if s, ok := e.Signal.(syscall.Signal); ok {
		return 128 + int(s)
	}
	return 128 + int(syscall.SIGINT)
}

func withConsole(text string, lines []string) string {
	if len(lines) == 0 {
		return text
	}
	return text + "\nlast lines of its console:\n  | " + strings.Join(lines, "\n  | ")
}
