package main

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// The programs that the tracker is compared with are a few instructions each, written here.

const (
	// ringBytes is the size of every ring buffer: it holds all that one flood makes, read or not.
	ringBytes = 8 << 20
	// floorBytes is the size of a record of the floor.
	floorBytes = 256
	// barrierBytes is the size of the record by which the reader knows that it has read all before it.
	barrierBytes = 8
	// sleepable is BPF_F_SLEEPABLE, which programs that are run by a system call need (include/uapi/linux/bpf.h).
	sleepable = 1 << 4
	license   = "Dual BSD/GPL"
	// programName begins the names of those at functions.
	programName = "bench_at_"
)

// emptyProgram returns at once.
func emptyProgram() asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
}

// recordProgram outputs a record of a size, a multiple of 8 of at most 512, and counts in lost[0] those that do not fit.
func recordProgram(records, lost *ebpf.Map, size int16) asm.Instructions {
	code := asm.Instructions{asm.Mov.Imm(asm.R1, 1)}
	for offset := -size; offset < 0; offset += 8 {
		code = append(code, asm.StoreMem(asm.RFP, offset, asm.R1, asm.DWord))
	}
	return append(code,
		asm.LoadMapPtr(asm.R1, records.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -int32(size)),
		asm.Mov.Imm(asm.R3, int32(size)),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
		asm.JEq.Imm(asm.R0, 0, "fits"),
		asm.LoadMapValue(asm.R1, lost.FD(), 0),
		asm.Mov.Imm(asm.R2, 1),
		asm.StoreXAdd(asm.R1, asm.R2, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("fits"),
		asm.Return(),
	)
}

// attached is one program at all the functions: a program and a link for all, or one for each.
type attached struct {
	programs []*ebpf.Program
	links    []link.Link
}

// attachAll puts a program at all functions, by kprobe.multi, or by fentry where the kernel has none. The second result
// is how.
func attachAll(code asm.Instructions) (*attached, string, error) {
	a := &attached{}
	err := a.byMulti(code)
	if err == nil {
		return a, "kprobe.multi", nil
	}
	if !errors.Is(err, ebpf.ErrNotSupported) {
		return nil, "", errors.Join(err, a.Close())
	}
	if err := a.Close(); err != nil {
		return nil, "", err
	}
	a = &attached{}
	if err := a.byEntry(code); err != nil {
		return nil, "", errors.Join(err, a.Close())
	}
	return a, "fentry", nil
}

func (a *attached) byMulti(code asm.Instructions) error {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: programName + "multi", Type: ebpf.Kprobe, AttachType: ebpf.AttachTraceKprobeMulti, Instructions: code, License: license,
	})
	if err != nil {
		return fmt.Errorf("load a program for kprobe.multi: %w", err)
	}
	a.programs = append(a.programs, program)
	l, err := link.KprobeMulti(program, link.KprobeMultiOptions{Symbols: functions})
	if err != nil {
		return fmt.Errorf("attach by kprobe.multi: %w", err)
	}
	a.links = append(a.links, l)
	return nil
}

func (a *attached) byEntry(code asm.Instructions) error {
	spec := &ebpf.CollectionSpec{Programs: make(map[string]*ebpf.ProgramSpec)}
	for _, name := range functions {
		spec.Programs[name] = &ebpf.ProgramSpec{
			Name: programName + "entry", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: name, Instructions: code,
			License: license,
		}
	}
	loaded, err := ebpf.NewCollection(spec)
	if err != nil {
		return fmt.Errorf("load programs for fentry: %w", err)
	}
	defer loaded.Close() // what is taken out of it stays
	for _, name := range functions {
		program := loaded.DetachProgram(name)
		a.programs = append(a.programs, program)
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		if err != nil {
			return fmt.Errorf("attach to %s: %w", name, err)
		}
		a.links = append(a.links, l)
	}
	return nil
}

// skipped is how many runs the kernel left out because the CPU was busy with another program.
func (a *attached) skipped() (n uint64, err error) {
	for _, p := range a.programs {
		stats, err := p.Stats()
		if err != nil {
			return 0, fmt.Errorf("read what the kernel skipped: %w", err)
		}
		n += stats.RecursionMisses
	}
	return n, nil
}

// Close detaches.
func (a *attached) Close() error {
	var errs []error
	for _, l := range a.links {
		errs = append(errs, l.Close())
	}
	for _, p := range a.programs {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
