package topology

import (
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
)

// checkDevice reports what is wrong with a device apart from its name and kind.
func (c *checker) checkDevice(path string, device Device) {
	for i, text := range device.Addrs {
		path := path + ".Addrs[" + strconv.Itoa(i) + "]"
		address, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			c.fault(path, "%q is no address with the length of its prefix: write one such as 10.0.0.1/24 or fd00::1/64", text)
		case address.Addr().Is6() && device.MTU != 0 && device.MTU < minMTU6:
			c.fault(path, "%s is an IPv6 address, and the MTU is %d: IPv6 needs %d", text, device.MTU, minMTU6)
		}
	}
	if device.MAC != "" {
		mac, err := net.ParseMAC(device.MAC)
		switch {
		case err != nil || len(mac) != 6:
			c.fault(path+".MAC", "%q is no Ethernet address: write one such as 02:00:00:00:00:01", device.MAC)
		case mac[0]&1 != 0 || slices.Equal(mac, make(net.HardwareAddr, 6)):
			c.fault(path+".MAC", "%s is no address that a device can have: the first byte must be even, and not all be zero",
				device.MAC)
		}
	}
	c.checkMTU(path+".MTU", device.MTU)
	if device.TxQueue < -1 {
		c.fault(path+".TxQueue", "%d is negative: give a length, or -1 for none", device.TxQueue)
	}
	c.checkImpairment(path+".Impair", device.Impair)
	c.checkPort(path+".Port", device)
	c.checkPrograms(path, device)
}

func (c *checker) checkMTU(path string, mtu int) {
	switch {
	case mtu != 0 && mtu < minMTU4:
		c.fault(path, "%d is below %d, the minimum for IPv4", mtu, minMTU4)
	case mtu > 65535:
		c.fault(path, "%d is above 65535, the maximum", mtu)
	}
}

func (c *checker) checkImpairment(path string, i Impairment) {
	for _, chance := range []struct {
		name    string
		percent float64
	}{{"Loss", i.Loss}, {"Duplicate", i.Duplicate}, {"Corrupt", i.Corrupt}, {"Reorder", i.Reorder}} {
		if !(chance.percent >= 0 && chance.percent <= 100) {
			c.fault(path+"."+chance.name, "%v is no percentage: give 0 to 100", chance.percent)
		}
	}
	if i.Delay < 0 || i.Jitter < 0 {
		c.fault(path, "Delay is %v and Jitter %v: neither can be negative", i.Delay, i.Jitter)
	}
	if i.Reorder > 0 && i.Delay == 0 {
		c.fault(path+".Reorder", "packets overtake those that are held back: give a Delay too")
	}
	if i.Rate > 0 && i.Rate < 8 {
		c.fault(path+".Rate", "%d bits a second is less than a byte: give 8 at least", i.Rate)
	}
	if i.Burst > 0 && i.Rate == 0 {
		c.fault(path+".Burst", "a line without limit has no bursts: give a Rate too")
	}
}

// checkPort reports what is wrong with what a bridge is to do at a device.
func (c *checker) checkPort(path string, device Device) {
	if reflect.DeepEqual(device.Port, Port{}) {
		return
	}
	name, kind := device.Name, device.Kind
	if kind == nil {
		var master Device
		if master, _ = c.node.master(name); master.Kind != nil {
			name, kind = master.Name, master.Kind
		}
	} else if master, _ := c.node.master(name); master.Kind != nil {
		name, kind = master.Name, master.Kind
	}
	bridge, ok := kind.(Bridge)
	if !ok {
		c.fault(path, "%s is no port of a bridge: name it among the Ports of one", device.Name)
		return
	}
	port := device.Port
	if (port.VLAN != 0 || len(port.Trunk) > 0) && !bridge.VLANFiltering {
		c.fault(path, "VLANs are given, but %s does not filter them: set its VLANFiltering", name)
	}
	for _, id := range append([]uint16{port.VLAN}, port.Trunk...) {
		if id > 4094 || id == 0 && slices.Contains(port.Trunk, 0) {
			c.fault(path, "%d is no VLAN: give a number from 1 to 4094", id)
		}
	}
	if port.VLAN != 0 && slices.Contains(port.Trunk, port.VLAN) {
		c.fault(path, "VLAN %d is given untagged, and tagged in Trunk: give it once", port.VLAN)
	}
	if _, ok := portStates[port.State]; port.State != "" && !ok {
		c.fault(path+".State", "%q is no state: give one of the constants, such as topology.Listening", port.State)
	}
	if port.State != "" && bridge.STP {
		c.fault(path+".State", "%s runs the spanning tree protocol, which sets states by itself: leave State or STP out", name)
	}
	if port.State != "" && !c.node.runs(device.Name) {
		c.fault(path+".State", "%s does not work, and is disabled for that: leave Down out", device.Name)
	}
}

// checkKind reports what is wrong with what a device is.
func (c *checker) checkKind(path string, device Device) {
	if on := below(device.Kind); on != "" {
		c.exists(path+".On", on)
	}
	for i, port := range ports(device.Kind) {
		path := path + ".Ports[" + strconv.Itoa(i) + "]"
		if !c.exists(path, port) {
			continue
		}
		master, position := c.node.master(port)
		_, bond := device.Kind.(Bond)
		switch {
		case port == device.Name:
			c.fault(path, "%s cannot be a port of itself", port)
		case port == loopback:
			c.fault(path, "the loopback cannot be a port")
		case master.Name != device.Name || position != i:
			c.fault(path, "%s is a port of %s already: a device is a port once", port, master.Name)
		case bond && !slices.ContainsFunc(c.node.place.links, func(l *Link) bool { return l.Device(c.node) == port }):
			c.fault(path, "%s is not the end of a link: a bond's ports must be", port)
		}
	}
	switch k := device.Kind.(type) {
	case VLAN:
		if k.On == "" {
			c.exists(path+".On", k.On)
		}
		if k.ID < 1 || k.ID > 4094 {
			c.fault(path+".ID", "%d is no VLAN: give a number from 1 to 4094", k.ID)
		}
	case MACVLAN:
		if k.On == "" {
			c.exists(path+".On", k.On)
		}
		mode(c, path, k.Mode, macvlanModes)
	case IPVLAN:
		if k.On == "" {
			c.exists(path+".On", k.On)
		}
		mode(c, path, k.Mode, ipvlanModes)
	case VRF:
		if k.Table == 0 {
			c.fault(path+".Table", "is 0: give the number of a routing table of its own, such as 10")
		}
	case Bond:
		mode(c, path, k.Mode, bondModes)
		if len(k.Ports) == 0 {
			c.fault(path+".Ports", "is empty: give the bond's ports, such as eth0")
		}
	case VXLAN:
		c.checkVNI(path, k.ID)
		if k.Remote != nil || k.Local != nil {
			c.checkEnds(path, k.Remote, k.Local, true)
		}
	case Geneve:
		c.checkVNI(path, k.ID)
		if !k.External {
			c.checkEnds(path, k.Remote, nil, false)
		}
	case GRE:
		c.checkEnds(path, k.Remote, k.Local, false)
	case GRETAP:
		c.checkEnds(path, k.Remote, k.Local, false)
	case IPIP:
		c.checkFamily(path, k.Remote, k.Local, false)
	case SIT:
		c.checkFamily(path, k.Remote, k.Local, false)
	case IP6Tunnel:
		c.checkFamily(path, k.Remote, k.Local, true)
	case WireGuard:
		c.checkWireGuard(path, device.Name, k)
	case XFRM:
		c.checkESP(path, k.esp())
	case Bridge, Dummy:
	default:
		c.fault(path, "%T is no kind: give one of this package, as a value", k)
	}
}

func mode[V any](c *checker, path, mode string, modes map[string]V) {
	if _, ok := modes[mode]; !ok {
		var names []string
		for name := range modes {
			if name != "" {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		c.fault(path+".Mode", "%q is no mode: give one of %q", mode, names)
	}
}

func (c *checker) checkVNI(path string, id uint32) {
	if id > 1<<24-1 {
		c.fault(path+".ID", "%d has more than 24 bits: give 0 to 16777215", id)
	}
}

// checkEnds reports what is wrong with the ends of a tunnel, and whether they are usable.
func (c *checker) checkEnds(path string, remote, local Host, remoteOptional bool) bool {
	usable := true
	for _, end := range []struct {
		name string
		host Host
	}{{"Remote", remote}, {"Local", local}} {
		switch {
		case none(end.host) && (end.name == "Local" || remoteOptional):
		case none(end.host):
			c.fault(path+"."+end.name, "is nil: give a node, topology.V6 of a node, or topology.IP")
			usable = false
		case !end.host.Addr().IsValid():
			c.fault(path+"."+end.name, "%v has no address: give one that has", end.host)
			usable = false
		}
	}
	if !usable || none(remote) {
		return usable
	}
	switch six := remote.Addr().Is6(); {
	case !none(local) && local.Addr().Is6() != six:
		c.fault(path+".Local", "it is %s, and Remote is %s: both must be IPv4 or both IPv6", local.Addr(), remote.Addr())
		return false
	case none(local) && six && !c.node.Addr6().IsValid(), none(local) && !six && !c.node.Addr().IsValid():
		c.fault(path+".Local", "%v has no address of the family of %s: give one", c.node, remote.Addr())
		return false
	}
	return true
}

// checkFamily is checkEnds for tunnels over one family only.
func (c *checker) checkFamily(path string, remote, local Host, six bool) {
	if c.checkEnds(path, remote, local, false) && remote.Addr().Is6() != six {
		family := map[bool]string{false: "IPv4", true: "IPv6"}
		c.fault(path+".Remote", "%s is an %s address, and this tunnel goes over %s", remote.Addr(), family[!six], family[six])
	}
}

// none reports whether a host is nil, or a nil node.
func none(host Host) bool {
	if host == nil {
		return true
	}
	node, ok := host.(*Node)
	return ok && node == nil
}
