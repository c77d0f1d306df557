package bpf

import (
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/waybill-dev/waybill/internal/nearest"
)

// suggest names the observable functions that the name may have meant, as the end of an error text; empty if there are none. It
// walks all of the kernel's types, which takes up to a second on an emulated machine: for errors only.
func (t *Tracker) suggest(name string) string {
	var specs []*btf.Spec
	if kernel, err := t.types.Kernel(); err == nil {
		specs = append(specs, kernel)
	}
	modules, err := loadedModules()
	if err != nil {
		return ""
	}
	for _, m := range modules {
		if types, err := t.types.Module(m); err == nil {
			specs = append(specs, types)
		}
	}
	names := nearest.Names(name, func(yield func(string) bool) {
		for _, spec := range specs {
			for typ, err := range spec.All() {
				if err != nil {
					break
				}
				if fn, ok := typ.(*btf.Func); ok && skbArgument(fn) >= 0 && !yield(fn.Name) {
					return
				}
			}
		}
	})
	if len(names) == 0 {
		return ""
	}
	return "; there is " + strings.Join(names, ", ")
}
