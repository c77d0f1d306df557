package journey

import (
	"slices"
	"strings"
)

// Milestone names a place that packets come by in every kernel, whatever the kernel's functions there are called. Several
// functions may stand for one: IPv4 and IPv6 have their own, and so have packets that arrive in lists and one by one.
type Milestone string

// The milestones, about in the order in which a packet comes by them.
const (
	// DeviceReceive: a device hands a frame to the stack, before packet sockets, bridges and protocols see it. It is told
	// for the device by which the frame came in, for a bridge that takes the frame for itself, and for the far end of a
	// tunnel; not for VLAN and macvlan devices.
	DeviceReceive Milestone = "device receive"
	// Bridge: a bridge looks for the ports by which a frame is to leave: one that its prerouting hook has let through, or
	// that the node itself sends by the bridge.
	Bridge Milestone = "bridge"
	// ARPReceive: ARP takes a frame.
	ARPReceive Milestone = "arp receive"
	// IPReceive: IP takes a packet and is about to check its header, whether the packet came in a list or by itself.
	IPReceive Milestone = "ip receive"
	// Prerouting: the packet's IP header was good and its frame for this host, so that it goes to the prerouting hook.
	// This is concluded, from that IP took the packet and was not where the packet was dropped.
	Prerouting Milestone = "prerouting"
	// LocalIn: the packet is for this host. The input hook is next, after reassembly if it is a fragment.
	LocalIn Milestone = "local in"
	// ICMPReceive, TCPReceive and UDPReceive: the protocol takes the packet, before it looks for a socket. Neighbour
	// discovery and MLD are ICMPv6.
	ICMPReceive Milestone = "icmp receive"
	TCPReceive  Milestone = "tcp receive"
	UDPReceive  Milestone = "udp receive"
	// SocketDeliver: the packet was put on a socket's receive queue. Copies for packet sockets do not count.
	SocketDeliver Milestone = "socket deliver"
	// Forward: the packet is for another host, and this one forwards. The forward hook is next, if the packet's time to
	// live allows.
	Forward Milestone = "forward"
	// LocalOut: the host has made an IP packet. The output hook is next.
	LocalOut Milestone = "local out"
	// Postrouting: the packet is to leave by a device. The postrouting hook is next.
	Postrouting Milestone = "postrouting"
	// Qdisc: a device's queueing discipline takes the packet, be it that an empty one lets it straight through. Most
	// devices of labs have none.
	Qdisc Milestone = "qdisc"
	// DeviceTransmit: a device's driver is given the packet.
	DeviceTransmit Milestone = "device transmit"
)

// Milestones lists them all.
func Milestones() []Milestone {
	return []Milestone{
		DeviceReceive, Bridge, ARPReceive, IPReceive, Prerouting, LocalIn, ICMPReceive, TCPReceive, UDPReceive, SocketDeliver,
		Forward, LocalOut, Postrouting, Qdisc, DeviceTransmit,
	}
}

// Watch says how a milestone was observed.
type Watch struct {
	// Probes are those of which each means the milestone, in the order in which the kernel comes by them.
	Probes []Probe
	// Blind says why packets may have come by it unseen; empty if none can have.
	Blind string
}

// Visit is one time that a packet came by a milestone or a probe.
type Visit struct {
	// Branch is the branch that did, and Event the event that shows it, both by index. Event is -1 if none does: then After
	// events of the journey had been before.
	Branch, Event, After int
	// NetNS and Device are where it was; nil if that is not known.
	NetNS  *NetNS
	Device *Device
}

// Visits lists the times that the packet, or a copy of it, came by a milestone, in order. The probes of a milestone that a
// packet meets one after the other are one visit.
func (j *Journey) Visits(m Milestone) []Visit {
	switch m {
	case SocketDeliver:
		return j.deliveries()
	case Prerouting:
		return slices.DeleteFunc(j.Visits(IPReceive), j.refused)
	}
	if j.Evidence == nil {
		return nil
	}
	return j.at(j.Evidence.Milestones[m].Probes)
}

// VisitsOf lists the times that the packet, or a copy of it, was seen at a probe.
func (j *Journey) VisitsOf(p Probe) []Visit { return j.at([]Probe{p}) }

// at lists the visits of a milestone with these probes.
func (j *Journey) at(probes []Probe) []Visit {
	var visits []Visit
	last := make(map[int]Visit) // of each branch
	for i := range j.Events {
		e := &j.Events[i]
		at := slices.Index(probes, e.Probe)
		if at < 0 {
			continue
		}
		v := Visit{Branch: j.BranchOf(i), Event: i, After: i, NetNS: e.NetNS, Device: e.Device}
		before, seen := last[v.Branch]
		last[v.Branch] = v
		if seen && at > slices.Index(probes, j.Events[before.Event].Probe) && samePlace(before, v) {
			continue
		}
		visits = append(visits, v)
	}
	return visits
}

func samePlace(a, b Visit) bool {
	return a.NetNS != nil && b.NetNS != nil && a.NetNS.Cookie == b.NetNS.Cookie &&
		a.Device != nil && b.Device != nil && a.Device.Index == b.Device.Index
}

// deliveries lists how branches were put on receive queues.
func (j *Journey) deliveries() []Visit {
	var visits []Visit
	for i := range j.Branches {
		if a := j.Branches[i].Accepted; a != nil {
			visits = append(visits, Visit{Branch: i, Event: -1, After: a.After, NetNS: a.NetNS, Device: a.Device})
		}
	}
	slices.SortStableFunc(visits, func(a, b Visit) int { return a.After - b.After })
	return visits
}

// refused says that a packet went no further than the function that takes packets for IP: what came next was a drop in there.
// What the kernel does with a packet in that function is to pass it on, or to drop it (ip_rcv_core in net/ipv4/ip_input.c,
// ip6_rcv_core in net/ipv6/ip6_input.c).
func (j *Journey) refused(v Visit) bool {
	if v.Branch < 0 {
		return false
	}
	events := j.Branches[v.Branch].Events
	for _, i := range events[slices.Index(events, v.Event)+1:] {
		e := &j.Events[i]
		switch {
		case e.Drop != nil:
			function, _, _ := strings.Cut(e.Drop.Location, "+")
			function, _, _ = strings.Cut(function, ".") // the compiler's parts of functions: ip_rcv_core.cold
			return function == j.Events[v.Event].Probe.Name
		case e.Probe.Kind == Function && slices.Contains(dropFunctions, e.Probe.Name):
			continue
		}
		return false
	}
	return false
}
