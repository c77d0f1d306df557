package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"
)

// run is one machine under way, seen from the host.
type run struct {
	c        Config
	probe    bool // only see whether the guest comes up
	m        *machine
	console  *consoleLog
	out, err *stream
	moved    chan struct{} // gets a token whenever a stream has grown
	messages chan message
	start    time.Time
	result   Result
}

// errMachineEnded stands for the end of QEMU before that of the program, until it is explained.
var errMachineEnded = errors.New("the machine ended")

// boot starts a machine with what root holds, and sees it through.
func boot(ctx context.Context, qemu string, accel Accel, c Config, root *initramfs) (Result, error) {
	archive, err := root.memfd()
	if err != nil {
		return Result{}, err
	}
	defer archive.Close()
	image, err := openImage(c.Kernel.Image, accel)
	if err != nil {
		return Result{}, fmt.Errorf("open kernel image: %w", err)
	}
	defer image.Close()
	m, err := startMachine(qemu, qemuArgs(c, accel), archive, image)
	if err != nil {
		return Result{}, err
	}
	defer m.closeChannels()
	r := &run{
		c: c, probe: root.spec.Probe, m: m, start: time.Now(), result: Result{Accel: accel},
		console:  &consoleLog{out: c.Console},
		moved:    make(chan struct{}, 1),
		messages: make(chan message),
	}
	r.out, r.err = newStream(m.stdout, c.Stdout, r.moved), newStream(m.stderr, c.Stderr, r.moved)
	consoleDone, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(consoleDone)
		_, _ = io.Copy(r.console, m.console)
	}()
	go r.listen(stop)
	why := r.watch(ctx)
	close(stop)
	m.kill()
	// The end of QEMU has closed the channels' other ends: what was written is read to its end here.
	<-consoleDone
	<-r.out.done
	<-r.err.done
	return r.result, r.explain(why)
}

// listen passes the guest's messages on.
func (r *run) listen(stop <-chan struct{}) {
	for msg := range messages(r.m.control) {
		select {
		case r.messages <- msg:
		case <-stop:
			return
		}
	}
}

func (r *run) send(m message) {
	// A guest that cannot be written to has ended, which the watch sees by itself.
	_ = json.NewEncoder(r.m.control).Encode(m)
}

// watch returns when the program has ended and its output is here, or when one of the other ends has come.
func (r *run) watch(ctx context.Context) error {
	booted := time.NewTimer(bootTimeout)
	defer booted.Stop()
	var deadline, grace <-chan time.Time
	running := false
	var late error
	var exited *message
	for exited == nil || r.out.n.Load() < exited.Stdout || r.err.n.Load() < exited.Stderr {
		select {
		case <-r.moved:
		case msg := <-r.messages:
			switch msg.Kind {
			case msgHello:
				if r.probe {
					return nil
				}
			case msgStarted:
				running = true
				booted.Stop()
				if r.c.Timeout > 0 {
					deadline = time.After(r.c.Timeout)
				}
				r.result.Boot = time.Since(r.start)
			case msgFailed:
				return &BootError{Kernel: r.c.Kernel.String(), Reason: msg.Error}
			case msgExited:
				exited = &msg
				r.result.ExitCode, r.result.Taint = msg.Code, msg.Taint
			}
		case sig := <-r.c.Signals:
			n, ok := sig.(syscall.Signal)
			switch {
			case !running:
				return &InterruptedError{Signal: sig}
			case ok:
				r.send(message{Kind: msgSignal, Signal: int(n)})
			}
		case <-ctx.Done():
			return fmt.Errorf("run program under kernel %s: %w", r.c.Kernel, context.Cause(ctx))
		case <-r.m.done:
			return errMachineEnded
		case <-booted.C:
			return &BootError{Kernel: r.c.Kernel.String(), Reason: fmt.Sprintf("nothing was heard of it for %s", bootTimeout)}
		case <-deadline:
			late = &DeadlineError{Kernel: r.c.Kernel.String(), Timeout: r.c.Timeout}
			r.send(message{Kind: msgSignal, Signal: int(syscall.SIGQUIT)})
			grace = time.After(quitGrace)
		case <-grace:
			return late
		}
	}
	r.send(message{Kind: msgBye})
	if late != nil {
		return late
	}
	return errors.Join(r.out.failure(), r.err.failure())
}

// explain adds what the console said to the reason for which watching ended.
func (r *run) explain(why error) error {
	kernel := r.c.Kernel.String()
	if reason, slice := r.console.panicked(); reason != "" {
		return &PanicError{Kernel: kernel, Message: reason, Console: slice}
	}
	if errors.Is(why, errMachineEnded) {
		reason := "QEMU ended"
		if r.console.contains("Initramfs unpacking failed") {
			reason = fmt.Sprintf("its %d MiB of memory are too few for the files that it was given: give it more", r.c.MemoryMiB)
		}
		if said := firstLine(r.m.log.String()); said != "" {
			reason += ", saying: " + said
		}
		why = &BootError{Kernel: kernel, Reason: reason}
	}
	if e, ok := errors.AsType[*BootError](why); ok {
		e.Console = r.console.last(bootErrorLines)
	}
	return why
}

// bootErrorLines is how much of the console a boot error shows.
const bootErrorLines = 15
