package bpf

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/waybill-dev/waybill/bpf/filter"
)

// onWayOut are the functions at which a packet that this machine sends is complete but for its lengths and IPv4's checksum, and
// has no protocol yet; __ip_local_out and __ip6_local_out fill them in. All end there.
var onWayOut = []string{
	"ip_send_skb", "ip_local_out", "__ip_local_out", "ip6_send_skb", "ip6_local_out", "__ip6_local_out",
}

// useFilters puts the filters into the programs, before any is loaded. Without them nothing of their code stays.
func (t *Tracker) useFilters(opts Options) error {
	var kinds trackerFilterKind
	var injected []interface{ Inject(*ebpf.ProgramSpec) bool }
	if opts.PacketFilter != "" {
		f, err := filter.CompilePacket(opts.PacketFilter)
		if err != nil {
			return fmt.Errorf("packet filter: %w", err)
		}
		kinds |= trackerFilterKindFILTER_BY_PACKET
		injected = append(injected, f)
	}
	if opts.MetaFilter != "" {
		f, err := filter.CompileMeta(opts.MetaFilter, t.catalog.cache)
		if err != nil {
			return fmt.Errorf("metadata filter: %w", err)
		}
		kinds |= trackerFilterKindFILTER_BY_META
		injected = append(injected, f)
	}
	if kinds == 0 {
		for _, name := range []string{trackerProgAtNetifReceiveSkb, trackerProgAtNetifReceiveSkb + again} {
			delete(t.spec.Programs, name)
		}
		t.spec.Maps[trackerMapMoreRefusals].MaxEntries = 1
		return nil
	}
	for _, program := range t.spec.Programs {
		for _, f := range injected {
			f.Inject(program)
		}
	}
	if err := t.spec.Variables[trackerVarFilters].Set(uint32(kinds)); err != nil {
		return fmt.Errorf("set the filters: %w", err)
	}
	t.filtered = true
	return nil
}

func isOnWayOut(r request) bool { return slices.Contains(onWayOut, r.name) }

// forgetRefusals has the filters asked again about every packet that is alive.
func (t *Tracker) forgetRefusals() error {
	if !t.filtered {
		return nil
	}
	first := t.collection.Variables[trackerVarRefusals]
	if err := first.Set(make([]byte, first.Size())); err != nil {
		return fmt.Errorf("forget the packets that the filters refused: %w", err)
	}
	return empty(t.collection.Maps[trackerMapMoreRefusals])
}
