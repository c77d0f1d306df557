package topology

import (
	"fmt"
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
}

// Node is a host or router of a network: one network namespace. Fill in a value and give it to [Network.Add], which
// returns the handle by which the node is known from then on. The fields of a handle may be read, and changed until the
// network is up.
type Node struct {
	// Name identifies the node in output and errors: letters, digits, dot, hyphen, underscore; unique in its network.
	Name string
	// Forwarding makes the node a router, for IPv4 and IPv6.
	Forwarding bool
	// NFT is the text of an nftables ruleset, as for nft -f, loaded once all links are up. Empty for none.
	NFT string

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
	network *Network
	index   int
	ends    [2]*Node
	// slots are the numbers of the devices: eth<slot>.
	slots [2]int
}

// Interface is one end of a link.
type Interface struct {
	Node *Node
	Link *Link
	// Name is the device's name in the node: eth0, eth1 …
	Name string
	MAC  MAC
	// Addr and Addr6 are the addresses with the length of their subnet's prefix.
	Addr, Addr6 netip.Prefix
	// LinkLocal is the IPv6 link-local address.
	LinkLocal netip.Prefix
}

// Add puts a node into the network and returns its handle. Faults are reported by [Network.Validate].
func (n *Network) Add(node Node) *Node {
	node.place = &place{network: n}
	n.nodes = append(n.nodes, &node)
	return &node
}

// Connect lays a cable between two nodes of the network and returns its handle. Faults are reported by
// [Network.Validate].
func (n *Network) Connect(first, second *Node) *Link {
	link := &Link{network: n, index: len(n.links), ends: [2]*Node{first, second}}
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

// Addr is the node's primary IPv4 address: that of its first link, known before the network is up. It is the zero Addr if
// the node has no link.
func (node *Node) Addr() netip.Addr {
	if interfaces := node.Interfaces(); len(interfaces) > 0 {
		return interfaces[0].Addr.Addr()
	}
	return netip.Addr{}
}

// Addr6 is the node's primary IPv6 address, as [Node.Addr].
func (node *Node) Addr6() netip.Addr {
	if interfaces := node.Interfaces(); len(interfaces) > 0 {
		return interfaces[0].Addr6.Addr()
	}
	return netip.Addr{}
}

// Interfaces are the node's devices apart from the loopback: eth0, eth1 …
func (node *Node) Interfaces() []Interface {
	if node == nil || node.place == nil {
		return nil
	}
	var interfaces []Interface
	for slot, link := range node.place.links {
		// The second comparison keeps the two ends of a self link apart; Validate refuses it, but this is called before.
		for end := range link.ends {
			if link.ends[end] == node && link.slots[end] == slot {
				interfaces = append(interfaces, link.end(end))
			}
		}
	}
	return interfaces
}

// Ends are the two ends of the link, in the order in which Connect was given the nodes.
func (l *Link) Ends() [2]Interface { return [2]Interface{l.end(0), l.end(1)} }

// Device is the name that the link's end has in the node, such as eth0; empty if the link does not reach the node.
func (l *Link) Device(node *Node) string {
	for i, end := range l.ends {
		if end == node {
			return l.end(i).Name
		}
	}
	return ""
}

// String names both ends, as client:eth0-fw:eth1.
func (l *Link) String() string {
	return fmt.Sprintf("%v:%s-%v:%s", l.ends[0], l.end(0).Name, l.ends[1], l.end(1).Name)
}
