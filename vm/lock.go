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
func lockMachine(ctx context.Context, c Config) (unlock func(), _ error) {
	path, err := cachePath("vm.lock")
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	// Not the result of that name, which a return sets: an abandoned wait still needs it.
	release := func() { _ = f.Close() }
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return release, nil
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		release()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	c.Notice("another VM of yours is running: waiting for it to end")
	var lockErr error
	locked := make(chan struct{})
	go func() {
		defer close(locked)
		for lockErr = unix.EINTR; errors.Is(lockErr, unix.EINTR); {
			lockErr = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}
	}()
	// A wait for flock cannot be taken back: an abandoned one ends, and lets go, when the other machine does.
	abandon := func() {
		go func() {
			<-locked
			release()
		}()
	}
	select {
	case <-locked:
		if lockErr != nil {
			release()
			return nil, fmt.Errorf("lock %s: %w", path, lockErr)
		}
		return release, nil
	case sig := <-c.Signals:
		abandon()
		return nil, &InterruptedError{Signal: sig}
	case <-ctx.Done():
		abandon()
		return nil, fmt.Errorf("wait for another VM to end: %w", context.Cause(ctx))
	}
}
