package topology

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// createDevices makes the devices of a node and joins them to each other. They stay down.
func (rn *runningNode) createDevices() error {
	devices := ordered(rn.node.devices())
	for _, device := range devices {
		if device.Kind == nil {
			rn.devices[device.Name] = 1 // the loopback
			continue
		}
		link := rn.declare(device)
		if err := rn.route.LinkAdd(link); err != nil {
			feature, module := "devices of type "+link.Type(), module(link.Type())
			if k, ok := device.Kind.(Bridge); ok && k.VLANFiltering {
				feature, module = "bridges that filter VLANs", "bridge, with CONFIG_BRIDGE_VLAN_FILTERING"
			}
			return fmt.Errorf("create %s: %w", device.Name, unsupported(err, feature, module))
		}
		created, err := rn.route.LinkByName(device.Name)
		if err != nil {
			return fmt.Errorf("find %s: %w", device.Name, err)
		}
		rn.devices[device.Name] = created.Attrs().Index
		if k, ok := device.Kind.(WireGuard); ok {
			if err := rn.setWireGuard(device.Name, k); err != nil {
				return fmt.Errorf("%s: set keys and peers: %w", device.Name, err)
			}
		}
		if bridge, ok := device.Kind.(Bridge); ok && bridge.STP {
			if err := rn.setBridge(device.Name, iflaBRSTPState, 1); err != nil {
				return fmt.Errorf("%s: turn STP on: %w", device.Name, err)
			}
		}
	}
	for _, device := range devices {
		for _, port := range ports(device.Kind) {
			if err := rn.route.LinkSetMasterByIndex(deviceByIndex(rn.devices[port]), rn.devices[device.Name]); err != nil {
				return fmt.Errorf("make %s a port of %s: %w", port, device.Name, err)
			}
		}
	}
	return nil
}

// ordered puts devices behind those that they are on.
func ordered(devices []Device) []Device {
	var sorted []Device
	placed := make(map[string]bool)
	waits := func(d Device) bool {
		for _, other := range devices {
			if on := below(d.Kind); on != "" && other.Name == on {
				return !placed[other.Name]
			}
		}
		return false // on the end of a link
	}
	for progress := true; progress; {
		progress = false
		for _, d := range devices {
			if !placed[d.Name] && !waits(d) {
				sorted = append(sorted, d)
				placed[d.Name], progress = true, true
			}
		}
	}
	return sorted
}

// declare is the device as netlink takes it.
func (rn *runningNode) declare(device Device) netlink.Link {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = device.Name, device.MTU
	attrs.HardwareAddr, _ = net.ParseMAC(device.MAC)
	attrs.ParentIndex = rn.devices[below(device.Kind)]
	switch k := device.Kind.(type) {
	case Dummy:
		return &netlink.Dummy{LinkAttrs: attrs}
	case Bridge:
		// What is not wanted is not mentioned: a kernel without it refuses even that.
		bridge := &netlink.Bridge{LinkAttrs: attrs}
		if k.VLANFiltering {
			bridge.VlanFiltering = &k.VLANFiltering
		}
		if k.NoMulticastSnooping {
			snooping := false
			bridge.MulticastSnooping = &snooping
		}
		return bridge
	case VLAN:
		vlan := &netlink.Vlan{LinkAttrs: attrs, VlanId: int(k.ID), VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
		if k.ServiceTag {
			vlan.VlanProtocol = netlink.VLAN_PROTOCOL_8021AD
		}
		return vlan
	case MACVLAN:
		return &netlink.Macvlan{LinkAttrs: attrs, Mode: macvlanModes[k.Mode]}
	case IPVLAN:
		return &netlink.IPVlan{LinkAttrs: attrs, Mode: ipvlanModes[k.Mode]}
	case VRF:
		return &netlink.Vrf{LinkAttrs: attrs, Table: k.Table}
	case Bond:
		bond := netlink.NewLinkBond(attrs)
		bond.Mode = bondModes[k.Mode]
		// Milliseconds between looks at the carriers of the ports; without, it would never notice one that goes down.
		bond.Miimon = 10
		return bond
	case WireGuard:
		return &netlink.Wireguard{LinkAttrs: attrs}
	case XFRM:
		for _, e := range rn.node.esps() {
			if e.device == device.Name {
				return &netlink.Xfrmi{LinkAttrs: attrs, Ifid: e.number}
			}
		}
	}
	return rn.declareTunnel(device, attrs)
}

// declareTunnel is the tunnel as netlink takes it.
func (rn *runningNode) declareTunnel(device Device, attrs netlink.LinkAttrs) netlink.Link {
	switch k := device.Kind.(type) {
	case VXLAN:
		vxlan := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: int(k.ID), Port: orElse(k.Port, 4789), Learning: true,
			UDPCSum: true, FlowBased: k.External}
		if k.External {
			vxlan.Learning = false
			return vxlan
		}
		vxlan.Group = ipOf(k.Remote)
		if k.Remote != nil || k.Local != nil {
			vxlan.SrcAddr = rn.local(k.Local, k.Remote)
		}
		return vxlan
	case Geneve:
		if k.External {
			return &netlink.Geneve{LinkAttrs: attrs, FlowBased: true, Dport: uint16(orElse(k.Port, 6081))}
		}
		return &netlink.Geneve{LinkAttrs: attrs, ID: k.ID, Remote: ipOf(k.Remote), Dport: uint16(orElse(k.Port, 6081)),
			UdpCsum: 1}
	case GRE:
		return &netlink.Gretun{LinkAttrs: attrs, Local: rn.local(k.Local, k.Remote), Remote: ipOf(k.Remote), IKey: k.Key,
			OKey: k.Key, PMtuDisc: 1}
	case GRETAP:
		return &netlink.Gretap{LinkAttrs: attrs, Local: rn.local(k.Local, k.Remote), Remote: ipOf(k.Remote), IKey: k.Key,
			OKey: k.Key, PMtuDisc: 1}
	case IPIP:
		return &netlink.Iptun{LinkAttrs: attrs, Local: rn.local(k.Local, k.Remote), Remote: ipOf(k.Remote), PMtuDisc: 1,
			Proto: unix.IPPROTO_IPIP}
	case SIT:
		return &netlink.Sittun{LinkAttrs: attrs, Local: rn.local(k.Local, k.Remote), Remote: ipOf(k.Remote), PMtuDisc: 1,
			Proto: unix.IPPROTO_IPV6}
	case IP6Tunnel:
		return &netlink.Ip6tnl{LinkAttrs: attrs, Local: rn.local(k.Local, k.Remote), Remote: ipOf(k.Remote)}
	}
	panic(fmt.Sprintf("topology: a device of kind %T got past validation", device.Kind))
}

// local is a tunnel's source address: the one given, or the node's primary address of the remote's family.
func (rn *runningNode) local(given, remote Host) net.IP {
	switch {
	case given != nil:
		return ipOf(given)
	case remote.Addr().Is6():
		return rn.node.Addr6().AsSlice()
	default:
		return rn.node.Addr().AsSlice()
	}
}

func ipOf(host Host) net.IP {
	if host == nil {
		return nil
	}
	return host.Addr().AsSlice()
}

func orElse(port, otherwise uint16) int {
	if port == 0 {
		return int(otherwise)
	}
	return int(port)
}

var (
	macvlanModes = map[string]netlink.MacvlanMode{
		"": netlink.MACVLAN_MODE_BRIDGE, "bridge": netlink.MACVLAN_MODE_BRIDGE, "private": netlink.MACVLAN_MODE_PRIVATE,
		"vepa": netlink.MACVLAN_MODE_VEPA, "passthru": netlink.MACVLAN_MODE_PASSTHRU,
	}
	ipvlanModes = map[string]netlink.IPVlanMode{
		"": netlink.IPVLAN_MODE_L2, "l2": netlink.IPVLAN_MODE_L2, "l3": netlink.IPVLAN_MODE_L3,
		"l3s": netlink.IPVLAN_MODE_L3S,
	}
	bondModes = map[string]netlink.BondMode{
		"": netlink.BOND_MODE_ACTIVE_BACKUP, "active-backup": netlink.BOND_MODE_ACTIVE_BACKUP,
		"balance-rr": netlink.BOND_MODE_BALANCE_RR, "balance-xor": netlink.BOND_MODE_BALANCE_XOR,
		"broadcast": netlink.BOND_MODE_BROADCAST, "802.3ad": netlink.BOND_MODE_802_3AD,
		"balance-tlb": netlink.BOND_MODE_BALANCE_TLB, "balance-alb": netlink.BOND_MODE_BALANCE_ALB,
	}
)

// settle gives a device what was declared about it before it is brought up.
func (rn *runningNode) settle(name string, device Device) error {
	index := deviceByIndex(rn.devices[name])
	if mac, err := net.ParseMAC(device.MAC); err == nil {
		if err := rn.route.LinkSetHardwareAddr(index, mac); err != nil {
			return fmt.Errorf("%s: set MAC to %s: %w", name, device.MAC, err)
		}
	}
	if device.MTU != 0 {
		if err := rn.route.LinkSetMTU(index, device.MTU); err != nil {
			return fmt.Errorf("%s: set MTU to %d: %w", name, device.MTU, err)
		}
	}
	if device.TxQueue != 0 {
		if err := rn.route.LinkSetTxQLen(index, max(device.TxQueue, 0)); err != nil {
			return fmt.Errorf("%s: set the transmit queue's length: %w", name, err)
		}
	}
	if len(device.Features) > 0 {
		if err := rn.ns.Do(func() error { return setFeatures(name, device.Features) }); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (rn *runningNode) addAddress(device string, address netip.Prefix) error {
	add := &netlink.Addr{IPNet: ipNet(address)}
	if address.Addr().Is6() {
		add.Flags = unix.IFA_F_NODAD
	}
	if address.Addr().IsLinkLocalUnicast() {
		add.Scope = unix.RT_SCOPE_LINK
	}
	if err := rn.route.AddrReplace(deviceByIndex(rn.devices[device]), add); err != nil {
		return fmt.Errorf("add address %s to %s: %w", address, device, err)
	}
	return nil
}
