package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
)

// group is a number of probes that are attached, and detached, together.
type group struct {
	members  []request
	links    []link.Link     // in the order in which they are to be closed
	programs []*ebpf.Program // the group's own
	returns  []uint64        // cookies of its probes that note calls
	drops    bool            // it is the stacks of drops
	counters []missCounter
}

// attach puts programs at all targets or at none, and sets the probes' groups. A target that only matched a pattern may
// turn out to let no program attach to it: its probe has no group then.
func (t *Tracker) attach(targets []target, probes map[request]*probe) error {
	var many, exact, single []target
	for _, target := range targets {
		one, ok := t.exactly(target)
		switch {
		case target.kind != journey.Function || target.exit != "" || t.family.name == fentry.name:
			single = append(single, target)
		case ok && len(exact) < mostExact:
			exact = append(exact, one)
		default:
			many = append(many, target)
		}
	}
	groups, err := t.attachSingle(append(single, exact...), probes)
	if err == nil {
		many = append(many, left(targets, exact, groups)...)
		var more []*group
		more, err = t.attachMany(many, probes)
		groups = append(groups, more...)
	}
	if err != nil {
		errs := []error{err}
		for _, g := range groups {
			errs = append(errs, t.detach(g))
		}
		return errors.Join(errs...)
	}
	for _, g := range groups {
		for _, member := range g.members {
			probes[member].group = g
		}
	}
	return nil
}

// mostExact bounds how many functions of one request have programs of their own. Each takes some 50 ms under emulation.
const mostExact = 64

// exactly is a target with a program of its own, which unlike that of many functions is never skipped, if it may have one:
// what only matched a pattern has none, because there may be thousands of them.
func (t *Tracker) exactly(target target) (target, bool) {
	i := slices.Index(t.family.programs(), target.program)
	if t.oneWay || target.optional || target.places != 1 || i < 0 {
		return target, false
	}
	target.program = fentry.programs()[i]
	target.optional = true // there is another way
	return target, true
}

// left lists the targets that were to have programs of their own and turned out not to let them be attached.
func left(targets, exact []target, groups []*group) []target {
	var out []target
	for _, one := range exact {
		if !slices.ContainsFunc(groups, func(g *group) bool { return slices.Contains(g.members, one.request) }) {
			i := slices.IndexFunc(targets, func(t target) bool { return t.request == one.request })
			out = append(out, targets[i])
		}
	}
	return out
}

// attachMany attaches the programs that many functions share.
func (t *Tracker) attachMany(targets []target, probes map[request]*probe) ([]*group, error) {
	if t.family.name == kprobe.name {
		return t.attachKprobes(targets, probes)
	}
	return t.attachMulti(targets, probes)
}

// attachMulti makes a group of all functions that have the same program.
func (t *Tracker) attachMulti(targets []target, probes map[request]*probe) ([]*group, error) {
	if len(targets) == 0 {
		return nil, nil
	}
	places, err := t.ambiguous(targets)
	if err != nil {
		return nil, err
	}
	byProgram := make(map[string][]target)
	for _, target := range targets {
		byProgram[target.program] = append(byProgram[target.program], target)
	}
	var groups []*group
	for _, program := range slices.Sorted(maps.Keys(byProgram)) {
		loaded, err := t.sharedProgram(program)
		if err != nil {
			return groups, err
		}
		g := &group{}
		var byName, byAddress link.KprobeMultiOptions
		for _, target := range byProgram[program] {
			g.members = append(g.members, target.request)
			cookie := target.cookie | uint64(probes[target.request].number)
			if target.places == 1 {
				byName.Symbols = append(byName.Symbols, target.name)
				byName.Cookies = append(byName.Cookies, cookie)
			}
			for _, s := range places[target.name] {
				byAddress.Addresses = append(byAddress.Addresses, uintptr(s.address))
				byAddress.Cookies = append(byAddress.Cookies, cookie)
			}
		}
		groups = append(groups, g)
		for _, options := range []link.KprobeMultiOptions{byName, byAddress} {
			if len(options.Cookies) == 0 {
				continue
			}
			l, err := link.KprobeMulti(loaded, options)
			if err != nil {
				return groups, blame(loaded, g.members, err)
			}
			g.links = append(g.links, l)
			t.watch(g, missCounter{name: program, link: l})
		}
	}
	return groups, nil
}

// attachKprobes makes a group of each function.
func (t *Tracker) attachKprobes(targets []target, probes map[request]*probe) ([]*group, error) {
	var groups []*group
	for _, target := range targets {
		loaded, err := t.sharedProgram(target.program)
		if err != nil {
			return groups, err
		}
		cookie := target.cookie | uint64(probes[target.request].number)
		l, err := link.Kprobe(target.name, loaded, &link.KprobeOptions{Cookie: cookie})
		if err != nil {
			if err = attachError(target.request, err); target.optional && errors.Is(err, ErrNotAttachable) {
				continue
			}
			return groups, err
		}
		g := &group{members: []request{target.request}, links: []link.Link{l}}
		groups = append(groups, g)
		t.watch(g, missCounter{name: target.name, link: l})
	}
	return groups, nil
}

// ambiguous finds where the functions are whose name others have too.
func (t *Tracker) ambiguous(targets []target) (map[string][]symbol, error) {
	want := make(map[string]int)
	for _, target := range targets {
		if target.places > 1 {
			want[target.name] = target.places
		}
	}
	if len(want) == 0 {
		return nil, nil
	}
	symbols, err := t.catalog.source.symbols()
	if err != nil {
		return nil, err
	}
	defer func() { _ = symbols.Close() }()
	tracing, err := openTracefs()
	if err != nil {
		return nil, err
	}
	found, err := functionAddresses(tracing, symbols, slices.Collect(maps.Keys(want)))
	if err = errors.Join(err, tracing.Close()); err != nil {
		return nil, err
	}
	for name, n := range want {
		if len(found[name]) != n {
			return nil, fmt.Errorf("observe %s: %d functions have this name, and the kernel tells where %d of them are", name,
				n, len(found[name]))
		}
	}
	return found, nil
}

// blame finds the function because of which several could not be attached.
func blame(program *ebpf.Program, members []request, err error) error {
	for _, member := range members {
		l, single := link.KprobeMulti(program, link.KprobeMultiOptions{Symbols: []string{member.name}})
		if single != nil {
			return attachError(member, single)
		}
		_ = l.Close()
	}
	return fmt.Errorf("observe %v: %w", members, err)
}

// attachSingle loads programs for each target, all at once, and makes each a group.
func (t *Tracker) attachSingle(targets []target, probes map[request]*probe) ([]*group, error) {
	if len(targets) == 0 {
		return nil, nil
	}
	loaded, err := t.loadSingle(targets, probes)
	if err != nil {
		if len(targets) > 1 {
			return t.attachEach(targets, probes)
		}
		if err = attachError(targets[0].request, err); targets[0].optional && errors.Is(err, ErrNotAttachable) {
			return nil, nil
		}
		return nil, err
	}
	defer loaded.Close() // what is taken out of it stays
	var groups []*group
	for _, target := range targets {
		g := &group{members: []request{target.request}}
		if target.exit != "" {
			g.returns = []uint64{target.cookie | uint64(probes[target.request].number)}
		}
		if err := t.attachTo(target, g, loaded); err != nil {
			if target.optional && errors.Is(err, ErrNotAttachable) {
				if err := t.detach(g); err != nil {
					return groups, err
				}
				continue
			}
			return append(groups, g), err
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// attachTo attaches a target's programs.
func (t *Tracker) attachTo(target target, g *group, loaded *ebpf.Collection) error {
	if target.probe() == dropProbe {
		g.drops = true
		return t.wantDropStacks(1)
	}
	for _, one := range target.programs() {
		name := one.nameFor(target)
		program := loaded.DetachProgram(name)
		g.programs = append(g.programs, program)
		if !strings.HasSuffix(one.name, again) {
			t.watch(g, missCounter{name: name, program: program})
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		if err != nil {
			return attachError(target.request, err)
		}
		g.links = append([]link.Link{l}, g.links...) // what was attached last goes first
		if err := t.pins.add(l); err != nil {
			return err
		}
	}
	return nil
}

// attachEach is attachSingle for one after another: it finds the target because of which several could not be loaded.
func (t *Tracker) attachEach(targets []target, probes map[request]*probe) ([]*group, error) {
	var groups []*group
	for i := range targets {
		more, err := t.attachSingle(targets[i:i+1], probes)
		groups = append(groups, more...)
		if err != nil {
			return groups, err
		}
	}
	return groups, nil
}

// single is a program that is loaded for one target.
type single struct {
	name string // of the tracker's
	kind ebpf.AttachType
}

func (s single) nameFor(target target) string { return s.name + " " + target.String() }

// programs lists what observes a target, in the order in which it is to be attached. That of a return comes before
// that of the entry, so that every call whose entry is noted is told when it returns.
func (t target) programs() []single {
	switch {
	case t.probe() == dropProbe:
		return nil // they are always attached
	case t.exit != "":
		return append(t.hook(t.exit, ebpf.AttachTraceFExit), t.hook(t.program, ebpf.AttachTraceFEntry)...)
	case t.kind == journey.Function:
		return t.hook(t.program, ebpf.AttachTraceFEntry)
	default:
		return t.hook(t.program, ebpf.AttachTraceRawTp)
	}
}

// hook are a hook's programs, in the order in which they are to be attached (see attachAlways).
func (t target) hook(first string, kind ebpf.AttachType) []single {
	if t.cookie&uint64(trackerCookieCOOKIE_ALONE) != 0 {
		return []single{{first, kind}}
	}
	programs := []single{{first + again, kind}, {first, kind}}
	if kind == ebpf.AttachTraceRawTp {
		slices.Reverse(programs)
	}
	return programs
}

// loadSingle loads the programs of several targets at once.
func (t *Tracker) loadSingle(targets []target, probes map[request]*probe) (*ebpf.Collection, error) {
	spec := &ebpf.CollectionSpec{
		Maps:      t.spec.Maps,
		Types:     t.spec.Types,
		ByteOrder: t.spec.ByteOrder,
		Programs:  make(map[string]*ebpf.ProgramSpec),
	}
	for _, target := range targets {
		for _, one := range target.programs() {
			entry, err := t.entry(one.name)
			if err != nil {
				return nil, fmt.Errorf("load %s: %w", one.name, err)
			}
			program := entry.Copy()
			program.AttachType = one.kind
			program.AttachTo = target.place()
			program.Instructions = withCookie(program.Instructions, target.cookie|uint64(probes[target.request].number))
			spec.Programs[one.nameFor(target)] = program
		}
	}
	options := t.options
	options.MapReplacements = t.collection.Maps
	types, err := t.tableTypes(targets)
	if err != nil {
		return nil, err
	}
	options.Programs.ExtraRelocationTargets = append(slices.Clone(options.Programs.ExtraRelocationTargets), types...)
	return ebpf.NewCollectionWithOptions(spec, options)
}

// entry returns a program of which one is loaded for each probe, with its accesses relocated to the running kernel's types. The
// loader would do that each time anew, which takes as long as the verifier does.
func (t *Tracker) entry(name string) (*ebpf.ProgramSpec, error) {
	program := t.entries[name]
	if ofTable := strings.HasPrefix(name, trackerProgTableEntry) || strings.HasPrefix(name, trackerProgTableReturn); ofTable ||
		t.relocated[name] { // types of tables are in modules that come late
		return program, nil
	}
	var relocations []*btf.CORERelocation
	var places []int
	for i := range program.Instructions {
		if r := btf.CORERelocationMetadata(&program.Instructions[i]); r != nil {
			relocations, places = append(relocations, r), append(places, i)
		}
	}
	types := append([]*btf.Spec{t.options.Programs.KernelTypes}, t.options.Programs.ExtraRelocationTargets...)
	fixups, err := btf.CORERelocate(relocations, types, program.ByteOrder, func(local btf.Type) (btf.TypeID, error) {
		return 0, fmt.Errorf("%s is a type of the program's own", local)
	})
	if err != nil {
		return nil, err
	}
	for n, i := range places {
		if err := fixups[n].Apply(&program.Instructions[i]); err != nil {
			return nil, err
		}
		program.Instructions[i] = btf.WithCORERelocationMetadata(program.Instructions[i], nil)
	}
	t.relocated[name] = true
	return program, nil
}

// withCookie makes a cookie a constant of a program that is loaded for one probe: the kernel has cookies for tracepoints
// since 6.10 only, and a constant costs nothing.
func withCookie(program asm.Instructions, cookie uint64) asm.Instructions {
	program = slices.Clone(program)
	for i, instruction := range program {
		if instruction.IsBuiltinCall() && asm.BuiltinFunc(instruction.Constant) == asm.FnGetAttachCookie {
			constant := asm.Mov.Imm(asm.R0, int32(cookie))
			constant.Metadata = instruction.Metadata
			program[i] = constant
		}
	}
	return program
}

func (t *Tracker) watch(g *group, c missCounter) {
	g.counters = append(g.counters, c)
	t.losses.watch(c)
}

// detach ends what attach began for one group. The counters of links are gone with them; programs still run while links
// are there.
func (t *Tracker) detach(g *group) error {
	var errs []error
	for _, c := range g.counters {
		if c.link != nil {
			errs = append(errs, t.losses.retire(missCounter{link: c.link}))
		}
	}
	for _, l := range g.links {
		errs = append(errs, t.pins.remove(l), l.Close())
	}
	for _, c := range g.counters {
		if c.program != nil {
			errs = append(errs, t.losses.retire(missCounter{program: c.program}))
		}
	}
	for _, p := range g.programs {
		errs = append(errs, p.Close())
	}
	if g.drops {
		errs = append(errs, t.wantDropStacks(0))
	}
	if len(g.returns) > 0 {
		errs = append(errs, t.forgetCalls(g.returns))
	}
	return errors.Join(errs...)
}

// forgetCalls drops what was noted of calls under way whose return nobody will note any more.
func (t *Tracker) forgetCalls(cookies []uint64) error {
	works := t.collection.Maps[trackerMapWorks]
	var frame trackerFrame
	var work trackerWork
	var idle []trackerFrame
	all := works.Iterate()
	for all.Next(&frame, &work) {
		if slices.Contains(cookies, frame.Probe) {
			idle = append(idle, frame)
		}
	}
	// Calls at other probes that come and go meanwhile may cut the walk short. What is left over then is cleared when a call
	// stands in the same place, or stays: a few entries of thousands.
	if err := all.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read the calls under way: %w", err)
	}
	for _, frame := range idle {
		if err := works.Delete(frame); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget a call under way: %w", err)
		}
	}
	return nil
}

// enotsupp is the kernel's internal ENOTSUPP, which it returns for functions with too many arguments.
const enotsupp = unix.Errno(524)

// attachError says that a function which the kernel's types name is none to which programs can be attached.
func attachError(r request, err error) error {
	for _, refusal := range []error{
		fs.ErrNotExist, unix.ENOENT, unix.ESRCH, unix.EINVAL, unix.EADDRNOTAVAIL, unix.EBUSY, enotsupp, ebpf.ErrNotSupported,
	} {
		if errors.Is(err, refusal) {
			return fmt.Errorf("observe %s: %w: %w", r, ErrNotAttachable, err)
		}
	}
	return fmt.Errorf("observe %s: %w", r, crowded(err))
}
