package bpf

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/internal/nearest"
	"github.com/waybill-dev/waybill/journey"
)

// explain completes the error of a request that could not be resolved: by what is known only after reading all of the
// kernel's symbols, and by names that the user may have meant. It may take a second on an emulated machine: for errors only.
func (c *catalog) explain(r request, err error) error {
	switch {
	case errors.Is(err, ErrNoFunction), errors.Is(err, errNotTraced):
		list, failed := c.traceable()
		if failed != nil {
			return err
		}
		if variants := list.variants(r.name); len(variants) > 0 {
			err = fmt.Errorf("%w: the compiler made %s of it, whose arguments are not known", ErrNotAttachable,
				strings.Join(variants, ", "))
		} else if c.hasSymbol(r.name) {
			err = errNotTraced
		}
	case !errors.Is(err, ErrNotAttachable) && !errors.Is(err, ErrNoTracepoint) && !errors.Is(err, errNoMatch):
		return err
	}
	return fmt.Errorf("%w%s", err, c.suggest(r))
}

// hasSymbol tells whether the kernel has a function of that name.
func (c *catalog) hasSymbol(name string) bool {
	symbols, err := c.source.symbols()
	if err != nil {
		return false
	}
	defer func() { _ = symbols.Close() }()
	found, err := functionSymbols(symbols, func(n string) bool { return n == name })
	return err == nil && len(found) > 0
}

// suggest names what the request may have meant, as the end of an error text; empty if there is nothing like it.
func (c *catalog) suggest(r request) string {
	names := nearest.Names(r.name, func(yield func(string) bool) {
		for name := range c.names(r.kind) {
			if name != r.name && !yield(name) {
				return
			}
		}
	})
	if len(names) == 0 {
		return ""
	}
	return "; there is " + strings.Join(names, ", ")
}

// names yields what can be probed in one way, as far as it takes a packet.
func (c *catalog) names(kind journey.ProbeKind) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		groups := make(map[string]string) // of tracepoints
		list := &traceable{}
		switch kind {
		case journey.Tracepoint:
			groups = c.groupOf()
		case journey.Function, journey.Return:
			if l, err := c.traceable(); err == nil {
				list = l
			}
		}
		for module, types := range c.all() {
			for typ, err := range types.All() {
				if err != nil {
					break
				}
				d, ok := declaration(module, typ)
				if !ok {
					continue
				}
				name := d.probe.Name
				switch isFunction := d.probe.Kind == journey.Function; kind {
				case journey.Function, journey.Return:
					ok = isFunction && list.has(name, module)
				case journey.Tracepoint:
					ok = !isFunction && groups[name] != ""
					name = groups[name] + ":" + name
				default:
					ok = !isFunction
				}
				if ok && !yield(name) {
					return
				}
			}
		}
	}
}

// groupOf tells a tracepoint's group by its name.
func (c *catalog) groupOf() map[string]string {
	byName := make(map[string]string)
	groups, err := c.tracepoints()
	if err != nil {
		return byName
	}
	for group, names := range groups {
		for _, name := range names {
			byName[name] = group
		}
	}
	return byName
}

// Limits of what a pattern may stand for. Programs of kprobe.multi attach to thousands of functions in tenths of a second.
// Of the others one is loaded for each function, or two for its return, and each takes as long as all of those.
const (
	mostMulti  = 4096
	mostSingle = 128
)

var errNoMatch = errors.New("nothing that takes a packet and can be probed has a name like this")

// expand finds what a pattern stands for now, sorted by name. What matches and cannot be observed is left out. The error is
// the cause alone.
func (t *Tracker) expand(r request) ([]target, error) {
	var found []target
	add := func(name string, resolve func(request) (target, error)) {
		one := r.with(name)
		if one.probe() == dropProbe && !one.stack {
			return // it is always observed
		}
		if target, err := resolve(one); err == nil {
			target.optional = true
			found = append(found, target)
		}
	}
	switch r.kind {
	case journey.Function, journey.Return:
		if t.tier == Tracepoints {
			return nil, t.noFunction
		}
		list, err := t.catalog.traceable()
		if err != nil {
			return nil, fmt.Errorf("list the kernel's functions: %w", err)
		}
		for _, name := range list.matching(r.matches) {
			add(name, func(one request) (target, error) {
				declarations, err := t.catalog.lookupIn(list.index()[name], name)
				if err != nil {
					return target{}, err
				}
				found, err := t.resolveFunction(one, declarations)
				return found.of(one), err
			})
		}
	default:
		var names []string
		for name := range t.catalog.names(r.kind) {
			if r.matches(name) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			add(name, t.resolve)
		}
	}
	if len(found) == 0 {
		return nil, errNoMatch
	}
	most := mostSingle
	if r.kind == journey.Function && t.family.name == kprobeMulti.name {
		most = mostMulti
	}
	if len(found) > most {
		return nil, fmt.Errorf("%d match, and at most %d can be observed at once: write a narrower pattern", len(found), most)
	}
	return found, nil
}
