package vm

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockMachine waits until no other machine of this user runs: two emulated boots at once on few CPUs upset the
// guests' timer calibration. The lock ends with the process that holds it.
func lockMachine(ctx context.Context, c Config) (unlock func(), err error) {
	path, err := cachePath("vm.lock")
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	unlock = func() { _ = f.Close() }
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return unlock, nil
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		unlock()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	c.Notice("another VM of yours is running: waiting for it to end")
	locked := make(chan error, 1)
	go func() {
		for {
			err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
			if !errors.Is(err, unix.EINTR) {
				locked <- err
				return
			}
		}
	}()
	// A wait for flock cannot be taken back: an abandoned one ends, and lets go, when the other machine does.
	abandon := func() {
		go func() {
			<-locked
			unlock()
		}()
	}
	select {
	case err := <-locked:
		if err != nil {
			unlock()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		return unlock, nil
	case sig := <-c.Signals:
		abandon()
		return nil, &InterruptedError{Signal: sig}
	case <-ctx.Done():
		abandon()
		return nil, fmt.Errorf("wait for another VM to end: %w", context.Cause(ctx))
	}
}
