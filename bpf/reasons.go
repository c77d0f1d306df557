package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"
)

const reasonPrefix = "SKB_DROP_REASON_"

// subsystemReasons are the enumerations of drop reasons that parts of the kernel keep for themselves, and the modules
// that declare them. Their values have the subsystem's number in the upper half (enum skb_drop_reason_subsys,
// include/net/dropreason.h).
var subsystemReasons = []struct{ enum, module string }{
	{"qdisc_drop_reason", ""},            // include/net/dropreason-qdisc.h, by Linux 7.2
	{"ovs_drop_reason", "openvswitch"},   // net/openvswitch/drop.h
	{"mac80211_drop_reason", "mac80211"}, // net/mac80211/drop.h
}

// dropReasons names the drop reasons of the running kernel. It is safe for concurrent use.
type dropReasons struct {
	types *btf.Cache

	mu    sync.Mutex
	names map[uint32]string
	// subsystems has the numbers in the upper halves.
	subsystems map[uint32]string
	read       map[string]bool // modules that have been looked into
}

func loadDropReasons(types *btf.Cache) (*dropReasons, error) {
	kernel, err := types.Kernel()
	if err != nil {
		return nil, fmt.Errorf("read the names of drop reasons: %w", err)
	}
	r := &dropReasons{types: types, names: make(map[uint32]string), read: make(map[string]bool)}
	if err := r.add(kernel, "skb_drop_reason"); err != nil {
		return nil, fmt.Errorf("read the names of drop reasons: %w", err)
	}
	if r.subsystems, err = subsystems(kernel); err != nil {
		return nil, fmt.Errorf("read the names of drop reasons: %w", err)
	}
	for _, s := range subsystemReasons {
		if s.module != "" {
			continue
		}
		if err := r.add(kernel, s.enum); err != nil && !errors.Is(err, btf.ErrNotFound) {
			return nil, fmt.Errorf("read the names of drop reasons: %w", err)
		}
	}
	return r, nil
}

// subsystems reads the parts of the kernel that have reasons of their own; Linux 6.1 has none.
func subsystems(kernel *btf.Spec) (map[uint32]string, error) {
	names := make(map[uint32]string)
	var enum *btf.Enum
	if err := kernel.TypeByName("skb_drop_reason_subsys", &enum); errors.Is(err, btf.ErrNotFound) {
		return names, nil
	} else if err != nil {
		return nil, err
	}
	for _, v := range enum.Values {
		if name, ok := strings.CutPrefix(v.Name, reasonPrefix+"SUBSYS_"); ok && v.Value != 0 && name != "NUM" {
			names[uint32(v.Value)] = strings.ToLower(name)
		}
	}
	return names, nil
}

// add takes the names of one enumeration.
func (r *dropReasons) add(types *btf.Spec, name string) error {
	var enum *btf.Enum
	if err := types.TypeByName(name, &enum); err != nil {
		return err
	}
	for _, v := range enum.Values {
		subsystem := v.Value>>16 != 0
		if isMark(v.Name) || subsystem == strings.HasPrefix(v.Name, "SKB_") {
			continue
		}
		name, ok := strings.CutPrefix(v.Name, reasonPrefix)
		if !ok {
			name = strings.TrimPrefix(v.Name, "SKB_") // SKB_NOT_DROPPED_YET, SKB_CONSUMED
		}
		r.names[uint32(v.Value)] = name
	}
	return nil
}

// isMark tells whether an enumerator is there for the sake of the others, as their first, their limit or their mask.
func isMark(enumerator string) bool {
	return strings.HasPrefix(enumerator, "__") || strings.HasSuffix(enumerator, "_MAX") ||
		strings.HasSuffix(enumerator, "_SUBSYS_MASK")
}

// addModules looks into the modules that have been loaded since.
func (r *dropReasons) addModules() {
	for _, s := range subsystemReasons {
		if s.module == "" || r.read[s.module] {
			continue
		}
		types, err := r.types.Module(s.module)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		r.read[s.module] = true // whether it names them or not
		if err == nil {
			_ = r.add(types, s.enum)
		}
	}
}

// name gives a reason's name, or its number in hex if the kernel's types do not name it; and the subsystem whose reason it
// is, empty for the core.
func (r *dropReasons) name(reason uint32) (name, subsystem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.names[reason]; !ok && reason >= 1<<16 {
		r.addModules()
	}
	name, ok := r.names[reason]
	if !ok {
		name = fmt.Sprintf("0x%x", reason)
	}
	return name, r.subsystems[reason>>16]
}

// Reasons lists the names of the drop reasons that the running kernel has, sorted; those of Open vSwitch and of mac80211
// if their modules are loaded. They are this kernel's own; [journey.Drop.Is] knows other kernels' names.
func (t *Tracker) Reasons() []string {
	r := t.decoder.reasons
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addModules()
	var names []string
	for _, name := range r.names {
		if name != "NOT_DROPPED_YET" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
