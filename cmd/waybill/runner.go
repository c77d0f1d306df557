package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/waybill-dev/waybill/vm"
	"github.com/waybill-dev/waybill/vm/kernel"
)

// runner runs programs in VMs, as programs of this process: output goes to this process's own, signals to the program.
type runner struct {
	store   kernel.Store
	modules string // the user's folder of modules; empty: those that belong to the kernel
	console bool   // show the kernel's console on standard error
}

// runInVM runs this executable with args in a VM under a named kernel, with host programs beside it, and returns its
// exit status.
func runInVM(ctx context.Context, kernelName string, args, bins []string) (vm.Result, error) {
	self, err := os.Executable()
	if err != nil {
		return vm.Result{}, fmt.Errorf("find this executable: %w", err)
	}
	store, err := kernelStore()
	if err != nil {
		return vm.Result{}, err
	}
	return runner{store: store}.run(ctx, kernelName, vm.Config{Program: self, Args: args, Binaries: bins})
}

// run runs what config says under a kernel.
func (r runner) run(ctx context.Context, name string, config vm.Config) (vm.Result, error) {
	// From here on, so that no signal finds this process unprepared, and at most one of each stage is lost.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, passedSignals...)
	defer signal.Stop(signals)
	if err := r.store.Check(name); err != nil {
		return vm.Result{}, err
	}
	if err := vm.Check(config); err != nil {
		return vm.Result{}, err
	}
	var err error
	if config.Kernel, err = r.getKernel(ctx, name, signals); err != nil {
		return vm.Result{}, err
	}
	config.Signals = signals
	config.OptionalModules, config.OnDemand = networkModules, ondemandModules
	config.Notice = notice
	line := newPassing(fmt.Sprintf("waybill: booting kernel %s …", name))
	defer line.clear()
	config.Stdout, config.Stderr = line.before(os.Stdout), line.before(os.Stderr)
	if r.console {
		c := &console{w: line.before(os.Stderr)}
		defer c.end()
		config.Console = c
	}
	result, err := vm.Run(ctx, config)
	for _, name := range result.Killed {
		notice(fmt.Sprintf("the VM's %d MiB of memory were used up, and its kernel killed %s: give it more with --memory",
			cmp.Or(config.MemoryMiB, vm.DefaultMemoryMiB), name))
	}
	for _, dir := range result.Full {
		notice(fmt.Sprintf("the VM's file system %s, in half of its %d MiB of memory, is full: give it more with --memory", dir,
			cmp.Or(config.MemoryMiB, vm.DefaultMemoryMiB)))
	}
	return result, err
}

// getKernel provides the kernel's files. A signal ends it.
func (r runner) getKernel(ctx context.Context, name string, signals <-chan os.Signal) (vm.Kernel, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over, watching := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case s := <-signals:
			cancel(&vm.InterruptedError{Signal: s})
		case <-over:
		}
	}()
	k, err := r.store.Open(ctx, name, r.modules)
	close(over)
	<-watching
	if cause := context.Cause(ctx); cause != nil {
		return vm.Kernel{}, cause // it may have come just after the last step
	}
	return k, err
}

// runAll runs a program under several kernels, one after another, and prints a table of how it ended.
func (r runner) runAll(ctx context.Context, kernels []string, config vm.Config) error {
	for _, name := range kernels {
		if err := r.store.Check(name); err != nil {
			return err // before the first one has run
		}
	}
	artifacts, worst := config.Artifacts, 0
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KERNEL\tEXIT\tTIME")
	for _, name := range kernels {
		notice("kernel " + name)
		if artifacts != "" {
			config.Artifacts = filepath.Join(artifacts, folderName(name))
		}
		start := time.Now()
		result, err := r.run(ctx, name, config)
		exit := status(outcome(result, err))
		fmt.Fprintf(w, "%s\t%s\t%.1fs\n", name, exitText(exit, err), time.Since(start).Seconds())
		worst = cmp.Or(worst, exit)
		if _, early := errors.AsType[*vm.InterruptedError](err); early || result.Interrupted {
			break // the user has seen enough
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	fmt.Fprint(os.Stderr, "\n"+table.String())
	if worst != 0 {
		return exitStatus(worst)
	}
	return nil
}

// folderName makes a kernel's name, which may be a path, that of a folder.
func folderName(kernel string) string {
	return strings.Trim(strings.ReplaceAll(filepath.Clean(kernel), "/", "_"), "_.")
}

// exitText is an exit status in the table, with what it stands for if it is not the program's.
func exitText(exit int, err error) string {
	if err == nil {
		return fmt.Sprint(exit)
	}
	words := map[int]string{statusKernel: "the kernel was in trouble", statusDeadline: "out of time", statusFailed: "see above"}
	if word, ok := words[exit]; ok {
		return fmt.Sprintf("%d (%s)", exit, word)
	}
	return fmt.Sprint(exit)
}
