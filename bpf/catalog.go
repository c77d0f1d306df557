package bpf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"

	"github.com/waybill-dev/waybill/journey"
)

// catalog knows what there is to be probed on a kernel: its types, and its list of what can be traced.
type catalog struct {
	cache  *btf.Cache
	source source

	mu      sync.Mutex
	modules []string   // those that were loaded when the rest was read
	list    *traceable // nil: not read yet, or there is none
	listErr error
	groups  map[string][]string // tracepoints by group; nil: not read yet
}

// source is where a catalog comes from: the running kernel, or a test.
type source struct {
	modules func() ([]string, error)               // those that are loaded now and have types
	types   func(module string) (*btf.Spec, error) // of a module; of the kernel itself if it is empty
	list    func() (*traceable, error)             // wraps fs.ErrNotExist if the kernel traces no functions
	groups  func() (map[string][]string, error)    // names of tracepoints by group
	symbols func() (io.ReadCloser, error)          // /proc/kallsyms
}

// newCatalog is that of the running kernel. Nothing is read before it is asked for.
func newCatalog() catalog {
	cache := btf.NewCache()
	return catalog{cache: cache, source: source{
		modules: loadedModules,
		types: func(module string) (*btf.Spec, error) {
			if module == "" {
				return cache.Kernel()
			}
			return cache.Module(module)
		},
		list:    func() (*traceable, error) { return fromTracefs(loadTraceable) },
		groups:  func() (map[string][]string, error) { return fromTracefs(tracefs.groups) },
		symbols: func() (io.ReadCloser, error) { return os.Open("/proc/kallsyms") },
	}}
}

func fromTracefs[T any](read func(tracefs) (T, error)) (T, error) {
	var none T
	t, err := openTracefs()
	if err != nil {
		return none, err
	}
	result, err := read(t)
	return result, errors.Join(err, t.Close())
}

// loaded forgets what changes with the modules that are loaded, if they are not the same any more.
func (c *catalog) loaded() error {
	modules, err := c.source.modules()
	if err != nil {
		return fmt.Errorf("list the modules: %w", err)
	}
	if c.modules == nil || !slices.Equal(c.modules, modules) {
		c.modules, c.groups, c.list, c.listErr = modules, nil, nil, nil
	}
	return nil
}

// traceable returns the list of functions that can be traced. There is none on kernels that trace no functions.
func (c *catalog) traceable() (*traceable, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.loaded(); err != nil {
		return nil, err
	}
	if c.list == nil && c.listErr == nil {
		c.list, c.listErr = c.source.list()
	}
	return c.list, c.listErr
}

// tracepoints lists the tracepoints of each group, as far as there are formats for them.
func (c *catalog) tracepoints() (map[string][]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.loaded(); err != nil {
		return nil, err
	}
	if c.groups == nil {
		groups, err := c.source.groups()
		if err != nil {
			return nil, err
		}
		c.groups = groups
	}
	return c.groups, nil
}

// all are the types of the kernel, with the name "", and of each module.
func (c *catalog) all() iter.Seq2[string, *btf.Spec] {
	return func(yield func(string, *btf.Spec) bool) {
		modules, err := c.source.modules()
		if err != nil {
			modules = nil
		}
		for _, module := range append([]string{""}, modules...) {
			// A module may have been unloaded since it was listed.
			if types, err := c.source.types(module); err == nil && !yield(module, types) {
				return
			}
		}
	}
}

// declared is a function or a tracepoint that takes a packet, as the kernel's types declare it.
type declared struct {
	probe    journey.Probe // a function's entry, or a raw tracepoint
	module   string        // empty: the kernel itself
	params   []btf.FuncParam
	result   btf.Type
	argument int // which of the parameters is the packet, from 0
}

// declaration reads a type of BTF; ok is false if it is neither a function nor a tracepoint with a packet among its
// arguments.
func declaration(module string, typ btf.Type) (d declared, ok bool) {
	switch typ := typ.(type) {
	case *btf.Func:
		proto, isProto := typ.Type.(*btf.FuncProto)
		if !isProto {
			return d, false
		}
		d = declared{
			probe: journey.Probe{Kind: journey.Function, Name: typ.Name}, module: module,
			params: proto.Params, result: proto.Return,
		}
	case *btf.Typedef:
		name, isTracepoint := strings.CutPrefix(typ.Name, tracepointTypes)
		pointer, isPointer := typ.Type.(*btf.Pointer)
		if !isTracepoint || !isPointer {
			return d, false
		}
		proto, isProto := pointer.Target.(*btf.FuncProto)
		if !isProto || len(proto.Params) == 0 {
			return d, false
		}
		d = declared{
			probe: journey.Probe{Kind: journey.RawTracepoint, Name: name}, module: module,
			params: proto.Params[1:], result: &btf.Void{}, // the first is the tracepoint's own
		}
	}
	d.argument = slices.IndexFunc(d.params, func(p btf.FuncParam) bool { return structName(p.Type) == "sk_buff" })
	return d, d.argument >= 0
}

// tracepointTypes begins the names of the types that declare tracepoints' arguments (include/trace/bpf_probe.h).
const tracepointTypes = "btf_trace_"

// slot is where the packet is among the registers that arguments are passed in; ok is false if it is not in one. A
// structure that is passed by value takes two if it is larger than one, and is on the stack if it is larger than two or
// there are not enough left (System V ABI for x86-64).
func (d declared) slot() (slot int, ok bool) {
	const registers = 6
	for i, p := range d.params {
		size, err := btf.Sizeof(p.Type)
		if err != nil {
			return 0, false
		}
		words := max(1, (size+7)/8)
		onStack := words > 2 || slot+words > registers
		if i == d.argument {
			return slot, !onStack
		}
		if !onStack {
			slot += words
		}
	}
	return 0, false
}

// structName returns the name of the structure that a parameter points to, const or not; empty if it points to none.
func structName(t btf.Type) string {
	pointer, ok := btf.UnderlyingType(t).(*btf.Pointer)
	if !ok {
		return ""
	}
	if s, ok := btf.UnderlyingType(pointer.Target).(*btf.Struct); ok {
		return s.Name
	}
	return ""
}

// find returns the functions of a name in one module, those of several compilation units included.
func find(types *btf.Spec, name string) ([]*btf.Func, error) {
	found, err := types.AnyTypesByName(name)
	if errors.Is(err, btf.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var functions []*btf.Func
	for _, typ := range found {
		if fn, ok := typ.(*btf.Func); ok {
			functions = append(functions, fn)
		}
	}
	return functions, nil
}

// loadedModules lists the modules that have BTF, now: [btf.Cache] remembers its first answer.
func loadedModules() ([]string, error) {
	entries, err := os.ReadDir("/sys/kernel/btf")
	if errors.Is(err, fs.ErrNotExist) {
		return []string{}, nil
	}
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, e := range entries {
		if e.Name() != "vmlinux" {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}
