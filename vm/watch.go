package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
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
	back     *collector
	moved    chan struct{} // gets a token whenever a stream has grown
	messages chan message
	start    time.Time
	result   Result

	running      bool
	input        *input   // nil until the program runs, and if it has none
	exited, sent *message // the guest's last words
	health       error    // what is wrong with the kernel
	asked        int      // how often the user asked the program to end
	sending      sync.Mutex
}

// ended returns an error if ctx has ended or a signal has come. It is for what happens before there is a machine.
func (c Config) ended(ctx context.Context) error {
	select {
	case sig := <-c.Signals:
		return &InterruptedError{Signal: sig}
	case <-ctx.Done():
		return fmt.Errorf("prepare kernel %s: %w", c.Kernel, context.Cause(ctx))
	default:
		return nil
	}
}

// errMachineEnded stands for the end of QEMU before that of the program, until it is explained.
var errMachineEnded = errors.New("the machine ended")

// boot starts a machine with an initramfs, and sees it through.
func boot(ctx context.Context, qemu string, accel Accel, c Config, archive *archive, back *collector) (Result, error) {
	image, err := openImage(c.Kernel.Image, accel)
	if err != nil {
		return Result{}, fmt.Errorf("open kernel image: %w", err)
	}
	defer image.Close()
	if err := c.ended(ctx); err != nil {
		return Result{}, err
	}
	m, err := startMachine(qemu, qemuArgs(c, accel), archive.file, image)
	if err != nil {
		return Result{}, err
	}
	defer m.closeChannels()
	r := &run{
		c: c, probe: archive.probe, m: m, start: time.Now(), result: Result{Accel: accel},
		console:  &consoleLog{out: c.Console},
		moved:    make(chan struct{}, 1),
		messages: make(chan message),
		back:     back,
	}
	back.start(m.outputs)
	r.out, r.err = newStream(m.stdout, c.Stdout, r.moved), newStream(m.stderr, c.Stderr, r.moved)
	consoleDone, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(consoleDone)
		_, _ = io.Copy(r.console, m.console)
	}()
	go r.listen(over)
	why := r.watch(ctx)
	close(over)
	m.kill()
	r.input.close()
	// The end of QEMU has closed the channels' other ends: what was written is read to its end here.
	<-consoleDone
	<-r.out.done
	<-r.err.done
	<-r.back.done
	return r.result, r.explain(why)
}

// listen passes the guest's messages on.
func (r *run) listen(over <-chan struct{}) {
	for msg := range messages(r.m.control) {
		select {
		case r.messages <- msg:
		case <-over:
			return
		}
	}
}

func (r *run) send(m message) {
	r.sending.Lock()
	defer r.sending.Unlock()
	// A guest that cannot be written to has ended, which the watch sees by itself.
	_ = json.NewEncoder(r.m.control).Encode(m)
}

// endingAfter is how many SIGINT or SIGTERM a program gets before the machine is ended without it: Ginkgo cleans up at
// the first, and ends at once at the second.
const endingAfter = 2

// watch returns when the program has ended and all that it wrote is here, or when one of the other ends has come.
func (r *run) watch(ctx context.Context) error {
	booted := time.NewTimer(bootTimeout)
	defer booted.Stop()
	var deadline, grace <-chan time.Time
	var late error
	insisted := false
	back := r.back.done
	for !r.complete() {
		select {
		case <-r.moved:
		case <-back:
			back = nil // seen
			// An archive that was cut short comes of a machine that ended, which is told by itself.
			if r.back.err != nil && !errors.Is(r.back.err, io.ErrUnexpectedEOF) {
				return errors.Join(r.health, late, &OutputError{Reason: r.back.err})
			}
		case msg := <-r.messages:
			if err := r.heard(msg); err != nil {
				return errors.Join(r.health, late, err)
			}
			switch {
			case r.exited != nil:
				deadline, grace = nil, nil
			case msg.Kind == msgStarted:
				booted.Stop()
				if r.c.Timeout > 0 {
					deadline = time.After(r.c.Timeout)
				}
			}
		case sig := <-r.c.Signals:
			if err := r.signalled(sig); err != nil {
				return err
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
			if insisted {
				return late
			}
			// What it has written until now can still come back.
			insisted = true
			r.send(message{Kind: msgSignal, Signal: int(syscall.SIGKILL)})
			grace = time.After(quitGrace)
		}
	}
	r.send(message{Kind: msgBye})
	return errors.Join(r.health, late, r.outputs(), r.out.failure(), r.err.failure())
}

// complete tells whether all is here that there is to come.
func (r *run) complete() bool {
	if r.probe {
		return r.running
	}
	if r.exited == nil || r.sent == nil || r.out.n.Load() < r.exited.Stdout || r.err.n.Load() < r.exited.Stderr {
		return false
	}
	select {
	case <-r.back.done:
		return true
	default:
		return len(r.back.outputs) == 0 || r.sent.Error != ""
	}
}

// heard takes in a message of the guest.
func (r *run) heard(msg message) error {
	switch msg.Kind {
	case msgHello:
		r.running = r.probe
	case msgStarted:
		r.running = true
		r.result.Boot = time.Since(r.start)
		if r.c.Stdin != nil {
			var err error
			r.input, err = startInput(r.c.Stdin, r.m.stdout, r.send)
			return err
		}
	case msgFailed:
		return &BootError{Kernel: r.c.Kernel.String(), Reason: msg.Error}
	case msgExited:
		r.exited = &msg
		r.result.ExitCode, r.result.Taint, r.result.Killed, r.result.Full = msg.Code, msg.Taint, msg.Killed, msg.Full
		if !r.c.AllowTaint && (msg.Taint != 0 || len(msg.Log) > 0) {
			r.health = &KernelError{Kernel: r.c.Kernel.String(), ExitCode: msg.Code, Taint: msg.Taint, Log: msg.Log}
		}
	case msgSent:
		r.sent = &msg
	}
	return nil
}

// signalled passes a signal on to the program, or returns an error that ends the machine.
func (r *run) signalled(sig os.Signal) error {
	if sig == os.Interrupt || sig == syscall.SIGTERM {
		r.asked++
	}
	if !r.running || r.exited != nil || r.asked > endingAfter {
		return &InterruptedError{Signal: sig}
	}
	r.result.Interrupted = r.asked > 0
	if n, ok := sig.(syscall.Signal); ok {
		r.send(message{Kind: msgSignal, Signal: int(n)})
	}
	return nil
}

// outputs tells what did not come back.
func (r *run) outputs() error {
	switch {
	case r.back.err != nil:
		return &OutputError{Reason: r.back.err}
	case r.sent == nil: // a probe
		return nil
	case r.sent.Error != "":
		return &OutputError{Reason: errors.New(r.sent.Error)}
	case len(r.sent.Left) > 0:
		return &OutputError{Limit: r.c.OutputLimit, Left: r.sent.Left, Size: r.sent.LeftSize}
	}
	return nil
}

// explain adds what the console said to the reason for which watching ended.
func (r *run) explain(why error) error {
	kernel := r.c.Kernel.String()
	if reason, slice := r.console.panicked(); reason != "" {
		return &PanicError{Kernel: kernel, Message: reason, Console: slice, OutputsLost: len(r.back.outputs) > 0}
	}
	if errors.Is(why, errMachineEnded) {
		reason := "QEMU ended"
		if r.console.contains("Initramfs unpacking failed") {
			reason = fmt.Sprintf("its %d MiB of memory are too few for the files that it was given: give it more", r.c.MemoryMiB)
		}
		if said := firstLine(r.m.log.String()); said != "" {
			reason += ", saying: " + said
		}
		if said, ok := r.console.word(); ok {
			reason = said
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
