package topology

import (
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"strconv"
)

// plan is what follows from a declaration: segments, addresses, and who takes part where. It is made anew whenever it is
// asked for, because handles can be changed until the network is up. Faults that Validate refuses make a plan that means
// nothing, but never a panic.
type plan struct {
	network *Network
	// ends are those of each link, by the link's index.
	ends [][2]Interface
	// segments are sets of links that bridges join, each in order; segment is the one of each link.
	segments [][]int
	segment  []int
}

// plan derives everything about the ends of links from positions. The package documentation states the rules.
func (n *Network) plan() *plan {
	p := &plan{network: n, segment: make([]int, len(n.links))}
	p.findSegments()
	p.ends = make([][2]Interface, len(n.links))
	for _, links := range p.segments {
		host := 0
		for _, index := range links {
			link := n.links[index]
			for end := range link.ends {
				i := Interface{Node: link.ends[end], Link: link, Name: link.name(end)}
				i.addressed(links[0], &host)
				p.ends[index][end] = i
			}
		}
	}
	return p
}

// findSegments joins links that meet at a bridge. A segment's number is where it stands among those that begin later.
func (p *plan) findSegments() {
	n := p.network
	root := make([]int, len(n.links))
	for i := range root {
		root[i] = i
	}
	join := func(a, b int) {
		from, to := max(root[a], root[b]), min(root[a], root[b])
		for i := range root {
			if root[i] == from {
				root[i] = to
			}
		}
	}
	for _, node := range n.nodes {
		for _, device := range node.devices() {
			if _, ok := device.Kind.(Bridge); !ok {
				continue
			}
			first := -1
			for _, port := range ports(device.Kind) {
				link := node.linkOf(port)
				switch {
				case link == nil:
				case first < 0:
					first = link.index
				default:
					join(first, link.index)
				}
			}
		}
	}
	number := make(map[int]int)
	for i := range root {
		at, ok := number[root[i]]
		if !ok {
			at = len(p.segments)
			number[root[i]] = at
			p.segments = append(p.segments, nil)
		}
		p.segments[at] = append(p.segments[at], i)
		p.segment[i] = at
	}
}

// linkOf finds the link that ends at a device of the node, or at the first port of a bond of that name.
func (node *Node) linkOf(device string) *Link {
	for _, d := range node.devices() {
		if bond, ok := d.Kind.(Bond); ok && d.Name == device && len(bond.Ports) > 0 {
			device = bond.Ports[0]
			break
		}
	}
	for slot, link := range node.place.links {
		for end := range link.ends {
			if link.ends[end] == node && link.slots[end] == slot && link.name(end) == device {
				return link
			}
		}
	}
	return nil
}

// devices are the node's devices apart from the ends of links, with the one that [Node.Bridge] means.
func (node *Node) devices() []Device {
	if node == nil || node.place == nil {
		return nil
	}
	if node.Bridge == nil {
		return node.Devices
	}
	bridge := *node.Bridge
	bridge.Ports = slices.Clone(bridge.Ports)
	for slot, link := range node.place.links {
		for end := range link.ends {
			if link.ends[end] != node || link.slots[end] != slot {
				continue
			}
			name := link.name(end)
			taken := slices.Contains(bridge.Ports, name)
			for _, d := range node.Devices {
				taken = taken || slices.Contains(ports(d.Kind), name)
			}
			if !taken {
				bridge.Ports = append(bridge.Ports, name)
			}
		}
	}
	return append([]Device{{Name: "br0", Kind: bridge}}, node.Devices...)
}

// master finds the device that has another one as a port, and the other's position among its ports.
func (node *Node) master(device string) (master Device, position int) {
	for _, d := range node.devices() {
		if i := slices.Index(ports(d.Kind), device); i >= 0 {
			return d, i
		}
	}
	return Device{}, -1
}

// vrf is the VRF that a device belongs to; the zero VRF if none.
func (node *Node) vrf(device string) VRF {
	master, _ := node.master(device)
	vrf, _ := master.Kind.(VRF)
	return vrf
}

// addressed gives the interface its MAC and IP addresses: the next host number on the subnet of the segment that begins
// with link first, unless something else is declared or follows.
func (i *Interface) addressed(first int, host *int) {
	given := i.Link.device(i.Node, i.Name)
	i.on = i.Name
	master, position := i.Node.master(i.Name)
	if _, ok := master.Kind.(Bond); ok {
		i.on = ""
		if position == 0 {
			i.on = master.Name
			master, _ = i.Node.master(master.Name)
		}
	}
	if _, ok := master.Kind.(Bridge); ok {
		i.on = ""
	}
	end := 0
	if i.Link.ends[0] != i.Node {
		end = 1
	}
	if i.on == "" {
		// 02 marks a locally administered unicast address.
		i.MAC = MAC{0x02, 0x01, byte(i.Link.index >> 8), byte(i.Link.index), 0, byte(end + 1)}
	} else {
		*host++
		i.derive(first, byte(*host))
	}
	if mac, err := net.ParseMAC(given.MAC); err == nil && len(mac) == 6 {
		i.MAC = MAC(mac)
	}
	if given.MTU != 0 && given.MTU < minMTU6 {
		i.Addr6, i.LinkLocal = netip.Prefix{}, netip.Prefix{} // the kernel has no IPv6 there
	}
	switch {
	case given.Bare:
		i.Addr, i.Addr6, i.LinkLocal = netip.Prefix{}, netip.Prefix{}, netip.Prefix{}
	case len(given.Addrs) > 0:
		i.Addr, i.Addr6 = netip.Prefix{}, netip.Prefix{}
		for _, text := range given.Addrs {
			prefix, err := netip.ParsePrefix(text)
			switch {
			case err != nil:
			case prefix.Addr().Is4() && !i.Addr.IsValid():
				i.Addr = prefix
			case prefix.Addr().Is6() && !i.Addr6.IsValid():
				i.Addr6 = prefix
			default:
				i.more = append(i.more, prefix)
			}
		}
	}
}

// derive gives the interface the addresses of a host on the subnet that belongs to the link with an index.
func (i *Interface) derive(index int, host byte) {
	octet := firstOctet + index%maxLinks
	v4 := [4]byte{172, 16, byte(octet), host}

	// The decimal digits of the octet read as hexadecimal, so that both families show the same number.
	group, _ := strconv.ParseUint(strconv.Itoa(octet), 16, 16)
	v6 := [16]byte{0: 0xfd, 1: 0x42, 6: byte(group >> 8), 7: byte(group), 15: host}

	i.MAC = MAC{0x02, 0x00, v4[0], v4[1], v4[2], v4[3]}
	i.Addr = netip.PrefixFrom(netip.AddrFrom4(v4), 24)
	i.Addr6 = netip.PrefixFrom(netip.AddrFrom16(v6), 64)
	i.LinkLocal = netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: host}), 64)
}

// name is the name of the link's device at an end.
func (l *Link) name(end int) string {
	if given := l.options.ends()[end].Name; given != "" {
		return given
	}
	return fmt.Sprintf("eth%d", l.slots[end])
}

// device is what was declared about the end of the link that has a name in a node.
func (l *Link) device(node *Node, name string) Device {
	for end := range l.ends {
		if l.ends[end] == node && l.name(end) == name {
			return l.options.ends()[end]
		}
	}
	return Device{}
}

// prefixes are all addresses of the interface but the link-local one.
func (i Interface) prefixes() []netip.Prefix {
	var all []netip.Prefix
	for _, p := range append([]netip.Prefix{i.Addr, i.Addr6}, i.more...) {
		if p.IsValid() {
			all = append(all, p)
		}
	}
	return all
}

// on are the node's interfaces on a segment that have an address; on all nodes if node is nil.
func (p *plan) on(segment int, node *Node) []Interface {
	var found []Interface
	for _, index := range p.segments[segment] {
		for _, i := range p.ends[index] {
			if i.on != "" && (node == nil || i.Node == node) && (i.Addr.IsValid() || i.Addr6.IsValid()) {
				found = append(found, i)
			}
		}
	}
	return found
}

// subnets are the prefixes of a segment, IPv4 first.
func (p *plan) subnets(segment int) []netip.Prefix {
	var subnets []netip.Prefix
	interfaces := p.on(segment, nil)
	for _, of := range []func(Interface) netip.Prefix{
		func(i Interface) netip.Prefix { return i.Addr },
		func(i Interface) netip.Prefix { return i.Addr6 },
	} {
		for _, i := range interfaces {
			if prefix := of(i).Masked(); prefix.IsValid() && !slices.Contains(subnets, prefix) {
				subnets = append(subnets, prefix)
			}
		}
	}
	return subnets
}

// all are the node's devices with what was declared about them: the ends of links, then the others.
func (node *Node) all() iter.Seq2[string, Device] {
	return func(yield func(string, Device) bool) {
		for slot, link := range node.place.links {
			for end := range link.ends {
				if link.ends[end] != node || link.slots[end] != slot {
					continue
				}
				if !yield(link.name(end), link.options.ends()[end]) {
					return
				}
			}
		}
		for _, device := range node.devices() {
			if !yield(device.Name, device) {
				return
			}
		}
	}
}

// addresses are those of the node by device, the link-local ones included.
func (p *plan) addresses(node *Node) iter.Seq2[string, netip.Prefix] {
	return func(yield func(string, netip.Prefix) bool) {
		for _, link := range node.place.links {
			for _, i := range p.ends[link.index] {
				if i.Node != node || i.on == "" {
					continue
				}
				all := i.prefixes()
				if i.LinkLocal.IsValid() {
					all = append(all, i.LinkLocal)
				}
				for _, address := range all {
					if !yield(i.on, address) {
						return
					}
				}
			}
		}
		for _, device := range node.devices() {
			for _, text := range device.Addrs {
				// Validate has refused what is none.
				if address, err := netip.ParsePrefix(text); err == nil && !yield(device.Name, address) {
					return
				}
			}
		}
	}
}

// runs reports whether a device will be able to send by itself once the node is up: neither it nor what it needs was
// declared down, and no protocol has to agree first.
func (node *Node) runs(name string) bool {
	for device, declared := range node.all() {
		if device != name {
			continue
		}
		if declared.Down {
			return false
		}
		switch k := declared.Kind.(type) {
		case nil:
			return name == loopback || node.linkRuns(name)
		case Bridge:
			return !k.STP && slices.ContainsFunc(k.Ports, func(port string) bool { return node.runs(port) })
		case Bond:
			return slices.ContainsFunc(k.Ports, func(port string) bool { return node.runs(port) })
		}
		if on := below(declared.Kind); on != "" {
			return node.runs(on)
		}
		return true
	}
	return false
}

// linkRuns reports whether neither end of the link that ends at a device was declared down.
func (node *Node) linkRuns(device string) bool {
	link := node.linkOf(device)
	ends := link.options.ends()
	return !ends[0].Down && !ends[1].Down
}

// loopback is the device that every node has.
const loopback = "lo"
