package topology

import "net/netip"

// route is one static route of a node: to a subnet that it is not part of.
type route struct {
	to      netip.Prefix
	gateway netip.Addr
	device  string
}

// hop is the way out of a node: the end of a link opposite to the node.
type hop struct {
	link *Link
	end  int
}

// routes computes the routes of one node, in the order of the links they lead to.
//
// A subnet is reached through forwarding nodes where that is possible. Where it is not, it is reached over the shortest
// path as if every node forwarded: the packet then gets as far as the node that ought to forward, and its journey shows
// it ending there, which tells the user more than a refused send. The two never make a loop: a forwarding next hop of a
// node without a proper path has no proper path either, so the distance shrinks at every hop.
func (n *Network) routes(from *Node) []route {
	proper := n.firstHops(from, func(node *Node) bool { return node.Forwarding })
	fallback := n.firstHops(from, func(*Node) bool { return true })

	var routes []route
	for _, link := range n.links {
		if link.ends[0] == from || link.ends[1] == from {
			continue
		}
		first, ok := proper[link]
		if !ok {
			first, ok = fallback[link]
		}
		if !ok {
			continue // in a part of the network that nothing connects with this one
		}
		gateway, own := first.link.end(first.end), first.link.end(1-first.end)
		subnets := link.subnets()
		routes = append(routes,
			route{to: subnets[0], gateway: gateway.Addr.Addr(), device: own.Name},
			route{to: subnets[1], gateway: gateway.Addr6.Addr(), device: own.Name})
	}
	return routes
}

// firstHops searches breadth first, through nodes that pass, and returns for each link that such a node can reach the
// first hop on the shortest path to it.
func (n *Network) firstHops(from *Node, pass func(*Node) bool) map[*Link]hop {
	type visit struct {
		node  *Node
		first hop
	}
	hops := make(map[*Link]hop)
	seen := map[*Node]bool{from: true}
	queue := []visit{{node: from}}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if at.node != from && !pass(at.node) {
			continue
		}
		for _, link := range at.node.place.links {
			far := 0
			if link.ends[0] == at.node {
				far = 1
			}
			first := at.first
			if at.node == from {
				first = hop{link: link, end: far}
			} else if _, ok := hops[link]; !ok {
				hops[link] = first
			}
			if next := link.ends[far]; !seen[next] {
				seen[next] = true
				queue = append(queue, visit{node: next, first: first})
			}
		}
	}
	return hops
}
