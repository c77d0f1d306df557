package bpf

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// Tier is what a tracker may use to observe packets.
type Tier uint8

const (
	// AnyTier stands for the best tier that the kernel allows.
	AnyTier Tier = iota
	// Functions are programs at the kernel's functions, and at its tracepoints.
	Functions
	// Tracepoints are all there is on kernels that allow no programs at functions, those that are locked down for one.
	// Drops, with reason and place, the devices that packets pass, and packets' identities are told on this tier too, the
	// latter by what the allocator frees. No function can be armed, and what became of a packet that was not dropped is
	// known less often: see ARCHITECTURE.md.
	Tracepoints
)

// String is "any", "functions" or "tracepoints".
func (t Tier) String() string {
	switch t {
	case AnyTier:
		return "any"
	case Functions:
		return "functions"
	case Tracepoints:
		return "tracepoints"
	}
	return "tier " + strconv.Itoa(int(t))
}

// chooseTier finds out what the kernel allows, as far as that matters. With the tier of tracepoints comes the reason why there
// are no functions.
func chooseTier(wanted Tier, types *btf.Cache) (Tier, error, error) {
	switch wanted {
	case Tracepoints:
		return wanted, fmt.Errorf("%w: the tracker was told to do without", ErrNoFunctionProbes), nil
	case AnyTier, Functions:
		err := functionProbes(types)
		if err == nil {
			return Functions, nil, nil
		}
		if wanted == Functions || !errors.Is(err, ErrNoFunctionProbes) {
			return wanted, nil, err
		}
		return Tracepoints, err, nil
	}
	return wanted, nil, fmt.Errorf("open a tracker: there is no %s", wanted)
}

// optionalTracepoints are those that some kernels lack. kmalloc_node and kmem_cache_alloc_node are parts of others since Linux
// 6.1 or 6.2, sk_data_ready is there since 6.3.
var optionalTracepoints = []string{
	"kmalloc_node", "kmem_cache_alloc_node", "sk_data_ready", "napi_gro_frags_entry", "napi_gro_frags_exit",
}

// firstSights are the programs of that tier that give packets their identities.
var firstSights = []string{
	tracepointsProgAtNetDevQueue, tracepointsProgAtNetDevStartXmit,
}

func isAtTracepoint(program *ebpf.ProgramSpec) bool {
	return program.AttachType == ebpf.AttachTraceRawTp || program.Type == ebpf.RawTracepoint
}

// attachHook attaches a program that is always attached.
func attachHook(program *ebpf.Program, spec *ebpf.ProgramSpec) (link.Link, error) {
	if spec.Type == ebpf.RawTracepoint {
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: spec.AttachTo, Program: program})
	}
	return link.AttachTracing(link.TracingOptions{Program: program})
}

// readPrograms reads the object of the tier.
func (t *Tracker) readPrograms() (*ebpf.CollectionSpec, error) {
	if t.tier == Tracepoints {
		return loadTracepoints()
	}
	return loadTracker()
}

// leaveOutTracepoints removes the programs of tracepoints that the kernel does not have, if the tracker does without them.
func (t *Tracker) leaveOutTracepoints(kernel *btf.Spec) error {
	for name, program := range t.spec.Programs {
		if t.tier != Tracepoints || !isAtTracepoint(program) {
			continue
		}
		var declared *btf.Typedef
		err := kernel.TypeByName(tracepointTypes+program.AttachTo, &declared)
		switch {
		case errors.Is(err, btf.ErrNotFound) && slices.Contains(optionalTracepoints, program.AttachTo):
			t.absent = append(t.absent, program.AttachTo)
			delete(t.spec.Programs, name)
		case errors.Is(err, btf.ErrNotFound):
			return fmt.Errorf("this kernel has neither function probes nor the tracepoint %s, at which the tracker follows packets: %w",
				program.AttachTo, t.noFunction)
		case err != nil:
			return fmt.Errorf("look for the tracepoint %s: %w", program.AttachTo, err)
		}
	}
	return nil
}

// exchanging are the functions that give a packet another head. That it goes on in a head that was born in there is how its
// identity moves on the tier of tracepoints. They allocate it by reserving, and free the old one by releasing, as far as those
// are not parts of them.
var exchanging = []string{"pskb_expand_head", "pskb_carve_inside_header", "pskb_carve_inside_nonlinear"}

const reserving = "kmalloc_reserve"

const textEnd = "_etext" // the symbol at the end of the kernel's own code

var releasing = []string{"skb_free_head", "skb_kfree_head", "skb_release_data"}

// found is where functions are, or why that is not known.
type found struct {
	code map[string]tracepointsCode
	err  error
}

// findExchanges finds out, meanwhile, where these functions are: the kernel takes a while to list its symbols.
func (t *Tracker) findExchanges() <-chan found {
	result := make(chan found, 1)
	if t.tier != Tracepoints {
		result <- found{}
		return result
	}
	go func() {
		symbols, err := os.Open("/proc/kallsyms")
		if err != nil {
			result <- found{err: fmt.Errorf("find the kernel's functions: %w", err)}
			return
		}
		code, err := findCode(symbols, slices.Concat([]string{reserving, textEnd}, exchanging, releasing))
		result <- found{code, errors.Join(err, symbols.Close())}
	}()
	return result
}

// setExchanges tells the programs where these functions are.
func (t *Tracker) setExchanges(places found) error {
	if t.tier != Tracepoints || places.err != nil {
		return places.err
	}
	for _, needed := range []string{reserving, textEnd, exchanging[0]} {
		if _, ok := places.code[needed]; !ok {
			return fmt.Errorf("find the kernel's functions: there is no %s, by which the tracker knows a packet in another buffer",
				needed)
		}
	}
	of := func(names []string) []tracepointsCode {
		var code []tracepointsCode
		for _, name := range names {
			code = append(code, places.code[name])
		}
		return code
	}
	from, to := ^uint64(0), uint64(0)
	for _, code := range of(exchanging) {
		if code.To != 0 {
			from, to = min(from, code.From), max(to, code.To)
		}
	}
	return errors.Join(
		t.collection.Variables[tracepointsVarExchangesFrom].Set(from),
		t.collection.Variables[tracepointsVarExchangesTo].Set(to),
		t.collection.Variables[tracepointsVarTextEnd].Set(places.code[textEnd].From),
		t.collection.Variables[tracepointsVarReserving].Set(places.code[reserving]),
		t.collection.Variables[tracepointsVarExchanging].Set(of(exchanging)),
		t.collection.Variables[tracepointsVarReleasing].Set(of(releasing)),
	)
}

// loadCollection loads maps and programs. On the tier of tracepoints it loads programs side by side: most of the time goes
// into the verifier, and labs that need no VM are there to be quick.
func (t *Tracker) loadCollection() (*ebpf.Collection, error) {
	if t.tier != Tracepoints {
		return ebpf.NewCollectionWithOptions(t.spec, t.options)
	}
	all := *t.spec
	all.Programs = nil
	collection, err := ebpf.NewCollectionWithOptions(&all, t.options)
	if err != nil {
		return nil, err
	}
	options := t.options
	options.MapReplacements = collection.Maps
	// The heaviest are the drop's two, and those follow the other names; so every other one goes to the same side.
	names := slices.Sorted(maps.Keys(t.spec.Programs))
	slices.Reverse(names)
	errs := make([]error, min(len(names), runtime.GOMAXPROCS(0)))
	parts := make([]*ebpf.Collection, len(errs))
	var loading sync.WaitGroup
	for side := range errs {
		part := all
		part.Programs = make(map[string]*ebpf.ProgramSpec)
		for i := side; i < len(names); i += len(errs) {
			part.Programs[names[i]] = t.spec.Programs[names[i]]
		}
		loading.Go(func() { parts[side], errs[side] = ebpf.NewCollectionWithOptions(&part, options) })
	}
	loading.Wait()
	for _, part := range parts {
		if part == nil {
			continue
		}
		for name := range part.Programs {
			collection.Programs[name] = part.DetachProgram(name)
		}
		part.Close()
	}
	if err := errors.Join(errs...); err != nil {
		collection.Close()
		return nil, err
	}
	return collection, nil
}

// findCode finds where functions of the kernel itself begin and end, which is where the next one begins. Parts that the compiler
// moved elsewhere, for being seldom used, neither allocate nor free.
func findCode(kallsyms io.Reader, names []string) (map[string]tracepointsCode, error) {
	wanted := make(map[string]bool)
	for _, name := range names {
		wanted[name] = true
	}
	code := make(map[string]tracepointsCode)
	lines := bufio.NewScanner(kallsyms)
	last := ""      // the function whose end is not known yet
	var from uint64 // where it begins
	for lines.Scan() {
		// "ffffffff81000000 t name"; modules come last, "... t name	[module]". The kernel's own are in order.
		line := lines.Bytes()
		if len(line) < 20 || bytes.IndexByte(line, '\t') >= 0 {
			continue
		}
		base, variant, _ := bytes.Cut(line[19:], []byte("."))
		found := wanted[string(base)] && !bytes.HasPrefix(variant, []byte("cold"))
		if last == "" && !found {
			continue
		}
		address, err := strconv.ParseUint(string(line[:16]), 16, 64)
		if err != nil {
			return nil, fmt.Errorf("read the kernel's symbols: %w", err)
		}
		if address == 0 {
			return nil, errors.New("find the kernel's functions: the kernel hides where they are: set kernel.kptr_restrict to 0 or 1")
		}
		if last != "" && address != from {
			code[last] = tracepointsCode{From: from, To: address}
			last = ""
		}
		if found {
			last, from = string(base), address
		}
		if len(code) == len(names) {
			break
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the kernel's symbols: %w", err)
	}
	return code, nil
}
