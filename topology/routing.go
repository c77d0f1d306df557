package topology

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Route is an entry of a routing table.
type Route struct {
	// To is the destination: a prefix such as 10.0.0.0/8, an address, or "default", which is 0.0.0.0/0, or ::/0 if Via is
	// an IPv6 address.
	To string
	// Type says what becomes of packets; empty for forwarding them.
	Type RouteType
	// Via is the next hop: a node, by its address on a subnet that both are on, or an IP. Nil if the destination is on
	// Device's link.
	Via Host
	// Device is the way out; empty to derive it from Via.
	Device string
	// Hops are the next hops of a multipath route, instead of Via and Device.
	Hops []Hop
	// Table is the routing table; 0 for the main one.
	Table uint32
	// Metric orders routes to the same destination; the lowest wins. 0 is 0 for IPv4 and 1024 for IPv6.
	Metric int
	// Src is the source address that the node prefers; nil for none.
	Src Host
	// MTU limits packets on this route; 0 for no limit.
	MTU int
}

// Hop is a next hop of a multipath route.
type Hop struct {
	// Via and Device are as in [Route].
	Via    Host
	Device string
	// Weight is the share of flows, 1 to 256; 0 is 1.
	Weight int
}

// RouteType says what becomes of packets that a route, or a rule, is for.
type RouteType string

// The types. The sender of an unreachable packet is told EHOSTUNREACH, that of a prohibited one EACCES; if it is another
// node, by ICMP. Throw goes on with the next policy rule.
const (
	Blackhole   RouteType = "blackhole"
	Unreachable RouteType = "unreachable"
	Prohibit    RouteType = "prohibit"
	Throw       RouteType = "throw"
	Local       RouteType = "local"
)

var routeTypes = map[RouteType]int{
	"": unix.RTN_UNICAST, Blackhole: unix.RTN_BLACKHOLE, Unreachable: unix.RTN_UNREACHABLE,
	Prohibit: unix.RTN_PROHIBIT, Throw: unix.RTN_THROW, Local: unix.RTN_LOCAL,
}

// ruleTypes are those of a policy rule (FR_ACT_*, include/uapi/linux/fib_rules.h): 1 looks the table up.
var ruleTypes = map[RouteType]uint8{"": 1, Blackhole: unix.RTN_BLACKHOLE, Unreachable: unix.RTN_UNREACHABLE,
	Prohibit: unix.RTN_PROHIBIT}

// PolicyRule chooses a routing table. It is for IPv4 or IPv6, as From and To are, and for both if neither is given.
type PolicyRule struct {
	// From and To are prefixes or addresses of packets; empty for all.
	From, To string
	// In and Out are the devices that packets come in by, and that a socket is bound to; empty for all. "lo" as In is what
	// the node itself sends.
	In, Out string
	// Mark is the packet's mark, and Mask the bits of it that count; a zero Mask is all.
	Mark, Mask uint32
	// Not turns the selection round.
	Not bool
	// Table is the routing table to look the destination up in.
	Table uint32
	// Type says what becomes of packets instead: [Blackhole], [Unreachable] or [Prohibit].
	Type RouteType
	// Priority orders rules; the lowest comes first. 0 for the kernel's choice, before all others but the local table's.
	Priority int
}

// Neighbour is an entry of a neighbour table, or of the proxies.
type Neighbour struct {
	// Addr is the neighbour: a node, by its IPv4 address on a subnet that both are on, or an IP.
	Addr Host
	// Device is where it is; empty to derive it from the address.
	Device string
	// MAC is its Ethernet address; empty for that of the node that Addr is.
	MAC string
	// Failed makes the entry one that could not be resolved: packets to it are dropped until the kernel tries again.
	Failed bool
	// Proxy answers requests for the address on Device, instead of being an entry.
	Proxy bool
}

// prefix reads a prefix, or an address as a prefix of its own.
func prefix(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is no prefix: write one such as 10.0.0.0/8 or fd00::/8", text)
	}
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// destination is the prefix that the route is to.
func (r Route) destination() (netip.Prefix, error) {
	if r.To != "default" {
		return prefix(r.To)
	}
	for _, hop := range r.hops() {
		if hop.Via != nil && hop.Via.Addr().Is6() {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0), nil
		}
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
}

// hops are the route's next hops, a single one included.
func (r Route) hops() []Hop {
	if len(r.Hops) > 0 {
		return r.Hops
	}
	if r.Via == nil && r.Device == "" {
		return nil
	}
	return []Hop{{Via: r.Via, Device: r.Device}}
}

// nextHop finds the address and the device by which a node reaches a host directly. The address is of the family of a
// destination.
func (p *plan) nextHop(node *Node, host Host, device string, six bool) (netip.Addr, string, MAC, error) {
	if host == nil {
		return netip.Addr{}, device, MAC{}, nil
	}
	to, isNode := host.(*Node)
	if v6, ok := host.(host6); ok {
		to, isNode, six = v6.node, true, true
	}
	if !isNode {
		addr := host.Addr()
		if device == "" {
			device = p.deviceTo(node, addr)
		}
		if device == "" {
			return netip.Addr{}, "", MAC{}, fmt.Errorf("%v is on no subnet of the node: give the Device", host)
		}
		return addr, device, MAC{}, nil
	}
	for segment := range p.segments {
		for _, own := range p.on(segment, node) {
			if device != "" && device != own.on {
				continue
			}
			for _, far := range p.on(segment, to) {
				addr := far.Addr
				if six {
					addr = far.Addr6
				}
				if addr.IsValid() && to != node {
					return addr.Addr(), own.on, far.MAC, nil
				}
			}
		}
	}
	return netip.Addr{}, "", MAC{}, fmt.Errorf("%v and %v are on no subnet together: give an IP and the Device", node, to)
}

// deviceTo finds the device of a node on whose subnet an address is.
func (p *plan) deviceTo(node *Node, addr netip.Addr) string {
	for segment := range p.segments {
		for _, own := range p.on(segment, node) {
			if slices.ContainsFunc(own.prefixes(), func(p netip.Prefix) bool { return p.Contains(addr) }) {
				return own.on
			}
		}
	}
	for _, device := range node.devices() {
		for _, text := range device.Addrs {
			if p, err := netip.ParsePrefix(text); err == nil && p.Contains(addr) {
				return device.Name
			}
		}
	}
	return ""
}
