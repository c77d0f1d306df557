package main

import (
	"context"
	"fmt"

	"github.com/waybill-dev/waybill/bpf"
	"github.com/waybill-dev/waybill/journey"
)

// account is what an observer saw and lost since it was opened.
type account struct {
	events  uint64 // at functions
	records uint64 // events, and whatever else came through the ring buffer
	lost    uint64
}

// observer watches the flood.
type observer interface {
	// drain returns when everything that the flood has made was read.
	drain(ctx context.Context) error
	count() (account, error)
	Close() error
}

// blind observes nothing.
type blind struct{ *attached }

func (blind) drain(context.Context) error { return nil }

func (b blind) count() (account, error) {
	if b.attached == nil {
		return account{}, nil
	}
	lost, err := b.skipped()
	return account{lost: lost}, err
}

func (b blind) Close() error {
	if b.attached == nil {
		return nil
	}
	return b.attached.Close()
}

// tracking is Waybill's tracker.
type tracking struct {
	tracker *bpf.Tracker
	scope   *bpf.Scope
	before  bpf.Account
	seen    account
	// byFunction is nil unless events are to be told apart, which costs something.
	byFunction map[string]uint64
}

// openTracking opens the tracker, and arms the functions for a scope of the given namespaces. It tells timing when each step
// is done.
func openTracking(cookies []uint64, timing *laps) (*tracking, error) {
	timing.begin()
	tracker, err := bpf.Open(bpf.Options{RingBytes: ringBytes})
	if err != nil {
		return nil, err
	}
	timing.lap("open the tracker")
	t := &tracking{tracker: tracker}
	if err := t.arm(cookies); err != nil {
		return nil, closeAfter(err, tracker)
	}
	timing.lap(fmt.Sprintf("arm %d functions", len(functions)))
	if t.before, err = t.scope.Account(); err != nil {
		return nil, closeAfter(err, tracker)
	}
	return t, nil
}

func (t *tracking) arm(cookies []uint64) (err error) {
	if t.scope, err = t.tracker.Watch(cookies); err != nil {
		return err
	}
	observer, err := t.scope.Observe(t.sink)
	if err != nil {
		return err
	}
	return observer.Arm(functions)
}

// sink runs on the tracker's reading goroutine. A barrier is between it and those that read the counts.
func (t *tracking) sink(o *journey.Observation) {
	t.seen.records++
	if o.Kind == journey.Seen && o.Probe.Kind == journey.Function {
		t.seen.events++
		if t.byFunction != nil {
			t.byFunction[o.Probe.Name]++
		}
	}
}

func (t *tracking) drain(ctx context.Context) error {
	_, err := t.tracker.Barrier(ctx)
	return err
}

// tellApart has the events counted by function from here on, and returns the counts. It may be called, and the counts read,
// only when all was read.
func (t *tracking) tellApart() map[string]uint64 {
	t.byFunction = make(map[string]uint64)
	return t.byFunction
}

func (t *tracking) count() (account, error) {
	now, err := t.scope.Account()
	if err != nil {
		return account{}, err
	}
	a := t.seen
	for _, loss := range now.Since(t.before) {
		a.lost += loss.Count
	}
	return a, nil
}

func (t *tracking) Close() error { return t.tracker.Close() }
