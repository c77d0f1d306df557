package bpf

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/waybill-dev/waybill/journey"
)

// read takes records out of the ring buffer until the tracker is closed, and hands each to the observers of its scope.
func (t *Tracker) read() {
	defer close(t.readerDone)
	var record ringbuf.Record
	for {
		err := t.reader.ReadInto(&record)
		if errors.Is(err, ringbuf.ErrFlushed) {
			t.mu.Lock()
			t.letGo()
			t.mu.Unlock()
			continue
		}
		if err != nil {
			if errors.Is(err, ringbuf.ErrClosed) {
				err = errors.New("the tracker is closed")
			}
			t.stop(err)
			return
		}
		if err := t.dispatch(record.RawSample); err != nil {
			t.stop(err)
			return
		}
	}
}

// stop wakes everybody who waits for a barrier that will not come.
func (t *Tracker) stop(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readErr = err
	t.letGo()
	for number, done := range t.barriers {
		delete(t.barriers, number)
		close(done)
	}
}

// letGo tells those who wait for room that all was read. The tracker's mutex is held.
func (t *Tracker) letGo() {
	for _, done := range t.waiting {
		close(done)
	}
	t.waiting = nil
}

// makeRoom has the reader read all that there is, and waits until it has.
func (t *Tracker) makeRoom(ctx context.Context) error {
	done := make(chan struct{})
	t.mu.Lock()
	err := t.readErr
	if err == nil {
		t.waiting = append(t.waiting, done)
	}
	t.mu.Unlock()
	if err != nil {
		return err
	}
	if err := t.reader.Flush(); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *Tracker) dispatch(raw []byte) error {
	h, err := headerOf(raw)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if trackerRecordKind(h.Kind) == trackerRecordKindKIND_BARRIER {
		if done := t.barriers[h.Value]; done != nil {
			delete(t.barriers, h.Value)
			done <- h.Time
			close(done)
		}
		return nil
	}
	s := t.reading
	if s == nil || s.number != h.Scope || s.closed {
		s = t.scopes[h.Scope]
		t.reading = s
	}
	if s == nil {
		return nil // closed, while some of its packets were still alive
	}
	for _, observer := range s.observers {
		o, err := t.decoder.decode(raw, h, observer.probes)
		if err != nil {
			return err
		}
		if o != nil {
			observer.sink(o)
		}
	}
	return nil
}

// Barrier waits until every record that was made before the call has been given to its sink. It returns the barrier's
// own time, in nanoseconds of CLOCK_MONOTONIC. If nobody reads the records any more, the error wraps [journey.ErrInconclusive].
func (t *Tracker) Barrier(ctx context.Context) (uint64, error) {
	done := make(chan uint64, 1)
	t.mu.Lock()
	if t.readErr != nil {
		t.mu.Unlock()
		return 0, unread(t.readErr)
	}
	t.lastBar++
	number := t.lastBar
	t.barriers[number] = done
	t.mu.Unlock()

	args := struct{ Number uint64 }{number}
	full, err := t.collection.Programs[trackerProgSubmitBarrier].Run(&ebpf.RunOptions{Context: &args})
	for err == nil && full != 0 { // the reader is behind
		if err = t.makeRoom(ctx); err == nil {
			full, err = t.collection.Programs[trackerProgSubmitBarrier].Run(&ebpf.RunOptions{Context: &args})
		}
	}
	if err == nil {
		// The program could wake the reader, but then everything would hang on an interrupt that the kernel sends to its own CPU.
		err = t.reader.Flush()
	}
	if err != nil {
		t.mu.Lock()
		delete(t.barriers, number)
		t.mu.Unlock()
		return 0, fmt.Errorf("submit a barrier: %w", err)
	}
	select {
	case time, ok := <-done:
		if !ok {
			t.mu.Lock()
			defer t.mu.Unlock()
			return 0, unread(t.readErr)
		}
		return time, nil
	case <-ctx.Done():
		t.mu.Lock()
		delete(t.barriers, number)
		t.mu.Unlock()
		return 0, fmt.Errorf("wait for the tracker's records: %w", ctx.Err())
	}
}

// unread is the error of one who waits for records that will not be read.
func unread(why error) error {
	return fmt.Errorf("%w: wait for the tracker's records: %w", journey.ErrInconclusive, why)
}

// Attend has the ends of packets' ways delivered at once, until the function that it returns is called. Otherwise they
// come with the next [Tracker.Barrier], or when there are many: waking the reader costs as much as several records.
func (t *Tracker) Attend() (leave func(), _ error) {
	return t.wish(&t.attended, trackerVarAttended)
}

// Metadata has every event at a function or tracepoint that was armed tell the skb's metadata, how it is to be segmented, and
// who shares it ([journey.Meta], [journey.GSO], [journey.Sharing]), until the function that it returns is called: in all
// scopes. Such an event is 128 bytes, where it would have been 72.
func (t *Tracker) Metadata() (leave func(), _ error) {
	return t.wish(&t.metaWanted, trackerVarMetaWanted)
}

// wish tells the programs of one who wants something more, until the function that it returns is called.
func (t *Tracker) wish(count *int, variable string) (leave func(), _ error) {
	change := func(by int) error {
		t.wishing.Lock()
		defer t.wishing.Unlock()
		*count += by
		return t.collection.Variables[variable].Set(uint32(*count))
	}
	if err := change(1); err != nil {
		return nil, fmt.Errorf("set %s: %w", variable, err)
	}
	return sync.OnceFunc(func() { _ = change(-1) }), nil // what could be written once can be written again
}

// view overlays a record of the ring buffer with its generated type. The bytes are 8-aligned and live until the next
// read.
func view[T any](raw []byte) (*T, error) {
	t := (*T)(unsafe.Pointer(unsafe.SliceData(raw)))
	if len(raw) < int(unsafe.Sizeof(*t)) {
		return nil, cut[T](raw)
	}
	return t, nil
}

// cut is the error for a record that is shorter than its type.
func cut[T any](raw []byte) error {
	var t T
	return fmt.Errorf("read a record: %d bytes, where a %T has %d", len(raw), t, unsafe.Sizeof(t))
}
