package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/waybill-dev/waybill/journey"
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

// target is what a request comes to on this kernel.
type target struct {
	request
	program string // that observes it
	exit    string // that observes its return; empty if none does
	cookie  uint64 // without the probe's number
	places  int    // how many functions have this name
	// optional is a target that only matched a pattern.
	optional bool
}

// place is the function or the tracepoint, as programs name what they attach to.
func (t target) place() string {
	if t.kind == journey.Tracepoint {
		_, name, _ := strings.Cut(t.name, ":")
		return name
	}
	return t.name
}

// resolve finds out how a request that is no pattern can be observed. The error is the cause alone.
func (t *Tracker) resolve(r request) (target, error) {
	var found target
	var err error
	switch {
	case r.probe() == dropProbe: // is always observed, perhaps without the stack
		found = target{places: 1}
	case t.tier == Tracepoints && (r.kind == journey.Function || r.kind == journey.Return):
		return target{}, t.noFunction
	case r.name == nftFunction && r.kind == journey.Function:
		if t.nft.program == "" {
			return target{}, errors.New(t.nft.why)
		}
		found = target{program: t.nft.program, places: 1}
	case r.kind == journey.Function, r.kind == journey.Return:
		var declarations []declared
		if declarations, err = t.catalog.lookup(r.name); err == nil {
			found, err = t.resolveFunction(r, declarations)
		}
	default:
		found, err = t.resolveTracepoint(r)
	}
	return found.of(r), err
}

// of is the target of a request.
func (t target) of(r request) target {
	t.request = r
	if r.stack {
		t.cookie |= uint64(trackerCookieCOOKIE_STACK)
	}
	if isOnWayOut(r) {
		t.cookie |= uint64(trackerCookieCOOKIE_ON_WAY_OUT)
	}
	if isUndisturbed(r.probe()) {
		t.cookie |= uint64(trackerCookieCOOKIE_ALONE)
	}
	return t
}

func (t *Tracker) resolveFunction(r request, declarations []declared) (target, error) {
	if r.kind == journey.Function && tableModules[r.name] != "" {
		return resolveTable(declarations)
	}
	family := t.family
	if r.kind == journey.Return {
		family = returns
	}
	slot, err := family.slot(declarations)
	if err != nil {
		return target{}, err
	}
	found := target{program: family.byArgument[slot], places: len(declarations)}
	if r.kind == journey.Return {
		found.exit = trackerProgCallReturn
		found.cookie = returnCookie(declarations[0].result)
	}
	return found, nil
}

// slot tells where functions of one name have their packet, or why the family's programs cannot observe them.
func (f family) slot(declarations []declared) (int, error) {
	first := declarations[0]
	slot, inRegister := first.slot()
	for _, d := range declarations[1:] {
		if s, ok := d.slot(); s != slot || ok != inRegister {
			return 0, fmt.Errorf("%d functions have this name, and not all have their packet at the same place",
				len(declarations))
		}
	}
	switch {
	case !inRegister || slot >= len(f.byArgument):
		return 0, tooFar(first.argument, len(f.byArgument))
	case len(declarations) > 1 && f.name != kprobeMulti.name:
		return 0, fmt.Errorf("%d functions have this name, and programs of the type %s cannot tell them apart",
			len(declarations), f.name)
	}
	return slot, nil
}

// lookup returns all functions of a name at which programs can be attached and that take a packet: at least one, or an
// error that says why there is none. It wraps [ErrNoFunction] if no function has the name.
func (c *catalog) lookup(name string) ([]declared, error) {
	list, err := c.traceable()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoTracing
	}
	if err != nil {
		return nil, err
	}
	return c.lookupIn(list.modules(name), name)
}

// lookupIn is lookup for a name that functions of these modules have.
func (c *catalog) lookupIn(modules []string, name string) ([]declared, error) {
	if len(modules) == 0 {
		return nil, c.whyNot(name)
	}
	var found []declared
	count := make(map[string]int)
	for _, module := range modules {
		count[module]++
	}
	for _, module := range slices.Sorted(maps.Keys(count)) {
		types, err := c.source.types(module)
		if err != nil {
			return nil, fmt.Errorf("read the types of the module %s, which has such a function: %w", module, err)
		}
		functions, err := find(types, name)
		if err != nil {
			return nil, err
		}
		if len(functions) == 0 {
			return nil, fmt.Errorf("%w%s", errNoTypes, inModule(module))
		}
		var here []declared
		for _, fn := range functions {
			if d, ok := declaration(module, fn); ok {
				here = append(here, d)
			}
		}
		// Functions of the same name and the same arguments have one declaration.
		for len(here) > 0 && len(functions) == 1 && len(here) < count[module] {
			here = append(here, here[0])
		}
		found = append(found, here...)
	}
	if len(found) == 0 {
		return nil, errNoPacket
	}
	if len(found) < len(modules) {
		return nil, fmt.Errorf("%d functions have this name, and only %d of them have an argument that is a struct sk_buff *",
			len(modules), len(found))
	}
	return found, nil
}

var (
	errNoTracing = fmt.Errorf("%w: it traces no functions", ErrNotAttachable)
	errNotTraced = fmt.Errorf("%w: it is not to be traced, or runs only while the kernel boots", ErrNotAttachable)
	errNoPacket  = errors.New("none of its arguments is a struct sk_buff *")
	errNoTypes   = errors.New("it is there, but the kernel's types do not tell its arguments")
)

func tooFar(argument, most int) error {
	return fmt.Errorf("its packet is argument %d, behind the first %d words of arguments, which are all that can be read",
		argument+1, most)
}

func inModule(module string) string {
	if module == "" {
		return ""
	}
	return " (module " + module + ")"
}

// whyNot tells why a function that is not in the list of what can be traced is not.
func (c *catalog) whyNot(name string) error {
	for _, types := range c.all() {
		if functions, err := find(types, name); err == nil && len(functions) > 0 {
			return errNotTraced
		}
	}
	return ErrNoFunction
}

// resolveTracepoint finds a tracepoint by the type that declares its arguments.
func (t *Tracker) resolveTracepoint(r request) (target, error) {
	d, err := t.catalog.tracepoint(r)
	if err != nil {
		return target{}, err
	}
	// A program of a tracepoint finds each argument at its own place, whatever its size.
	if d.argument >= len(fentry.byArgument) {
		return target{}, tooFar(d.argument, len(fentry.byArgument))
	}
	return target{program: fentry.byArgument[d.argument], places: 1}, nil
}

// tracepoint looks a tracepoint up; the error wraps [ErrNoTracepoint] if there is none.
func (c *catalog) tracepoint(r request) (declared, error) {
	name := r.name
	if group, event, ok := strings.Cut(r.name, ":"); ok {
		name = event
		// A group is no more than a heading in tracefs; without it, the user's word is taken.
		if groups, err := c.tracepoints(); err == nil && !slices.Contains(groups[group], event) {
			return declared{}, ErrNoTracepoint
		}
	}
	for module, types := range c.all() {
		var typ *btf.Typedef
		if err := types.TypeByName(tracepointTypes+name, &typ); errors.Is(err, btf.ErrNotFound) {
			continue
		} else if err != nil {
			return declared{}, err
		}
		if d, ok := declaration(module, typ); ok {
			return d, nil
		}
		return declared{}, errNoPacket
	}
	return declared{}, ErrNoTracepoint
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

// returnCookie says how a function's return value is to be read.
func returnCookie(result btf.Type) uint64 {
	typ := btf.UnderlyingType(result)
	size, err := btf.Sizeof(typ)
	if _, void := typ.(*btf.Void); void || err != nil || size == 0 || size > 8 {
		return 0
	}
	cookie := uint64(trackerCookieCOOKIE_VALUE) + uint64(64-8*size)*uint64(trackerCookieCOOKIE_SHIFT)
	signed := false
	switch typ := typ.(type) {
	case *btf.Int:
		signed = typ.Encoding == btf.Signed
	case *btf.Enum:
		signed = typ.Signed
	}
	if signed {
		cookie |= uint64(trackerCookieCOOKIE_SIGNED)
	}
	return cookie
}

// Observable tells whether a probe, written as for [Observer.Arm], can be armed; the error wraps [ErrNoFunction] or
// [ErrNoTracepoint] if the kernel does not have it.
func (t *Tracker) Observable(probe string) error {
	r, err := parseRequest(probe)
	if err != nil {
		return err
	}
	if r.isPattern() {
		_, err = t.expand(r)
	} else {
		_, err = t.resolve(r)
	}
	return observing(r, err)
}

// observing says what failed; nil if nothing did.
func observing(r request, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("observe %s: %w", r, err)
}
