package bpf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

const reasonPrefix = "SKB_DROP_REASON_"

// dropReasons names the core drop reasons of the running kernel (enum skb_drop_reason, include/net/dropreason-core.h).
type dropReasons map[uint32]string

func loadDropReasons(kernel *btf.Spec) (dropReasons, error) {
	var enum *btf.Enum
	if err := kernel.TypeByName("skb_drop_reason", &enum); err != nil {
		return nil, fmt.Errorf("read the names of drop reasons: %w", err)
	}
	reasons := make(dropReasons, len(enum.Values))
	for _, v := range enum.Values {
		name, ok := strings.CutPrefix(v.Name, reasonPrefix)
		if !ok {
			name = strings.TrimPrefix(v.Name, "SKB_") // SKB_NOT_DROPPED_YET, SKB_CONSUMED
		}
		reasons[uint32(v.Value)] = name
	}
	return reasons, nil
}

// name gives a reason's name, or its number in hex if it belongs to a subsystem's own list (upper half not zero).
func (r dropReasons) name(reason uint32) string {
	if name, ok := r[reason]; ok {
		return name
	}
	return fmt.Sprintf("0x%x", reason)
}

// Reasons lists the names of the drop reasons that the running kernel has, sorted.
func (t *Tracker) Reasons() []string {
	var names []string
	for value, name := range t.reasons {
		if value < 1<<16 && name != "MAX" && name != "NOT_DROPPED_YET" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
