package topology

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
)

// Every fault has the path of its field and a sentence that says what to do. Each case declares node a with what it is
// about, between a link to b before and one after.
func TestValidateReportsDetails(t *testing.T) {
	tests := []struct {
		name string
		node Node
		link LinkOptions
		want string
	}{
		{"MTU", Node{}, LinkOptions{MTU: 40, Second: Device{MTU: 70000}},
			"Links[0].MTU: 40 is below 68, the minimum for IPv4\n" +
				"Links[0].Second.MTU: 70000 is above 65535, the maximum"},
		{"IPv6 needs room", Node{}, LinkOptions{MTU: 600, First: Device{Addrs: []string{"fd00::1/64"}}},
			"Links[0].First.Addrs[0]: fd00::1/64 is an IPv6 address, and the MTU is 600: IPv6 needs 1280"},
		{"addresses", Node{Devices: []Device{{Name: "d0", Kind: Dummy{}, Addrs: []string{"10.0.0.300/24", "10.0.0.1"}}}}, LinkOptions{},
			`Nodes[0].Devices[0].Addrs[0]: "10.0.0.300/24" is no address with the length of its prefix: write one such as 10.0.0.1/24 or fd00::1/64` + "\n" +
				`Nodes[0].Devices[0].Addrs[1]: "10.0.0.1" is no address with the length of its prefix: write one such as 10.0.0.1/24 or fd00::1/64`},
		{"bare", Node{}, LinkOptions{First: Device{Bare: true, Addrs: []string{"10.0.0.1/24"}}},
			"Links[0].First.Addrs: addresses are given, and Bare says that there are none: give one of the two"},
		{"kind of an end", Node{}, LinkOptions{First: Device{Kind: Dummy{}}},
			"Links[0].First.Kind: the end of a link is a veth device: leave Kind nil, and declare the device in the node"},
		{"names", Node{Devices: []Device{{Kind: Dummy{}}, {Name: "a-name-too-long-for-it", Kind: Dummy{}}, {Name: "a b", Kind: Dummy{}},
			{Name: "eth0", Kind: Dummy{}}, {Name: "lo", Kind: Dummy{}}, {Name: "d0"}}}, LinkOptions{},
			"Nodes[0].Devices[0].Name: is empty: give every device a name\n" +
				`Nodes[0].Devices[1].Name: "a-name-too-long-for-it" has 22 bytes: a device's name has at most 15` + "\n" +
				`Nodes[0].Devices[2].Name: "a b" is no name for a device: leave out spaces, slashes and colons` + "\n" +
				"Nodes[0].Devices[3].Name: the end of Links[0] is called eth0 already: names must differ\n" +
				"Nodes[0].Devices[4].Kind: the loopback exists already: leave Kind nil, or give another Name\n" +
				"Nodes[0].Devices[5].Kind: is nil: say what the device is, such as topology.Dummy{}"},
		{"names of ends", Node{}, LinkOptions{First: Device{Name: "eth1"}},
			"Links[1]: its device in a is called eth1, as is the end of Links[0]: names must differ"},
		{"MAC", Node{}, LinkOptions{First: Device{MAC: "02:00"}, Second: Device{MAC: "01:00:00:00:00:01"}},
			`Links[0].First.MAC: "02:00" is no Ethernet address: write one such as 02:00:00:00:00:01` + "\n" +
				"Links[0].Second.MAC: 01:00:00:00:00:01 is no address that a device can have: the first byte must be even, and not all be zero"},
		{"queue", Node{}, LinkOptions{First: Device{TxQueue: -2}},
			"Links[0].First.TxQueue: -2 is negative: give a length, or -1 for none"},
		{"impairments", Node{}, LinkOptions{First: Device{Impair: Impairment{Loss: 101, Corrupt: math.NaN(), Reorder: 5, Rate: 1}},
			Second: Device{Impair: Impairment{Delay: -time.Second, Burst: 1}}},
			"Links[0].First.Impair.Loss: 101 is no percentage: give 0 to 100\n" +
				"Links[0].First.Impair.Corrupt: NaN is no percentage: give 0 to 100\n" +
				"Links[0].First.Impair.Reorder: packets overtake those that are held back: give a Delay too\n" +
				"Links[0].First.Impair.Rate: 1 bits a second is less than a byte: give 8 at least\n" +
				"Links[0].Second.Impair: Delay is -1s and Jitter 0s: neither can be negative\n" +
				"Links[0].Second.Impair.Burst: a line without limit has no bursts: give a Rate too"},
		{"port of nothing", Node{}, LinkOptions{First: Device{Port: Port{Isolated: true}}},
			"Links[0].First.Port: eth0 is no port of a bridge: name it among the Ports of one"},
		{"ports", Node{Bridge: &Bridge{}}, LinkOptions{First: Device{Port: Port{VLAN: 5000, Trunk: []uint16{7, 5000}, State: "up"}}},
			"Links[0].First.Port: VLANs are given, but br0 does not filter them: set its VLANFiltering\n" +
				"Links[0].First.Port: 5000 is no VLAN: give a number from 1 to 4094\n" +
				"Links[0].First.Port: 5000 is no VLAN: give a number from 1 to 4094\n" +
				"Links[0].First.Port: VLAN 5000 is given untagged, and tagged in Trunk: give it once\n" +
				`Links[0].First.Port.State: "up" is no state: give one of the constants, such as topology.Listening`},
		{"state and protocol", Node{Bridge: &Bridge{STP: true}}, LinkOptions{First: Device{Port: Port{State: Learning}}},
			"Links[0].First.Port.State: br0 runs the spanning tree protocol, which sets states by itself: leave State or STP out"},
		{"addresses of a port", Node{Bridge: &Bridge{}}, LinkOptions{First: Device{Addrs: []string{"10.0.0.1/24"}}},
			"Links[0].First.Addrs: eth0 is a port of br0: give the addresses to that"},
		{"kinds", Node{Devices: []Device{
			{Name: "v0", Kind: VLAN{On: "eht0", ID: 4095}}, {Name: "v1", Kind: VLAN{ID: 1}}, {Name: "m0", Kind: MACVLAN{On: "eth0", Mode: "x"}},
			{Name: "r0", Kind: VRF{Ports: []string{"r0", "lo"}}}, {Name: "b0", Kind: Bond{}}, {Name: "b1", Kind: Bond{Ports: []string{"m0"}}},
			{Name: "x0", Kind: VXLAN{ID: 1 << 24, Remote: IP("x")}}, {Name: "g0", Kind: Geneve{}}, {Name: "g1", Kind: GRE{Remote: IP("10.0.0.1"), Local: IP("fd00::1")}},
			{Name: "s0", Kind: SIT{Remote: IP("fd00::1")}},
		}}, LinkOptions{},
			`Nodes[0].Devices[0].Kind.On: a has no device "eht0"; did you mean "eth0"?` + "\n" +
				"Nodes[0].Devices[0].Kind.ID: 4095 is no VLAN: give a number from 1 to 4094\n" +
				"Nodes[0].Devices[1].Kind.On: is empty: give the name of a device of a\n" +
				`Nodes[0].Devices[2].Kind.Mode: "x" is no mode: give one of ["bridge" "passthru" "private" "vepa"]` + "\n" +
				"Nodes[0].Devices[3].Kind.Ports[0]: r0 cannot be a port of itself\n" +
				"Nodes[0].Devices[3].Kind.Ports[1]: the loopback cannot be a port\n" +
				"Nodes[0].Devices[3].Kind.Table: is 0: give the number of a routing table of its own, such as 10\n" +
				"Nodes[0].Devices[4].Kind.Ports: is empty: give the bond's ports, such as eth0\n" +
				"Nodes[0].Devices[5].Kind.Ports[0]: m0 is not the end of a link: a bond's ports must be\n" +
				"Nodes[0].Devices[6].Kind.ID: 16777216 has more than 24 bits: give 0 to 16777215\n" +
				"Nodes[0].Devices[6].Kind.Remote: x has no address: give one that has\n" +
				"Nodes[0].Devices[7].Kind.Remote: is nil: give a node, topology.V6 of a node, or topology.IP\n" +
				"Nodes[0].Devices[8].Kind.Local: it is fd00::1, and Remote is 10.0.0.1: both must be IPv4 or both IPv6\n" +
				"Nodes[0].Devices[9].Kind.Remote: fd00::1 is an IPv6 address, and this tunnel goes over IPv4"},
		{"port of two", Node{Bridge: &Bridge{Ports: []string{"eth0"}}, Devices: []Device{{Name: "b0", Kind: Bridge{Ports: []string{"eth0"}}}}}, LinkOptions{},
			"Nodes[0].Devices[0].Kind.Ports[0]: eth0 is a port of br0 already: a device is a port once"},
		{"subnets", Node{Devices: []Device{
			{Name: "lo", Addrs: []string{"172.16.42.77/32"}}, {Name: "d0", Kind: Dummy{}, Addrs: []string{"172.16.0.1/16", "10.0.0.1/24", "fd42:0:0:43::9/64"}},
			{Name: "m0", Kind: MACVLAN{On: "eth1"}, Addrs: []string{"172.16.43.9/24"}}, {Name: "v0", Kind: VLAN{On: "eth0", ID: 1}, Addrs: []string{"10.0.0.9/23"}},
			{Name: "red", Kind: VRF{Table: 10, Ports: []string{"d1"}}}, {Name: "d1", Kind: Dummy{}, Addrs: []string{"10.0.0.1/24"}},
		}}, LinkOptions{First: Device{Addrs: []string{"10.1.0.1/16", "172.16.43.8/24"}}},
			"Links[1]: 172.16.43.1/24 of eth1 overlaps 172.16.43.8/24 of eth0: give subnets that differ, or put one of the devices into a VRF\n" +
				"Nodes[0].Devices[1].Addrs[0]: 172.16.0.1/16 of d0 overlaps 172.16.43.8/24 of eth0: give subnets that differ, or put one of the devices into a VRF\n" +
				"Nodes[0].Devices[1].Addrs[2]: fd42:0:0:43::9/64 of d0 overlaps fd42:0:0:43::1/64 of eth1: give subnets that differ, or put one of the devices into a VRF\n" +
				"Nodes[0].Devices[2].Addrs[0]: 172.16.43.9/24 of m0 overlaps 172.16.43.8/24 of eth0: give subnets that differ, or put one of the devices into a VRF\n" +
				"Nodes[0].Devices[3].Addrs[0]: 10.0.0.9/23 of v0 overlaps 10.0.0.1/24 of d0: give subnets that differ, or put one of the devices into a VRF"},
		{"circle", Node{Devices: []Device{{Name: "v0", Kind: VLAN{On: "v1", ID: 1}}, {Name: "v1", Kind: VLAN{On: "v0", ID: 1}}}}, LinkOptions{},
			"Nodes[0].Devices[0]: v0 is on v1, which is on it in turn: a device must be on one that can exist before it\n" +
				"Nodes[0].Devices[1]: v1 is on v0, which is on it in turn: a device must be on one that can exist before it"},
		{"routes", Node{Routes: []Route{
			{To: "10.0.0"}, {To: "10.0.0.0/8", Type: "gone"}, {To: "10.0.0.0/8"}, {To: "10.0.0.0/8", Type: Blackhole, Via: IP("172.16.42.2")},
			{To: "10.0.0.0/8", Via: IP("192.0.2.1")}, {To: "fd00::/8", Via: IP("172.16.42.2")}, {To: "default", Device: "eth9"},
			{To: "10.0.0.0/8", Hops: []Hop{{Via: IP("172.16.42.2"), Weight: 257}}, Device: "eth0"},
			{To: "10.0.0.0/8", Via: &Node{Name: "stray"}},
		}}, LinkOptions{},
			`Nodes[0].Routes[0].To: "10.0.0" is no prefix: write one such as 10.0.0.0/8 or fd00::/8` + "\n" +
				"Nodes[0].Routes[0].Via: is nil, and so is Device: say where packets go\n" +
				`Nodes[0].Routes[1].Type: "gone" is no type: leave it empty, or give a constant such as topology.Blackhole` + "\n" +
				"Nodes[0].Routes[2].Via: is nil, and so is Device: say where packets go\n" +
				"Nodes[0].Routes[3].Via: a blackhole route goes nowhere: leave Via, Device and Hops out\n" +
				"Nodes[0].Routes[4].Via: 192.0.2.1 is on no subnet of the node: give the Device\n" +
				"Nodes[0].Routes[5].Via: 172.16.42.2 is an IPv4 address, and the destination is fd00::/8: both must be of one family\n" +
				`Nodes[0].Routes[6].Device: a has no device "eth9"; did you mean "eth0"?` + "\n" +
				"Nodes[0].Routes[7].Hops: Via or Device is given too: give either next hops or a single one\n" +
				"Nodes[0].Routes[7].Hops[0].Weight: 257 is no weight: give 1 to 256\n" +
				"Nodes[0].Routes[8].Via: stray has no address: give a node that has, or topology.IP"},
		{"rules", Node{Rules: []PolicyRule{{}, {From: "10.0.0.0/8", To: "fd00::/8", Table: 1}, {Type: Throw}, {Type: Prohibit, Table: 1, Priority: -1}}}, LinkOptions{},
			"Nodes[0].Rules[0].Table: is 0: give the table to look up, or a Type\n" +
				"Nodes[0].Rules[1].To: 10.0.0.0/8 and fd00::/8 are of different families: give both of one\n" +
				`Nodes[0].Rules[2].Type: "throw" is no type for a rule: leave it empty, or give Blackhole, Unreachable or Prohibit` + "\n" +
				"Nodes[0].Rules[3].Table: a prohibit rule looks no table up: leave it out\n" +
				"Nodes[0].Rules[3].Priority: -1 is negative: give 1 or more"},
		{"neighbours", Node{Neighbours: []Neighbour{{}, {Addr: IP("172.16.42.9")}, {Addr: IP("172.16.42.9"), Failed: true, MAC: "02:00:00:00:00:01"}, {Addr: IP("172.16.42.9"), MAC: "x"}}}, LinkOptions{},
			"Nodes[0].Neighbours[0].Addr: is nil: give a node or topology.IP\n" +
				"Nodes[0].Neighbours[1].MAC: is empty, and 172.16.42.9 is no node: give the neighbour's address\n" +
				"Nodes[0].Neighbours[2].MAC: an entry that is Failed, or a Proxy, has none: leave it out\n" +
				`Nodes[0].Neighbours[3].MAC: "x" is no Ethernet address: write one such as 02:00:00:00:00:01`},
		{"multicast", Node{Multicast: []MulticastRoute{{Group: "10.0.0.1"}, {Group: "ff05::1", Source: IP("10.0.0.1"), In: "eth0", Out: []string{"eth0"}}, {Group: "239.1.2.3"}}}, LinkOptions{},
			`Nodes[0].Multicast[0].Group: "10.0.0.1" is no multicast address: write one such as 239.1.2.3 or ff05::1:3` + "\n" +
				"Nodes[0].Multicast[1].Source: 10.0.0.1 has no address of the family of ff05::1: give one that has\n" +
				"Nodes[0].Multicast[1]: a does not forward: set its Forwarding\n" +
				"Nodes[0].Multicast[1].Out[0]: eth0 is where the packets arrive: leave it out\n" +
				"Nodes[0].Multicast[2].Source: is nil: give the sender, a node or topology.IP\n" +
				"Nodes[0].Multicast[2]: a does not forward: set its Forwarding\n" +
				"Nodes[0].Multicast[2].In: is empty: give the name of a device of a\n" +
				"Nodes[0].Multicast[2].Out: is empty: give the devices that get a copy"},
		{"sysctls", Node{Sysctls: map[string]string{"kernel.panic": "1", "net/../kernel/panic": "1"}}, LinkOptions{},
			`Nodes[0].Sysctls: "kernel.panic" is no setting of a network namespace: give one that begins with net` + "\n" +
				`Nodes[0].Sysctls: "net/../kernel/panic" is no setting of a network namespace: give one that begins with net`},
		{"programs", Node{}, LinkOptions{First: Device{XDP: Program{Name: "x"}, Ingress: Program{File: "/nowhere.o"}}},
			"Links[0].First.XDP: a Name is given, but no File: give the ELF file\n" +
				"Links[0].First.Ingress: read ELF file: open /nowhere.o: no such file or directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var n Network
			test.node.Name = "a"
			a, b := n.Add(test.node), n.Add(Node{Name: "b"})
			n.Connect(a, b, test.link)
			n.Connect(a, b)
			err := n.Validate()
			qt.Assert(t, qt.IsNotNil(err))
			qt.Check(t, qt.Equals(err.Error(), test.want))
		})
	}
}

func TestValidateTakesWhatIsRight(t *testing.T) {
	var n Network
	a, b := n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
	n.Connect(a, b, LinkOptions{}, LinkOptions{})
	qt.Check(t, qt.ErrorMatches(n.Validate(), `Links\[0\]: Connect was given 2 values of LinkOptions: give at most one`))

	var right Network
	a = right.Add(Node{Name: "a", Devices: []Device{{Name: "bond0", Kind: Bond{Ports: []string{"eth0", "eth1"}}},
		{Name: "v", Kind: VLAN{On: "bond0", ID: 4}}, {Name: "br1", Kind: Bridge{Ports: []string{"v", "x"}}},
		{Name: "x", Kind: VXLAN{ID: 1}}, {Name: "lo", Addrs: []string{"10.0.0.1/32"}}}})
	b = right.Add(Node{Name: "b"})
	for range 3 {
		right.Connect(a, b)
	}
	a.Routes = []Route{{To: "10.0.0.0/8", Via: b}, {To: "default", Via: V6(b)}, {To: "10.1.2.3", Type: Local}}
	qt.Check(t, qt.IsNil(right.Validate()))
}

// Nothing that Validate refuses makes Up touch the kernel.
func TestNothingIsHalfBuilt(t *testing.T) {
	var n Network
	a := n.Add(Node{Name: "a", Routes: []Route{{To: "x"}}})
	_, err := Up(t.Context(), &n)
	qt.Assert(t, qt.IsNotNil(err))
	qt.Check(t, qt.IsTrue(strings.HasPrefix(err.Error(), "Nodes[0].Routes[0].To: ")))
	qt.Check(t, qt.Equals(a.NetNSCookie(), 0))
}
