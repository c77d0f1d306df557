package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// floor is the least that an observer can do: a record of fixed size for each event, and a reader that counts them.
type floor struct {
	records, lost *ebpf.Map
	barrier       *ebpf.Program
	at            *attached
	how           string
	reader        *ringbuf.Reader
	seen          atomic.Uint64
	barriers      chan struct{} // a token for each barrier that was read
	done          chan error    // how the reader ended
}

func openFloor() (*floor, error) {
	f := &floor{barriers: make(chan struct{}, 1), done: make(chan error, 1)}
	if err := f.open(); err != nil {
		if f.reader == nil {
			close(f.done)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *floor) open() (err error) {
	f.records, err = ebpf.NewMap(&ebpf.MapSpec{Name: "bench_records", Type: ebpf.RingBuf, MaxEntries: ringBytes})
	if err != nil {
		return fmt.Errorf("make the floor's ring buffer: %w", err)
	}
	f.lost, err = ebpf.NewMap(&ebpf.MapSpec{Name: "bench_lost", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return fmt.Errorf("make the floor's counter: %w", err)
	}
	f.barrier, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "bench_barrier", Type: ebpf.Syscall, Flags: sleepable, License: license,
		Instructions: recordProgram(f.records, f.lost, barrierBytes),
	})
	if err != nil {
		return fmt.Errorf("load the floor's barrier: %w", err)
	}
	if f.at, f.how, err = attachAll(recordProgram(f.records, f.lost, floorBytes)); err != nil {
		return err
	}
	if f.reader, err = ringbuf.NewReader(f.records); err != nil {
		return fmt.Errorf("open the floor's ring buffer: %w", err)
	}
	go f.read()
	return nil
}

func (f *floor) read() {
	var record ringbuf.Record
	for {
		if err := f.reader.ReadInto(&record); err != nil {
			if errors.Is(err, ringbuf.ErrClosed) {
				err = nil
			}
			f.done <- err
			close(f.done)
			return
		}
		if len(record.RawSample) == barrierBytes {
			f.barriers <- struct{}{}
			continue
		}
		f.seen.Add(1)
	}
}

func (f *floor) drain(ctx context.Context) error {
	if _, err := f.barrier.Run(&ebpf.RunOptions{}); err != nil {
		return fmt.Errorf("submit the floor's barrier: %w", err)
	}
	select {
	case <-f.barriers:
		return nil
	case err := <-f.done:
		return fmt.Errorf("read the floor's ring buffer: %w", err)
	case <-ctx.Done():
		return fmt.Errorf("wait for the floor's records: %w", ctx.Err())
	}
}

func (f *floor) count() (account, error) {
	var lost uint64
	if err := f.lost.Lookup(uint32(0), &lost); err != nil {
		return account{}, fmt.Errorf("read the floor's counter: %w", err)
	}
	skipped, err := f.at.skipped()
	seen := f.seen.Load()
	return account{events: seen, records: seen, lost: lost + skipped}, err
}

func (f *floor) Close() error {
	var errs []error
	if f.at != nil {
		errs = append(errs, f.at.Close())
	}
	if f.reader != nil {
		errs = append(errs, f.reader.Close())
	}
	errs = append(errs, <-f.done)
	if f.barrier != nil {
		errs = append(errs, f.barrier.Close())
	}
	for _, m := range []*ebpf.Map{f.lost, f.records} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}
