package topology

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// checker collects faults, each with the path of the field that it is about.
type checker struct {
	plan   *plan
	node   *Node
	faults []error
}

// fault notes a fault. The path is that of a field, such as Nodes[1].Devices[0].MTU.
func (c *checker) fault(path, format string, args ...any) {
	c.faults = append(c.faults, &Fault{Path: path, text: path + ": " + fmt.Sprintf(format, args...)})
}

// checkDetails reports the faults in what nodes and links say, given that there are no others.
func (n *Network) checkDetails() error {
	c := &checker{plan: n.plan()}
	for i, node := range n.nodes {
		c.node = node
		c.checkNode(fmt.Sprintf("Nodes[%d]", i))
	}
	for i, link := range n.links {
		path := fmt.Sprintf("Links[%d]", i)
		if link.surplus > 0 {
			c.fault(path, "Connect was given %d values of LinkOptions: give at most one", link.surplus+1)
		}
		c.checkMTU(path+".MTU", link.options.MTU)
		c.checkImpairment(path+".Impair", link.options.Impair)
		for end, device := range []Device{link.options.First, link.options.Second} {
			c.node = link.ends[end]
			path := path + [2]string{".First", ".Second"}[end]
			if device.Kind != nil {
				c.fault(path+".Kind", "the end of a link is a veth device: leave Kind nil, and declare the device in the node")
			}
			if device.Name != "" {
				c.checkName(path+".Name", device.Name)
			}
			if device.Bare && len(device.Addrs) > 0 {
				c.fault(path+".Addrs", "addresses are given, and Bare says that there are none: give one of the two")
			}
			if master, _ := c.node.master(link.name(end)); len(device.Addrs) > 0 && master.Kind != nil {
				if _, ok := master.Kind.(VRF); !ok {
					c.fault(path+".Addrs", "%s is a port of %s: give the addresses to that", link.name(end), master.Name)
				}
			}
			device.Name = link.name(end)
			if device.MTU == 0 && link.options.MTU >= minMTU4 {
				device.MTU = link.options.MTU // what Addrs need may be said there
			}
			c.checkDevice(path, device)
		}
	}
	return errors.Join(c.faults...)
}

func (c *checker) checkNode(path string) {
	names := map[string]string{loopback: "the loopback"}
	for slot, link := range c.node.place.links {
		for end := range link.ends {
			if link.ends[end] != c.node || link.slots[end] != slot {
				continue
			}
			if other, taken := names[link.name(end)]; taken {
				c.fault(fmt.Sprintf("Links[%d]", link.index), "its device in %v is called %s, as is %s: names must differ",
					c.node, link.name(end), other)
			}
			names[link.name(end)] = fmt.Sprintf("the end of Links[%d]", link.index)
		}
	}
	if c.node.Bridge != nil {
		if other, taken := names["br0"]; taken {
			c.fault(path+".Bridge", "the bridge is called br0, as is %s: names must differ", other)
		}
		names["br0"] = path + ".Bridge"
	}
	for i, device := range c.node.Devices {
		path := fmt.Sprintf("%s.Devices[%d]", path, i)
		other, taken := names[device.Name]
		switch {
		case device.Name == loopback && device.Kind != nil:
			c.fault(path+".Kind", "the loopback exists already: leave Kind nil, or give another Name")
		case device.Name == loopback && other != "the loopback", taken && device.Name != loopback:
			c.fault(path+".Name", "%s is called %s already: names must differ", other, device.Name)
		case device.Name != loopback && device.Kind == nil:
			c.fault(path+".Kind", "is nil: say what the device is, such as topology.Dummy{}")
		}
		names[device.Name] = path
		if c.checkName(path+".Name", device.Name) && device.Kind != nil {
			c.checkKind(path+".Kind", device)
		}
		c.checkDevice(path, device)
	}
	if c.node.Bridge != nil {
		c.checkKind(path+".Bridge", Device{Name: "br0", Kind: *c.node.Bridge})
	}
	c.checkOrder(path)
	c.checkRouting(path)
	c.checkSubnets(path)
	c.checkTexts(path)
	for _, name := range slices.Sorted(maps.Keys(c.node.Sysctls)) {
		if !strings.HasPrefix(name, "net.") && !strings.HasPrefix(name, "net/") || strings.Contains(name, "..") {
			c.fault(path+".Sysctls", "%q is no setting of a network namespace: give one that begins with net", name)
		}
	}
}

// checkOrder reports devices that are on each other.
func (c *checker) checkOrder(path string) {
	sorted := ordered(c.node.devices())
	for i, device := range c.node.Devices {
		placed := slices.ContainsFunc(sorted, func(d Device) bool { return d.Name == device.Name })
		if !placed {
			c.fault(fmt.Sprintf("%s.Devices[%d]", path, i), "%s is on %s, which is on it in turn: a device must be on one "+
				"that can exist before it", device.Name, below(device.Kind))
		}
	}
}

// exists reports whether the node has a device, and notes a fault if not.
func (c *checker) exists(path, name string) bool {
	var names []string
	for other := range c.node.all() {
		names = append(names, other)
	}
	if name == loopback || slices.Contains(names, name) {
		return true
	}
	if name == "" {
		c.fault(path, "is empty: give the name of a device of %v", c.node)
		return false
	}
	c.fault(path, "%v has no device %q%s", c.node, name, meant(name, names))
	return false
}

func (c *checker) checkName(path, name string) bool {
	switch {
	case name == "":
		c.fault(path, "is empty: give every device a name")
	case len(name) > 15:
		c.fault(path, "%q has %d bytes: a device's name has at most 15", name, len(name))
	case name == "." || name == ".." || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '/' || r == ':' }):
		c.fault(path, "%q is no name for a device: leave out spaces, slashes and colons", name)
	default:
		return true
	}
	return false
}

// checkPrograms reports what is wrong with the programs of a device.
func (c *checker) checkPrograms(path string, device Device) {
	for _, hook := range []struct {
		name    string
		program Program
		kind    ebpf.ProgramType
	}{{"XDP", device.XDP, ebpf.XDP}, {"Ingress", device.Ingress, ebpf.SchedCLS}, {"Egress", device.Egress, ebpf.SchedCLS}} {
		if err := hook.program.check(hook.kind); err != nil {
			c.fault(path+"."+hook.name, "%v", err)
		}
	}
}
