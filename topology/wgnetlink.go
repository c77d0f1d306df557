package topology

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The generic netlink family of WireGuard (include/uapi/linux/wireguard.h), which the netlink library does not speak.
const (
	wgFamily  = "wireguard"
	wgVersion = 1

	wgGetDevice = 0
	wgSetDevice = 1

	wgDeviceIndex   = 1
	wgDevicePrivate = 3
	wgDeviceFlags   = 5
	wgDevicePort    = 6
	wgDeviceMark    = 7
	wgDevicePeers   = 8

	wgPeerPublic    = 1
	wgPeerPreshared = 2
	wgPeerFlags     = 3
	wgPeerEndpoint  = 4
	wgPeerKeepalive = 5
	wgPeerAllowed   = 9

	wgAllowedFamily = 1
	wgAllowedAddr   = 2
	wgAllowedBits   = 3

	// wgReplace is WGDEVICE_F_REPLACE_PEERS; wgReplaceAllowed is WGPEER_F_REPLACE_ALLOWEDIPS, wgUpdate WGPEER_F_UPDATE_ONLY.
	wgReplace        = 1
	wgReplaceAllowed = 2
	wgUpdate         = 4
)

// wireGuardState is a WireGuard device as the kernel has it.
type wireGuardState struct {
	private []byte
	port    uint16
	mark    uint32
	peers   []peerState
}

// setWireGuard gives a device its keys and peers.
func (rn *runningNode) setWireGuard(device string, k WireGuard) error {
	_, private, err := rn.node.wireGuard(device)
	if err != nil {
		return err
	}
	peers := nl.NewRtAttr(wgDevicePeers|unix.NLA_F_NESTED, nil)
	for _, peer := range k.Peers {
		state, err := peer.state()
		if err != nil {
			return err
		}
		peers.AddChild(state.attribute())
	}
	parts := []nl.NetlinkRequestData{
		nl.NewRtAttr(wgDeviceIndex, nl.Uint32Attr(uint32(rn.devices[device]))),
		nl.NewRtAttr(wgDevicePrivate, private),
		nl.NewRtAttr(wgDeviceFlags, nl.Uint32Attr(wgReplace)),
		nl.NewRtAttr(wgDevicePort, nl.Uint16Attr(uint16(orElse(k.Port, wireGuardPort)))),
		nl.NewRtAttr(wgDeviceMark, nl.Uint32Attr(k.Mark)),
		peers,
	}
	_, err = rn.requestWireGuard(wgSetDevice, unix.NLM_F_ACK, parts...)
	return err
}

// startKeepalives tells the node's WireGuard devices how often to send something. It is done when the network is complete: the
// first is sent at once, and what it finds missing makes the kernel wait for seconds (REKEY_TIMEOUT,
// drivers/net/wireguard/messages.h), in which the test's own packets wait too.
func (rn *runningNode) startKeepalives() error {
	for _, device := range rn.node.devices() {
		k, ok := device.Kind.(WireGuard)
		if !ok {
			continue
		}
		for i, peer := range k.Peers {
			state, err := peer.state()
			if err != nil {
				return err
			}
			if state.keepalive == 0 {
				continue
			}
			update := nl.NewRtAttr(unix.NLA_F_NESTED, nil)
			update.AddRtAttr(wgPeerPublic, state.public)
			update.AddRtAttr(wgPeerFlags, nl.Uint32Attr(wgUpdate))
			update.AddRtAttr(wgPeerKeepalive, nl.Uint16Attr(uint16(state.keepalive/time.Second)))
			peers := nl.NewRtAttr(wgDevicePeers|unix.NLA_F_NESTED, nil)
			peers.AddChild(update)
			if _, err := rn.requestWireGuard(wgSetDevice, unix.NLM_F_ACK,
				nl.NewRtAttr(wgDeviceIndex, nl.Uint32Attr(uint32(rn.devices[device.Name]))), peers); err != nil {
				return fmt.Errorf("%s: start keepalives to peer %d: %w", device.Name, i, err)
			}
		}
	}
	return nil
}

// wireGuardState reads a device.
func (rn *runningNode) wireGuardState(index int) (wireGuardState, error) {
	answers, err := rn.requestWireGuard(wgGetDevice, unix.NLM_F_DUMP,
		nl.NewRtAttr(wgDeviceIndex, nl.Uint32Attr(uint32(index))))
	if err != nil {
		return wireGuardState{}, err
	}
	var state wireGuardState
	for _, answer := range answers {
		// What does not fit into one answer goes on in the next, in the middle of a peer's prefixes if need be: the peer comes
		// again then, with its key and the further prefixes.
		list, err := nl.ParseRouteAttr(answer[nl.SizeofGenlmsg:])
		if err != nil {
			return wireGuardState{}, fmt.Errorf("the kernel's answer: %w", err)
		}
		for _, a := range list {
			switch a.Attr.Type &^ unix.NLA_F_NESTED {
			case wgDevicePrivate:
				state.private = a.Value
			case wgDevicePort:
				state.port = binary.NativeEndian.Uint16(a.Value)
			case wgDeviceMark:
				state.mark = binary.NativeEndian.Uint32(a.Value)
			case wgDevicePeers:
				if state.peers, err = appendPeers(state.peers, a.Value); err != nil {
					return wireGuardState{}, fmt.Errorf("the kernel's answer: %w", err)
				}
			}
		}
	}
	return state, nil
}

// requestWireGuard makes a request to the family.
func (rn *runningNode) requestWireGuard(command uint8, flags int, parts ...nl.NetlinkRequestData) (answers [][]byte, err error) {
	err = rn.ns.Do(func() error {
		handle, err := netlink.NewHandle(unix.NETLINK_GENERIC)
		if err != nil {
			return fmt.Errorf("open netlink socket: %w", err)
		}
		defer handle.Close()
		family, err := handle.GenlFamilyGet(wgFamily)
		if err != nil {
			return unsupported(err, "netlink family "+wgFamily, "wireguard")
		}
		request := nl.NewNetlinkRequest(int(family.ID), flags)
		request.AddData(&nl.Genlmsg{Command: command, Version: wgVersion})
		for _, part := range parts {
			request.AddData(part)
		}
		answers, err = request.Execute(unix.NETLINK_GENERIC, 0)
		return err
	})
	return answers, err
}

// attribute is the peer as an element of a request.
func (p peerState) attribute() *nl.RtAttr {
	peer := nl.NewRtAttr(unix.NLA_F_NESTED, nil)
	peer.AddRtAttr(wgPeerPublic, p.public)
	peer.AddRtAttr(wgPeerFlags, nl.Uint32Attr(wgReplaceAllowed))
	if p.preshared != nil {
		peer.AddRtAttr(wgPeerPreshared, p.preshared)
	}
	if p.endpoint.IsValid() {
		peer.AddRtAttr(wgPeerEndpoint, sockaddr(p.endpoint))
	}
	allowed := peer.AddRtAttr(wgPeerAllowed|unix.NLA_F_NESTED, nil)
	for _, prefix := range p.allowed {
		family := uint16(unix.AF_INET)
		if prefix.Addr().Is6() {
			family = unix.AF_INET6
		}
		entry := allowed.AddRtAttr(unix.NLA_F_NESTED, nil)
		entry.AddRtAttr(wgAllowedFamily, nl.Uint16Attr(family))
		entry.AddRtAttr(wgAllowedAddr, prefix.Addr().AsSlice())
		entry.AddRtAttr(wgAllowedBits, []byte{byte(prefix.Bits())})
	}
	return peer
}

// appendPeers reads a list of peers. One that is the last already goes on.
func appendPeers(peers []peerState, data []byte) ([]peerState, error) {
	list, err := nl.ParseRouteAttr(data)
	if err != nil {
		return nil, err
	}
	for _, element := range list {
		attributes, err := nl.ParseRouteAttr(element.Value)
		if err != nil {
			return nil, err
		}
		var peer peerState
		for _, a := range attributes {
			switch a.Attr.Type &^ unix.NLA_F_NESTED {
			case wgPeerPublic:
				peer.public = a.Value
			case wgPeerPreshared:
				peer.preshared = a.Value
			case wgPeerEndpoint:
				peer.endpoint = addrPort(a.Value)
			case wgPeerKeepalive:
				peer.keepalive = time.Duration(binary.NativeEndian.Uint16(a.Value)) * time.Second
			case wgPeerAllowed:
				if peer.allowed, err = readAllowed(a.Value); err != nil {
					return nil, err
				}
			}
		}
		if last := len(peers) - 1; last >= 0 && string(peers[last].public) == string(peer.public) {
			peers[last].allowed = append(peers[last].allowed, peer.allowed...)
			continue
		}
		peers = append(peers, peer)
	}
	return peers, nil
}

func readAllowed(data []byte) ([]netip.Prefix, error) {
	list, err := nl.ParseRouteAttr(data)
	if err != nil {
		return nil, err
	}
	var allowed []netip.Prefix
	for _, element := range list {
		attributes, err := nl.ParseRouteAttr(element.Value)
		if err != nil {
			return nil, err
		}
		var addr netip.Addr
		bits := 0
		for _, a := range attributes {
			switch a.Attr.Type {
			case wgAllowedAddr:
				addr, _ = netip.AddrFromSlice(a.Value)
			case wgAllowedBits:
				bits = int(a.Value[0])
			}
		}
		allowed = append(allowed, netip.PrefixFrom(addr, bits))
	}
	return allowed, nil
}

// sockaddr is a struct sockaddr_in or sockaddr_in6.
func sockaddr(at netip.AddrPort) []byte {
	family := uint16(unix.AF_INET)
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	b := binary.BigEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, family), at.Port())
	if at.Addr().Is4() {
		return append(append(b, at.Addr().AsSlice()...), make([]byte, 8)...)
	}
	return append(append(append(b, 0, 0, 0, 0), at.Addr().AsSlice()...), 0, 0, 0, 0) // flow, address, scope
}

// addrPort is the reverse; invalid for what is neither.
func addrPort(b []byte) netip.AddrPort {
	switch len(b) {
	case unix.SizeofSockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:])), binary.BigEndian.Uint16(b[2:]))
	case unix.SizeofSockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:])), binary.BigEndian.Uint16(b[2:]))
	}
	return netip.AddrPort{}
}
