package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"

	"github.com/waybill-dev/waybill/journey"
)

// Place is a function or a tracepoint of the kernel, and whether packets can be observed there.
type Place struct {
	// Probe is how [Observer.Arm] takes it: "ip_rcv", "tp:net:net_dev_queue", "raw_tracepoint:NAME" if there is no format.
	Probe string `json:"probe"`
	// Module is the kernel module that it is in; empty: the kernel itself.
	Module string `json:"module,omitempty"`
	// Argument tells which argument the packet is, from 1, and Type how it is declared; 0 and empty if there is none.
	Argument int    `json:"argument,omitempty"`
	Type     string `json:"type,omitempty"`
	// Returns is the type that a function returns; empty if it returns nothing.
	Returns string `json:"returns,omitempty"`
	// WhyNot is a clause that says why it cannot be observed; empty if it can.
	WhyNot string `json:"why_not,omitempty"`
}

// Inspect lists what takes a packet on the running kernel, sorted by probe: everything if the pattern is empty, otherwise
// what matches it. A pattern is written as for [Observer.Arm]; without a prefix, it matches functions, and tracepoints by
// their own name or with the group. A name that is no pattern is looked up, and if there is no such function that takes a
// packet, the only place says why.
func Inspect(pattern string) ([]Place, error) {
	c := newCatalog()
	kernel, err := kernelTypes(c.cache)
	if err != nil {
		return nil, err
	}
	family := fentry
	if _, err := findFunction(kernel, typedLoads); err == nil && features.HaveBPFLinkKprobeMulti() == nil {
		family = kprobeMulti
	}
	places, err := c.inspect(pattern, family)
	if err != nil {
		return nil, err
	}
	if refused := functionProbes(c.cache); refused != nil {
		places = withoutFunctions(places, refused)
	}
	return places, nil
}

// withoutFunctions says of a function that was asked for by name that none can be observed, and leaves out those that only
// matched a pattern.
func withoutFunctions(places []Place, why error) []Place {
	var left []Place
	for _, p := range places {
		isFunction := !strings.HasPrefix(p.Probe, "tp:") && !strings.HasPrefix(p.Probe, "raw_tracepoint:")
		if isFunction {
			p.WhyNot = why.Error()
		}
		if !isFunction || len(places) == 1 {
			left = append(left, p)
		}
	}
	return left
}

// inspect is Inspect for functions that are observed by a family.
func (c *catalog) inspect(pattern string, family family) ([]Place, error) {
	r := request{name: "*"}
	if pattern != "" {
		var err error
		if r, err = parseRequest(pattern); err != nil {
			return nil, err
		}
		if !strings.Contains(pattern, ":") {
			r.kind = 0 // anything
		}
	}
	if r.kind == journey.Return {
		family = returns
	}
	list, listErr := c.traceable()
	// A kernel that is locked down lets nobody look.
	if listErr != nil && !errors.Is(listErr, fs.ErrNotExist) && !errors.Is(listErr, fs.ErrPermission) {
		return nil, fmt.Errorf("list the functions that can be probed: %w", listErr)
	}
	groups := c.groupOf()
	places := c.verdicts(r)
	for module, types := range c.all() {
		for typ, err := range types.All() {
			if err != nil {
				return nil, fmt.Errorf("read the kernel's types: %w", err)
			}
			d, ok := declaration(module, typ)
			if !ok {
				continue
			}
			one := request{kind: d.probe.Kind, name: d.probe.Name}
			if group := groups[one.name]; group != "" && one.kind == journey.RawTracepoint && r.kind != journey.RawTracepoint {
				one = request{kind: journey.Tracepoint, name: group + ":" + one.name}
			}
			if r.covers(one) {
				places = append(places, c.place(d, r.as(one), list, family))
			}
		}
	}
	if len(places) == 0 && !r.isPattern() {
		r.kind = cmp.Or(r.kind, journey.Function)
		return []Place{{Probe: r.String(), WhyNot: c.absence(r).Error()}}, nil
	}
	slices.SortFunc(places, func(a, b Place) int {
		return cmp.Or(cmp.Compare(a.Probe, b.Probe), cmp.Compare(a.Module, b.Module))
	})
	return slices.Compact(places), nil
}

// covers tells whether a function or a tracepoint is meant.
func (r request) covers(one request) bool {
	_, own, _ := strings.Cut(one.name, ":")
	switch r.kind {
	case 0:
		return r.matches(one.name) || own != "" && r.matches(own)
	case journey.Return:
		return one.kind == journey.Function && r.matches(one.name)
	}
	return one.kind == r.kind && r.matches(one.name)
}

// as gives a place the type of probe that was asked for.
func (r request) as(one request) request {
	if r.kind == journey.Return {
		one.kind = journey.Return
	}
	return one
}

// place describes a declaration; the list is nil if the kernel traces no functions.
func (c *catalog) place(d declared, r request, list *traceable, family family) Place {
	p := Place{Probe: r.String(), Module: d.module, Argument: d.argument + 1, Type: typeName(d.params[d.argument].Type)}
	if d.probe.Kind == journey.RawTracepoint {
		if d.argument >= len(fentry.byArgument) {
			p.WhyNot = tooFar(d.argument, len(fentry.byArgument)).Error()
		}
		return p
	}
	p.Returns = typeName(d.result)
	name := d.probe.Name
	var err error
	switch {
	case list == nil:
		err = errNoTracing
	case !list.has(name, d.module):
		err = errNotTraced
	case len(list.index()[name]) == 1:
		_, err = family.slot([]declared{d})
	default: // it depends on the others of that name
		var all []declared
		if all, err = c.lookupIn(list.index()[name], name); err == nil {
			_, err = family.slot(all)
		}
	}
	if err != nil {
		p.WhyNot = err.Error()
	}
	return p
}

// verdicts is the place that stands for nftables verdicts, whose packet is behind another argument.
func (c *catalog) verdicts(r request) []Place {
	if !r.covers(request{kind: journey.Function, name: nftFunction}) || r.kind == journey.Return {
		return nil
	}
	types, err := c.source.types(nftModule)
	if err != nil {
		return nil
	}
	fn, err := findFunction(types, nftFunction)
	if err != nil {
		return nil
	}
	p := Place{Probe: nftFunction, Module: nftModule, WhyNot: findVerdicts(types, fentry).why}
	if proto, ok := fn.Type.(*btf.FuncProto); ok && p.WhyNot == "" {
		p.Argument, p.Type = 1, typeName(proto.Params[0].Type)
	}
	return []Place{p}
}

// absence says why a name stands for nothing that can be observed.
func (c *catalog) absence(r request) error {
	var err error
	switch r.kind {
	case journey.Function, journey.Return:
		if _, err = c.lookup(r.name); err == nil {
			err = errNoPacket
		}
	default:
		if _, err = c.tracepoint(r); err == nil {
			err = errNoPacket
		}
	}
	return c.explain(r, err)
}

// typeName is a type as C has it, "const struct sk_buff *"; empty for void.
func typeName(t btf.Type) string {
	switch t := t.(type) {
	case *btf.Void:
		return ""
	case *btf.Pointer:
		if target := typeName(t.Target); strings.HasSuffix(target, "*") {
			return target + "*"
		} else if target != "" {
			return target + " *"
		}
		return "void *"
	case *btf.Const:
		if target := typeName(t.Type); strings.HasSuffix(target, "*") {
			return target + "const"
		} else if target != "" {
			return "const " + target
		}
		return "const void"
	case *btf.Volatile:
		return typeName(t.Type)
	case *btf.Struct:
		return "struct " + cmp.Or(t.Name, "{}")
	case *btf.Union:
		return "union " + cmp.Or(t.Name, "{}")
	case *btf.Enum:
		return "enum " + cmp.Or(t.Name, "{}")
	case *btf.Fwd:
		return t.Kind.String() + " " + t.Name
	case *btf.TypeTag:
		return typeName(t.Type)
	case *btf.FuncProto:
		return "function"
	}
	return t.TypeName()
}

// FunctionProbes tells, by loading one that does nothing, whether this kernel and this user allow programs at
// functions. The error wraps [ErrNoFunctionProbes] or [ErrNoBTF] if not.
func FunctionProbes() error { return functionProbes(btf.NewCache()) }

func functionProbes(types *btf.Cache) error {
	kernel, err := kernelTypes(types)
	if err != nil {
		return err
	}
	program, err := ebpf.NewProgramWithOptions(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: "skb_free_head", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	}, ebpf.ProgramOptions{KernelTypes: kernel})
	if err != nil {
		return loadError(err)
	}
	return program.Close()
}

// kernelTypes are the types of the kernel itself.
func kernelTypes(types *btf.Cache) (*btf.Spec, error) {
	kernel, err := types.Kernel()
	if err != nil {
		return nil, fmt.Errorf("%w (CONFIG_DEBUG_INFO_BTF): use a kernel that has it: %w", ErrNoBTF, err)
	}
	return kernel, nil
}
