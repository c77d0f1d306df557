package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/bpf"
	"github.com/waybill-dev/waybill/journey"
)

// milestone is a place and the probes of which any means it, in the order in which the kernel comes by them. Of each way to
// the place there is one, so that no packet comes by unseen.
type milestone struct {
	name journey.Milestone
	ways []way
}

// way is one of the ways by which packets come to a milestone.
type way struct {
	// probe observes it, as for [bpf.Observer.Arm].
	probe string
	// module is the part of the kernel that has it. While that is not loaded, no packet comes this way.
	module string
}

// milestones are the places that every trace observes, found in net/core/dev.c and the files of the functions and checked
// on Linux 6.1, 6.12, 7.2 and 7.3.
var milestones = []milestone{
	// __netif_receive_skb_core has the tracepoint, where packets of all drivers come by, in lists or one by one.
	{journey.DeviceReceive, []way{{"tp:net:netif_receive_skb", ""}}},
	{journey.Bridge, []way{{"br_handle_frame_finish", "bridge"}, {"br_dev_xmit", "bridge"}}},
	{journey.ARPReceive, []way{{"arp_rcv", ""}}},
	// ip_rcv is called for packets that come one by one, ip_list_rcv for lists, as of NAPI: both call ip_rcv_core for each.
	{journey.IPReceive, []way{{"ip_rcv_core", ""}, {"ip6_rcv_core", "ipv6"}}},
	{journey.LocalIn, []way{{"ip_local_deliver", ""}, {"ip6_input", "ipv6"}}},
	{journey.ICMPReceive, []way{{"icmp_rcv", ""}, {"icmpv6_rcv", "ipv6"}}},
	{journey.TCPReceive, []way{{"tcp_v4_rcv", ""}, {"tcp_v6_rcv", "ipv6"}}},
	{journey.UDPReceive, []way{{"udp_rcv", ""}, {"udpv6_rcv", "ipv6"}}},
	{journey.Forward, []way{{"ip_forward", ""}, {"ip6_forward", "ipv6"}}},
	// TCP over IPv6 calls the hook itself, in ip6_xmit. Raw sockets that bring the header, neighbour discovery and MLD do so
	// too, in several functions: what was not seen at any of these before it was at postrouting, matchers do not deny.
	{journey.LocalOut, []way{{"__ip_local_out", ""}, {"__ip6_local_out", "ipv6"}, {seventh, "ipv6"}}},
	// ip_mc_output is for broadcast and multicast.
	{journey.Postrouting, []way{{"ip_output", ""}, {"ip_mc_output", ""}, {"ip6_output", "ipv6"}}},
	// A packet that finds a qdisc empty goes straight to sch_direct_xmit, if the qdisc allows (__dev_xmit_skb).
	{journey.Qdisc, []way{{"dev_qdisc_enqueue", ""}, {"sch_direct_xmit", ""}}},
	// __dev_direct_xmit calls the driver without the tracepoint: AF_XDP, and packet sockets that want no qdisc.
	{journey.DeviceTransmit, []way{{"__dev_direct_xmit", ""}, {"tp:net:net_dev_start_xmit", ""}}},
}

// seventh is a function with seven arguments, to which Linux 6.1 attaches no program.
const seventh = "ip6_xmit"

// tracepoints are what every trace observes beside the milestones where functions cannot be observed.
var tracepoints = []string{
	"tp:net:net_dev_queue",
	"tp:net:net_dev_start_xmit",
	"tp:net:netif_rx",
	"tp:net:netif_receive_skb",
	"tp:skb:consume_skb",
}

// verdicts is the function by which nftables reports its verdicts; see package bpf.
const verdicts = "__nft_trace_packet"

// findMilestones finds out which of their probes this kernel has.
func (o *observatory) findMilestones() error {
	o.milestones, o.absent = nil, nil
	o.watches = make(map[journey.Milestone]journey.Watch)
	for _, m := range milestones {
		var watch journey.Watch
		for _, w := range m.ways {
			err := o.tracker.Observable(w.probe)
			switch {
			case w.probe == seventh && o.noSeventh:
			case err == nil:
				watch.Probes = append(watch.Probes, w.asProbe())
				o.milestones = append(o.milestones, w.probe)
			case errors.Is(err, bpf.ErrNoFunctionProbes):
				watch.Blind = o.noFunctions.Error()
			case !errors.Is(err, bpf.ErrNoFunction) && !errors.Is(err, bpf.ErrNoTracepoint) &&
				!errors.Is(err, bpf.ErrNotAttachable):
				return err
			case w.module != "" && !loaded(w.module):
				if !slices.Contains(o.absent, w.module) {
					o.absent = append(o.absent, w.module)
				}
			default:
				watch.Blind = err.Error()
			}
		}
		o.watches[m.name] = watch
	}
	o.watches[journey.Prerouting] = o.watches[journey.IPReceive]
	o.watches[journey.SocketDeliver] = journey.Watch{}
	if o.noFunctions != nil {
		o.watches[journey.SocketDeliver] = journey.Watch{Blind: o.noFunctions.Error()}
		for _, probe := range tracepoints {
			if !slices.Contains(o.milestones, probe) && o.tracker.Observable(probe) == nil {
				o.milestones = append(o.milestones, probe)
			}
		}
	}
	return nil
}

// holdSeventh attaches to the function that may not be attachable, and remembers if it is not.
func (o *observatory) holdSeventh() error {
	if !slices.Contains(o.milestones, seventh) {
		return nil
	}
	err := o.defaults.Arm([]string{seventh})
	if o.noSeventh = errors.Is(err, bpf.ErrNotAttachable); !o.noSeventh {
		return err
	}
	return o.findMilestones()
}

// catchUp attaches the probes of modules that have been loaded since.
func (o *observatory) catchUp() error {
	if !slices.ContainsFunc(o.absent, loaded) {
		return nil
	}
	before := o.milestones
	if err := o.findMilestones(); err != nil {
		return err
	}
	added := slices.DeleteFunc(slices.Clone(o.milestones), func(name string) bool { return slices.Contains(before, name) })
	for _, name := range before { // verdicts and tables
		if !slices.Contains(o.milestones, name) {
			o.milestones = append(o.milestones, name)
		}
	}
	return o.defaults.Arm(added)
}

// watched says by which of these probes the milestones were observed. One that was not observed whole is left out.
func (o *observatory) watched(armed []journey.Probe) map[journey.Milestone]journey.Watch {
	o.armed.Lock()
	defer o.armed.Unlock()
	out := make(map[journey.Milestone]journey.Watch)
	for name, watch := range o.watches {
		missing := func(p journey.Probe) bool { return !slices.Contains(armed, p) }
		if slices.ContainsFunc(watch.Probes, missing) {
			continue
		}
		for _, module := range o.absent {
			if needs(name, module) && loaded(module) {
				watch.Blind = fmt.Sprintf("the module %s was loaded only while the trace was under way", module)
			}
		}
		out[name] = watch
	}
	return out
}

// needs says whether one of a milestone's ways is in a module.
func needs(name journey.Milestone, module string) bool {
	for _, m := range milestones {
		of := m.name == name || m.name == journey.IPReceive && name == journey.Prerouting
		if of && slices.ContainsFunc(m.ways, func(w way) bool { return w.module == module }) {
			return true
		}
	}
	return false
}

// asProbe is what its events name.
func (w way) asProbe() journey.Probe {
	if name, ok := strings.CutPrefix(w.probe, "tp:"); ok {
		return journey.Probe{Kind: journey.Tracepoint, Name: name}
	}
	return journey.Probe{Kind: journey.Function, Name: w.probe}
}

// loaded says whether a part of the kernel is there, as a module or built in: those that are asked for here have parameters,
// so that they have a folder either way.
func loaded(module string) bool {
	_, err := os.Stat(filepath.Join("/sys/module", module))
	return err == nil
}
