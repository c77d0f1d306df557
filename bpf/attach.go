package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// group is a number of functions that are attached, and detached, together.
type group struct {
	names []string
	link  link.Link
	// program is the group's own; nil if it is one of the tracker's.
	program *ebpf.Program
}

// attach puts programs at functions, all or none, and sets the probes' groups. The probes' numbers are the cookies.
func (t *Tracker) attach(functions []function, probes map[string]*probe) error {
	attach := t.attachEntries
	if t.family.name == kprobeMulti.name {
		attach = t.attachMulti
	}
	groups, err := attach(functions, probes)
	if err != nil {
		errs := []error{err}
		for _, g := range groups {
			errs = append(errs, t.detach(g))
		}
		return errors.Join(errs...)
	}
	for _, g := range groups {
		for _, name := range g.names {
			probes[name].group = g
		}
	}
	return nil
}

// attachMulti makes a group of all functions that have the same program.
func (t *Tracker) attachMulti(functions []function, probes map[string]*probe) ([]*group, error) {
	byProgram := make(map[string][]string)
	for _, fn := range functions {
		byProgram[fn.program] = append(byProgram[fn.program], fn.name)
	}
	var groups []*group
	for _, program := range slices.Sorted(maps.Keys(byProgram)) {
		names := byProgram[program]
		options := link.KprobeMultiOptions{Symbols: names}
		for _, name := range names {
			options.Cookies = append(options.Cookies, uint64(probes[name].number))
		}
		l, err := link.KprobeMulti(t.collection.Programs[program], options)
		if err != nil {
			return groups, t.blame(program, names, err)
		}
		groups = append(groups, &group{names: names, link: l})
		t.losses.watch(missCounter{name: program, link: l})
	}
	return groups, nil
}

// blame finds the function because of which several could not be attached.
func (t *Tracker) blame(program string, names []string, err error) error {
	for _, name := range names {
		l, single := link.KprobeMulti(t.collection.Programs[program], link.KprobeMultiOptions{Symbols: []string{name}})
		if single != nil {
			return attachError(name, single)
		}
		_ = l.Close()
	}
	return fmt.Errorf("observe %v: %w", names, err)
}

// attachEntries loads a program for each function, all at once, and makes each a group.
func (t *Tracker) attachEntries(functions []function, probes map[string]*probe) ([]*group, error) {
	if len(functions) == 0 {
		return nil, nil
	}
	spec := &ebpf.CollectionSpec{
		Maps:      t.spec.Maps,
		Types:     t.spec.Types,
		ByteOrder: t.spec.ByteOrder,
		Programs:  make(map[string]*ebpf.ProgramSpec),
	}
	for _, fn := range functions {
		program := t.entries[fn.program].Copy()
		program.AttachTo = fn.name
		spec.Programs[fn.name] = program
	}
	options := t.options
	options.MapReplacements = t.collection.Maps
	loaded, err := ebpf.NewCollectionWithOptions(spec, options)
	if err != nil {
		if len(functions) == 1 {
			return nil, attachError(functions[0].name, err)
		}
		return nil, t.blameEntry(functions, probes, err)
	}
	defer loaded.Close() // what is taken out of it stays
	var groups []*group
	for _, fn := range functions {
		l, err := link.AttachTracing(link.TracingOptions{
			Program:    loaded.Programs[fn.name],
			AttachType: ebpf.AttachTraceFEntry, // without it, there would be no cookie
			Cookie:     uint64(probes[fn.name].number),
		})
		if err != nil {
			return groups, attachError(fn.name, err)
		}
		g := &group{names: []string{fn.name}, link: l, program: loaded.DetachProgram(fn.name)}
		t.losses.watch(missCounter{name: fn.name, program: g.program})
		groups = append(groups, g)
	}
	return groups, nil
}

// blameEntry is blame for a load.
func (t *Tracker) blameEntry(functions []function, probes map[string]*probe, err error) error {
	for _, fn := range functions {
		groups, single := t.attachEntries([]function{fn}, probes)
		for _, g := range groups {
			_ = t.detach(g)
		}
		if single != nil {
			return single
		}
	}
	return fmt.Errorf("observe %d functions: %w", len(functions), err)
}

// detach ends what attach began for one group.
func (t *Tracker) detach(g *group) error {
	if g.program == nil {
		return errors.Join(t.losses.retire(missCounter{link: g.link}), g.link.Close())
	}
	return errors.Join(g.link.Close(), t.losses.retire(missCounter{program: g.program}), g.program.Close())
}

// enotsupp is the kernel's internal ENOTSUPP, which it returns for functions with too many arguments.
const enotsupp = unix.Errno(524)

// attachError says that a function which the kernel's types name is none to which programs can be attached.
func attachError(name string, err error) error {
	for _, refusal := range []error{
		fs.ErrNotExist, unix.ENOENT, unix.ESRCH, unix.EINVAL, unix.EADDRNOTAVAIL, unix.EBUSY, enotsupp, ebpf.ErrNotSupported,
	} {
		if errors.Is(err, refusal) {
			return fmt.Errorf("observe %s: %w: %w", name, ErrNotAttachable, err)
		}
	}
	return fmt.Errorf("observe %s: %w", name, err)
}
