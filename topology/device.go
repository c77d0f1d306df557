package topology

import (
	"net/netip"
	"time"
)

// Device is a network device of a node, or what is special about one end of a link. The zero value leaves everything as
// it is derived. Fields that do not apply are refused by [Network.Validate].
type Device struct {
	// Name is the device's name, at most 15 bytes. A device of a node must have one; that of a link's end is eth0, eth1 …
	// unless one is given here.
	Name string
	// Kind is what the device is, such as [VLAN] or [VXLAN]. It is nil for the ends of links, which are veth devices, and
	// for the loopback, lo, if that is configured.
	Kind Kind
	// Addrs are addresses with the length of their prefix, such as 10.0.0.1/24 and fd00::1/64. At the end of a link they
	// replace the derived ones; the link-local address stays.
	Addrs []string
	// Bare leaves the end of a link without any address, the link-local one included.
	Bare bool
	// MAC is the Ethernet address, such as 02:00:00:00:00:01; empty for the derived one, or the kernel's choice.
	MAC string
	// MTU is the size of the largest IP packet in bytes; 0 for the kernel's default.
	MTU int
	// TxQueue is the length of the transmit queue in packets (txqueuelen); 0 for the kernel's default, -1 for none.
	TxQueue int
	// Features turns features on and off by the names that ethtool -k prints in the kernel, such as "rx-gro": true,
	// "tx-udp-segmentation": false.
	Features map[string]bool
	// Port is what a bridge does at this device, which is one of its ports. On a bridge device it is about the bridge's
	// own port, by which the node itself takes part.
	Port Port
	// Impair is what happens to packets that leave by this device.
	Impair Impairment
	// XDP is a program that runs on packets as they arrive; Ingress and Egress are tc programs, in direct-action mode, on
	// packets as they arrive and leave.
	XDP, Ingress, Egress Program
	// Down leaves the device down.
	Down bool
}

// Port is what a bridge does at one of its ports.
type Port struct {
	// VLAN is the VLAN of untagged frames, which also leave untagged (PVID). 0 is the kernel's default, VLAN 1, or none if
	// Trunk is given. It counts only on bridges that filter VLANs.
	VLAN uint16
	// Trunk are the VLANs whose frames come and go with a tag.
	Trunk []uint16
	// Isolated keeps frames from other isolated ports.
	Isolated bool
	// Hairpin lets frames leave by the port that they came in by.
	Hairpin bool
	// NoFlood keeps frames to unknown unicast addresses from leaving here.
	NoFlood bool
	// NoLearning does not learn addresses from frames that arrive here.
	NoLearning bool
	// State is the port's state in the spanning tree, set by hand; the bridge must not run the protocol itself.
	State PortState
}

// PortState is the state of a bridge port. The zero value leaves it to the bridge.
type PortState string

// The states, of which only Forwarding lets frames through, while Learning learns addresses. The fifth, blocking, cannot be
// set by hand: a bridge that does not run the protocol makes it forwarding at once (br_port_state_selection,
// net/bridge/br_stp.c). Listening does the same to frames.
const (
	Disabled   PortState = "disabled"
	Listening  PortState = "listening"
	Learning   PortState = "learning"
	Forwarding PortState = "forwarding"
)

// Impairment is what a bad line does to packets, by the kernel's netem, and its tbf where there is a Burst. The zero value does
// nothing.
type Impairment struct {
	// Delay holds every packet back, Jitter varies that by up to so much. A jitter larger than the gaps between packets
	// reorders them.
	Delay, Jitter time.Duration
	// Loss, Duplicate, Corrupt and Reorder are chances in percent, 0 to 100. Reorder sends packets at once that Delay
	// would hold back.
	Loss, Duplicate, Corrupt, Reorder float64
	// Rate is the speed of the line in bits a second; 0 for no limit.
	Rate uint64
	// Burst is how many bytes may go at once, ahead of Rate, after the line was idle: a token bucket. Packets longer than that are
	// dropped, but for those that the kernel can segment. 0 for a line that sends bit by bit.
	Burst uint32
	// Limit is how many packets may wait; 0 for 1000, the kernel's default.
	Limit uint32
}

// Host is something with an address: a *[Node] by its primary IPv4 address, [V6] of a node, or an [IP].
type Host interface {
	// Addr is the host's primary address.
	Addr() netip.Addr
}

// IP is a Host that is just an address, such as IP("10.0.0.1").
type IP string

// Addr is the address; the zero Addr if the text is none.
func (ip IP) Addr() netip.Addr {
	addr, err := netip.ParseAddr(string(ip))
	if err != nil {
		return netip.Addr{}
	}
	return addr
}

// String is the text.
func (ip IP) String() string { return string(ip) }

// V6 is the node as a Host by its primary IPv6 address.
func V6(node *Node) Host { return host6{node} }

type host6 struct{ node *Node }

func (h host6) Addr() netip.Addr { return h.node.Addr6() }
func (h host6) String() string   { return h.node.String() }
