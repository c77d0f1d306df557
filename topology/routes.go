package topology

import (
	"net/netip"
	"slices"
)

// route is one derived route of a node: to a subnet that it is not part of.
type route struct {
	to      netip.Prefix
	gateway netip.Addr
	device  string
	table   uint32 // that of a VRF; 0 for the main one
}

// hop is the way out of a node: its own interface, and the one that it sends to.
type hop struct{ own, next Interface }

// domain is where packets are routed: a node, or a VRF of it.
type domain struct {
	node *Node
	vrf  uint32
}

// routes computes the routes of one node, in the order of the subnets they lead to. Of several segments with the same subnet,
// the first has the route.
//
// A subnet is reached through forwarding nodes where that is possible. Where it is not, it is reached over the shortest
// path as if every node forwarded: the packet then gets as far as the node that ought to forward, and its journey shows
// it ending there, which tells the user more than a refused send. The two never make a loop: a forwarding next hop of a
// node without a proper path has no proper path either, so the distance shrinks at every hop.
func (p *plan) routes(node *Node) []route {
	var routes []route
	done := make(map[uint32]bool)
	for _, link := range node.place.links {
		for _, own := range p.ends[link.index] {
			if vrf := node.vrf(own.on).Table; own.Node == node && own.on != "" && !done[vrf] {
				done[vrf] = true
				routes = append(routes, p.routesFrom(domain{node, vrf})...)
			}
		}
	}
	return routes
}

func (p *plan) routesFrom(from domain) []route {
	proper := p.firstHops(from, func(node *Node) bool { return node.Forwarding })
	fallback := p.firstHops(from, func(*Node) bool { return true })

	var routes []route
	taken := p.own(from) // two sites may use the same addresses; a route to the other one would cut off the own
	for segment := range p.segments {
		first, ok := proper[segment]
		if !ok {
			first, ok = fallback[segment]
		}
		if !ok {
			continue // it is part of it, or nothing connects the two
		}
		for _, subnet := range p.subnets(segment) {
			gateway := first.next.Addr
			if subnet.Addr().Is6() {
				gateway = first.next.Addr6
			}
			if gateway.IsValid() && !slices.Contains(taken, subnet) {
				taken = append(taken, subnet)
				routes = append(routes, route{to: subnet, gateway: gateway.Addr(), device: first.own.on, table: from.vrf})
			}
		}
	}
	return routes
}

// own are the subnets that a domain is part of.
func (p *plan) own(d domain) []netip.Prefix {
	var subnets []netip.Prefix
	for _, link := range d.node.place.links {
		for _, i := range p.ends[link.index] {
			if i.Node != d.node || i.on == "" || d.node.vrf(i.on).Table != d.vrf {
				continue
			}
			for _, prefix := range i.prefixes() {
				subnets = append(subnets, prefix.Masked())
			}
		}
	}
	return subnets
}

// firstHops searches breadth first, through nodes that pass, and returns for each segment that such a node can reach the
// first hop on the shortest path to it.
func (p *plan) firstHops(from domain, pass func(*Node) bool) map[int]hop {
	type visit struct {
		at    domain
		first hop
	}
	hops := make(map[int]hop)
	own := make(map[int]bool)
	seen := map[domain]bool{from: true}
	queue := []visit{{at: from}}
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		if v.at != from && !pass(v.at.node) {
			continue
		}
		for _, link := range v.at.node.place.links {
			for _, out := range p.ends[link.index] {
				if out.Node != v.at.node || out.on == "" || out.Node.vrf(out.on).Table != v.at.vrf {
					continue
				}
				segment := p.segment[link.index]
				if v.at == from {
					own[segment] = true
				} else if _, ok := hops[segment]; !ok {
					hops[segment] = v.first
				}
				for _, far := range p.on(segment, nil) {
					next := domain{far.Node, far.Node.vrf(far.on).Table}
					if far.Node == v.at.node || seen[next] {
						continue
					}
					seen[next] = true
					first := v.first
					if v.at == from {
						first = hop{out, far}
					}
					queue = append(queue, visit{next, first})
				}
			}
		}
	}
	for segment := range own {
		delete(hops, segment)
	}
	return hops
}
