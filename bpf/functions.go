package bpf

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf/btf"
)

const (
	nftModule   = "nf_tables"
	nftFunction = "__nft_trace_packet"
)

// findFunction looks a function up in one BTF; the error wraps btf.ErrNotFound if it is not there.
func findFunction(types *btf.Spec, name string) (*btf.Func, error) {
	var fn *btf.Func
	if err := types.TypeByName(name, &fn); err != nil {
		return nil, err
	}
	return fn, nil
}

// function is a kernel function that can be observed.
type function struct {
	name    string
	program string // of the collection
}

var byArgument = []string{
	trackerProgFunctionArg0, trackerProgFunctionArg1, trackerProgFunctionArg2, trackerProgFunctionArg3,
	trackerProgFunctionArg4,
}

// resolve finds the program that can observe the named function.
func (t *Tracker) resolve(name string) (function, error) {
	if name == nftFunction {
		if t.collection.Programs[trackerProgNftTracePacket] == nil {
			return function{}, fmt.Errorf("observe %s: the module %s was not loaded when the tracker was opened", name,
				nftModule)
		}
		return function{name, trackerProgNftTracePacket}, nil
	}
	fn, err := t.lookup(name)
	if err != nil {
		return function{}, err
	}
	switch i := skbArgument(fn); {
	case i < 0:
		return function{}, fmt.Errorf("observe %s: none of its arguments is a struct sk_buff *", name)
	case i >= len(byArgument):
		return function{}, fmt.Errorf("observe %s: its packet is argument %d, and only the first %d can be read", name, i+1,
			len(byArgument))
	default:
		return function{name, byArgument[i]}, nil
	}
}

// skbArgument returns the position of a function's first argument that is a packet, from 0; -1 if it has none.
func skbArgument(fn *btf.Func) int {
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok {
		return -1
	}
	return slices.IndexFunc(proto.Params, func(p btf.FuncParam) bool { return isSKB(p.Type) })
}

// lookup searches the kernel, then its modules.
func (t *Tracker) lookup(name string) (*btf.Func, error) {
	kernel, err := t.types.Kernel()
	if err != nil {
		return nil, fmt.Errorf("observe %s: %w", name, err)
	}
	fn, err := findFunction(kernel, name)
	if err == nil {
		return fn, nil
	}
	if !errors.Is(err, btf.ErrNotFound) {
		return nil, fmt.Errorf("observe %s: %w", name, err)
	}
	modules, err := loadedModules()
	if err != nil {
		return nil, fmt.Errorf("observe %s: list the modules: %w", name, err)
	}
	for _, module := range modules {
		types, err := t.types.Module(module)
		if err != nil {
			continue // unloaded since it was listed
		}
		if fn, err := findFunction(types, name); err == nil {
			return fn, nil
		}
	}
	return nil, fmt.Errorf("observe %s: %w", name, ErrNoFunction)
}

// Observable tells whether a function can be armed; the error wraps [ErrNoFunction] if the kernel does not have it.
func (t *Tracker) Observable(name string) error {
	_, err := t.resolve(name)
	return err
}

// loadedModules lists the modules that have BTF, now: [btf.Cache] remembers its first answer.
func loadedModules() ([]string, error) {
	entries, err := os.ReadDir("/sys/kernel/btf")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Name() != "vmlinux" {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// isSKB tells whether a parameter is a pointer to an sk_buff, const or not.
func isSKB(t btf.Type) bool {
	pointer, ok := btf.UnderlyingType(t).(*btf.Pointer)
	if !ok {
		return false
	}
	s, ok := btf.UnderlyingType(pointer.Target).(*btf.Struct)
	return ok && s.Name == "sk_buff"
}
