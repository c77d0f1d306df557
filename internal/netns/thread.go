package netns

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// onOwnThread takes a thread that nobody else uses meanwhile, moves it with enter into another namespace, runs f there,
// and puts it back with restore into the namespace in which it was found. An enter that fails must not have moved it.
func onOwnThread(enter, f func() error, restore func(netns.NsHandle) error) error {
	var (
		result   error
		panicked bool
		value    any
		returned bool
	)
	done := make(chan struct{})

	// A goroutine of our own, because the namespace belongs to the thread: locking the caller's thread would leave the
	// caller's goroutine on a foreign namespace if it could not be put back, and would fail silently for callers that
	// unlock it themselves.
	go func() {
		defer close(done)

		// Locked before the namespace is read. Otherwise the scheduler may move us between the two, and we would restore
		// the namespace of one thread onto another.
		runtime.LockOSThread()
		origin, err := netns.Get()
		if err != nil {
			// Nothing was changed: the thread may go back to the scheduler.
			runtime.UnlockOSThread()
			result, returned = fmt.Errorf("read the thread's network namespace: %w", err), true
			return
		}
		defer func() { _ = origin.Close() }()

		if err := enter(); err != nil {
			// As above. Restoring would be wrong even though harmless: without privilege it fails too, and would hide the
			// error that matters behind its own.
			runtime.UnlockOSThread()
			result, returned = err, true
			return
		}

		// Deferred, so that it also happens when f panics or ends the goroutine.
		defer func() {
			if err := restore(origin); err != nil {
				// The thread stays locked. When this goroutine returns, the runtime ends the thread with it, so no other
				// goroutine can ever run in the wrong namespace. (The process's first thread cannot be ended; the runtime
				// parks it for ever, which serves as well.)
				result = errors.Join(result, fmt.Errorf("leave network namespace: %w", err))
			} else {
				runtime.UnlockOSThread()
			}
		}()

		// Recovered here, because a panic that nobody recovers in this goroutine would end the process, out of the reach
		// of the caller's own deferred functions. It must run before the restoration above, hence after it in this text.
		defer func() {
			if returned {
				return
			}
			// A nil value with neither a return nor a panic is runtime.Goexit; panic(nil) has a value since Go 1.21.
			if value = recover(); value != nil {
				panicked = true
			}
		}()
		result = f()
		returned = true
	}()
	<-done

	switch {
	case panicked:
		panic(value)
	case !returned:
		runtime.Goexit()
	}
	return result
}
