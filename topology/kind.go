package topology

// Kind is what a [Device] is. The kinds of this package are all that there are.
type Kind interface {
	// kind is the kernel's name of the device type, as in ip link add type.
	kind() string
}

// Dummy is a device that accepts every packet and sends none.
type Dummy struct{}

// Bridge joins its ports into one Ethernet segment.
type Bridge struct {
	// Ports are the names of the devices that are its ports.
	Ports []string
	// VLANFiltering keeps VLANs apart, as the Port field of the devices says. Every port is in VLAN 1 unless it says
	// otherwise.
	VLANFiltering bool
	// STP runs the spanning tree protocol in the kernel: ports then take seconds to begin forwarding, and Up does not wait
	// for it.
	STP bool
	// NoMulticastSnooping floods multicast frames to every port. Otherwise the bridge learns who listens.
	NoMulticastSnooping bool
}

// VLAN is the part of another device's traffic that carries an 802.1Q tag.
type VLAN struct {
	// On is the name of the device that carries it.
	On string
	// ID is the VLAN's number, 1 to 4094.
	ID uint16
	// ServiceTag uses 802.1ad tags (QinQ).
	ServiceTag bool
}

// MACVLAN is a further device, with a MAC address of its own, on another one.
type MACVLAN struct {
	// On is the name of the device below.
	On string
	// Mode is bridge, the default, private, vepa or passthru.
	Mode string
}

// IPVLAN is a further device, with the same MAC address, on another one.
type IPVLAN struct {
	// On is the name of the device below.
	On string
	// Mode is l2, the default, l3 or l3s.
	Mode string
}

// VRF has a routing table of its own for its ports.
type VRF struct {
	// Table is the number of the routing table.
	Table uint32
	// Ports are the names of the devices whose packets it routes.
	Ports []string
}

// Bond makes one device of several. The derived addresses of its first port are the bond's; the others have none.
type Bond struct {
	// Mode is active-backup, the default, balance-rr, balance-xor, broadcast, 802.3ad, balance-tlb or balance-alb.
	Mode string
	// Ports are the names of the devices, which must be ends of links.
	Ports []string
}

// VXLAN carries Ethernet frames in UDP.
type VXLAN struct {
	// ID is the network's number (VNI), 0 to 16777215.
	ID uint32
	// Remote is the other end. Nil for none: frames then go where forwarding entries say.
	Remote Host
	// Local is the source address; nil for the node's primary address of the same family.
	Local Host
	// Port is the UDP port; 0 for 4789.
	Port uint16
	// External takes ID and Remote from each packet's tunnel metadata, as tc and BPF programs set it.
	External bool
}

// Geneve carries Ethernet frames in UDP.
type Geneve struct {
	// ID is the network's number (VNI), 0 to 16777215.
	ID uint32
	// Remote is the other end.
	Remote Host
	// Port is the UDP port; 0 for 6081.
	Port uint16
	// External takes ID and Remote from each packet's tunnel metadata.
	External bool
}

// GRE carries IP packets in GRE over IPv4 or IPv6, as Remote is.
type GRE struct {
	// Remote is the other end, and Local the source address; a nil Local is the node's primary address of the same family.
	Remote, Local Host
	// Key is the key of both directions; 0 for none.
	Key uint32
}

// GRETAP carries Ethernet frames in GRE over IPv4 or IPv6, as Remote is.
type GRETAP struct {
	// Remote is the other end, and Local the source address; a nil Local is the node's primary address of the same family.
	Remote, Local Host
	// Key is the key of both directions; 0 for none.
	Key uint32
}

// IPIP carries IPv4 packets in IPv4.
type IPIP struct {
	// Remote is the other end, and Local the source address; a nil Local is the node's primary address.
	Remote, Local Host
}

// SIT carries IPv6 packets in IPv4.
type SIT struct {
	// Remote is the other end, and Local the source address; a nil Local is the node's primary address.
	Remote, Local Host
}

// IP6Tunnel carries IPv4 and IPv6 packets in IPv6.
type IP6Tunnel struct {
	// Remote is the other end, and Local the source address; a nil Local is the node's primary IPv6 address.
	Remote, Local Host
}

func (Dummy) kind() string     { return "dummy" }
func (Bridge) kind() string    { return "bridge" }
func (VLAN) kind() string      { return "vlan" }
func (MACVLAN) kind() string   { return "macvlan" }
func (IPVLAN) kind() string    { return "ipvlan" }
func (VRF) kind() string       { return "vrf" }
func (Bond) kind() string      { return "bond" }
func (VXLAN) kind() string     { return "vxlan" }
func (Geneve) kind() string    { return "geneve" }
func (GRE) kind() string       { return "gre" }
func (GRETAP) kind() string    { return "gretap" }
func (IPIP) kind() string      { return "ipip" }
func (SIT) kind() string       { return "sit" }
func (IP6Tunnel) kind() string { return "ip6tnl" }

// ports are the names of the devices that belong to a device of this kind.
func ports(kind Kind) []string {
	switch k := kind.(type) {
	case Bridge:
		return k.Ports
	case VRF:
		return k.Ports
	case Bond:
		return k.Ports
	}
	return nil
}

// below is the name of the device that one of this kind is on; empty for none.
func below(kind Kind) string {
	switch k := kind.(type) {
	case VLAN:
		return k.On
	case MACVLAN:
		return k.On
	case IPVLAN:
		return k.On
	}
	return ""
}
