package topology

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routes are those of the node: what is declared, and what is derived where nothing is.
func (rn *runningNode) routes(p *plan) ([]*netlink.Route, error) {
	type key struct {
		to    netip.Prefix
		table uint32
	}
	given := make(map[key]bool)
	var declared []*netlink.Route
	for i, r := range rn.node.Routes {
		route, err := rn.declareRoute(p, r)
		if err != nil {
			return nil, fmt.Errorf("route %d, to %s: %w", i, r.To, err)
		}
		to, _ := r.destination()
		given[key{to, cmp.Or(r.Table, unix.RT_TABLE_MAIN)}] = true
		declared = append(declared, route)
	}
	var routes []*netlink.Route
	for _, r := range p.routes(rn.node) {
		if given[key{r.to, cmp.Or(r.table, unix.RT_TABLE_MAIN)}] || !rn.node.runs(r.device) {
			continue
		}
		routes = append(routes, &netlink.Route{
			LinkIndex: rn.devices[r.device], Dst: ipNet(r.to), Gw: r.gateway.AsSlice(), Table: int(r.table),
		})
	}
	return append(routes, declared...), nil
}

// addRoutes fills the node's routing tables, rules and neighbours.
func (rn *runningNode) addRoutes(p *plan) error {
	routes, err := rn.routes(p)
	if err != nil {
		return err
	}
	for _, route := range routes {
		if err := rn.route.RouteReplace(route); err != nil {
			return fmt.Errorf("add route to %s: %w", route.Dst, err)
		}
	}
	for i, rule := range rn.node.Rules {
		for _, family := range rule.families() {
			if err := rn.route.RuleAdd(rule.declare(family)); err != nil {
				return fmt.Errorf("add policy rule %d: %w", i, unsupported(err, "policy rules",
					"CONFIG_IP_MULTIPLE_TABLES"))
			}
		}
	}
	for i, neighbour := range rn.node.Neighbours {
		if err := rn.addNeighbour(p, neighbour); err != nil {
			return fmt.Errorf("add neighbour %d, %v: %w", i, neighbour.Addr, err)
		}
	}
	return nil
}

// declareRoute is the route as netlink takes it.
func (rn *runningNode) declareRoute(p *plan, r Route) (*netlink.Route, error) {
	to, err := r.destination()
	if err != nil {
		return nil, err
	}
	route := &netlink.Route{
		Dst: ipNet(to), Type: routeTypes[r.Type], Table: int(r.Table), Priority: r.Metric, MTU: r.MTU,
		Family: unix.AF_INET,
	}
	if to.Addr().Is6() {
		route.Family = unix.AF_INET6
	}
	if r.Src != nil {
		route.Src = ipOf(r.Src)
		if node, ok := r.Src.(*Node); ok && to.Addr().Is6() {
			route.Src = node.Addr6().AsSlice()
		}
	}
	hops := r.hops()
	for _, hop := range hops {
		gateway, device, _, err := p.nextHop(rn.node, hop.Via, hop.Device, to.Addr().Is6())
		if err != nil {
			return nil, err
		}
		next := &netlink.NexthopInfo{LinkIndex: rn.devices[device], Hops: max(hop.Weight, 1) - 1}
		if gateway.IsValid() {
			next.Gw = gateway.AsSlice()
			if gateway.Is6() && to.Addr().Is4() {
				next.Gw, next.Via = nil, &netlink.Via{AddrFamily: unix.AF_INET6, Addr: gateway.AsSlice()}
			}
		} else if route.Type == unix.RTN_UNICAST && to.Addr().Is4() {
			route.Scope = unix.RT_SCOPE_LINK
		}
		route.MultiPath = append(route.MultiPath, next)
	}
	if len(route.MultiPath) == 1 {
		only := route.MultiPath[0]
		route.MultiPath, route.LinkIndex, route.Gw, route.Via = nil, only.LinkIndex, only.Gw, only.Via
	}
	if route.Type == unix.RTN_LOCAL {
		route.Scope = unix.RT_SCOPE_HOST
		route.Table = int(cmp.Or(r.Table, unix.RT_TABLE_LOCAL))
		route.LinkIndex = cmp.Or(route.LinkIndex, 1)
	}
	return route, nil
}

// families are those that a rule is for.
func (r PolicyRule) families() []int {
	for _, text := range []string{r.From, r.To} {
		if p, err := prefix(text); err == nil {
			if p.Addr().Is4() {
				return []int{unix.AF_INET}
			}
			return []int{unix.AF_INET6}
		}
	}
	return []int{unix.AF_INET, unix.AF_INET6}
}

// declare is the rule as netlink takes it.
func (r PolicyRule) declare(family int) *netlink.Rule {
	rule := netlink.NewRule()
	rule.Family, rule.Table, rule.Invert = family, int(r.Table), r.Not
	rule.IifName, rule.OifName, rule.Mark, rule.Type = r.In, r.Out, r.Mark, ruleTypes[r.Type]
	if r.Priority != 0 {
		rule.Priority = r.Priority
	}
	if r.Mark != 0 && r.Mask != 0 {
		rule.Mask = &r.Mask
	}
	if p, err := prefix(r.From); err == nil {
		rule.Src = ipNet(p)
	}
	if p, err := prefix(r.To); err == nil {
		rule.Dst = ipNet(p)
	}
	return rule
}

func (rn *runningNode) addNeighbour(p *plan, n Neighbour) error {
	addr, device, mac, err := p.nextHop(rn.node, n.Addr, n.Device, false)
	if err != nil {
		return err
	}
	neighbour := &netlink.Neigh{
		LinkIndex: rn.devices[device], IP: addr.AsSlice(), State: netlink.NUD_PERMANENT, HardwareAddr: mac[:],
	}
	if given, err := net.ParseMAC(n.MAC); err == nil {
		neighbour.HardwareAddr = given
	}
	switch {
	case n.Failed:
		neighbour.State, neighbour.HardwareAddr = netlink.NUD_FAILED, nil
	case n.Proxy:
		neighbour.State, neighbour.HardwareAddr, neighbour.Flags = 0, nil, netlink.NTF_PROXY
	}
	return rn.route.NeighSet(neighbour)
}
