package topology

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// need skips where root or a program is missing, and fails in CI, where neither may be.
func need(tb testing.TB, programs ...string) {
	tb.Helper()
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	switch {
	case len(missing) == 0:
	case os.Getenv("CI") == "true":
		tb.Fatalf("needs %s, and CI must run this test", strings.Join(missing, ", "))
	default:
		tb.Skipf("needs %s", strings.Join(missing, ", "))
	}
}

func mustUp(tb testing.TB, n *Network) *Running {
	tb.Helper()
	r, err := Up(tb.Context(), n)
	qt.Assert(tb, qt.IsNil(err))
	tb.Cleanup(func() { qt.Check(tb, qt.IsNil(r.Close())) })
	return r
}

// chain declares routers in a row: n0 - n1 - … with hosts at both ends.
func chain(n *Network, length int) []*Node {
	var nodes []*Node
	for i := range length {
		nodes = append(nodes, n.Add(Node{Name: fmt.Sprintf("n%d", i), Forwarding: i > 0 && i < length-1}))
		if i > 0 {
			n.Connect(nodes[i-1], nodes[i])
		}
	}
	return nodes
}

// exchange sends a datagram from one node to an address of another and back, and fails unless it arrives at once: a lost
// one is never repeated.
func exchange(tb testing.TB, r *Running, from, to *Node, addr netip.Addr) {
	tb.Helper()
	var server, client *net.UDPConn
	qt.Assert(tb, qt.IsNil(r.Do(to, func() (err error) {
		server, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		return err
	})))
	defer func() { _ = server.Close() }()
	qt.Assert(tb, qt.IsNil(r.Do(from, func() (err error) {
		client, err = net.DialUDP("udp", nil, server.LocalAddr().(*net.UDPAddr))
		return err
	})))
	defer func() { _ = client.Close() }()
	deadline := time.Now().Add(5 * time.Second)
	qt.Assert(tb, qt.IsNil(errors.Join(server.SetDeadline(deadline), client.SetDeadline(deadline))))

	buffer := make([]byte, 16)
	_, err := client.Write([]byte("ping"))
	qt.Assert(tb, qt.IsNil(err))
	n, back, err := server.ReadFromUDPAddrPort(buffer)
	qt.Assert(tb, qt.IsNil(err), qt.Commentf("%v to %v at %v", from, to, addr))
	qt.Assert(tb, qt.Equals(string(buffer[:n]), "ping"))
	_, err = server.WriteToUDPAddrPort([]byte("pong"), back)
	qt.Assert(tb, qt.IsNil(err))
	n, err = client.Read(buffer)
	qt.Assert(tb, qt.IsNil(err), qt.Commentf("%v back to %v", to, from))
	qt.Assert(tb, qt.Equals(string(buffer[:n]), "pong"))
}

func TestUpTwoNodes(t *testing.T) {
	need(t)
	var n Network
	client, server := n.Add(Node{Name: "client"}), n.Add(Node{Name: "server"})
	link := n.Connect(client, server)
	qt.Check(t, qt.Equals(client.NetNSCookie(), 0))
	r := mustUp(t, &n)

	for i, node := range n.Nodes() {
		end := link.Ends()[i]
		index := r.DeviceIndex(node, link)
		qt.Check(t, qt.Not(qt.Equals(node.NetNSCookie(), 0)))
		qt.Check(t, qt.Not(qt.Equals(r.NetNSInum(node), 0)))
		qt.Assert(t, qt.IsNil(r.Do(node, func() error {
			device, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			qt.Check(t, qt.Equals(device.Index, index))
			qt.Check(t, qt.Equals(device.HardwareAddr.String(), end.MAC.String()))
			qt.Check(t, qt.Equals(device.Flags&net.FlagUp, net.FlagUp))
			addrs, err := device.Addrs()
			qt.Check(t, qt.Equals(fmt.Sprint(addrs), fmt.Sprintf("[%v %v %v]", end.Addr, end.Addr6, end.LinkLocal)))
			return err
		})))
	}
	for _, rn := range r.nodes {
		device, err := rn.route.LinkByName("eth0")
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.Equals(device.Attrs().TxQLen, 1000)) // both ends are alike
		qt.Check(t, qt.Equals(device.Attrs().MTU, 1500))
	}
	exchange(t, r, client, server, server.Addr())
	exchange(t, r, client, server, server.Addr6())
	exchange(t, r, server, client, client.Addr())
	exchange(t, r, client, client, netip.MustParseAddr("127.0.0.1"))
	exchange(t, r, client, client, netip.IPv6Loopback())
}

// Every node reaches every address at once, in both directions and families.
func TestUpReachesEverywhere(t *testing.T) {
	need(t)
	var n Network
	nodes := chain(&n, 4)
	spur := n.Add(Node{Name: "spur"})
	n.Connect(nodes[1], spur)
	r := mustUp(t, &n)
	for _, from := range n.Nodes() {
		for _, to := range n.Nodes() {
			for _, device := range to.Interfaces() {
				exchange(t, r, from, to, device.Addr.Addr())
				exchange(t, r, from, to, device.Addr6.Addr())
			}
		}
	}
}

// Two sites with the same addresses are kept apart by who is asked: a host reaches its own neighbours, not the other site's.
func TestSitesWithTheSameAddresses(t *testing.T) {
	need(t)
	var n Network
	router := n.Add(Node{Name: "router", Forwarding: true})
	var hosts [2]*Node
	for i := range hosts {
		gateway := n.Add(Node{Name: fmt.Sprintf("gateway%d", i), Forwarding: true})
		hosts[i] = n.Add(Node{Name: fmt.Sprintf("host%d", i)})
		n.Connect(router, gateway)
		n.Connect(gateway, hosts[i], LinkOptions{
			First: Device{Addrs: []string{"10.0.0.1/24"}}, Second: Device{Addrs: []string{"10.0.0.2/24"}},
		})
	}
	r := mustUp(t, &n)
	exchange(t, r, hosts[0], n.nodes[1], addr("10.0.0.1"))
	exchange(t, r, hosts[1], n.nodes[3], addr("10.0.0.1"))
	exchange(t, r, router, hosts[0], addr("10.0.0.2")) // the first has the route
}

// The machine's own settings must not leak in: a new namespace copies the IPv4 ones.
func TestUpSetsForwardingEitherWay(t *testing.T) {
	need(t)
	var n Network
	host, router := n.Add(Node{Name: "host"}), n.Add(Node{Name: "router", Forwarding: true})
	n.Connect(host, router)
	r := mustUp(t, &n)
	for node, want := range map[*Node]string{host: "0", router: "1"} {
		qt.Assert(t, qt.IsNil(r.Do(node, func() error {
			for _, file := range []string{"ipv4/ip_forward", "ipv4/conf/eth0/forwarding", "ipv6/conf/eth0/forwarding"} {
				got, err := os.ReadFile("/proc/sys/net/" + file)
				if err != nil {
					return err
				}
				qt.Check(t, qt.Equals(strings.TrimSpace(string(got)), want), qt.Commentf("%v %s", node, file))
			}
			for file, want := range map[string]string{
				"ipv4/conf/eth0/rp_filter": "0", "ipv4/conf/eth0/accept_redirects": "0",
				"ipv6/conf/eth0/accept_dad": "0", "ipv6/conf/eth0/accept_ra": "0", "ipv6/conf/eth0/addr_gen_mode": "1",
				"ipv6/conf/eth0/accept_redirects": "0", "ipv6/conf/eth0/disable_ipv6": "0",
			} {
				got, err := os.ReadFile("/proc/sys/net/" + file)
				if err != nil {
					return err
				}
				qt.Check(t, qt.Equals(strings.TrimSpace(string(got)), want), qt.Commentf("%v %s", node, file))
			}
			return nil
		})))
	}
}

func TestUpTwiceIsRefused(t *testing.T) {
	need(t)
	var n Network
	client := n.Add(Node{Name: "client"})
	r := mustUp(t, &n)
	_, err := Up(t.Context(), &n)
	qt.Check(t, qt.ErrorMatches(err, "bring up network: it is up already: close the running one first"))
	qt.Check(t, qt.IsNil(r.Do(client, func() error { return nil }))) // the first is unharmed

	first := client.NetNSCookie()
	qt.Assert(t, qt.IsNil(r.Close()))
	qt.Check(t, qt.Equals(client.NetNSCookie(), 0))
	mustUp(t, &n)
	qt.Check(t, qt.Not(qt.Equals(client.NetNSCookie(), first)))
}

func TestUpValidatesFirst(t *testing.T) {
	var n Network
	_, err := Up(t.Context(), &n)
	qt.Check(t, qt.ErrorMatches(err, "the network has no nodes: add at least one"))
}

func TestRunningRefusesForeignNodes(t *testing.T) {
	need(t)
	var n Network
	n.Add(Node{Name: "client"})
	r := mustUp(t, &n)
	late := n.Add(Node{Name: "late"})
	fail := func() error { t.Error("ran"); return nil }
	qt.Check(t, qt.ErrorMatches(r.Do(late, fail), "node late is not part of the running network: add it before Up"))
	qt.Check(t, qt.ErrorMatches(r.Do(nil, fail), "the node is nil: use a handle that Network.Add returned"))
	qt.Check(t, qt.IsNil(r.CheckRulesets(t.Context())))
	qt.Check(t, qt.Equals(r.NetNSInum(late), 0))
	qt.Assert(t, qt.IsNil(r.Close()))
	qt.Check(t, qt.ErrorMatches(r.Do(n.Nodes()[0], fail),
		"node client: enter network namespace: network namespace is closed"))
}

func TestDoReturnsTheErrorAsItIs(t *testing.T) {
	need(t)
	var n Network
	client := n.Add(Node{Name: "client"})
	r := mustUp(t, &n)
	want := errors.New("from inside")
	qt.Check(t, qt.Equals(r.Do(client, func() error { return want }), want))
	qt.Check(t, qt.Equals(r.In(client)(func() error { return want }), want))
}

// fds counts the process's open descriptors by kind.
func fds(tb testing.TB) map[string]int {
	tb.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	qt.Assert(tb, qt.IsNil(err))
	kinds := make(map[string]int)
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil {
			kind, _, _ := strings.Cut(target, ":[")
			kinds[kind]++
		}
	}
	return kinds
}

// An Up that fails at any point leaves no descriptor, and a network that can be brought up. Nothing but descriptors holds
// the namespaces.
func TestUpFailsCleanlyEverywhere(t *testing.T) {
	need(t, "nft")
	var n Network
	nodes := chain(&n, 3)
	nodes[1].NFT = "table inet filter { }"
	injected := errors.New("injected")
	r := mustUp(t, &n) // whatever the first run opens for good
	qt.Assert(t, qt.IsNil(r.Close()))
	before := fds(t)

	steps := make(map[string]bool)
	for fail := 0; ; fail++ {
		count := 0
		r, err := up(t.Context(), &n, func(name string) error {
			if count++; count > fail {
				steps[name] = true
				return injected
			}
			return nil
		})
		if err == nil {
			qt.Assert(t, qt.IsNil(r.Close()))
			break
		}
		qt.Assert(t, qt.ErrorIs(err, injected))
		qt.Assert(t, qt.IsNil(r))
		qt.Assert(t, qt.DeepEquals(fds(t), before), qt.Commentf("step %d", fail))
		for _, node := range nodes {
			qt.Assert(t, qt.Equals(node.NetNSCookie(), 0))
		}
	}
	qt.Check(t, qt.DeepEquals(fds(t), before))
	qt.Check(t, qt.HasLen(steps, 17), qt.Commentf("%v", steps))
}

func TestUpStopsWhenCancelled(t *testing.T) {
	need(t)
	var n Network
	n.Add(Node{Name: "client"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Up(ctx, &n)
	qt.Check(t, qt.ErrorMatches(err, "bring up network: node client: context canceled"))
}

// A device that is left in a foreign namespace sees its peer vanish when, and only when, the node's namespace is gone.
func TestCloseRemovesNamespaces(t *testing.T) {
	need(t)
	var watched, n Network
	watcher := watched.Add(Node{Name: "watcher"})
	client := n.Add(Node{Name: "client"})
	outer, r := mustUp(t, &watched), mustUp(t, &n)

	updates, done := make(chan netlink.LinkUpdate, 16), make(chan struct{})
	defer close(done)
	qt.Assert(t, qt.IsNil(outer.Do(watcher, func() error {
		if err := netlink.LinkSubscribe(updates, done); err != nil {
			return err
		}
		handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer handle.Close()
		veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "canary"}
		veth.Name, veth.PeerNamespace = "watch", netlink.NsFd(r.nodes[client].ns.Handle())
		return handle.LinkAdd(veth)
	})))
	qt.Assert(t, qt.IsNil(r.Close()))
	qt.Assert(t, qt.IsNil(r.Close()))
	timeout := time.After(30 * time.Second)
	for {
		select {
		case update := <-updates:
			if update.Header.Type == unix.RTM_DELLINK && update.Attrs().Name == "watch" {
				return
			}
		case <-timeout:
			t.Fatal("the node's namespace still exists")
		}
	}
}

// The waits of Up mostly end at the first look. Here the change comes only once events are being listened for.
func TestAwaitLooksAgainAfterEvents(t *testing.T) {
	need(t)
	var n Network
	client, server := n.Add(Node{Name: "client"}), n.Add(Node{Name: "server"})
	r := mustUp(t, &n)
	near, far := r.nodes[client], r.nodes[server]
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "eth0", PeerNamespace: netlink.NsFd(far.ns.Handle())}
	veth.Name = "eth0"
	qt.Assert(t, qt.IsNil(near.route.LinkAdd(veth)))
	near.devices["eth0"] = veth.Index
	qt.Assert(t, qt.IsNil(near.route.LinkSetUp(veth)))

	looks, finished := 0, false
	qt.Assert(t, qt.IsNil(near.await(t.Context(), unix.RTNLGRP_LINK, func() (bool, error) {
		if looks++; looks != 2 {
			return finished, nil
		}
		finished = true
		peer, err := far.route.LinkByName("eth0")
		if err != nil {
			return false, err
		}
		return false, far.route.LinkSetUp(peer)
	})))
	qt.Check(t, qt.Equals(looks, 3))
	qt.Check(t, qt.IsNil(near.awaitCarrier(t.Context(), "eth0")))

	ctx, cancel := context.WithCancel(t.Context())
	looks = 0
	err := near.await(ctx, unix.RTNLGRP_LINK, func() (bool, error) {
		if looks++; looks == 2 {
			cancel()
		}
		return false, nil
	})
	qt.Check(t, qt.ErrorIs(err, context.Canceled))

	broken := errors.New("broken")
	err = near.await(t.Context(), unix.RTNLGRP_LINK, func() (bool, error) { return false, broken })
	qt.Check(t, qt.Equals(err, broken))
}

// benchmarkUp builds a row of nodes and takes it down. The median says what a test waits for; the mean has the machine's hiccups.
func benchmarkUp(b *testing.B, length int, nft string) {
	need(b)
	var n Network
	chain(&n, length)[length-1].NFT = nft
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		r, err := Up(b.Context(), &n)
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "median-ms")
}

const benchmarkRules = "table inet filter { chain input { type filter hook input priority 0; udp dport 8080 drop; }; }"

func BenchmarkUpClose2(b *testing.B)    { benchmarkUp(b, 2, "") }
func BenchmarkUpClose3(b *testing.B)    { benchmarkUp(b, 3, "") }
func BenchmarkUpClose3NFT(b *testing.B) { need(b, "nft"); benchmarkUp(b, 3, benchmarkRules) }
