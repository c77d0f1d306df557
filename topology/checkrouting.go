package topology

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// checkRouting reports what is wrong with the routes, rules and neighbours of the node.
func (c *checker) checkRouting(path string) {
	for i, route := range c.node.Routes {
		c.checkRoute(fmt.Sprintf("%s.Routes[%d]", path, i), route)
	}
	for i, rule := range c.node.Rules {
		c.checkRule(fmt.Sprintf("%s.Rules[%d]", path, i), rule)
	}
	for i, route := range c.node.Multicast {
		c.checkMulticast(fmt.Sprintf("%s.Multicast[%d]", path, i), route)
	}
	for i, neighbour := range c.node.Neighbours {
		c.checkNeighbour(fmt.Sprintf("%s.Neighbours[%d]", path, i), neighbour)
	}
	for i, e := range c.node.ESP {
		c.checkESP(fmt.Sprintf("%s.ESP[%d]", path, i), e)
	}
	c.checkESPs(path)
}

func (c *checker) checkRoute(path string, r Route) {
	to, err := r.destination()
	if err != nil {
		c.fault(path+".To", "%v", err)
	}
	kind, known := routeTypes[r.Type]
	if !known {
		c.fault(path+".Type", "%q is no type: leave it empty, or give a constant such as topology.Blackhole", r.Type)
	}
	hops := r.hops()
	switch {
	case len(r.Hops) > 0 && (r.Via != nil || r.Device != ""):
		c.fault(path+".Hops", "Via or Device is given too: give either next hops or a single one")
	case kind == unix.RTN_UNICAST && len(hops) == 0:
		c.fault(path+".Via", "is nil, and so is Device: say where packets go")
	case kind != unix.RTN_UNICAST && kind != unix.RTN_LOCAL && len(hops) > 0:
		c.fault(path+".Via", "a %s route goes nowhere: leave Via, Device and Hops out", r.Type)
	}
	for i, hop := range hops {
		path := path
		if len(r.Hops) > 0 {
			path = fmt.Sprintf("%s.Hops[%d]", path, i)
		}
		if hop.Weight < 0 || hop.Weight > 256 {
			c.fault(path+".Weight", "%d is no weight: give 1 to 256", hop.Weight)
		}
		c.checkHop(path, "Via", hop.Via, hop.Device, err == nil, to)
	}
	if r.Src != nil && (none(r.Src) || !r.Src.Addr().IsValid()) {
		c.fault(path+".Src", "%v has no address: give one that has", r.Src)
	}
	if r.Metric < 0 {
		c.fault(path+".Metric", "%d is negative: give 0 or more", r.Metric)
	}
}

// checkHop reports what is wrong with a next hop or neighbour.
func (c *checker) checkHop(path, field string, host Host, device string, known bool, to netip.Prefix) {
	if device != "" && !c.exists(path+".Device", device) || host == nil {
		return
	}
	if none(host) || !host.Addr().IsValid() {
		c.fault(path+"."+field, "%v has no address: give a node that has, or topology.IP", host)
		return
	}
	addr, _, _, err := c.plan.nextHop(c.node, host, device, known && to.Addr().Is6())
	switch {
	case err != nil:
		c.fault(path+"."+field, "%v", err)
	case known && to.IsValid() && to.Addr().Is6() && addr.Is4():
		c.fault(path+"."+field, "%s is an IPv4 address, and the destination is %s: both must be of one family", addr, to)
	}
}

func (c *checker) checkRule(path string, r PolicyRule) {
	var families []bool
	for _, end := range [][2]string{{"From", r.From}, {"To", r.To}} {
		if end[1] == "" {
			continue
		}
		p, err := prefix(end[1])
		if err != nil {
			c.fault(path+"."+end[0], "%v", err)
			continue
		}
		families = append(families, p.Addr().Is4())
	}
	if len(families) == 2 && families[0] != families[1] {
		c.fault(path+".To", "%s and %s are of different families: give both of one", r.From, r.To)
	}
	// The device of In and Out need not exist: the kernel compares names.
	_, known := ruleTypes[r.Type]
	switch {
	case !known:
		c.fault(path+".Type", "%q is no type for a rule: leave it empty, or give Blackhole, Unreachable or Prohibit", r.Type)
	case r.Type == "" && r.Table == 0:
		c.fault(path+".Table", "is 0: give the table to look up, or a Type")
	case r.Type != "" && r.Table != 0:
		c.fault(path+".Table", "a %s rule looks no table up: leave it out", r.Type)
	}
	if r.Priority < 0 {
		c.fault(path+".Priority", "%d is negative: give 1 or more", r.Priority)
	}
}

func (c *checker) checkNeighbour(path string, n Neighbour) {
	if none(n.Addr) {
		c.fault(path+".Addr", "is nil: give a node or topology.IP")
		return
	}
	before := len(c.faults)
	c.checkHop(path, "Addr", n.Addr, n.Device, false, netip.Prefix{})
	if len(c.faults) > before {
		return
	}
	_, _, mac, _ := c.plan.nextHop(c.node, n.Addr, n.Device, false)
	if _, err := net.ParseMAC(n.MAC); n.MAC != "" && err != nil {
		c.fault(path+".MAC", "%q is no Ethernet address: write one such as 02:00:00:00:00:01", n.MAC)
	}
	switch {
	case n.Failed && n.Proxy:
		c.fault(path, "it is Failed and a Proxy: give one of the two")
	case (n.Failed || n.Proxy) && n.MAC != "":
		c.fault(path+".MAC", "an entry that is Failed, or a Proxy, has none: leave it out")
	case !n.Failed && !n.Proxy && n.MAC == "" && mac == (MAC{}):
		c.fault(path+".MAC", "is empty, and %v is no node: give the neighbour's address", n.Addr)
	}
}
