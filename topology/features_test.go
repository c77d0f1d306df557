package topology

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"
)

// tryUp brings a network up, or skips the test where the kernel lacks what it needs.
func tryUp(tb testing.TB, n *Network) *Running {
	tb.Helper()
	need(tb)
	r, err := Up(tb.Context(), n)
	if missing := (*UnsupportedError)(nil); errors.As(err, &missing) && os.Getenv("WAYBILL_STRICT") != "1" {
		tb.Skip(missing)
	}
	qt.Assert(tb, qt.IsNil(err))
	tb.Cleanup(func() { qt.Check(tb, qt.IsNil(r.Close())) })
	return r
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// absent sends a datagram that must not arrive, then has others arrive by a way that is known to work. A datagram passes
// veth devices within the call that sends it, or shortly after: what has not come when those have is not on its way.
func absent(tb testing.TB, r *Running, from, to *Node, dst netip.Addr) {
	tb.Helper()
	var server, client *net.UDPConn
	qt.Assert(tb, qt.IsNil(r.Do(to, func() (err error) {
		server, err = net.ListenUDP("udp", &net.UDPAddr{Port: 7777})
		return err
	})))
	defer func() { _ = server.Close() }()
	err := r.Do(from, func() (err error) {
		client, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(dst, 7777)))
		return err
	})
	if err != nil {
		return // refused at once
	}
	defer func() { _ = client.Close() }()
	_, _ = client.Write([]byte("ping"))
	exchange(tb, r, to, to, to.Addr())
	qt.Assert(tb, qt.IsNil(server.SetReadDeadline(time.Now().Add(time.Millisecond))))
	_, err = server.Read(make([]byte, 16))
	qt.Check(tb, qt.ErrorIs(err, os.ErrDeadlineExceeded), qt.Commentf("%v reached %v at %v", from, to, dst))
}

// star declares hosts around a bridge.
func star(n *Network, bridge Bridge, ports ...Port) (sw *Node, hosts []*Node) {
	sw = n.Add(Node{Name: "sw", Bridge: &bridge})
	for i, port := range ports {
		hosts = append(hosts, n.Add(Node{Name: "h" + string(rune('1'+i))}))
		n.Connect(hosts[i], sw, LinkOptions{Second: Device{Port: port}})
	}
	return sw, hosts
}

func TestBridge(t *testing.T) {
	var n Network
	_, hosts := star(&n, Bridge{}, Port{}, Port{}, Port{})
	qt.Check(t, qt.Equals(hosts[2].Addr(), addr("172.16.42.3")))
	qt.Check(t, qt.Equals(hosts[2].Addr6(), addr("fd42:0:0:42::3")))
	r := tryUp(t, &n)
	for _, from := range hosts {
		for _, to := range hosts {
			exchange(t, r, from, to, to.Addr())
			exchange(t, r, from, to, to.Addr6())
		}
	}
}

func TestBridgeVLANs(t *testing.T) {
	var n Network
	_, hosts := star(&n, Bridge{VLANFiltering: true}, Port{VLAN: 10}, Port{VLAN: 10}, Port{VLAN: 20})
	r := tryUp(t, &n)
	exchange(t, r, hosts[0], hosts[1], hosts[1].Addr())
	absent(t, r, hosts[0], hosts[2], hosts[2].Addr())
	absent(t, r, hosts[2], hosts[1], hosts[1].Addr6())
}

func TestBridgePorts(t *testing.T) {
	var n Network
	sw, hosts := star(&n, Bridge{}, Port{Isolated: true}, Port{Isolated: true}, Port{}, Port{State: Listening})
	r := tryUp(t, &n)
	exchange(t, r, hosts[0], hosts[2], hosts[2].Addr())
	exchange(t, r, hosts[2], hosts[1], hosts[1].Addr6())
	absent(t, r, hosts[0], hosts[1], hosts[1].Addr())
	absent(t, r, hosts[2], hosts[3], hosts[3].Addr())

	qt.Assert(t, qt.IsNil(r.SetPortState(sw, "eth3", Forwarding)))
	exchange(t, r, hosts[0], hosts[3], hosts[3].Addr6())
}

// Two bridges in a row are one segment, and a router may have one of its links in it.
func TestBridgesAndRouter(t *testing.T) {
	var n Network
	a, left := n.Add(Node{Name: "a"}), n.Add(Node{Name: "left", Bridge: &Bridge{}})
	right, router := n.Add(Node{Name: "right", Bridge: &Bridge{}}), n.Add(Node{Name: "router", Forwarding: true})
	far := n.Add(Node{Name: "far"})
	n.Connect(a, left)
	n.Connect(left, right)
	n.Connect(router, far)
	n.Connect(right, router)
	r := tryUp(t, &n)
	exchange(t, r, a, far, far.Addr())
	exchange(t, r, far, a, a.Addr6())
	routes, err := r.Routes(a, 0)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(routes[1].String(), "172.16.44.0/24 via 172.16.42.2 dev eth0"))
}

// tunnel declares two hosts with a router between them, and a device at each, with addresses of a network of its own.
func tunnel(n *Network, first, second func(remote *Node) Kind) (a, b *Node) {
	a, b = n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
	router := n.Add(Node{Name: "router", Forwarding: true})
	n.Connect(a, router)
	n.Connect(router, b)
	a.Devices = []Device{{Name: "t0", Kind: first(b), Addrs: []string{"10.9.0.1/24", "fd09::1/64"}}}
	b.Devices = []Device{{Name: "t0", Kind: second(a), Addrs: []string{"10.9.0.2/24", "fd09::2/64"}}}
	return a, b
}

func TestTunnels(t *testing.T) {
	for name, kind := range map[string]func(remote *Node) Kind{
		"vxlan":     func(remote *Node) Kind { return VXLAN{ID: 42, Remote: remote} },
		"vxlan6":    func(remote *Node) Kind { return VXLAN{ID: 42, Remote: V6(remote), Port: 4790} },
		"geneve":    func(remote *Node) Kind { return Geneve{ID: 42, Remote: remote} },
		"geneve6":   func(remote *Node) Kind { return Geneve{ID: 42, Remote: V6(remote)} },
		"gre":       func(remote *Node) Kind { return GRE{Remote: remote} },
		"gre key":   func(remote *Node) Kind { return GRE{Remote: remote, Key: 7} },
		"gre6":      func(remote *Node) Kind { return GRE{Remote: V6(remote)} },
		"gretap":    func(remote *Node) Kind { return GRETAP{Remote: remote} },
		"gretap6":   func(remote *Node) Kind { return GRETAP{Remote: V6(remote)} },
		"ipip":      func(remote *Node) Kind { return IPIP{Remote: remote} },
		"sit":       func(remote *Node) Kind { return SIT{Remote: remote} },
		"ip6tunnel": func(remote *Node) Kind { return IP6Tunnel{Remote: V6(remote)} },
	} {
		t.Run(name, func(t *testing.T) {
			var n Network
			a, b := tunnel(&n, kind, kind)
			r := tryUp(t, &n)
			if name != "sit" {
				exchange(t, r, a, b, addr("10.9.0.2"))
			}
			if name != "ipip" {
				exchange(t, r, b, a, addr("fd09::1"))
			}
			state, err := r.Device(a, "t0")
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.IsTrue(state.Counters.TxPackets > 0), qt.Commentf("%+v", state))
		})
	}
}

func TestDevices(t *testing.T) {
	for name, devices := range map[string][2][]Device{
		"vlan": {{{Kind: VLAN{On: "eth0", ID: 7}}}, {{Kind: VLAN{On: "eth0", ID: 7}}}},
		"qinq": {
			{{Kind: VLAN{On: "outer", ID: 7}}, {Name: "outer", Kind: VLAN{On: "eth0", ID: 8, ServiceTag: true}}},
			{{Kind: VLAN{On: "outer", ID: 7}}, {Name: "outer", Kind: VLAN{On: "eth0", ID: 8, ServiceTag: true}}},
		},
		"macvlan": {{{Kind: MACVLAN{On: "eth0"}}}, {{Kind: MACVLAN{On: "eth0", Mode: "private"}}}},
		"ipvlan":  {{{Kind: IPVLAN{On: "eth0"}}}, {{Kind: IPVLAN{On: "eth0"}}}},
		"bridge":  {{{Kind: Bridge{Ports: []string{"eth0"}}}}, {{Kind: Bridge{Ports: []string{"eth0"}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			var n Network
			a, b := n.Add(Node{Name: "a", Devices: devices[0]}), n.Add(Node{Name: "b", Devices: devices[1]})
			n.Connect(a, b)
			for i, node := range []*Node{a, b} {
				node.Devices[0].Name = "d0"
				node.Devices[0].Addrs = []string{[]string{"10.9.0.1/24", "10.9.0.2/24"}[i], []string{"fd09::1/64", "fd09::2/64"}[i]}
			}
			r := tryUp(t, &n)
			exchange(t, r, a, b, addr("10.9.0.2"))
			exchange(t, r, b, a, addr("fd09::1"))
		})
	}
}

func TestDummyAndLoopbackAddresses(t *testing.T) {
	var n Network
	a := n.Add(Node{Name: "a"})
	b := n.Add(Node{Name: "b", Devices: []Device{
		{Name: "lo", Addrs: []string{"10.8.0.1/32"}}, {Name: "d0", Kind: Dummy{}, Addrs: []string{"10.9.0.1/32", "fd09::1/128"}},
	}})
	n.Connect(a, b)
	a.Routes = []Route{{To: "10.8.0.0/15", Via: b}, {To: "fd09::/16", Via: b}}
	r := tryUp(t, &n)
	exchange(t, r, a, b, addr("10.8.0.1"))
	exchange(t, r, a, b, addr("10.9.0.1"))
	exchange(t, r, a, b, addr("fd09::1"))
}

func TestBond(t *testing.T) {
	var n Network
	bond := []Device{{Name: "bond0", Kind: Bond{Ports: []string{"eth0", "eth1"}}}}
	a, b := n.Add(Node{Name: "a", Devices: bond}), n.Add(Node{Name: "b", Devices: bond})
	n.Connect(a, b)
	n.Connect(a, b)
	r := tryUp(t, &n)
	exchange(t, r, a, b, b.Addr())
	exchange(t, r, b, a, a.Addr6())
	state, err := r.Device(a, "bond0")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(state.Addrs[0], netip.MustParsePrefix("172.16.42.1/24")))
}

// Two VRFs of one router keep two customers apart, who use what they like.
func TestVRF(t *testing.T) {
	var n Network
	router := n.Add(Node{Name: "router", Forwarding: true, Devices: []Device{
		{Name: "red", Kind: VRF{Table: 10, Ports: []string{"eth0", "eth1"}}},
		{Name: "blue", Kind: VRF{Table: 20, Ports: []string{"eth2"}}},
	}})
	red1, red2, blue := n.Add(Node{Name: "red1"}), n.Add(Node{Name: "red2"}), n.Add(Node{Name: "blue1"})
	for _, node := range []*Node{red1, red2, blue} {
		n.Connect(router, node)
	}
	r := tryUp(t, &n)
	exchange(t, r, red1, red2, red2.Addr())
	exchange(t, r, red2, red1, red1.Addr6())
	absent(t, r, red1, blue, blue.Addr())
}

func TestLinkOptions(t *testing.T) {
	var n Network
	a, b := n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
	n.Connect(a, b, LinkOptions{MTU: 1400, First: Device{
		Name: "wan0", TxQueue: 10, MAC: "02:00:00:00:00:aa", Addrs: []string{"10.9.0.1/24", "10.9.1.1/24"},
		Features: map[string]bool{"rx-gro": true, "tx-checksum-ip-generic": false},
	}, Second: Device{MTU: 1300, Addrs: []string{"10.9.0.2/24"}}})
	r := tryUp(t, &n)
	exchange(t, r, a, b, addr("10.9.0.2"))
	first, err := r.Device(a, "wan0")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(first.MTU, 1400))
	qt.Check(t, qt.Equals(first.MAC.String(), "02:00:00:00:00:aa"))
	qt.Check(t, qt.HasLen(first.Addrs, 3), qt.Commentf("%v", first.Addrs))
	second, err := r.Device(b, "eth0")
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(second.MTU, 1300))

	err = r.SetFeatures(a, "wan0", map[string]bool{"rx-gr0": true})
	qt.Check(t, qt.ErrorMatches(err, `node a: wan0: there is no feature "rx-gr0"; did you mean "rx-gro"\?`))
	err = r.SetFeatures(a, "lo", map[string]bool{"tx-checksum-ip-generic": false})
	qt.Check(t, qt.IsNotNil(err))
}

func TestDownAndUp(t *testing.T) {
	var n Network
	nodes := chain(&n, 3)
	nodes[0].Routes = []Route{{To: "10.9.0.0/16", Via: nodes[1]}}
	r := tryUp(t, &n)
	before, err := r.Routes(nodes[0], 0)
	qt.Assert(t, qt.IsNil(err))
	for _, node := range nodes[:2] {
		qt.Assert(t, qt.IsNil(r.SetDown(node, "eth0")))
		absent(t, r, nodes[0], nodes[2], nodes[2].Addr())
		qt.Assert(t, qt.IsNil(r.SetUp(t.Context(), node, "eth0")))
		exchange(t, r, nodes[0], nodes[2], nodes[2].Addr())
		exchange(t, r, nodes[2], nodes[0], nodes[0].Addr6())
	}
	after, err := r.Routes(nodes[0], 0)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(routeTexts(after), routeTexts(before)))
	qt.Check(t, qt.ErrorMatches(r.SetDown(nodes[0], "eth9"), `node n0 has no device "eth9"; did you mean "eth0"\?`))
}

func routeTexts(routes []RouteState) []string {
	var texts []string
	for _, route := range routes {
		texts = append(texts, route.String())
	}
	return texts
}

func TestEndsThatAreDown(t *testing.T) {
	var n Network
	a, b := n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
	n.Connect(a, b, LinkOptions{Second: Device{Down: true}})
	r := tryUp(t, &n)
	absent(t, r, a, b, b.Addr())
	qt.Assert(t, qt.IsNil(r.SetUp(t.Context(), b, "eth0")))
	exchange(t, r, a, b, b.Addr())
}

func TestImpairment(t *testing.T) {
	var n Network
	a, b := n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
	n.Connect(a, b, LinkOptions{First: Device{Impair: Impairment{Delay: time.Hour}}})
	r := tryUp(t, &n)
	absent(t, r, a, b, b.Addr())
	qt.Assert(t, qt.IsNil(r.Impair(a, "eth0", Impairment{})))
	exchange(t, r, a, b, b.Addr())
	qt.Assert(t, qt.IsNil(r.Impair(a, "eth0", Impairment{Loss: 100})))
	absent(t, r, a, b, b.Addr())
	qt.Assert(t, qt.IsNil(r.Impair(a, "eth0", Impairment{Delay: time.Millisecond, Rate: 1e9, Duplicate: 10, Reorder: 5, Corrupt: 0})))
	exchange(t, r, a, b, b.Addr())
	qt.Check(t, qt.ErrorMatches(r.Impair(a, "eth0", Impairment{Loss: 101}), "node a: Impairment.Loss: 101 is no percentage: give 0 to 100"))
}

// TestBursts: what is in the bucket goes at once, and the rest waits, here for seconds. A datagram is a frame of 46 bytes.
func TestBursts(t *testing.T) {
	var n Network
	a, b := n.Add(Node{Name: "a", Sysctls: map[string]string{"net.ipv6.conf.all.disable_ipv6": "1"}}), n.Add(Node{Name: "b"})
	n.Connect(a, b)
	r := tryUp(t, &n)
	exchange(t, r, a, b, b.Addr()) // and the neighbour is known
	impair := func(i Impairment) { t.Helper(); qt.Assert(t, qt.IsNil(r.Impair(a, "eth0", i))) }
	impair(Impairment{Rate: 8, Burst: 40})
	absent(t, r, a, b, b.Addr()) // longer than that
	impair(Impairment{Rate: 8, Burst: 80})
	exchange(t, r, a, b, b.Addr())
	absent(t, r, a, b, b.Addr())
	impair(Impairment{Rate: 8e9, Burst: 1 << 16})
	exchange(t, r, a, b, b.Addr())
	impair(Impairment{Rate: 8e9, Burst: 1 << 16, Limit: 1})
	exchange(t, r, a, b, b.Addr())
	impair(Impairment{})
	exchange(t, r, a, b, b.Addr())
}

func TestTables(t *testing.T) {
	var n Network
	a, r1 := n.Add(Node{Name: "a"}), n.Add(Node{Name: "r1", Forwarding: true})
	r2, b := n.Add(Node{Name: "r2", Forwarding: true}), n.Add(Node{Name: "b"})
	n.Connect(a, r1)
	n.Connect(a, r2)
	n.Connect(r1, b)
	n.Connect(r2, b)
	a.Routes = []Route{
		{To: "10.1.0.0/16", Type: Blackhole}, {To: "10.2.0.0/16", Type: Unreachable}, {To: "10.3.0.1", Type: Prohibit},
		{To: "fd01::/16", Type: Blackhole}, {To: "fd03::/16", Type: Prohibit},
		{To: "10.4.0.0/16", Hops: []Hop{{Via: r1}, {Via: r2, Weight: 3}}},
		{To: "fd04::/16", Hops: []Hop{{Via: r1}, {Via: V6(r2)}}},
		{To: "default", Via: IP("172.16.43.2"), Table: 100},
		{To: "default", Via: V6(r2)},
		{To: "10.5.0.0/16", Device: "eth1"},
		{To: "172.16.44.0/24", Via: r2, MTU: 1400},
	}
	a.Rules = []PolicyRule{{From: "172.16.42.1", Table: 100, Priority: 50}, {Mark: 7, Type: Prohibit, Priority: 60}}
	a.Neighbours = []Neighbour{{Addr: r1}, {Addr: IP("172.16.42.9"), MAC: "02:00:00:00:00:09"},
		{Addr: IP("172.16.42.10"), Failed: true}, {Addr: V6(r1)}, {Addr: IP("10.7.0.1"), Device: "eth0", Proxy: true}}
	a.Sysctls = map[string]string{"net.ipv4.ip_default_ttl": "17", "net/ipv4/conf/eth0/rp_filter": "1"}
	r := tryUp(t, &n)
	routes, err := r.Routes(a, 0)
	qt.Assert(t, qt.IsNil(err))
	text := strings.Join(routeTexts(routes), "\n")
	for _, want := range []string{
		"blackhole 10.1.0.0/16", "unreachable 10.2.0.0/16", "prohibit 10.3.0.1/32", "prohibit fd03::/16",
		"10.4.0.0/16 nexthop via 172.16.42.2 dev eth0 weight 1 nexthop via 172.16.43.2 dev eth1 weight 3",
		"fd04::/16 nexthop via fd42:0:0:42::2 dev eth0 weight 1 nexthop via fd42:0:0:43::2 dev eth1 weight 1",
		"::/0 via fd42:0:0:43::2 dev eth1", "10.5.0.0/16 dev eth1", "172.16.44.0/24 via 172.16.43.2 dev eth1",
	} {
		qt.Check(t, qt.IsTrue(strings.Contains(text+"\n", want)), qt.Commentf("%s in\n%s", want, text))
	}
	other, err := r.Routes(a, 100)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.DeepEquals(routeTexts(other), []string{"0.0.0.0/0 via 172.16.43.2 dev eth1 table 100"}))
	neighbours, err := r.nodes[a].route.NeighList(0, 0)
	qt.Assert(t, qt.IsNil(err))
	var entries []string
	for _, entry := range neighbours {
		entries = append(entries, entry.String())
	}
	entryText := strings.Join(entries, "\n")
	qt.Check(t, qt.StringContains(entryText, "172.16.42.2 02:00:ac:10:2a:02"))
	qt.Check(t, qt.StringContains(entryText, "172.16.42.9 02:00:00:00:00:09"))
	qt.Check(t, qt.StringContains(entryText, "fd42:0:0:42::2 02:00:ac:10:2a:02"))
	rules, err := r.nodes[a].route.RuleList(2)
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.HasLen(rules, 5))
	qt.Assert(t, qt.IsNil(r.Do(a, func() error {
		ttl, err := os.ReadFile("/proc/sys/net/ipv4/ip_default_ttl")
		qt.Check(t, qt.Equals(string(ttl), "17\n"))
		return err
	})))
}

// Each of two receivers gets a copy, the third does not.
func TestMulticastRoutes(t *testing.T) {
	var n Network
	source := n.Add(Node{Name: "source"})
	router := n.Add(Node{Name: "router", Forwarding: true})
	n.Connect(source, router)
	for _, name := range []string{"one", "two", "three"} {
		n.Connect(router, n.Add(Node{Name: name}))
	}
	router.Multicast = []MulticastRoute{
		{Source: source, Group: "239.1.2.3", In: "eth0", Out: []string{"eth1", "eth2"}},
		{Source: source, Group: "ff05::1:3", In: "eth0", Out: []string{"eth1", "eth2"}},
	}
	r := tryUp(t, &n)
	for _, route := range router.Multicast {
		group := net.ParseIP(route.Group)
		var receivers []*net.UDPConn
		for _, node := range n.Nodes()[2:] {
			qt.Assert(t, qt.IsNil(r.Do(node, func() error {
				device, err := net.InterfaceByName("eth0")
				if err != nil {
					return err
				}
				receiver, err := net.ListenMulticastUDP("udp", device, &net.UDPAddr{IP: group, Port: 7})
				receivers = append(receivers, receiver)
				return err
			})))
		}
		qt.Assert(t, qt.IsNil(r.Do(source, func() error {
			fd, err := unix.Socket(map[bool]int{true: unix.AF_INET, false: unix.AF_INET6}[group.To4() != nil], unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer func() { _ = unix.Close(fd) }()
			if err := unix.BindToDevice(fd, "eth0"); err != nil {
				return err
			}
			if group.To4() == nil {
				if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 4); err != nil {
					return err
				}
				return unix.Sendto(fd, []byte("all"), 0, &unix.SockaddrInet6{Port: 7, Addr: [16]byte(group.To16())})
			}
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 4); err != nil {
				return err
			}
			return unix.Sendto(fd, []byte("all"), 0, &unix.SockaddrInet4{Port: 7, Addr: [4]byte(group.To4())})
		})))
		for i, receiver := range receivers {
			patience := 10 * time.Second
			if i == 2 {
				patience = time.Millisecond // the others have theirs, made in the same moment
			}
			qt.Assert(t, qt.IsNil(receiver.SetReadDeadline(time.Now().Add(patience))))
			length, err := receiver.Read(make([]byte, 16))
			if i == 2 {
				qt.Check(t, qt.ErrorIs(err, os.ErrDeadlineExceeded))
			} else {
				qt.Check(t, qt.IsNil(err), qt.Commentf("%v %d", group, i))
				qt.Check(t, qt.Equals(length, 3))
			}
			qt.Check(t, qt.IsNil(receiver.Close()))
		}
	}
}
