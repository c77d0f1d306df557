package bpf

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

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
	program string // of the back end's family
}

// resolve finds the program that can observe the named function.
func (t *Tracker) resolve(name string) (function, error) {
	if name == nftFunction {
		if t.nft.program == "" {
			return function{}, fmt.Errorf("observe %s: %s", name, t.nft.why)
		}
		return function{name, t.nft.program}, nil
	}
	fn, err := t.lookup(name)
	if err != nil {
		return function{}, err
	}
	switch i := skbArgument(fn); {
	case i < 0:
		return function{}, fmt.Errorf("observe %s: none of its arguments is a struct sk_buff *", name)
	case i >= len(t.family.byArgument):
		return function{}, fmt.Errorf("observe %s: its packet is argument %d, and only the first %d can be read", name, i+1,
			len(t.family.byArgument))
	default:
		return function{name, t.family.byArgument[i]}, nil
	}
}

// verdictProbe says how nftables verdicts are observed: by the program that knows the function's arguments on this kernel,
// or not at all, and why.
type verdictProbe struct {
	program string
	why     string
}

// findVerdicts chooses a family's program by the arguments that the module's BTF declares.
func findVerdicts(module *btf.Spec, family family) verdictProbe {
	if module == nil {
		return verdictProbe{why: "the module " + nftModule + " was not loaded when the tracker was opened"}
	}
	fn, err := findFunction(module, nftFunction)
	if err != nil {
		return verdictProbe{why: ErrNoFunction.Error()}
	}
	var arguments []string
	if proto, ok := fn.Type.(*btf.FuncProto); ok {
		for _, p := range proto.Params {
			arguments = append(arguments, structName(p.Type))
		}
	}
	signature := strings.Join(arguments, ", ")
	switch signature {
	case "nft_pktinfo, nft_verdict, nft_rule_dp, nft_traceinfo, ":
		return verdictProbe{program: family.nft}
	case "nft_traceinfo, nft_chain, ":
		return verdictProbe{program: family.nftInfo}
	}
	return verdictProbe{why: fmt.Sprintf("this kernel gives it arguments that the tracker does not know (%s)", signature)}
}

// skbArgument returns the position of a function's first argument that is a packet, from 0; -1 if it has none.
func skbArgument(fn *btf.Func) int {
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok {
		return -1
	}
	return slices.IndexFunc(proto.Params, func(p btf.FuncParam) bool { return structName(p.Type) == "sk_buff" })
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
