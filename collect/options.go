package collect

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/bpf"
	"github.com/waybill-dev/waybill/journey"
)

// Options say what is observed. The zero value is what devices receive and transmit, and drops.
type Options struct {
	// Probes as [bpf.Observer.Arm] takes them; those of [DefaultProbes] if there are none.
	Probes []string
	// PacketFilter and MetaFilter choose packets; see [bpf.Options].
	PacketFilter, MetaFilter string
	// Namespaces are the network namespaces in which packets are observed from first sight, as [Namespace] has them; all if there are
	// none.
	Namespaces []string
	// Collectors are the sections that events have, of [Collectors]; all if there are none.
	Collectors []string
	// Verdicts are the verdicts of nftables that are events, of [Verdicts]; drop and accept if there are none.
	Verdicts []string
	// Stack adds the kernel's stack to every event.
	Stack bool
	// SystemChanges allows to have the kernel report verdicts of nftables: by a rule in a namespace of its own, which lives no
	// longer than this process.
	SystemChanges bool
	// StopAfter ends the collection after so many events; 0 for never.
	StopAfter uint64
}

// DefaultProbes are where devices receive and transmit.
var DefaultProbes = []string{"tp:net:netif_receive_skb", "tp:net:net_dev_start_xmit"}

// The collectors, by the names that Retis has for them.
const (
	packets  = "skb"
	tracking = "skb-tracking"
	drops    = "skb-drop"
	spaces   = "ns"
	devices  = "dev"
	ct       = "ct"
	verdicts = "nft"
)

// Collectors are the sections that may be chosen. skb-tracking is always there: without it there are no journeys.
var Collectors = []string{packets, tracking, drops, spaces, devices, ct, verdicts}

// Verdicts are the words for what nftables does with a packet.
var Verdicts = []string{"accept", "drop", "continue", "break", "jump", "goto", "return", "queue", "stolen", "repeat"}

const verdictProbe = "__nft_trace_packet"

func (o *Options) complete() error {
	if len(o.Probes) == 0 {
		o.Probes = DefaultProbes
	}
	for _, p := range o.Probes {
		if err := bpf.CheckProbe(p); err != nil {
			return err
		}
	}
	if len(o.Collectors) == 0 || slices.Equal(o.Collectors, []string{"auto"}) {
		o.Collectors = Collectors
	}
	if len(o.Verdicts) == 0 {
		o.Verdicts = []string{"drop", "accept"}
	}
	for _, list := range []struct {
		what         string
		given, known []string
	}{{"collector", o.Collectors, Collectors}, {"verdict", o.Verdicts, Verdicts}} {
		for _, name := range list.given {
			if !slices.Contains(list.known, name) {
				return fmt.Errorf("there is no %s %q: use %s", list.what, name, strings.Join(list.known, ", "))
			}
		}
	}
	if o.SystemChanges && !o.wants(verdicts) {
		return errors.New("system changes are for the collector nft, which was left out")
	}
	return nil
}

func (o *Options) wants(collector string) bool { return slices.Contains(o.Collectors, collector) }

// probes are those that are armed, verdicts aside.
func (o *Options) probes() []string {
	all := slices.Clone(o.Probes)
	if o.Stack && o.wants(drops) {
		all = append(all, "tp:skb:kfree_skb")
	}
	for i, p := range all {
		if o.Stack && !strings.HasSuffix(p, "/stack") {
			all[i] += "/stack"
		}
	}
	return all
}

// shows says whether an observation is handed on, and takes the sections from it that were not asked for. What the assembler
// has of it stays as it is.
func (o *Options) shows(seen *journey.Observation) bool {
	switch {
	case seen.Kind == journey.Looked:
		return false
	case seen.Kind != journey.Seen:
		return true
	case seen.Drop != nil && !o.wants(drops):
		return false
	case seen.NFT != nil && !slices.Contains(o.Verdicts, seen.NFT.Verdict):
		return false
	}
	if !o.wants(packets) {
		seen.Packet, seen.Meta, seen.Sharing, seen.GSO = nil, nil, nil, nil
	}
	if !o.wants(spaces) {
		seen.NetNS = nil
	}
	if !o.wants(devices) {
		seen.Device = nil
	}
	if !o.wants(ct) {
		seen.Conntrack = nil
	}
	return true
}
