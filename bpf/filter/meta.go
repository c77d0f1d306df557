package filter

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Meta is a filter of packets by what the kernel notes about them.
type Meta struct {
	expression string
	code       asm.Instructions
}

// Types are those of a kernel and of its modules. [*btf.Cache] has those of the running one.
type Types interface {
	Kernel() (*btf.Spec, error)
	Module(name string) (*btf.Spec, error)
	Modules() ([]string, error)
}

// CompileMeta compiles an expression about fields of struct sk_buff and of what they lead to. It fails with an [*Error] where
// the expression is wrong, and with another error where the types cannot be read.
func CompileMeta(expression string, types Types) (*Meta, error) {
	code, err := compileMeta(expression, types)
	var r *refusal
	switch {
	case errors.As(err, &r):
		return nil, r.in(expression)
	case err != nil:
		return nil, err
	}
	return &Meta{expression, code}, nil
}

func compileMeta(expression string, types Types) (asm.Instructions, error) {
	tree, err := parseMeta(expression)
	if err != nil {
		return nil, err
	}
	r := resolver{types: types}
	if err := r.resolveAll(tree); err != nil {
		return nil, err
	}
	return emitMeta(tree)
}

// Inject puts the filter in the place of the function filter_meta (filter.h) of a program that is not loaded yet, and tells
// whether the program has that function.
func (m *Meta) Inject(program *ebpf.ProgramSpec) bool { return inject(program, metaFunction, m.code) }

// String is the expression.
func (m *Meta) String() string { return m.expression }
