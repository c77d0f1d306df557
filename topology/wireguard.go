package topology

import (
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// WireGuard carries IP packets in UDP, encrypted. Packets to a prefix that a peer is allowed go to that peer.
type WireGuard struct {
	// Peers are the other ends. Each of them needs this node among its peers.
	Peers []Peer
	// Port is the UDP port; 0 for 51820.
	Port uint16
	// Key is the private key in base64, as wg genkey prints it; empty for one that follows from the device's position.
	Key string
	// Mark is the mark of the encrypted packets, which policy rules can see; 0 for none.
	Mark uint32
}

// Peer is another end of a [WireGuard] device. Of a Node of the network all else is known; what is given takes the place of
// what is known, right or wrong.
type Peer struct {
	// Node is the peer, and Device the name of its device, empty for the only one of that kind. A nil Node is a peer outside
	// of the network.
	Node   *Node
	Device string
	// Key is the peer's public key in base64; empty for that of Device.
	Key string
	// Preshared is a further, symmetric key in base64; empty for none.
	Preshared string
	// Allowed are the prefixes that packets from the peer may come from, and whose packets go to it; empty for the addresses of
	// Device.
	Allowed []string
	// Endpoint is the peer's address; nil for Node's primary address, IPv4 if it has one.
	Endpoint Host
	// Port is the UDP port of the endpoint; 0 for that of Device.
	Port uint16
	// Hidden leaves the endpoint out, as it is with a peer behind NAT: that one has to begin.
	Hidden bool
	// Keepalive is how often something is sent to the peer to keep NAT open, in whole seconds; 0 for never.
	Keepalive time.Duration
}

func (WireGuard) kind() string { return "wireguard" }

const wireGuardPort = 51820

// wireGuard finds a WireGuard device of the node by its name, or the only one. The key is the private one.
func (node *Node) wireGuard(name string) (device Device, key []byte, err error) {
	var names []string
	for position, d := range node.devices() {
		k, ok := d.Kind.(WireGuard)
		if !ok || name != "" && d.Name != name {
			continue
		}
		names = append(names, d.Name)
		device, key = d, k.privateKey(node, position)
	}
	switch {
	case len(names) == 0 && name != "":
		return Device{}, nil, fmt.Errorf("%v has no WireGuard device %q: declare one, or leave the peer out", node, name)
	case len(names) == 0:
		return Device{}, nil, fmt.Errorf("%v has no WireGuard device: declare one, or leave the peer out", node)
	case len(names) > 1:
		return Device{}, nil, fmt.Errorf("%v has several WireGuard devices, %q: give the Device", node, names)
	}
	return device, key, nil
}

// privateKey is the key that is given, or else follows from the positions of the node and of the device. It is as secret as
// this source.
func (k WireGuard) privateKey(node *Node, position int) []byte {
	if key, err := wireGuardKey(k.Key); k.Key != "" && err == nil {
		return key
	}
	index := slices.Index(node.place.network.nodes, node)
	key := sha256.Sum256(fmt.Appendf(nil, "waybill wireguard %d %d", index, position))
	return key[:]
}

// publicKey is that of a private key.
func publicKey(private []byte) []byte {
	key, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		panic(fmt.Sprintf("topology: a WireGuard key of %d bytes got past validation", len(private)))
	}
	return key.PublicKey().Bytes()
}

// wireGuardKey reads a key.
func wireGuardKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("%q is no key: give 32 bytes in base64, as wg genkey and wg pubkey print them", text)
	}
	return key, nil
}

// peerState is a peer as the kernel takes it.
type peerState struct {
	public, preshared []byte
	allowed           []netip.Prefix
	endpoint          netip.AddrPort // invalid if it is not known
	keepalive         time.Duration
}

// state is the peer as the kernel takes it.
func (p Peer) state() (peerState, error) {
	s := peerState{keepalive: p.Keepalive}
	port, endpoint := p.Port, p.Endpoint
	if p.Node != nil {
		device, key, err := p.Node.wireGuard(p.Device)
		if err != nil {
			return peerState{}, err
		}
		s.public = publicKey(key)
		if port == 0 {
			port = uint16(orElse(device.Kind.(WireGuard).Port, wireGuardPort))
		}
		if endpoint == nil {
			endpoint = p.Node
			if !p.Node.Addr().IsValid() {
				endpoint = V6(p.Node)
			}
		}
		for _, text := range device.Addrs {
			if prefix, err := netip.ParsePrefix(text); err == nil && len(p.Allowed) == 0 {
				s.allowed = append(s.allowed, netip.PrefixFrom(prefix.Addr(), prefix.Addr().BitLen()))
			}
		}
	}
	if port == 0 {
		port = wireGuardPort
	}
	for _, text := range p.Allowed {
		allowed, err := prefix(text)
		if err != nil {
			return peerState{}, err
		}
		s.allowed = append(s.allowed, allowed)
	}
	if endpoint != nil && !p.Hidden {
		s.endpoint = netip.AddrPortFrom(endpoint.Addr(), port)
	}
	var err error
	if p.Key != "" {
		if s.public, err = wireGuardKey(p.Key); err != nil {
			return peerState{}, err
		}
	}
	if p.Preshared != "" {
		s.preshared, err = wireGuardKey(p.Preshared)
	}
	return s, err
}

// checkWireGuard reports what is wrong with a WireGuard device.
func (c *checker) checkWireGuard(path string, name string, k WireGuard) {
	if _, err := wireGuardKey(k.Key); k.Key != "" && err != nil {
		c.fault(path+".Key", "%v", err)
		return // the faults that follow from it would not help
	}
	_, own, err := c.node.wireGuard(name)
	if err != nil {
		return // two devices have one name, which is told elsewhere
	}
	seen := map[string]int{string(publicKey(own)): -1}
	for i, peer := range k.Peers {
		path := fmt.Sprintf("%s.Peers[%d]", path, i)
		if !c.checkPeer(path, peer) {
			continue
		}
		state, err := peer.state()
		if err != nil {
			c.fault(path, "%v", err)
			continue
		}
		switch earlier, taken := seen[string(state.public)]; {
		case taken && earlier < 0:
			c.fault(path, "it has the key of this device: a device is no peer of itself")
		case taken:
			c.fault(path, "it has the key of Peers[%d]: give each peer once", earlier)
		}
		seen[string(state.public)] = i
	}
}

// checkPeer reports what is wrong with the fields of a peer, and whether they are usable.
func (c *checker) checkPeer(path string, p Peer) bool {
	before := len(c.faults)
	switch {
	case p.Node == nil && p.Key == "":
		c.fault(path, "Node is nil and Key empty: give the peer's node, or the public key of one outside of the network")
	case p.Node == nil && p.Device != "":
		c.fault(path+".Device", "Node is nil: leave Device out, or give the node that has it")
	case p.Node != nil && !p.Node.in(c.node.place.network):
		c.fault(path+".Node", "%v is no node of this network: use a handle that Add returned", p.Node)
	case p.Node != nil:
		device, _, err := p.Node.wireGuard(p.Device)
		switch {
		case err != nil:
			c.fault(path+".Node", "%v", err)
		case len(device.Addrs) == 0 && len(p.Allowed) == 0:
			c.fault(path+".Allowed", "is empty, and %s of %v has no addresses: give one of the two", device.Name, p.Node)
		case p.Endpoint == nil && !p.Hidden && !p.Node.Addr().IsValid() && !p.Node.Addr6().IsValid():
			c.fault(path+".Endpoint", "%v has no address: give one, or say that it is Hidden", p.Node)
		}
	case len(p.Allowed) == 0:
		c.fault(path+".Allowed", "is empty: give the prefixes of the peer, such as 10.0.0.2/32")
	}
	for i, text := range p.Allowed {
		if _, err := prefix(text); err != nil {
			c.fault(fmt.Sprintf("%s.Allowed[%d]", path, i), "%v", err)
		}
	}
	for _, key := range []struct{ name, text string }{{"Key", p.Key}, {"Preshared", p.Preshared}} {
		if _, err := wireGuardKey(key.text); key.text != "" && err != nil {
			c.fault(path+"."+key.name, "%v", err)
		}
	}
	if p.Endpoint != nil && (none(p.Endpoint) || !p.Endpoint.Addr().IsValid()) {
		c.fault(path+".Endpoint", "%v has no address: give one that has", p.Endpoint)
	}
	if p.Endpoint != nil && p.Hidden {
		c.fault(path+".Endpoint", "the peer is Hidden: leave one of the two out")
	}
	if p.Keepalive < 0 || p.Keepalive%time.Second != 0 || p.Keepalive > 65535*time.Second {
		c.fault(path+".Keepalive", "%v is no number of seconds from 0 to 65535", p.Keepalive)
	}
	return len(c.faults) == before
}
