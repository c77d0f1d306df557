package topology

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// DeviceState is a device of a running node as the kernel has it.
type DeviceState struct {
	// Name is the device's name, Index its number in the node, and Kind its type, such as veth or bridge; empty for the
	// loopback.
	Name  string
	Index int
	Kind  string
	MAC   MAC
	MTU   int
	// Up says that it was brought up, and Carrier that it can send.
	Up, Carrier bool
	// Master is the index of the bridge, bond or VRF that it is a port of; 0 for none.
	Master int
	// Addrs are all its addresses.
	Addrs []netip.Prefix
	// Counters are the device's own.
	Counters Counters
}

// Counters count what passed a device, as ip -s link shows them.
type Counters struct {
	RxPackets, RxBytes, RxErrors, RxDropped uint64
	TxPackets, TxBytes, TxErrors, TxDropped uint64
}

// Devices returns the node's devices as they are now, the loopback included, in order of their index.
func (r *Running) Devices(node *Node) ([]DeviceState, error) {
	rn, links, err := r.links(node)
	if err != nil {
		return nil, err
	}
	addresses, err := rn.route.AddrList(nil, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("node %s: list addresses: %w", node, err)
	}
	var states []DeviceState
	for _, link := range links {
		a := link.Attrs()
		state := DeviceState{
			Name: a.Name, Index: a.Index, Kind: link.Type(), MTU: a.MTU, Master: a.MasterIndex,
			Up: a.RawFlags&unix.IFF_UP != 0, Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0,
		}
		if a.RawFlags&unix.IFF_LOOPBACK != 0 {
			state.Kind = ""
		}
		copy(state.MAC[:], a.HardwareAddr)
		if s := a.Statistics; s != nil {
			state.Counters = Counters{s.RxPackets, s.RxBytes, s.RxErrors, s.RxDropped,
				s.TxPackets, s.TxBytes, s.TxErrors, s.TxDropped}
		}
		for _, address := range addresses {
			if address.LinkIndex == a.Index {
				state.Addrs = append(state.Addrs, prefixOf(address.IP, address.Mask))
			}
		}
		states = append(states, state)
	}
	return states, nil
}

// links are the node's devices as netlink has them.
func (r *Running) links(node *Node) (*runningNode, []netlink.Link, error) {
	rn, err := r.lookup(node)
	if err != nil {
		return nil, nil, err
	}
	links, err := rn.route.LinkList()
	if err != nil {
		return nil, nil, fmt.Errorf("node %s: list devices: %w", node, err)
	}
	return rn, links, nil
}

// Device returns one device of the node as it is now.
func (r *Running) Device(node *Node, name string) (DeviceState, error) {
	states, err := r.Devices(node)
	if err != nil {
		return DeviceState{}, err
	}
	var names []string
	for _, state := range states {
		if state.Name == name {
			return state, nil
		}
		names = append(names, state.Name)
	}
	return DeviceState{}, fmt.Errorf("node %s has no device %q%s", node, name, meant(name, names))
}

// RouteState is an entry of a routing table as the kernel has it.
type RouteState struct {
	// To is the destination; 0.0.0.0/0 or ::/0 for a default route.
	To netip.Prefix
	// Type is empty for an ordinary route.
	Type RouteType
	// Hops are the next hops; Via is invalid where the destination is on the link.
	Hops  []HopState
	Table uint32
	// Metric is the kernel's priority.
	Metric int
}

// HopState is a next hop of a route.
type HopState struct {
	Via    netip.Addr
	Device string
	Weight int
}

// String prints the route as ip route does.
func (r RouteState) String() string {
	var b strings.Builder
	if r.Type != "" {
		b.WriteString(string(r.Type) + " ")
	}
	b.WriteString(r.To.String())
	for _, hop := range r.Hops {
		if len(r.Hops) > 1 {
			b.WriteString(" nexthop")
		}
		if hop.Via.IsValid() {
			fmt.Fprintf(&b, " via %s", hop.Via)
		}
		if hop.Device != "" {
			fmt.Fprintf(&b, " dev %s", hop.Device)
		}
		if len(r.Hops) > 1 {
			fmt.Fprintf(&b, " weight %d", hop.Weight)
		}
	}
	if r.Table != unix.RT_TABLE_MAIN {
		fmt.Fprintf(&b, " table %d", r.Table)
	}
	return b.String()
}

// Routes returns the node's routes of a table, IPv4 first, 0 being the main table.
func (r *Running) Routes(node *Node, table uint32) ([]RouteState, error) {
	rn, err := r.lookup(node)
	if err != nil {
		return nil, err
	}
	links, err := rn.route.LinkList()
	if err != nil {
		return nil, fmt.Errorf("node %s: list devices: %w", node, err)
	}
	names := make(map[int]string)
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
	}
	if table == 0 {
		table = unix.RT_TABLE_MAIN
	}
	var states []RouteState
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := rn.route.RouteListFiltered(family, &netlink.Route{Table: int(table)}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("node %s: list routes: %w", node, err)
		}
		for _, route := range routes {
			states = append(states, routeState(route, family, names))
		}
	}
	return states, nil
}

func routeState(route netlink.Route, family int, names map[int]string) RouteState {
	state := RouteState{Table: uint32(route.Table), Metric: route.Priority}
	for name, kind := range routeTypes {
		if kind == route.Type {
			state.Type = name
		}
	}
	switch {
	case route.Dst != nil:
		state.To = prefixOf(route.Dst.IP, route.Dst.Mask)
	case family == unix.AF_INET:
		state.To = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	default:
		state.To = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	hop := func(index int, gateway []byte, weight int) {
		addr, _ := netip.AddrFromSlice(gateway)
		if index != 0 || addr.IsValid() {
			state.Hops = append(state.Hops, HopState{Via: addr.Unmap(), Device: names[index], Weight: weight})
		}
	}
	if len(route.MultiPath) == 0 {
		hop(route.LinkIndex, route.Gw, 1)
	}
	for _, next := range route.MultiPath {
		hop(next.LinkIndex, next.Gw, next.Hops+1)
	}
	return state
}

// Connection is an entry of the connection tracking table.
type Connection struct {
	// Proto is the IP protocol number.
	Proto uint8
	// Original and Reply are the tuples of the two directions. Ports are 0 where the protocol has none.
	Original, Reply Tuple
	// Mark and Zone are as rules set them.
	Mark uint32
	Zone uint16
}

// Tuple is one direction of a connection.
type Tuple struct{ Src, Dst netip.AddrPort }

// String prints the tuple as 172.16.42.1:1024 > 172.16.42.2:80.
func (t Tuple) String() string { return t.Src.String() + " > " + t.Dst.String() }

// Connections returns the entries of the node's connection tracking table, IPv4 first.
func (r *Running) Connections(node *Node) ([]Connection, error) {
	rn, err := r.lookup(node)
	if err != nil {
		return nil, err
	}
	var connections []Connection
	err = rn.ns.Do(func() error {
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
			if err != nil {
				return unsupported(err, "connection tracking", "nf_conntrack_netlink")
			}
			for _, flow := range flows {
				connections = append(connections, Connection{
					Proto: flow.Forward.Protocol, Original: tuple(flow.Forward), Reply: tuple(flow.Reverse),
					Mark: flow.Mark, Zone: flow.Zone,
				})
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("node %s: list connections: %w", node, err)
	}
	return connections, nil
}

func tuple(t netlink.IPTuple) Tuple {
	src, _ := netip.AddrFromSlice(t.SrcIP)
	dst, _ := netip.AddrFromSlice(t.DstIP)
	return Tuple{netip.AddrPortFrom(src.Unmap(), t.SrcPort), netip.AddrPortFrom(dst.Unmap(), t.DstPort)}
}

func prefixOf(ip []byte, mask []byte) netip.Prefix {
	addr, _ := netip.AddrFromSlice(ip)
	bits := 0
	for _, b := range mask {
		for ; b&0x80 != 0; b <<= 1 {
			bits++
		}
	}
	return netip.PrefixFrom(addr.Unmap(), bits)
}
