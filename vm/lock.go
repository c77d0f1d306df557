package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// lockMachine waits until one more machine of this user may run: until as many CPUs are free as it keeps busy, threads. With
// more machines than CPUs, the guests' calibration of their timers is upset. The lock ends with the process that holds it.
func lockMachine(ctx context.Context, c Config, threads int) (unlock func(), _ error) {
	cpus := runtime.NumCPU()
	return takeSlots(ctx, c, cpus, min(threads, cpus))
}

// takeSlots takes n of all slots, files of which one is locked for each CPU in use. Whoever waits for slots has the gate
// meanwhile: so nobody who comes later gets them first, and no two wait for each other.
func takeSlots(ctx context.Context, c Config, all, n int) (unlock func(), err error) {
	var held []*os.File
	release := func() {
		for _, f := range held {
			_ = f.Close()
		}
	}
	w := waiter{c: c}
	gate, err := w.first(ctx, []string{"vm.lock"})
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	var names []string
	for i := range all {
		names = append(names, fmt.Sprintf("vm-%d.lock", i))
	}
	for range n {
		f, err := w.first(ctx, names)
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, f)
	}
	return release, nil
}

// waiter waits for locks, and says so once.
type waiter struct {
	c    Config
	said bool
}

// first locks the first of some files in the cache folder that is free. What this process holds is not.
func (w *waiter) first(ctx context.Context, names []string) (*os.File, error) {
	var files []*os.File
	closeBut := func(keep *os.File) {
		for _, f := range files {
			if f != keep {
				_ = f.Close()
			}
		}
	}
	for _, name := range names {
		path, err := cachePath(name)
		var f *os.File
		if err == nil {
			f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		}
		if err != nil {
			closeBut(nil)
			return nil, fmt.Errorf("open lock file: %w", withAdvice(err, path))
		}
		files = append(files, f)
	}
	for _, f := range files {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			closeBut(f)
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			closeBut(nil)
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
	if !w.said {
		w.said = true
		w.c.Notice("other VMs of yours are running: waiting for one to end")
	}
	return w.wait(ctx, files)
}

// wait waits for the first of some files that others have locked, and takes care of closing the rest.
func (w *waiter) wait(ctx context.Context, files []*os.File) (*os.File, error) {
	type answer struct {
		file *os.File
		err  error
	}
	first := make(chan answer)
	over := make(chan struct{})
	defer close(over)
	for _, f := range files {
		// A wait for flock cannot be taken back: one that is not needed any more ends, and lets go, when the machine
		// that it waits for does.
		go func() {
			err := flock(f)
			select {
			case first <- answer{f, err}:
			case <-over:
				_ = f.Close()
			}
		}()
	}
	select {
	case a := <-first:
		if a.err != nil {
			_ = a.file.Close()
			return nil, fmt.Errorf("lock %s: %w", a.file.Name(), a.err)
		}
		return a.file, nil
	case sig := <-w.c.Signals:
		return nil, &InterruptedError{Signal: sig}
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another VM to end: %w", context.Cause(ctx))
	}
}

func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
