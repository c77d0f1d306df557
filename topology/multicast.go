package topology

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// MulticastRoute makes a node pass on what one source sends to a group. The node must be Forwarding, and packets must have
// a TTL of 2 at least.
type MulticastRoute struct {
	// Source is the sender: a node, by its primary address of the group's family, or an IP.
	Source Host
	// Group is the multicast address, such as 239.1.2.3 or ff05::1:3.
	Group string
	// In is the device that the packets arrive at, and Out are those that each gets a copy.
	In  string
	Out []string
}

// The interface of multicast routers (include/uapi/linux/mroute.h and mroute6.h); both families number it alike.
const (
	mrtInit   = 200
	mrtAddVIF = 202
	mrtAddMFC = 204
	// mrtUseIndex is VIFF_USE_IFINDEX.
	mrtUseIndex = 8
)

// source is the address of the route's source.
func (m MulticastRoute) source(group netip.Addr) netip.Addr {
	if node, ok := m.Source.(*Node); ok && group.Is6() {
		return node.Addr6()
	}
	return m.Source.Addr()
}

// addMulticast makes the node a multicast router for its routes. The kernel forgets everything when the sockets by which it
// was told are closed; Close does that.
func (rn *runningNode) addMulticast() error {
	for _, six := range []bool{false, true} {
		var routes []MulticastRoute
		var devices []string // their positions are the numbers by which the kernel is told of them
		for _, route := range rn.node.Multicast {
			if group, err := netip.ParseAddr(route.Group); err != nil || group.Is6() != six {
				continue
			}
			routes = append(routes, route)
			for _, device := range append([]string{route.In}, route.Out...) {
				if !slices.Contains(devices, device) {
					devices = append(devices, device)
				}
			}
		}
		if len(routes) == 0 {
			continue
		}
		if err := rn.ns.Do(func() error { return rn.routeMulticast(six, devices, routes) }); err != nil {
			return fmt.Errorf("route multicast: %w", err)
		}
	}
	return nil
}

// routeMulticast tells the kernel of the devices and routes of one family, in the namespace of the calling thread.
func (rn *runningNode) routeMulticast(six bool, devices []string, routes []MulticastRoute) error {
	family, protocol, level, name := unix.AF_INET, unix.IPPROTO_IGMP, unix.IPPROTO_IP, "CONFIG_IP_MROUTE"
	if six {
		family, protocol, level, name = unix.AF_INET6, unix.IPPROTO_ICMPV6, unix.IPPROTO_IPV6, "CONFIG_IPV6_MROUTE"
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	rn.multicast = append(rn.multicast, os.NewFile(uintptr(fd), "multicast routes"))
	if err := unix.SetsockoptInt(fd, level, mrtInit, 1); err != nil {
		if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EOPNOTSUPP) {
			return &UnsupportedError{Feature: "multicast routing", Module: name, Err: err}
		}
		return fmt.Errorf("become the multicast router: %w", err)
	}
	for number, device := range devices {
		if err := unix.SetsockoptString(fd, level, mrtAddVIF, string(virtualInterface(six, number, rn.devices[device]))); err != nil {
			return fmt.Errorf("use %s: %w", device, err)
		}
	}
	for _, route := range routes {
		if err := unix.SetsockoptString(fd, level, mrtAddMFC, string(route.entry(devices))); err != nil {
			return fmt.Errorf("add route to %s: %w", route.Group, err)
		}
	}
	return nil
}

// virtualInterface is a struct vifctl or mif6ctl, without a limit of rate and with the lowest threshold.
func virtualInterface(six bool, number, index int) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(number))
	if six {
		b = binary.NativeEndian.AppendUint16(append(b, 0, 1), uint16(index))
		return append(b, make([]byte, 2+4)...) // padding, rate
	}
	b = append(b, mrtUseIndex, 1, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	return append(b, make([]byte, 4)...) // remote
}

// entry is the route as a struct mfcctl or mf6cctl.
func (m MulticastRoute) entry(devices []string) []byte {
	group, _ := netip.ParseAddr(m.Group)
	source := m.source(group)
	parent := uint16(slices.Index(devices, m.In))
	if group.Is6() {
		var b []byte
		for _, addr := range []netip.Addr{source, group} {
			b = binary.NativeEndian.AppendUint16(b, unix.AF_INET6)
			b = append(append(append(b, make([]byte, 6)...), addr.AsSlice()...), 0, 0, 0, 0) // port, flow, address, scope
		}
		b = append(binary.NativeEndian.AppendUint16(b, parent), 0, 0)
		var set [8]uint32
		for _, device := range m.Out {
			number := slices.Index(devices, device)
			set[number/32] |= 1 << (number % 32)
		}
		for _, word := range set {
			b = binary.NativeEndian.AppendUint32(b, word)
		}
		return b
	}
	b := append(source.AsSlice(), group.AsSlice()...)
	b = binary.NativeEndian.AppendUint16(b, parent)
	var ttls [32]byte // 0 is not to send by the device
	for _, device := range m.Out {
		ttls[slices.Index(devices, device)] = 1
	}
	return append(append(b, ttls[:]...), make([]byte, 2+16)...) // padding, counters
}

func (c *checker) checkMulticast(path string, m MulticastRoute) {
	group, err := netip.ParseAddr(m.Group)
	if err != nil || !group.IsMulticast() {
		c.fault(path+".Group", "%q is no multicast address: write one such as 239.1.2.3 or ff05::1:3", m.Group)
		return
	}
	switch {
	case none(m.Source):
		c.fault(path+".Source", "is nil: give the sender, a node or topology.IP")
	case !m.source(group).IsValid() || m.source(group).Is6() != group.Is6():
		c.fault(path+".Source", "%v has no address of the family of %s: give one that has", m.Source, group)
	}
	if !c.node.Forwarding {
		c.fault(path, "%v does not forward: set its Forwarding", c.node)
	}
	c.exists(path+".In", m.In)
	if len(m.Out) == 0 {
		c.fault(path+".Out", "is empty: give the devices that get a copy")
	}
	for i, device := range m.Out {
		if path := fmt.Sprintf("%s.Out[%d]", path, i); c.exists(path, device) && device == m.In {
			c.fault(path, "%s is where the packets arrive: leave it out", device)
		}
	}
}
