package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// use is what reading has used since this process began.
type use struct {
	ringBytes   uint64
	waits       uint64 // how often a thread of this process gave up the CPU to wait for something
	allocations uint64
}

func readUse() (u use, err error) {
	if u.ringBytes, err = ringTraffic(); err != nil {
		return use{}, err
	}
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return use{}, fmt.Errorf("read what this process has used: %w", err)
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	u.waits, u.allocations = uint64(r.Nvcsw), memory.Mallocs
	return u, nil
}

// ringTraffic is how many bytes were ever reserved in all ring buffers of this kernel, headers and padding included.
// It is read off the buffers themselves, so that nobody's own account has to be believed.
func ringTraffic() (total uint64, err error) {
	var id ebpf.MapID
	for {
		if id, err = ebpf.MapGetNextID(id); errors.Is(err, os.ErrNotExist) {
			return total, nil
		} else if err != nil {
			return 0, fmt.Errorf("list maps: %w", err)
		}
		m, err := ebpf.NewMapFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			continue // gone meanwhile
		} else if err != nil {
			return 0, fmt.Errorf("open map %d: %w", id, err)
		}
		n, err := reserved(m)
		if err = errors.Join(err, m.Close()); err != nil {
			return 0, err
		}
		total += n
	}
}

// reserved reads a ring buffer's producer position, which is at the start of the second page of its memory
// (kernel/bpf/ringbuf.c).
func reserved(m *ebpf.Map) (uint64, error) {
	if m.Type() != ebpf.RingBuf {
		return 0, nil
	}
	page := os.Getpagesize()
	memory, err := unix.Mmap(m.FD(), int64(page), page, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, fmt.Errorf("map a ring buffer: %w", err)
	}
	position := (*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(memory))).Load()
	if err := unix.Munmap(memory); err != nil {
		return 0, fmt.Errorf("unmap a ring buffer: %w", err)
	}
	return position, nil
}
