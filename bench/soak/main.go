package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/bpf"
)

// command is the command line.
type command struct {
	Packets int `default:"2000000" help:"How many packets to send over the cable, at least (${default})."`
}

// ringBytes holds many times what a round makes, so that a reader that comes late loses nothing.
const ringBytes = 64 << 20

func main() {
	var c command
	parsed := kong.Parse(&c, kong.Name("soak"), kong.Description("Prove on real traffic that identity is exact, and that nothing is lost."))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	parsed.BindTo(ctx, (*context.Context)(nil))
	err := parsed.Run()
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "soak: %s\n", err)
		os.Exit(1)
	}
}

// Run soaks, prints the summary, and fails if anything in it is not as it must be.
func (c command) Run(ctx context.Context) error {
	if c.Packets < perRound {
		return fmt.Errorf("--packets %d: give %d at least", c.Packets, perRound)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("read the kernel's name: %w", err)
	}
	r, err := c.soak(ctx)
	if err != nil {
		return err
	}
	r.Kernel = unix.ByteSliceToString(u.Release[:])
	fmt.Print(r.text())
	if faults := r.faults(); len(faults) > 0 {
		return fmt.Errorf("%d things are not as they must be", len(faults))
	}
	return nil
}

func (c command) soak(ctx context.Context) (_ *result, err error) {
	f, err := newField(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	tracker, err := bpf.Open(bpf.Options{RingBytes: ringBytes})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tracker.Close()) }()

	p := newProof()
	scope, err := tracker.Watch(f.cookies())
	if err != nil {
		return nil, err
	}
	observer, err := scope.Observe(p.add)
	if err != nil {
		return nil, err
	}
	if err := observer.Arm(functions); err != nil {
		return nil, err
	}
	before, err := scope.Begin()
	if err != nil {
		return nil, err
	}
	counted, err := f.counters()
	if err != nil {
		return nil, err
	}
	r := &result{proof: p, Preempts: preempts()}
	for _, s := range stages {
		first := f.numbers()
		if err := r.run(ctx, f, tracker, s, c.Packets*s.share/100); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		r.Stages[len(r.Stages)-1].first, r.Stages[len(r.Stages)-1].next = first, f.numbers()
	}
	if err := r.rest(ctx, f, tracker); err != nil {
		return nil, err
	}
	now, err := f.counters()
	if err != nil {
		return nil, err
	}
	after, err := scope.Account()
	if err != nil {
		return nil, err
	}
	r.Losses = after.Since(before)
	r.expect(now.since(counted))
	r.identify(f.numbers())
	return r, nil
}

// preempts tells whether the kernel takes the CPU away from tasks in the middle of its own code. If that cannot be told, it is
// taken not to, and nothing is excused.
func preempts() bool {
	modes, err := os.ReadFile("/sys/kernel/debug/sched/preempt") // the one in force is in brackets
	return err == nil && (strings.Contains(string(modes), "(full)") || strings.Contains(string(modes), "(lazy)"))
}

// run has one stage's packets flow, a round after the other. Between rounds, the reader catches up.
func (r *result) run(ctx context.Context, f *field, tracker *bpf.Tracker, s stage, packets int) error {
	undo, err := s.prepare(f)
	if err != nil {
		return err
	}
	started := time.Now()
	from, err := f.counters()
	if err != nil {
		return errors.Join(err, undo())
	}
	for sent := 0; sent < packets; {
		if err := f.round(ctx); err != nil {
			return errors.Join(err, undo())
		}
		if _, err := tracker.Barrier(ctx); err != nil {
			return errors.Join(err, undo())
		}
		now, err := f.counters()
		if err != nil {
			return errors.Join(err, undo())
		}
		sent = int(now.since(from).sent)
		r.stage(s, sent, time.Since(started))
	}
	return undo()
}

// rest waits until all packets have come to their ends, and takes note of those that have not.
func (r *result) rest(ctx context.Context, f *field, tracker *bpf.Tracker) error {
	for turn := range 2 {
		if _, err := tracker.Barrier(ctx); err != nil {
			return err
		}
		memory, err := tracker.Memory()
		if err != nil {
			return err
		}
		if turn == 0 {
			r.AtEnd = len(memory.Packets)
			// What was read on another CPU than it came on is freed by that CPU's next softirq (skb_attempt_defer_free).
			if err := f.stir(); err != nil {
				return err
			}
			continue
		}
		r.Left = r.proof.explain(memory.Packets)
		r.Calls, r.Moves, r.Waits = memory.Calls, memory.Moves, memory.Waits
	}
	return nil
}
