package topology

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes that the netlink library does not set (include/uapi/linux/if_link.h).
const (
	iflaBRSTPState  = 5
	iflaBRPortState = 1
	// iflaBRDefaultPVID is there only where bridges can filter VLANs.
	iflaBRDefaultPVID = 39
)

// portStates are BR_STATE_* (include/uapi/linux/if_bridge.h).
var portStates = map[PortState]uint8{Disabled: 0, Listening: 1, Learning: 2, Forwarding: 3}

// setPort tells a bridge what to do at a port, which is up. The port of the bridge itself is its own.
func (rn *runningNode) setPort(device string, port Port, self bool) error {
	link := deviceByIndex(rn.devices[device])
	if port.VLAN != 0 || len(port.Trunk) > 0 {
		// VLAN 1 is the default of every port.
		if port.VLAN != 1 && !slices.Contains(port.Trunk, 1) {
			if err := rn.route.BridgeVlanDel(link, 1, true, true, self, !self); err != nil {
				return fmt.Errorf("port %s: leave VLAN 1: %w", device, err)
			}
		}
		for _, id := range port.Trunk {
			if err := rn.route.BridgeVlanAdd(link, id, false, false, self, !self); err != nil {
				return fmt.Errorf("port %s: join VLAN %d: %w", device, id, err)
			}
		}
		if port.VLAN != 0 {
			if err := rn.route.BridgeVlanAdd(link, port.VLAN, true, true, self, !self); err != nil {
				return fmt.Errorf("port %s: join VLAN %d: %w", device, port.VLAN, err)
			}
		}
	}
	for _, step := range []struct {
		wanted bool
		name   string
		set    func() error
	}{
		{port.Isolated, "isolate", func() error { return rn.route.LinkSetIsolated(link, true) }},
		{port.Hairpin, "set hairpin mode", func() error { return rn.route.LinkSetHairpin(link, true) }},
		{port.NoFlood, "turn flooding off", func() error { return rn.route.LinkSetFlood(link, false) }},
		{port.NoLearning, "turn learning off", func() error { return rn.route.LinkSetLearning(link, false) }},
		{port.State != "", "set state " + string(port.State), func() error { return rn.setPortState(device, port.State) }},
	} {
		if !step.wanted {
			continue
		}
		if err := step.set(); err != nil {
			return fmt.Errorf("port %s: %s: %w", device, step.name, err)
		}
	}
	return nil
}

// setPortState sets the state of a bridge's port.
func (rn *runningNode) setPortState(device string, state PortState) error {
	message := nl.NewIfInfomsg(unix.AF_BRIDGE)
	message.Index = int32(rn.devices[device])
	info := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	info.AddRtAttr(iflaBRPortState, []byte{portStates[state]})
	return rn.request(unix.RTM_SETLINK, 0, message, info)
}

// setBridge sets a number of a bridge.
func (rn *runningNode) setBridge(device string, attribute int, value uint32) error {
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index = int32(rn.devices[device])
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(attribute, nl.Uint32Attr(value))
	return rn.request(unix.RTM_NEWLINK, 0, message, info)
}

// request makes a netlink request that the library has no method for.
func (rn *runningNode) request(kind, flags int, parts ...nl.NetlinkRequestData) error {
	return rn.requestOf(unix.NETLINK_ROUTE, kind, flags, parts...)
}

// requestOf is request for another protocol than routing.
func (rn *runningNode) requestOf(protocol, kind, flags int, parts ...nl.NetlinkRequestData) error {
	return rn.ns.Do(func() error {
		request := nl.NewNetlinkRequest(kind, unix.NLM_F_ACK|flags)
		for _, part := range parts {
			request.AddData(part)
		}
		_, err := request.Execute(protocol, 0)
		return err
	})
}
