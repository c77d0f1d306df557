package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kong"

	"github.com/waybill-dev/waybill/vm"
)

// cli is the command line. Each command is a struct with a Run method.
type cli struct {
	Demo    demoCommand    `cmd:"" help:"Show the journey of one packet that a firewall drops."`
	VM      vmCommand      `cmd:"" name:"vm" help:"Run a program under another kernel, in a VM."`
	Lab     labCommand     `cmd:"" help:"Networks that live on, for use by hand."`
	Inspect inspectCommand `cmd:"" help:"List the functions and tracepoints at which packets can be observed."`
	Collect collectCommand `cmd:"" help:"Observe the packets of this machine, print them or write them to a file."`
	Print   printCommand   `cmd:"" help:"Print the events of a file."`
	Sort    sortCommand    `cmd:"" help:"Print the events of a file, packet by packet."`
	Diff    diffCommand    `cmd:"" help:"Compare what happened to packets in two recordings."`
	Kernel  kernelCommand  `cmd:"" help:"The kernels that waybill vm --kernel knows by name."`
}

// exitStatus is the error of a command that ran and whose exit status is to be passed on, without a word.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// outcome is the error of a command that ran a program: err, or the program's exit status if that is not 0. Files that did
// not come back do not hide the exit status of a program that failed.
func outcome(result vm.Result, err error) error {
	code := result.ExitCode
	if _, ok := errors.AsType[*vm.OutputError](err); ok && code != 0 && exitOf(err) == statusFailed {
		notice(err.Error())
		err = nil
	}
	if err == nil && code != 0 {
		return exitStatus(code)
	}
	return err
}

// Exit statuses of waybill, beside those of the programs that it runs. They follow timeout(1), env(1) and the like, and leave
// those of shells alone (126, 127, 128 + N). What waybill itself could not do is 125, a command line that makes no sense
// included: 1 and 2 are what failed tests and crashed Go programs end with, and git bisect run skips a commit at 125.
const (
	statusKernel   = 123
	statusDeadline = 124
	statusFailed   = 125
)

func main() {
	vm.GuestMain()
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	var c cli
	parser := kong.Must(&c, kong.Name("waybill"), kong.Vars{"defaultKernel": defaultKernel, "defaultFile": defaultFile},
		kong.Description("Network regression tests for Linux that assert the journey of each packet through the kernel."))
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "waybill: %s\nRun waybill --help for what it can do.\n", err)
		return statusFailed
	}
	command.BindTo(context.Background(), (*context.Context)(nil))
	return status(command.Run())
}

// status prints an error, and turns it into an exit status.
func status(err error) int {
	if err == nil {
		return 0
	}
	if s, ok := errors.AsType[exitStatus](err); ok {
		return int(s)
	}
	code := exitOf(err)
	if i, ok := errors.AsType[*vm.InterruptedError](err); ok {
		err = i // whoever interrupted it knows where
	}
	fmt.Fprintf(os.Stderr, "waybill: %s\n", err)
	return code
}

// exitOf is the exit status that stands for an error.
func exitOf(err error) int {
	if i, ok := errors.AsType[*vm.InterruptedError](err); ok {
		return i.ExitCode()
	}
	_, panicked := errors.AsType[*vm.PanicError](err)
	_, unwell := errors.AsType[*vm.KernelError](err)
	_, late := errors.AsType[*vm.DeadlineError](err)
	switch {
	case panicked, unwell:
		return statusKernel
	case late:
		return statusDeadline
	}
	return statusFailed
}
