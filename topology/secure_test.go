package topology

import (
	"testing"
	"time"

	"github.com/go-quicktest/qt"
)

// only lets a router pass on what a rule accepts, so that what arrives came as that.
func only(rule string) string {
	return "table inet only { chain forward { type filter hook forward priority 0; policy drop; " + rule + " accept; }; }"
}

// hub declares two hosts, a and b, behind a router that passes on WireGuard only, and a hub on another side of it.
func wireGuardHub(n *Network) (hub, a, b *Node) {
	router := n.Add(Node{Name: "router", Forwarding: true, NFT: only("udp dport 51820")})
	hub, a, b = n.Add(Node{Name: "hub", Forwarding: true}), n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
	for _, node := range []*Node{hub, a, b} {
		n.Connect(node, router)
	}
	wg := func(node *Node, addrs []string, peers ...Peer) {
		node.Devices = []Device{{Name: "wg0", Kind: WireGuard{Peers: peers}, Addrs: addrs}}
	}
	all := []string{"10.9.0.0/24", "fd09::/64"}
	wg(hub, []string{"10.9.0.1/24", "fd09::1/64"}, Peer{Node: a}, Peer{Node: b})
	wg(a, []string{"10.9.0.2/24", "fd09::2/64"}, Peer{Node: hub, Allowed: all})
	wg(b, []string{"10.9.0.3/24", "fd09::3/64"}, Peer{Node: hub, Allowed: all})
	return hub, a, b
}

func TestWireGuard(t *testing.T) {
	need(t, "nft")
	var n Network
	hub, a, b := wireGuardHub(&n)
	r := tryUp(t, &n)
	exchange(t, r, a, hub, addr("10.9.0.1"))
	exchange(t, r, a, b, addr("10.9.0.3")) // by way of the hub
	exchange(t, r, b, a, addr("fd09::2"))
	absent(t, r, a, b, b.Addr()) // not in the tunnel

	state, err := r.nodes[hub].wireGuardState(r.nodes[hub].devices["wg0"])
	qt.Assert(t, qt.IsNil(err))
	_, key, _ := hub.wireGuard("")
	qt.Check(t, qt.Equals(string(publicKey(state.private)), string(publicKey(key)))) // the kernel clamps the private one
	qt.Check(t, qt.Equals(state.port, 51820))
	qt.Assert(t, qt.HasLen(state.peers, 2))
	qt.Check(t, qt.Equals(state.peers[1].endpoint.String(), b.Addr().String()+":51820"))
	qt.Check(t, qt.Equals(len(state.peers[1].allowed), 2))
}

// Each variant stands or falls by what is said about the peer.
func TestWireGuardPeers(t *testing.T) {
	need(t, "nft")
	const key = "4Glq8Vd6QF6OzFzfKsNLYbuSCjV2bnkTyIVlhOYHi28="
	for name, test := range map[string]struct {
		change func(hub, a *WireGuard)
		passes bool
	}{
		"as it was":           {func(*WireGuard, *WireGuard) {}, true},
		"a key of ours":       {func(hub, _ *WireGuard) { hub.Key = key }, true},
		"a wrong key":         {func(hub, _ *WireGuard) { hub.Peers[0].Key = key }, false},
		"preshared":           {func(hub, a *WireGuard) { hub.Peers[0].Preshared, a.Peers[0].Preshared = key, key }, true},
		"preshared once":      {func(hub, _ *WireGuard) { hub.Peers[0].Preshared = key }, false},
		"not allowed":         {func(hub, _ *WireGuard) { hub.Peers[0].Allowed = []string{"10.9.0.77/32"} }, false},
		"hidden":              {func(hub, _ *WireGuard) { hub.Peers[0].Hidden = true }, true},
		"hidden to all":       {func(_, a *WireGuard) { a.Peers[0].Hidden = true }, false},
		"another port":        {func(_, a *WireGuard) { a.Port = 7 }, true},
		"a wrong port":        {func(_, a *WireGuard) { a.Peers[0].Port = 7 }, false},
		"keepalive":           {func(_, a *WireGuard) { a.Peers[0].Keepalive = 25 * time.Second }, true},
		"over IPv6":           {func(_, a *WireGuard) { a.Peers[0].Endpoint = V6(a.Peers[0].Node) }, true},
		"marked, routed away": {func(_, a *WireGuard) { a.Mark = 7 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			var n Network
			hub, a, _ := wireGuardHub(&n)
			n.nodes[0].NFT = only("udp dport { 7, 51820 }")
			a.Rules = []PolicyRule{{Mark: 7, Type: Blackhole, Priority: 1}}
			forHub, forA := hub.Devices[0].Kind.(WireGuard), a.Devices[0].Kind.(WireGuard)
			test.change(&forHub, &forA)
			hub.Devices[0].Kind, a.Devices[0].Kind = forHub, forA
			r := tryUp(t, &n)
			if test.passes {
				exchange(t, r, a, hub, addr("10.9.0.1"))
			} else {
				absent(t, r, a, hub, addr("10.9.0.1"))
			}
		})
	}
}

// secured declares a and b with a router between them that passes on ESP only, and what IPv6 needs to find its neighbours.
func secured(n *Network) (a, b *Node) {
	a, b = n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
	router := n.Add(Node{Name: "router", Forwarding: true, NFT: only("meta l4proto esp")})
	n.Connect(a, router)
	n.Connect(router, b)
	return a, b
}

func TestESP(t *testing.T) {
	need(t, "nft")
	for name, test := range map[string]struct {
		a, b func(remote *Node) ESP
		v6   bool
	}{
		"transport":  {a: func(b *Node) ESP { return ESP{Remote: b} }},
		"transport6": {a: func(b *Node) ESP { return ESP{Remote: V6(b)} }, v6: true},
		"tunnel":     {a: func(b *Node) ESP { return ESP{Remote: b, Tunnel: true} }},
		"chacha20":   {a: func(b *Node) ESP { return ESP{Remote: b, Cipher: ChaCha20} }},
		"aes-cbc":    {a: func(b *Node) ESP { return ESP{Remote: b, Cipher: AESCBC} }},
		"null":       {a: func(b *Node) ESP { return ESP{Remote: b, Cipher: NullCipher} }},
		"key": {a: func(b *Node) ESP {
			return ESP{Remote: b, Key: "000102030405060708090a0b0c0d0e0f10111213", ID: 7}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var n Network
			a, b := secured(&n)
			a.ESP, b.ESP = []ESP{test.a(b)}, []ESP{test.a(a)}
			to, other := b.Addr(), b.Addr6()
			if test.v6 {
				to, other = other, to
			}
			r := tryUp(t, &n)
			exchange(t, r, a, b, to)
			absent(t, r, a, b, other) // not protected, and so not passed on
		})
	}
}

// One end has another key, or none at all.
func TestESPThatDoesNotFit(t *testing.T) {
	need(t, "nft")
	for name, change := range map[string]func(b *Node){
		"another key":    func(b *Node) { b.ESP[0].Key = "000102030405060708090a0b0c0d0e0f10111213" },
		"another cipher": func(b *Node) { b.ESP[0].Cipher = ChaCha20 },
		"another ID":     func(b *Node) { b.ESP[0].ID = 9 },
		"nothing":        func(b *Node) { b.ESP = nil },
	} {
		t.Run(name, func(t *testing.T) {
			var n Network
			a, b := secured(&n)
			a.ESP, b.ESP = []ESP{{Remote: b}}, []ESP{{Remote: a}}
			change(b)
			r := tryUp(t, &n)
			absent(t, r, a, b, b.Addr())
		})
	}
}

// Two gateways protect what goes between the subnets behind them.
func TestESPBetweenSites(t *testing.T) {
	need(t, "nft")
	var n Network
	a, b := secured(&n)
	a.Forwarding, b.Forwarding = true, true
	left, right := n.Add(Node{Name: "left"}), n.Add(Node{Name: "right"})
	n.Connect(left, a)
	n.Connect(b, right)
	near, far := []string{"172.16.44.0/24", "fd42:0:0:44::/64"}, []string{"172.16.45.0/24", "fd42:0:0:45::/64"}
	a.ESP = []ESP{{Remote: b, Near: near, Far: far}}
	b.ESP = []ESP{{Remote: a, Near: far, Far: near}}
	r := tryUp(t, &n)
	exchange(t, r, left, right, right.Addr())
	exchange(t, r, right, left, left.Addr6())
	absent(t, r, a, b, b.Addr())
}

func TestXFRMDevices(t *testing.T) {
	need(t, "nft")
	var n Network
	a, b := secured(&n)
	device := func(node, remote *Node, third, host string) {
		node.Devices = append(node.Devices, Device{Name: "ipsec" + third, Kind: XFRM{Remote: remote, ID: uint32(len(node.Devices))},
			Addrs: []string{"10.9." + third + "." + host + "/24", "fd09:" + third + "::" + host + "/64"}})
	}
	for _, third := range []string{"1", "2"} {
		device(a, b, third, "1")
		device(b, a, third, "2")
	}
	r := tryUp(t, &n)
	exchange(t, r, a, b, addr("10.9.1.2"))
	exchange(t, r, b, a, addr("fd09:2::1"))
	absent(t, r, a, b, b.Addr())
}

func TestValidateReportsWhatIsWrongWithSecrets(t *testing.T) {
	var other Network
	foreign := other.Add(Node{Name: "foreign"})
	const key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for _, test := range []struct {
		name   string
		change func(a, b *Node)
		want   string
	}{
		{"peers", func(a, b *Node) {
			a.Devices = []Device{{Name: "wg0", Addrs: []string{"10.9.0.1/24"}, Kind: WireGuard{Peers: []Peer{
				{}, {Node: foreign}, {Node: b, Device: "wg7"}, {Key: "x"}, {Key: key, Device: "wg0", Allowed: []string{"10.0.0"}},
				{Node: a}, {Node: b, Device: "wg0"}, {Node: b, Device: "wg0", Endpoint: IP("x"), Hidden: true, Keepalive: time.Millisecond},
				{Node: b}, {Node: b, Device: "wg1"}, {Node: b, Device: "wg0", Preshared: "AAAA"}, {Key: key}, {Node: b, Device: "wg0"},
			}}}}
			b.Devices = []Device{
				{Name: "wg0", Kind: WireGuard{}, Addrs: []string{"10.9.0.2/24"}}, {Name: "wg1", Kind: WireGuard{Key: "y"}},
			}
		}, "Nodes[0].Devices[0].Kind.Peers[0]: Node is nil and Key empty: give the peer's node, or the public key of one outside of the network\n" +
			"Nodes[0].Devices[0].Kind.Peers[1].Node: foreign is no node of this network: use a handle that Add returned\n" +
			`Nodes[0].Devices[0].Kind.Peers[2].Node: b has no WireGuard device "wg7": declare one, or leave the peer out` + "\n" +
			"Nodes[0].Devices[0].Kind.Peers[3].Allowed: is empty: give the prefixes of the peer, such as 10.0.0.2/32\n" +
			`Nodes[0].Devices[0].Kind.Peers[3].Key: "x" is no key: give 32 bytes in base64, as wg genkey and wg pubkey print them` + "\n" +
			"Nodes[0].Devices[0].Kind.Peers[4].Device: Node is nil: leave Device out, or give the node that has it\n" +
			`Nodes[0].Devices[0].Kind.Peers[4].Allowed[0]: "10.0.0" is no prefix: write one such as 10.0.0.0/8 or fd00::/8` + "\n" +
			"Nodes[0].Devices[0].Kind.Peers[5]: it has the key of this device: a device is no peer of itself\n" +
			"Nodes[0].Devices[0].Kind.Peers[7].Endpoint: x has no address: give one that has\n" +
			"Nodes[0].Devices[0].Kind.Peers[7].Endpoint: the peer is Hidden: leave one of the two out\n" +
			"Nodes[0].Devices[0].Kind.Peers[7].Keepalive: 1ms is no number of seconds from 0 to 65535\n" +
			`Nodes[0].Devices[0].Kind.Peers[8].Node: b has several WireGuard devices, ["wg0" "wg1"]: give the Device` + "\n" +
			"Nodes[0].Devices[0].Kind.Peers[9].Allowed: is empty, and wg1 of b has no addresses: give one of the two\n" +
			`Nodes[0].Devices[0].Kind.Peers[10].Preshared: "AAAA" is no key: give 32 bytes in base64, as wg genkey and wg pubkey print them` + "\n" +
			"Nodes[0].Devices[0].Kind.Peers[11].Allowed: is empty: give the prefixes of the peer, such as 10.0.0.2/32\n" +
			"Nodes[0].Devices[0].Kind.Peers[12]: it has the key of Peers[6]: give each peer once\n" +
			`Nodes[1].Devices[1].Kind.Key: "y" is no key: give 32 bytes in base64, as wg genkey and wg pubkey print them`},
		{"ESP", func(a, b *Node) {
			a.ESP = []ESP{
				{}, {Remote: b, Cipher: "rot13"}, {Remote: b, Key: "00", ID: 1}, {Remote: b, Near: []string{"10.0.0.0/8"}, ID: 2},
				{Remote: b, Near: []string{"10.0.0.0/8"}, Far: []string{"fd00::/8", "x"}, ID: 3}, {Remote: b}, {Remote: b, Local: IP("fd00::1")},
			}
			a.Devices = []Device{{Name: "x0", Kind: XFRM{Remote: b, ID: 5}}, {Name: "x1", Kind: XFRM{Remote: V6(b), ID: 5}}, {Name: "x2", Kind: XFRM{}}}
		}, "Nodes[0].Devices[2].Kind.Remote: is nil: give a node, topology.V6 of a node, or topology.IP\n" +
			"Nodes[0].ESP[0].Remote: is nil: give a node, topology.V6 of a node, or topology.IP\n" +
			`Nodes[0].ESP[1].Cipher: "rot13" is no cipher: give a constant such as topology.AESGCM, or none` + "\n" +
			`Nodes[0].ESP[2].Key: "00" is no key for this cipher: give 20 bytes in hex` + "\n" +
			"Nodes[0].ESP[3]: one of Near and Far is empty: give both, or none for packets between the two ends themselves\n" +
			"Nodes[0].ESP[4].Far[0]: fd00::/8 has no counterpart of its family in Near: give one\n" +
			`Nodes[0].ESP[4].Far[1]: "x" is no prefix: write one such as 10.0.0.0/8 or fd00::/8` + "\n" +
			"Nodes[0].ESP[6].Local: it is fd00::1, and Remote is 172.16.42.2: both must be IPv4 or both IPv6\n" +
			"Nodes[0].ESP[5]: it is between the same two addresses as ESP[1]: give one an ID\n" +
			"Nodes[0].Devices[1].Kind: it has the ID of Devices[0].Kind: give it another"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var n Network
			a, b := n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
			n.Connect(a, b)
			test.change(a, b)
			err := n.Validate()
			qt.Assert(t, qt.IsNotNil(err))
			qt.Check(t, qt.Equals(err.Error(), test.want))
		})
	}
}
