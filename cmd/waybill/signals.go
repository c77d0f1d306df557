package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/waybill-dev/waybill/vm"
)

// passedSignals are sent on to a program in a VM.
var passedSignals = []os.Signal{
	syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
}

// interruptible returns a context that ends, with a vm.InterruptedError as its cause, when this process is asked to
// end. Call stop to give the signals back.
func interruptible(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		select {
		case s := <-signals:
			cancel(&vm.InterruptedError{Signal: s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}
