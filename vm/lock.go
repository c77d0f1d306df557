package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// lockMachine waits until one more machine of this user may run. The lock ends with the process that holds it.
//
// threads is how many of the host's CPUs the machine keeps busy. With more machines than CPUs, the guests' calibration of
// their timers is upset.
func lockMachine(ctx context.Context, c Config, threads int) (unlock func(), _ error) {
	slots, err := openSlots(max(1, runtime.NumCPU()/threads))
	if err != nil {
		return nil, err
	}
	return takeSlot(ctx, c, slots)
}

// openSlots opens the files of which each running machine holds one.
func openSlots(n int) ([]*os.File, error) {
	var slots []*os.File
	for i := range n {
		path, err := cachePath(fmt.Sprintf("vm-%d.lock", i))
		var f *os.File
		if err == nil {
			f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		}
		if err != nil {
			closeSlots(slots)
			return nil, fmt.Errorf("open lock file: %w", err)
		}
		slots = append(slots, f)
	}
	return slots, nil
}

func closeSlots(slots []*os.File) {
	for _, f := range slots {
		_ = f.Close()
	}
}

// takeSlot waits for the first slot that is free, and closes the others.
func takeSlot(ctx context.Context, c Config, slots []*os.File) (unlock func(), _ error) {
	for i, f := range slots {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		closeSlots(slots[:i])
		closeSlots(slots[i+1:])
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		return func() { _ = f.Close() }, nil
	}
	c.Notice("other VMs of yours are running: waiting for one to end")
	type answer struct {
		slot *os.File
		err  error
	}
	first := make(chan answer)
	over := make(chan struct{})
	defer close(over)
	for _, f := range slots {
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
			_ = a.slot.Close()
			return nil, fmt.Errorf("lock %s: %w", a.slot.Name(), a.err)
		}
		return func() { _ = a.slot.Close() }, nil
	case sig := <-c.Signals:
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
