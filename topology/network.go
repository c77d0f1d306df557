package topology

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
)

// Network is a declaration of nodes and links. The zero value is empty and ready to use. Declare from one goroutine;
// do not copy it.
type Network struct {
	nodes []*Node
	links []*Link
	up    atomic.Bool
	// source is the file that it was read from; nil for none.
	source *source
}

// Node is a host or router of a network: one network namespace. Fill in a value and give it to [Network.Add], which
// returns the handle by which the node is known from then on. The fields of a handle may be read, and changed until the
// network is up.
type Node struct {
	// Name identifies the node in output and errors: letters, digits, dot, hyphen, underscore; unique in its network.
	Name string
	// Forwarding makes the node a router, for IPv4 and IPv6.
	Forwarding bool
	// Bridge makes the node an Ethernet bridge, br0, whose ports are the ends of all its links that no other device has as
	// ports. Nil for none; &Bridge{} for a plain one.
	Bridge *Bridge
	// Devices are further network devices. One that is on another, or has it as a port, may come before or after it.
	// They begin with br0 where Bridge is given, so that a device may be on it.
	Devices []Device
	// Routes are added to those that are derived; one to the same subnet takes the derived one's place.
	Routes []Route
	// Rules are policy rules, which choose routing tables.
	Rules []PolicyRule
	// Neighbours are entries of the neighbour tables (ARP, NDP) that are not to be resolved.
	Neighbours []Neighbour
	// Multicast are routes for multicast packets.
	Multicast []MulticastRoute
	// ESP are the other nodes between which and this one packets are protected by IPsec.
	ESP []ESP
	// Sysctls are settings below net, such as "net.ipv4.ip_default_ttl": "32", written once all devices are there. The
	// part that names a device may contain dots if slashes separate the parts.
	Sysctls map[string]string
	// NFT is the text of an nftables ruleset, as for nft -f, loaded once all links are up. Here and in the texts below, empty is
	// for none, and @ followed by a path is for the text in that file.
	NFT string
	// IPTables, IP6Tables and EBTables are texts as iptables-save, ip6tables-save and ebtables-save print them.
	IPTables, IP6Tables, EBTables string
	// TC is a text as for tc -batch: one command a line, without the word tc.
	TC string

	// place is set by Network.Add; nil in a Node that was never added.
	place *place
}

// place is what a node handle knows beyond its declaration.
type place struct {
	network *Network
	links   []*Link
	cookie  atomic.Uint64
}

// Link is a cable between two nodes: a veth pair.
type Link struct {
	options LinkOptions
	surplus int // how many values of options were given beyond the first
	network *Network
	index   int
	ends    [2]*Node
	// slots are the numbers of the devices: eth<slot>.
	slots [2]int
}

// LinkOptions is what is special about a link. The zero value is a plain cable.
type LinkOptions struct {
	// MTU is the size of the largest IP packet in bytes, at both ends; 0 for 1500.
	MTU int
	// Impair is what happens to packets in both directions.
	Impair Impairment
	// First and Second are what is special about the ends, in the order in which Connect is given the nodes. What they say
	// takes the place of what is said for both.
	First, Second Device
}

// ends are the declarations of both ends, with what is said for both.
func (o LinkOptions) ends() [2]Device {
	ends := [2]Device{o.First, o.Second}
	for i := range ends {
		if ends[i].MTU == 0 {
			ends[i].MTU = o.MTU
		}
		if ends[i].Impair == (Impairment{}) {
			ends[i].Impair = o.Impair
		}
	}
	return ends
}

// Interface is one end of a link.
type Interface struct {
	Node *Node
	Link *Link
	// Name is the device's name in the node: eth0, eth1 …
	Name string
	MAC  MAC
	// Addr and Addr6 are the addresses with the length of their subnet's prefix; zero at the port of a bridge. Those of a
	// bond's first port are the bond's.
	Addr, Addr6 netip.Prefix
	// LinkLocal is the IPv6 link-local address.
	LinkLocal netip.Prefix

	more []netip.Prefix // that are declared beyond the first of each family
	on   string         // the device that has the addresses; empty if none has
}

// Add puts a node into the network and returns its handle. Faults are reported by [Network.Validate].
func (n *Network) Add(node Node) *Node {
	node.place = &place{network: n}
	n.nodes = append(n.nodes, &node)
	return &node
}

// Connect lays a cable between two nodes of the network and returns its handle. Options are at most one value. Faults
// are reported by [Network.Validate].
func (n *Network) Connect(first, second *Node, options ...LinkOptions) *Link {
	link := &Link{network: n, index: len(n.links), ends: [2]*Node{first, second}}
	if len(options) > 0 {
		link.options, link.surplus = options[0], len(options)-1
	}
	for i, node := range link.ends {
		if node.in(n) {
			link.slots[i] = len(node.place.links)
			node.place.links = append(node.place.links, link)
		}
	}
	n.links = append(n.links, link)
	return link
}

// Nodes returns the handles of all nodes, in the order in which they were added.
func (n *Network) Nodes() []*Node { return slices.Clone(n.nodes) }

// Links returns the handles of all links, in the order in which they were declared.
func (n *Network) Links() []*Link { return slices.Clone(n.links) }

// in reports whether the node is a handle made by n.
func (node *Node) in(n *Network) bool {
	return node != nil && node.place != nil && node.place.network == n
}

// String is the node's name.
func (node *Node) String() string {
	if node == nil {
		return "<nil node>"
	}
	return node.Name
}

// NetNSCookie is the kernel's cookie of the node's network namespace, unique since boot; 0 while the network is not up.
func (node *Node) NetNSCookie() uint64 {
	if node == nil || node.place == nil {
		return 0
	}
	return node.place.cookie.Load()
}

// Addr is the node's primary IPv4 address: the first among those of its links, or else of its other devices, known before
// the network is up. It is the zero Addr if the node has none.
func (node *Node) Addr() netip.Addr { return node.primary(netip.Addr.Is4) }

// Addr6 is the node's primary IPv6 address, as [Node.Addr].
func (node *Node) Addr6() netip.Addr { return node.primary(netip.Addr.Is6) }

func (node *Node) primary(family func(netip.Addr) bool) netip.Addr {
	for _, i := range node.Interfaces() {
		for _, prefix := range i.prefixes() {
			if family(prefix.Addr()) {
				return prefix.Addr()
			}
		}
	}
	for _, device := range node.devices() {
		for _, text := range device.Addrs {
			if prefix, err := netip.ParsePrefix(text); err == nil && family(prefix.Addr()) {
				return prefix.Addr()
			}
		}
	}
	return netip.Addr{}
}

// MACIn is the Ethernet address of the end of a link that has an address in a subnet, known before the network is up; nil if none
// has. With it a node can be what a frame of package packet goes to.
func (node *Node) MACIn(subnet netip.Prefix) net.HardwareAddr {
	for _, i := range node.Interfaces() {
		for _, prefix := range append(i.prefixes(), i.LinkLocal) {
			if subnet.Contains(prefix.Addr()) {
				return net.HardwareAddr(i.MAC[:])
			}
		}
	}
	return nil
}

// Interfaces are the ends of the node's links: eth0, eth1 … Nodes and links that are added later do not change their
// addresses, unless a link joins two bridges.
func (node *Node) Interfaces() []Interface {
	if node == nil || node.place == nil {
		return nil
	}
	p := node.place.network.plan()
	var interfaces []Interface
	for slot, link := range node.place.links {
		// The second comparison keeps the two ends of a self link apart; Validate refuses it, but this is called before.
		for end := range link.ends {
			if link.ends[end] == node && link.slots[end] == slot {
				interfaces = append(interfaces, p.ends[link.index][end])
			}
		}
	}
	return interfaces
}

// Ends are the two ends of the link, in the order in which Connect was given the nodes.
func (l *Link) Ends() [2]Interface { return l.network.plan().ends[l.index] }

// Device is the name that the link's end has in the node, such as eth0; empty if the link does not reach the node.
func (l *Link) Device(node *Node) string {
	for i, end := range l.ends {
		if end == node {
			return l.name(i)
		}
	}
	return ""
}

// String names both ends, as client:eth0-fw:eth1.
func (l *Link) String() string {
	return fmt.Sprintf("%v:%s-%v:%s", l.ends[0], l.name(0), l.ends[1], l.name(1))
}
