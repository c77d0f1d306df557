package topology

import (
	"fmt"
	"net/netip"
)

// reach is an address of a node with the subnet that it makes the node reach, and by what.
type reach struct {
	path, device string // of the field, and that has the address
	prefix       netip.Prefix
	vrf          uint32
	medium       string // what the device is connected to
}

// checkSubnets reports subnets of a node that overlap: of two such the kernel would use one, whichever came first. Two
// devices may well be on the same subnet, or in different VRFs, and a single address may be anywhere.
func (c *checker) checkSubnets(path string) {
	var all []reach
	for _, link := range c.node.place.links {
		for end, i := range c.plan.ends[link.index] {
			if i.Node != c.node || i.on == "" {
				continue
			}
			given := link.options.ends()[end].Addrs
			for n, prefix := range i.prefixes() {
				path := fmt.Sprintf("Links[%d]", link.index)
				if len(given) > 0 {
					path = fmt.Sprintf("%s.%s.Addrs[%d]", path, [2]string{"First", "Second"}[end], n)
				}
				all = append(all, reach{path, i.on, prefix, c.node.vrf(i.on).Table, c.medium(i.on)})
			}
		}
	}
	for k, device := range c.node.Devices {
		for n, text := range device.Addrs {
			prefix, err := netip.ParsePrefix(text)
			if err != nil {
				continue // told already
			}
			all = append(all, reach{fmt.Sprintf("%s.Devices[%d].Addrs[%d]", path, k, n), device.Name, prefix,
				c.node.vrf(device.Name).Table, c.medium(device.Name)})
		}
	}
	for i, later := range all {
		for _, earlier := range all[:i] {
			if later.vrf == earlier.vrf && later.medium != earlier.medium && !later.prefix.IsSingleIP() && !earlier.prefix.IsSingleIP() &&
				!later.prefix.Addr().IsLinkLocalUnicast() && later.prefix.Overlaps(earlier.prefix) {
				c.fault(later.path, "%s of %s overlaps %s of %s: give subnets that differ, or put one of the devices into a VRF",
					later.prefix, later.device, earlier.prefix, earlier.device)
				break
			}
		}
	}
}

// medium names what a device is connected to: the segment of its link, or itself.
func (c *checker) medium(device string) string {
	for range c.node.devices() { // at most so many are on each other
		for name, declared := range c.node.all() {
			if name != device {
				continue
			}
			switch k := declared.Kind.(type) {
			case MACVLAN:
				device = k.On
			case IPVLAN:
				device = k.On
			case Bridge:
				if len(k.Ports) > 0 {
					device = k.Ports[0]
				}
			}
			break
		}
	}
	if link := c.node.linkOf(device); link != nil {
		return fmt.Sprintf("segment %d", c.plan.segment[link.index])
	}
	return device
}
